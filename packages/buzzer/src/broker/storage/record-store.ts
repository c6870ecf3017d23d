import type { DatabaseSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import { BuzzerError, type JsonValue } from '../../message/index.ts'
import type {
  ClaimRequest,
  CollectionDeclaration,
  IndexQuery,
  Page,
  PageRequest,
  PutRecord,
  Scalar,
  StateChange,
  StoredRecord,
} from '../../store/index.ts'
import { type Statement, prepare } from './statement.ts'
import { pageBytes } from './page-bytes.ts'

interface Collection {
  readonly indexes: ReadonlySet<string>
  readonly uniques: ReadonlySet<string>
}

type RecordColumns = readonly [id: string, value: string, version: number, updatedAt: number, crc: number | null]

/** Over all that a reader gets of a record. */
export function recordCrc(collection: string, id: string, version: number, value: string): number {
  return crc32(value, crc32(id, crc32(collection, version >>> 0)))
}

/** @throws BUZZER_FILE_DAMAGED with `details.collection` and `details.id` */
function toRecord(collection: string, [id, value, version, updatedAt, crc]: RecordColumns): StoredRecord {
  if (crc !== null && crc !== recordCrc(collection, id, version, value)) throw damaged(collection, id)
  return { id, value: parsed(collection, id, value) as JsonValue, version, updatedAt }
}

function parsed(collection: string, id: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw damaged(collection, id, cause)
  }
}

function damaged(collection: string, id: string, cause?: unknown): BuzzerError {
  return new BuzzerError(
    'BUZZER_FILE_DAMAGED',
    `record ${JSON.stringify(id)} of ${collection} is damaged: it is not what was stored. Store it anew, delete it, or restore a backup`,
    { cause, details: { collection, id } },
  )
}

/** The store in the broker's file (spec bus 3). All calls belong inside the transaction of the moment. */
export class RecordStore {
  readonly #db: DatabaseSync
  readonly #maxValueBytes: number
  readonly #onDamaged: (error: BuzzerError) => void
  readonly #collections = new Map<string, Collection>()
  readonly #version: Statement<readonly [number, number | null]>
  readonly #get: Statement<RecordColumns>
  readonly #put: Statement
  readonly #delete: Statement
  readonly #deleteIndexes: Statement
  readonly #deleteAllIndexes: Statement
  readonly #indexes: Statement<readonly [string]>
  readonly #insertIndex: Statement
  readonly #uniqueHolder: Statement<readonly [string]>
  readonly #claim: Statement<RecordColumns>
  readonly #lease: Statement
  readonly #saveCollection: Statement
  readonly #backfill: Statement<readonly [string, string]>
  readonly #expired: Statement<readonly [string, string]>
  readonly #nextExpiry: Statement<readonly [number | null]>
  readonly #queries = new Map<string, Statement<readonly [...RecordColumns, Scalar]>>()

  /**
   * `maxValueBytes`: of one record's value as JSON. `onDamaged` is told of records that a claim leaves out.
   */
  constructor(db: DatabaseSync, maxValueBytes: number, onDamaged: (error: BuzzerError) => void) {
    this.#maxValueBytes = maxValueBytes
    this.#onDamaged = onDamaged
    this.#db = db
    this.#version = prepare(db, 'select version, expires_at from record where collection = ? and id = ?')
    this.#get = prepare(
      db,
      `select id, value, version, updated_at, crc from record
       where collection = ? and id = ? and (expires_at is null or expires_at > ?)`,
    )
    this.#put = prepare(
      db,
      `insert or replace into record
       (collection, id, version, updated_at, expires_at, lease_owner, lease_until, value, indexes, crc)
       values (?, ?, ?, ?, ?, null, null, ?, ?, ?)`,
    )
    this.#delete = prepare(db, 'delete from record where collection = ? and id = ?')
    this.#deleteIndexes = prepare(
      db,
      'delete from record_index where collection = ? and name = ? and value = ? and id = ?',
    )
    this.#deleteAllIndexes = prepare(db, 'delete from record_index where collection = ? and id = ?')
    this.#insertIndex = prepare(
      db,
      'insert or ignore into record_index (collection, name, value, id) values (?, ?, ?, ?)',
    )
    this.#uniqueHolder = prepare(
      db,
      `select i.id from record_index i join record r on r.collection = i.collection and r.id = i.id
       where i.collection = ? and i.name = ? and i.value = ? and i.id <> ?
         and (r.expires_at is null or r.expires_at > ?) limit 1`,
    )
    this.#claim = prepare(
      db,
      `select r.id, r.value, r.version, r.updated_at, r.crc
       from record_index i join record r on r.collection = i.collection and r.id = i.id
       where i.collection = ? and i.name = ? and i.value <= ?
         and (r.lease_until is null or r.lease_until <= ?) and (r.expires_at is null or r.expires_at > ?)
       order by i.value, i.id limit ?`,
    )
    this.#lease = prepare(db, 'update record set lease_owner = ?, lease_until = ? where collection = ? and id = ?')
    this.#saveCollection = prepare(
      db,
      'insert or replace into collection (name, indexes, uniques, crc) values (?1, ?2, ?3, definition_crc(?1, ?2, ?3))',
    )
    this.#indexes = prepare(db, 'select indexes from record where collection = ? and id = ?')
    this.#backfill = prepare(db, 'select id, indexes from record where collection = ?')
    this.#expired = prepare(db, 'select collection, id from record where expires_at <= ? limit ?')
    this.#nextExpiry = prepare(db, 'select min(expires_at) from record where expires_at is not null')
    this.reload()
  }

  reload(): void {
    this.#collections.clear()
    const rows = prepare<readonly [string, string, string]>(this.#db, 'select name, indexes, uniques from collection')
    for (const [name, indexes, uniques] of rows.all()) {
      this.#collections.set(name, {
        indexes: new Set(JSON.parse(indexes) as string[]),
        uniques: new Set(JSON.parse(uniques) as string[]),
      })
    }
  }

  /** Indexes are added to what was declared before; records that are there already are found by them too. */
  declare(declaration: CollectionDeclaration): void {
    const { name } = declaration
    const known = this.#collections.get(name)
    const uniques = new Set([...(known?.uniques ?? []), ...(declaration.unique ?? [])])
    const indexes = new Set([...(known?.indexes ?? []), ...declaration.indexes, ...uniques])
    if (known !== undefined && known.indexes.size === indexes.size && known.uniques.size === uniques.size) return
    for (const [id, stored] of this.#backfill.all(name)) {
      for (const [index, value] of Object.entries(parsed(name, id, stored) as Record<string, Scalar>)) {
        if (indexes.has(index)) this.#insertIndex.run(name, index, value, id)
      }
    }
    this.#saveCollection.run(name, JSON.stringify([...indexes]), JSON.stringify([...uniques]))
    this.#collections.set(name, { indexes, uniques })
  }

  /** All changes or none: throws before anything was written, or leaves the savepoint to roll back. */
  commit(changes: readonly StateChange[], now: number): void {
    this.#db.exec('savepoint state')
    try {
      for (const change of changes) this.#apply(change, now)
    } catch (error) {
      this.#db.exec('rollback to state')
      this.#db.exec('release state')
      throw error
    }
    this.#db.exec('release state')
  }

  #apply(change: StateChange, now: number): void {
    const { collection, id } = change
    const row = this.#version.first(collection, id)
    const found = row === undefined || (row[1] !== null && row[1] <= now) ? 'absent' : row[0]
    const { expected } = change
    if (expected !== 'any' && expected !== found) throw conflict(collection, id, expected, found)
    if (row !== undefined) this.#remove(collection, id)
    if (change.op === 'put') this.#insert(change, (found === 'absent' ? 0 : found) + 1, now)
  }

  #remove(collection: string, id: string): void {
    const [stored] = this.#indexes.first(collection, id) ?? ['{}']
    let indexes: Record<string, Scalar> | undefined
    try {
      indexes = JSON.parse(stored) as Record<string, Scalar>
    } catch {
      // A damaged record goes like any other: its entries are looked for.
      this.#deleteAllIndexes.run(collection, id)
    }
    for (const [name, value] of Object.entries(indexes ?? {})) this.#deleteIndexes.run(collection, name, value, id)
    this.#delete.run(collection, id)
  }

  #insert(change: PutRecord, version: number, now: number): void {
    const { collection, id } = change
    const declared = this.#collections.get(collection)
    const indexes = change.indexes ?? {}
    for (const [name, value] of Object.entries(indexes)) {
      if (declared === undefined || !declared.indexes.has(name)) continue
      if (declared.uniques.has(name)) {
        const holder = this.#uniqueHolder.first(collection, name, value, id, now)?.[0]
        if (holder !== undefined) {
          throw new BuzzerError(
            'BUZZER_CONFLICT',
            `record ${JSON.stringify(id)} of ${collection}: ${name} ${JSON.stringify(value)} is taken by ${JSON.stringify(holder)}`,
            { details: { collection, id, index: name, value, holder, expected: 'unique', found: holder } },
          )
        }
      }
      this.#insertIndex.run(collection, name, value, id)
    }
    const value = JSON.stringify(change.value) ?? 'null'
    this.#checkSize(collection, id, value)
    const crc = recordCrc(collection, id, version, value)
    this.#put.run(collection, id, version, now, change.expiresAt ?? null, value, JSON.stringify(indexes), crc)
  }

  /** Records ride on sends and settlements, too: whatever way they come, they have one limit. */
  #checkSize(collection: string, id: string, value: string): void {
    const limitBytes = this.#maxValueBytes
    // A character is at most three bytes: short texts need no second look.
    if (value.length * 3 <= limitBytes) return
    const actualBytes = Buffer.byteLength(value)
    if (actualBytes <= limitBytes) return
    throw new BuzzerError(
      'BUZZER_MESSAGE_TOO_LARGE',
      `record ${JSON.stringify(id)} of ${collection} has ${actualBytes} bytes; at most ${limitBytes} are stored`,
      { details: { collection, id, actualBytes, limitBytes } },
    )
  }

  get(collection: string, id: string, now: number): StoredRecord | undefined {
    const row = this.#get.first(collection, id, now)
    return row === undefined ? undefined : toRecord(collection, row)
  }

  #checkIndex(collection: string, index: string): void {
    if (this.#collections.get(collection)?.indexes.has(index) === true) return
    throw new BuzzerError(
      'BUZZER_INVALID_OPTION',
      `collection ${JSON.stringify(collection)} has no index ${JSON.stringify(index)}: declare it first`,
      { details: { collection, index } },
    )
  }

  query(collection: string, where: IndexQuery, page: PageRequest | undefined, now: number): Page<StoredRecord> {
    this.#checkIndex(collection, where.index)
    const limit = Math.min(Math.max(1, page?.limit ?? 50), 1_000)
    const descending = where.order === 'desc'
    const values: Scalar[] = []
    let sql = `select r.id, r.value, r.version, r.updated_at, r.crc, i.value
      from record_index i join record r on r.collection = i.collection and r.id = i.id
      where i.collection = ? and i.name = ? and (r.expires_at is null or r.expires_at > ?)`
    if (where.equals !== undefined) {
      sql += ' and i.value = ?'
      values.push(where.equals)
    }
    if (where.from !== undefined) {
      sql += ' and i.value >= ?'
      values.push(where.from)
    }
    if (where.to !== undefined) {
      sql += ' and i.value < ?'
      values.push(where.to)
    }
    if (page?.after !== undefined) {
      sql += ` and (i.value, i.id) ${descending ? '<' : '>'} (?, ?)`
      values.push(...readCursor(page.after))
    }
    const direction = descending ? 'desc' : 'asc'
    sql += ` order by i.value ${direction}, i.id ${direction} limit ?`
    let statement = this.#queries.get(sql)
    if (statement === undefined) {
      statement = prepare(this.#db, sql)
      this.#queries.set(sql, statement)
    }
    const items: StoredRecord[] = []
    let cursor: readonly [Scalar, string] | undefined
    let bytes = 0
    for (const [id, value, version, updatedAt, crc, key] of statement.each(
      collection,
      where.index,
      now,
      ...values,
      limit + 1,
    )) {
      if (cursor !== undefined && (items.length === limit || bytes >= pageBytes)) {
        return { items, next: JSON.stringify(cursor) }
      }
      items.push(toRecord(collection, [id, value, version, updatedAt, crc]))
      bytes += value.length
      cursor = [key, id]
    }
    return { items }
  }

  /**
   * As many as are asked for, or as fit a page. A damaged one is leased and told, and left out: those behind it must not
   * wait for it.
   */
  claim(collection: string, due: ClaimRequest, now: number): readonly StoredRecord[] {
    this.#checkIndex(collection, due.index)
    const records: StoredRecord[] = []
    const ids: string[] = []
    let bytes = 0
    for (const row of this.#claim.each(collection, due.index, due.upTo, now, now, due.limit)) {
      ids.push(row[0])
      try {
        records.push(toRecord(collection, row))
      } catch (error) {
        this.#onDamaged(error as BuzzerError)
      }
      bytes += row[1].length
      if (bytes >= pageBytes) break
    }
    for (const id of ids) this.#lease.run(due.owner, now + due.leaseMs, collection, id)
    return records
  }

  /** Removes records whose time is up. Returns what was removed. */
  expire(now: number, limit: number): readonly (readonly [collection: string, id: string])[] {
    const rows = this.#expired.all(now, limit)
    for (const [collection, id] of rows) this.#remove(collection, id)
    return rows
  }

  nextExpiry(): number {
    return this.#nextExpiry.first()?.[0] ?? Number.POSITIVE_INFINITY
  }
}

function readCursor(after: string): [Scalar, string] {
  try {
    const cursor: unknown = JSON.parse(after)
    if (Array.isArray(cursor) && cursor.length === 2) return cursor as [Scalar, string]
  } catch {
    // Told below: whatever is not a cursor of ours is refused the same way.
  }
  throw new BuzzerError('BUZZER_INVALID_OPTION', `after ${JSON.stringify(after)} is not the next of a page`, {
    details: { option: 'after', value: after },
  })
}

function versionWords(version: number | 'absent'): string {
  return version === 'absent' ? 'no record' : `version ${version}`
}

function conflict(collection: string, id: string, expected: number | 'absent', found: number | 'absent'): BuzzerError {
  return new BuzzerError(
    'BUZZER_CONFLICT',
    `record ${JSON.stringify(id)} of ${collection}: expected ${versionWords(expected)}, found ${versionWords(found)}`,
    { details: { collection, id, expected, found } },
  )
}
