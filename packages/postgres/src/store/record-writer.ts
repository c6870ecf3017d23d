import { BuzzerError } from 'buzzer'
import type { Scalar } from 'buzzer/store'
import { quoteIdentifier, rowsOf, type SqlHandle } from '../sql-handle.ts'
import { sqlStateOf } from '../sql-state.ts'
import type { Collections } from './collections.ts'
import { indexValue, scalarOf } from './index-value.ts'
import type { RecordChange } from './record-change.ts'
import {
  changedEntries,
  conflict,
  type LockedRecord,
  planChanges,
  type RecordPut,
  type StateUnit,
  taken,
  type UniqueHolder,
} from './record-plan.ts'
import { type RecordStatements, recordStatements } from './record-statements.ts'

interface LockedRow {
  readonly collection: string
  readonly id: string
  readonly version: number
  readonly expired: boolean
  readonly indexes: string
}

interface HolderRow {
  readonly collection: string
  readonly name: string
  readonly num: number
  readonly txt: string
  readonly id: string
  readonly expired: boolean
  readonly indexes: string
}

/** Writes records inside transactions that others begin and end. */
export class RecordWriter {
  readonly #sql: RecordStatements
  readonly #collections: Collections

  constructor(schema: string, collections: Collections) {
    this.#sql = recordStatements(quoteIdentifier(schema))
    this.#collections = collections
  }

  /**
   * Judges units of changes inside the transaction of `handle` and writes those that hold: each unit all or nothing, each
   * seeing the ones before it. Answers by unit why it was refused, or `undefined`.
   *
   * Rejects when another transaction is faster by an instant (`isRace(error)`) or the database refuses: then the transaction
   * must be rolled back.
   * Locks: records in the order of their keys. A caller that locks other rows as well does so before.
   */
  async apply(handle: SqlHandle, units: readonly StateUnit[]): Promise<readonly (BuzzerError | undefined)[]> {
    const changes = units.flat()
    if (changes.length === 0) return units.map(() => undefined)
    await this.#collections.learn(handle, new Set(changes.map(change => change.collection)))
    const locked = await this.#lock(handle, changes)
    const holders = await this.#holders(handle, changes)
    const { refusals, puts, deletes } = planChanges(units, locked, holders.live, collection =>
      this.#collections.uniquesOf(collection),
    )
    // What is removed goes first: a unique value that one record gives up another may take in the same step.
    await this.#remove(handle, [...deletes, ...(puts.length === 0 ? [] : holders.expired)], puts)
    try {
      await this.#write(handle, puts)
    } catch (error) {
      throw this.#translate(error, puts)
    }
    return refusals
  }

  async #lock(
    handle: SqlHandle,
    keys: readonly { collection: string; id: string }[],
  ): Promise<readonly LockedRecord[]> {
    return (await rowsOf<LockedRow>(handle, this.#sql.lock, [keyList(keys)])).map(toLocked)
  }

  /** Removes up to `limit` records whose time is up. Answers how many it has removed. */
  async sweep(handle: SqlHandle, limit: number): Promise<number> {
    const expired = (await rowsOf<LockedRow>(handle, this.#sql.expired, [limit])).map(toLocked)
    await this.#remove(handle, expired, [])
    return expired.length
  }

  async #holders(
    handle: SqlHandle,
    changes: readonly RecordChange[],
  ): Promise<{ readonly live: readonly UniqueHolder[]; readonly expired: readonly LockedRecord[] }> {
    const wanted = changes.flatMap(change => {
      if (change.op === 'delete') return []
      const uniques = this.#collections.uniquesOf(change.collection)
      return Object.entries(change.indexes)
        .filter(([name]) => uniques.has(name))
        .map(([name, value]) => ({ c: change.collection, n: name, ...indexValue(value) }))
    })
    if (wanted.length === 0) return { live: [], expired: [] }
    const rows = await rowsOf<HolderRow>(handle, this.#sql.holders, [JSON.stringify(wanted)])
    return {
      live: rows
        .filter(row => !row.expired)
        .map(({ collection, name, num, txt, id }) => ({ collection, index: name, value: scalarOf(num, txt), id })),
      expired: rows.filter(row => row.expired).map(row => toLocked({ ...row, version: 0 })),
    }
  }

  async #remove(handle: SqlHandle, records: readonly LockedRecord[], puts: readonly RecordPut[]): Promise<void> {
    const changing = new Set(puts.map(put => `${put.collection}\0${put.id}`))
    // An expired holder that is itself put anew is updated, and loses its former index values as any other record.
    const gone = records.filter(record => !changing.has(`${record.collection}\0${record.id}`))
    const values = [
      ...gone.flatMap(record => Object.entries(record.indexes).map(entry => valueRow(record, entry))),
      ...puts.flatMap(put => put.formerIndexes.map(entry => valueRow(put, entry))),
    ]
    if (gone.length === 0 && values.length === 0) return
    await handle.query(this.#sql.remove, [keyList(gone), JSON.stringify(values)])
  }

  async #write(handle: SqlHandle, puts: readonly RecordPut[]): Promise<void> {
    const updates = puts.filter(put => put.as === 'update')
    if (updates.length > 0) await handle.query(this.#sql.update, putLists(updates))
    let inserts: readonly RecordPut[] = puts.filter(put => put.as === 'insert')
    while (inserts.length > 0) {
      const rows = await rowsOf<{ collection: string; id: string }>(handle, this.#sql.insert, putLists(inserts))
      const done = new Set(rows.map(row => `${row.collection}\0${row.id}`))
      inserts = await this.#follow(
        handle,
        inserts.filter(put => !done.has(`${put.collection}\0${put.id}`)),
      )
    }
  }

  /** Records that another transaction has put since we looked. Where nothing was expected, ours comes after it. */
  async #follow(handle: SqlHandle, late: readonly RecordPut[]): Promise<readonly RecordPut[]> {
    if (late.length === 0) return []
    const rows = await this.#lock(handle, late)
    const there = new Map(rows.map(row => [`${row.collection}\0${row.id}`, row]))
    const updates: RecordPut[] = []
    const inserts: RecordPut[] = []
    for (const put of late) {
      const row = there.get(`${put.collection}\0${put.id}`)
      // Put by the other one and deleted again: nothing is there.
      if (row === undefined) inserts.push(put)
      else if (put.mayFollow || row.expired) updates.push(following(put, row))
      else throw raced(conflict(put.collection, put.id, 'absent', row.version))
    }
    if (updates.length > 0) {
      await this.#remove(handle, [], updates)
      await handle.query(this.#sql.update, putLists(updates))
    }
    return inserts
  }

  /** The database found a unique value taken in a transaction that we had not seen. */
  #translate(error: unknown, puts: readonly RecordPut[]): unknown {
    if (sqlStateOf(error) !== uniqueViolation) return error
    this.#collections.doubt()
    for (const { collection, id, indexes } of puts) {
      for (const [index, value] of Object.entries(indexes)) {
        if (this.#collections.uniquesOf(collection).has(index))
          return raced(taken(collection, id, index, value, undefined))
      }
    }
    // Unique by a declaration that this process has not seen yet: the next call looks.
    const [put] = puts
    return raced(taken(put?.collection ?? '', put?.id ?? '', 'a unique index', '', undefined))
  }
}

/** Whether another transaction was in the way of the one that this error ended: tried again at once it finds what that left. */
export function isRace(error: unknown): boolean {
  if (error instanceof BuzzerError && error.details['isRace'] === true) return true
  const state = sqlStateOf(error)
  return state === serializationFailure || state === deadlockDetected
}

const serializationFailure = '40001'
const deadlockDetected = '40P01'
const uniqueViolation = '23505'

function raced(error: BuzzerError): BuzzerError {
  return new BuzzerError(error.code, error.message, { details: { ...error.details, isRace: true } })
}

function toLocked({ collection, id, version, expired, indexes }: LockedRow): LockedRecord {
  return { collection, id, version, expired, indexes: JSON.parse(indexes) as Record<string, Scalar> }
}

/** A put of ours on top of the row that another transaction has put first. */
function following(put: RecordPut, row: LockedRecord): RecordPut {
  return {
    ...put,
    as: 'update',
    version: row.expired ? put.version : row.version + 1,
    formerIndexes: changedEntries(row.indexes, put.indexes),
    newIndexes: changedEntries(put.indexes, row.indexes),
  }
}

function keyList(records: readonly { collection: string; id: string }[]): string {
  return JSON.stringify(records.map(({ collection, id }) => ({ c: collection, i: id })))
}

function valueRow(record: { collection: string; id: string }, [name, value]: readonly [string, Scalar]): object {
  return { c: record.collection, n: name, ...indexValue(value), i: record.id }
}

function putLists(puts: readonly RecordPut[]): readonly [records: string, indexes: string] {
  const records = puts.map(({ collection, id, version, expiresAt, indexes, json }) => ({
    c: collection,
    i: id,
    v: version,
    e: timestamp(expiresAt),
    x: JSON.stringify(indexes),
    d: json,
  }))
  const values = puts.flatMap(put => put.newIndexes.map(entry => valueRow(put, entry)))
  return [JSON.stringify(records), JSON.stringify(values)]
}

/** The last instant of a timestamp of PostgreSQL is in the year 294,276: what is later never comes. */
const latest = 9_000_000_000_000_000

function timestamp(epochMs: number | undefined): number | null {
  return epochMs === undefined || epochMs > latest ? null : Math.max(0, epochMs)
}
