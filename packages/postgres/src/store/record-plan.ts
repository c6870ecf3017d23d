import { BuzzerError } from 'buzzer'
import type { Scalar } from 'buzzer/store'
import type { PreparedPut, RecordChange } from './record-change.ts'

/** All or nothing: the changes of one commit, or of one settlement. */
export type StateUnit = readonly RecordChange[]

/** A record as its locked row tells; what has no row is not in the list. */
export interface LockedRecord {
  readonly collection: string
  readonly id: string
  readonly version: number
  /** Its time is up: absent for every expectation, but its rows must go. */
  readonly expired: boolean
  readonly indexes: Readonly<Record<string, Scalar>>
}

/** Who holds a value of a unique index. */
export interface UniqueHolder {
  readonly collection: string
  readonly index: string
  readonly value: Scalar
  readonly id: string
}

/** What a record is to become. */
export interface RecordPut {
  readonly collection: string
  readonly id: string
  /** `insert`: nothing is there, and only the database can tell whether another transaction is faster. */
  readonly as: 'insert' | 'update'
  readonly version: number
  readonly json: string
  readonly expiresAt: number | undefined
  readonly indexes: Readonly<Record<string, Scalar>>
  /** Index values it had and has no longer, or not in this form. */
  readonly formerIndexes: readonly (readonly [name: string, value: Scalar])[]
  /** Index values it had not. */
  readonly newIndexes: readonly (readonly [name: string, value: Scalar])[]
  /** Whether a record that another transaction puts first may stand below this one: nothing was expected of it. */
  readonly mayFollow: boolean
}

export interface RecordPlan {
  /** By unit: why it is refused as a whole, or `undefined`. */
  readonly refusals: readonly (BuzzerError | undefined)[]
  readonly puts: readonly RecordPut[]
  /** Rows to remove, each with all its index values. */
  readonly deletes: readonly LockedRecord[]
}

interface Draft {
  readonly version: number
  readonly put: PreparedPut
  readonly changes: number
  readonly mayFollow: boolean
}

/** What a batch has made of a record so far: a draft, `'deleted'`, or, when untouched, its row. */
type Pending = Draft | { readonly deleted: true; readonly changes: number }

/**
 * Judges units one after the other, each change seeing what those before it have made, and says what has to be written for
 * those that hold. Pure: the rows it is given are locked, so what it finds stays true until the transaction ends.
 */
export function planChanges(
  units: readonly StateUnit[],
  locked: readonly LockedRecord[],
  holders: readonly UniqueHolder[],
  uniquesOf: (collection: string) => ReadonlySet<string>,
): RecordPlan {
  const rows = new Map(locked.map(row => [recordKey(row.collection, row.id), row]))
  const accepted = new Map<string, Pending>()
  const held = new Map<string, string | undefined>(
    holders.map(one => [uniqueKey(one.collection, one.index, one.value), one.id]),
  )

  const judgeUnit = (changes: StateUnit): BuzzerError | undefined => {
    // What this unit would make, apart until all of it holds.
    const draft = new Map<string, Pending>()
    const draftHeld = new Map<string, string | undefined>()
    const holderOf = (key: string): string | undefined => (draftHeld.has(key) ? draftHeld.get(key) : held.get(key))
    for (const change of changes) {
      const { collection, id, expected } = change
      const key = recordKey(collection, id)
      const row = rows.get(key)
      const pending = draft.get(key) ?? accepted.get(key)
      const version = currentVersion(pending, row)
      const found = version === 0 ? 'absent' : version
      if (expected !== 'any' && expected !== found) return conflict(collection, id, expected, found)
      const uniques = uniquesOf(collection)
      if (uniques.size > 0) {
        for (const [index, value] of Object.entries(currentIndexes(pending, row))) {
          const taking = uniqueKey(collection, index, value)
          if (uniques.has(index) && holderOf(taking) === id) draftHeld.set(taking, undefined)
        }
        for (const [index, value] of Object.entries(change.op === 'put' ? change.indexes : {})) {
          if (!uniques.has(index)) continue
          const taking = uniqueKey(collection, index, value)
          const holder = holderOf(taking)
          if (holder !== undefined) return taken(collection, id, index, value, holder)
          draftHeld.set(taking, id)
        }
      }
      const count = (pending?.changes ?? 0) + 1
      draft.set(
        key,
        change.op === 'delete'
          ? { deleted: true, changes: count }
          : { version: version + 1, put: change, changes: count, mayFollow: count === 1 && expected === 'any' },
      )
    }
    for (const [key, pending] of draft) accepted.set(key, pending)
    for (const [key, holder] of draftHeld) held.set(key, holder)
    return undefined
  }
  const refusals = units.map(judgeUnit)
  return { refusals, ...writes(accepted, rows) }
}

function currentVersion(pending: Pending | undefined, row: LockedRecord | undefined): number {
  if (pending !== undefined) return 'put' in pending ? pending.version : 0
  return row === undefined || row.expired ? 0 : row.version
}

function currentIndexes(pending: Pending | undefined, row: LockedRecord | undefined): Readonly<Record<string, Scalar>> {
  if (pending !== undefined) return 'put' in pending ? pending.put.indexes : {}
  return row === undefined || row.expired ? {} : row.indexes
}

function writes(
  accepted: ReadonlyMap<string, Pending>,
  rows: ReadonlyMap<string, LockedRecord>,
): Pick<RecordPlan, 'puts' | 'deletes'> {
  const puts: RecordPut[] = []
  const deletes: LockedRecord[] = []
  // In one order in every transaction, so that two that insert the same records wait for each other and never in a circle.
  for (const key of [...accepted.keys()].toSorted()) {
    const pending = accepted.get(key) as Pending
    const row = rows.get(key)
    if (!('put' in pending)) {
      if (row !== undefined) deletes.push(row)
      continue
    }
    const { put, version, mayFollow } = pending
    const indexes = put.indexes
    const before = row?.indexes ?? {}
    puts.push({
      collection: put.collection,
      id: put.id,
      as: row === undefined ? 'insert' : 'update',
      version,
      json: put.json,
      expiresAt: put.expiresAt,
      indexes,
      formerIndexes: changedEntries(before, indexes),
      newIndexes: changedEntries(indexes, before),
      mayFollow,
    })
  }
  return { puts, deletes }
}

/** Entries of `one` that `other` lacks or has with another value. */
export function changedEntries(
  one: Readonly<Record<string, Scalar>>,
  other: Readonly<Record<string, Scalar>>,
): readonly (readonly [name: string, value: Scalar])[] {
  return Object.entries(one).filter(([name, value]) => other[name] !== value)
}

export function recordKey(collection: string, id: string): string {
  return JSON.stringify([collection, id])
}

function uniqueKey(collection: string, index: string, value: Scalar): string {
  return JSON.stringify([collection, index, value])
}

/** `found`: a version, or `absent`. */
export function conflict(
  collection: string,
  id: string,
  expected: number | 'absent',
  found: number | 'absent',
): BuzzerError {
  return new BuzzerError(
    'BUZZER_CONFLICT',
    `record ${id} of ${collection} was expected at ${describe(expected)}, found ${describe(found)}`,
    { details: { collection, id, expected, found } },
  )
}

/** `holder` is unknown when the database found it in a transaction that cannot be asked further. */
export function taken(
  collection: string,
  id: string,
  index: string,
  value: Scalar,
  holder: string | undefined,
): BuzzerError {
  return new BuzzerError(
    'BUZZER_CONFLICT',
    `record ${id} of ${collection} has ${index} ${JSON.stringify(value)}, which ${holder === undefined ? 'another record' : `record ${holder}`} holds already`,
    { details: { collection, id, index, value, expected: 'absent', found: holder ?? 'another record' } },
  )
}

function describe(version: number | 'absent'): string {
  return version === 'absent' ? version : `version ${version}`
}
