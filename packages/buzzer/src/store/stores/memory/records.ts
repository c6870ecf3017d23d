import { BuzzerError } from '../../../message/index.ts'
import type { Scalar, StateChange } from '../../state-change.ts'
import type { ClaimRequest, CollectionDeclaration, IndexQuery, Page, PageRequest, StoredRecord } from '../../store.ts'
import { compareScalars, type IndexEntry, SortedIndex } from './sorted-index.ts'

interface Row {
  readonly id: string
  readonly json: string
  readonly version: number
  readonly updatedAt: number
  readonly indexes: Readonly<Record<string, Scalar>>
  readonly expiresAt: number | undefined
}

interface Collection {
  readonly rows: Map<string, Row>
  readonly indexes: Map<string, SortedIndex>
  readonly unique: Set<string>
  readonly leases: Map<string, { owner: string; until: number }>
}

/** What a batch of changes has made of a record so far, before anything is applied. */
type Pending = { readonly version: number; readonly indexes: Readonly<Record<string, Scalar>> } | undefined

const noIndexes: Readonly<Record<string, Scalar>> = Object.freeze({})

/** Expired rows removed per commit: the sweep keeps pace with any rate of commits without a timer. */
const sweepPerCommit = 64

/**
 * The records of a memory store, without promises: a caller checks a batch of changes, then applies it, in one turn of the
 * event loop, so that a broker can join both steps with steps of its own. Values are kept as JSON text, so nobody shares
 * an object with the store.
 */
export class MemoryRecords {
  readonly #collections = new Map<string, Collection>()
  readonly #expiries = new SortedIndex()
  readonly #watchers = new Map<string, Set<() => void>>()
  readonly maxValueBytes: number

  constructor(maxValueBytes: number) {
    this.maxValueBytes = maxValueBytes
  }

  declare(collections: readonly CollectionDeclaration[]): void {
    for (const { name, indexes, unique = [] } of collections) {
      for (const index of unique) {
        if (!indexes.includes(index)) {
          throw invalid(`collection ${name} declares ${index} unique, but not as an index`, { collection: name, index })
        }
      }
    }
    for (const { name, indexes, unique = [] } of collections) {
      const collection = this.#collection(name)
      for (const index of indexes) {
        if (collection.indexes.has(index)) continue
        const sorted = new SortedIndex()
        for (const row of collection.rows.values()) {
          const value = row.indexes[index]
          if (value !== undefined) sorted.add({ value, id: row.id })
        }
        collection.indexes.set(index, sorted)
      }
      for (const index of unique) collection.unique.add(index)
    }
  }

  get<T>(name: string, id: string, now: number): StoredRecord<T> | undefined {
    const row = this.#live(name, id, now)
    return row === undefined ? undefined : toRecord<T>(row)
  }

  /**
   * Judges changes one after the other, each seeing what those before it would have made. Changes nothing.
   * @throws BUZZER_CONFLICT of the first change whose expectation fails; BUZZER_INVALID_OPTION for what no store takes
   */
  check(changes: readonly StateChange[], now: number): void {
    const pending = new Map<string, Pending>()
    for (const change of changes) {
      const key = keyOf(change.collection, change.id)
      const before = pending.has(key) ? pending.get(key) : this.#live(change.collection, change.id, now)
      const found = before?.version ?? 'absent'
      const holds =
        change.expected === 'any' || (change.expected === 'absent' ? before === undefined : found === change.expected)
      if (!holds) {
        throw new BuzzerError(
          'BUZZER_CONFLICT',
          `record ${change.id} of ${change.collection} was expected at ${describe(change.expected)}, found ${describe(found)}`,
          { details: { collection: change.collection, id: change.id, expected: change.expected, found } },
        )
      }
      if (change.op === 'delete') {
        pending.set(key, undefined)
        continue
      }
      this.#checkValue(change.collection, change.id, change.value)
      const indexes = change.indexes ?? noIndexes
      this.#checkUnique(change.collection, change.id, indexes, pending, now)
      pending.set(key, { version: (before?.version ?? 0) + 1, indexes })
    }
  }

  /** Applies changes that `check` has accepted in this same turn. Never fails. */
  apply(changes: readonly StateChange[], now: number): void {
    this.#sweep(now)
    for (const change of changes) {
      const collection = this.#collection(change.collection)
      const before = this.#live(change.collection, change.id, now)
      // Also one that has expired and was not swept yet.
      const stale = collection.rows.get(change.id)
      if (stale !== undefined) this.#remove(change.collection, collection, stale)
      collection.leases.delete(change.id)
      if (change.op === 'put') {
        const row: Row = {
          id: change.id,
          json: JSON.stringify(change.value),
          version: (before?.version ?? 0) + 1,
          updatedAt: now,
          indexes: change.indexes === undefined ? noIndexes : { ...change.indexes },
          expiresAt: change.expiresAt,
        }
        collection.rows.set(row.id, row)
        for (const [name, index] of collection.indexes) {
          const value = row.indexes[name]
          if (value !== undefined) index.add({ value, id: row.id })
        }
        if (row.expiresAt !== undefined) {
          this.#expiries.add({ value: row.expiresAt, id: keyOf(change.collection, change.id) })
        }
      }
      this.#notify(change.collection, change.id)
    }
  }

  query<T>(name: string, where: IndexQuery, page: PageRequest, now: number): Page<StoredRecord<T>> {
    const index = this.#index(name, where.index)
    const limit = page.limit ?? 50
    if (!Number.isInteger(limit) || limit < 1 || limit > 1_000) {
      throw invalid(`a page has 1 to 1,000 records, not ${String(limit)}`, { option: 'limit', value: limit })
    }
    const lowest = where.equals ?? where.from
    let first = lowest === undefined ? 0 : index.lowerBound(lowest)
    let end =
      where.equals !== undefined
        ? index.upperBound(where.equals)
        : where.to === undefined
          ? index.entries.length
          : index.lowerBound(where.to)
    const ascending = where.order !== 'desc'
    if (page.after !== undefined) {
      const cursor = readCursor(page.after)
      if (ascending) first = Math.max(first, index.after(cursor))
      else end = Math.min(end, index.position(cursor))
    }
    const items: StoredRecord<T>[] = []
    let last: IndexEntry | undefined
    for (let step = 0; step < end - first; step++) {
      const entry = index.entries[ascending ? first + step : end - 1 - step] as IndexEntry
      const row = this.#live(name, entry.id, now)
      if (row === undefined) continue
      if (items.length === limit) return { items, next: writeCursor(last as IndexEntry) }
      items.push(toRecord<T>(row))
      last = entry
    }
    return { items }
  }

  claim<T>(name: string, due: ClaimRequest, now: number): readonly StoredRecord<T>[] {
    const index = this.#index(name, due.index)
    const collection = this.#collection(name)
    const claimed: StoredRecord<T>[] = []
    for (const entry of index.entries) {
      if (claimed.length >= due.limit || compareScalars(entry.value, due.upTo) > 0) break
      const lease = collection.leases.get(entry.id)
      if (lease !== undefined && lease.until > now && lease.owner !== due.owner) continue
      const row = this.#live(name, entry.id, now)
      if (row === undefined) continue
      collection.leases.set(entry.id, { owner: due.owner, until: now + due.leaseMs })
      claimed.push(toRecord<T>(row))
    }
    return claimed
  }

  /** Calls `onChange` in a microtask after each change. Returns what ends it. */
  watch(name: string, id: string, onChange: () => void): () => void {
    const key = keyOf(name, id)
    const watchers = this.#watchers.get(key) ?? new Set()
    // A callback may watch twice: each watch is its own function.
    const watcher = (): void => onChange()
    watchers.add(watcher)
    this.#watchers.set(key, watchers)
    return () => {
      watchers.delete(watcher)
      if (watchers.size === 0 && this.#watchers.get(key) === watchers) this.#watchers.delete(key)
    }
  }

  #notify(name: string, id: string): void {
    if (this.#watchers.size === 0) return
    const watchers = this.#watchers.get(keyOf(name, id))
    if (watchers === undefined) return
    for (const watcher of watchers) queueMicrotask(watcher)
  }

  #collection(name: string): Collection {
    let collection = this.#collections.get(name)
    if (collection === undefined) {
      collection = { rows: new Map(), indexes: new Map(), unique: new Set(), leases: new Map() }
      this.#collections.set(name, collection)
    }
    return collection
  }

  #index(name: string, index: string): SortedIndex {
    const found = this.#collections.get(name)?.indexes.get(index)
    if (found === undefined) {
      throw invalid(`collection ${name} has no index ${index}; declare it before it is queried`, {
        collection: name,
        index,
      })
    }
    return found
  }

  #live(name: string, id: string, now: number): Row | undefined {
    const row = this.#collections.get(name)?.rows.get(id)
    return row === undefined || (row.expiresAt !== undefined && row.expiresAt <= now) ? undefined : row
  }

  #remove(name: string, collection: Collection, row: Row): void {
    collection.rows.delete(row.id)
    for (const [index, sorted] of collection.indexes) {
      const value = row.indexes[index]
      if (value !== undefined) sorted.remove({ value, id: row.id })
    }
    if (row.expiresAt !== undefined) this.#expiries.remove({ value: row.expiresAt, id: keyOf(name, row.id) })
  }

  #sweep(now: number): void {
    for (let swept = 0; swept < sweepPerCommit; swept++) {
      const first = this.#expiries.entries[0]
      if (first === undefined || (first.value as number) > now) return
      const [name, id] = JSON.parse(first.id) as [string, string]
      const collection = this.#collection(name)
      const row = collection.rows.get(id)
      if (row === undefined) this.#expiries.remove(first)
      else this.#remove(name, collection, row)
      collection.leases.delete(id)
    }
  }

  #checkValue(collection: string, id: string, value: unknown): void {
    const text = JSON.stringify(value) as string | undefined
    if (text === undefined) {
      throw invalid(`the value of record ${id} of ${collection} is ${typeof value}, which JSON cannot carry`, {
        collection,
        id,
      })
    }
    // A UTF-16 unit is at most three bytes, so the exact length is counted only near the limit.
    if (text.length * 3 > this.maxValueBytes && Buffer.byteLength(text) > this.maxValueBytes) {
      throw new BuzzerError(
        'BUZZER_MESSAGE_TOO_LARGE',
        `the value of record ${id} of ${collection} has ${Buffer.byteLength(text)} bytes; at most ${this.maxValueBytes} are taken`,
        { details: { collection, id, bytes: Buffer.byteLength(text), maxBytes: this.maxValueBytes } },
      )
    }
  }

  #checkUnique(
    name: string,
    id: string,
    indexes: Readonly<Record<string, Scalar>>,
    pending: ReadonlyMap<string, Pending>,
    now: number,
  ): void {
    const collection = this.#collections.get(name)
    if (collection === undefined) return
    for (const index of collection.unique) {
      const value = indexes[index]
      if (value === undefined) continue
      const holder = this.#holder(name, collection, index, value, pending, now)
      if (holder === undefined || holder === id) continue
      throw new BuzzerError(
        'BUZZER_CONFLICT',
        `record ${id} of ${name} has ${index} ${JSON.stringify(value)}, which record ${holder} holds already`,
        { details: { collection: name, id, index, value, expected: 'absent', found: holder } },
      )
    }
  }

  #holder(
    name: string,
    collection: Collection,
    index: string,
    value: Scalar,
    pending: ReadonlyMap<string, Pending>,
    now: number,
  ): string | undefined {
    const prefix = keyOf(name, '').slice(0, -3)
    for (const [key, state] of pending) {
      if (state?.indexes[index] === value && key.startsWith(prefix)) return (JSON.parse(key) as [string, string])[1]
    }
    const sorted = collection.indexes.get(index) as SortedIndex
    for (let at = sorted.lowerBound(value); at < sorted.entries.length; at++) {
      const entry = sorted.entries[at] as IndexEntry
      if (entry.value !== value) return undefined
      if (!pending.has(keyOf(name, entry.id)) && this.#live(name, entry.id, now) !== undefined) return entry.id
    }
    return undefined
  }
}

function keyOf(collection: string, id: string): string {
  return JSON.stringify([collection, id])
}

function toRecord<T>(row: Row): StoredRecord<T> {
  return { id: row.id, value: JSON.parse(row.json) as T, version: row.version, updatedAt: row.updatedAt }
}

function describe(version: number | string): string {
  return typeof version === 'number' ? `version ${version}` : version
}

function writeCursor(entry: IndexEntry): string {
  return Buffer.from(JSON.stringify([entry.value, entry.id])).toString('base64url')
}

function readCursor(cursor: string): IndexEntry {
  try {
    const [value, id] = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as [Scalar, string]
    if ((typeof value === 'number' || typeof value === 'string') && typeof id === 'string') return { value, id }
  } catch {
    // Said below: what is not JSON is no cursor either.
  }
  throw invalid(`${JSON.stringify(cursor)} is no page position of this store`, { option: 'after', value: cursor })
}

function invalid(message: string, details: Readonly<Record<string, unknown>>): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', message, { details })
}
