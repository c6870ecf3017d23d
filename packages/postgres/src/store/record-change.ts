import { BuzzerError } from 'buzzer'
import type { CollectionDeclaration, DeleteRecord, PutRecord, Scalar, StateChange } from 'buzzer/store'

/** Together below what one entry of a PostgreSQL index may have (2,704 bytes): found early, and said plainly. */
const maxBytes = { collection: 255, id: 1_024, index: 127, text: 1_024 } as const

/** A change as it is written: nobody outside shares an object with it. */
export type RecordChange = PreparedPut | DeleteRecord

export interface PreparedPut extends Omit<PutRecord, 'value' | 'indexes'> {
  /** The value as JSON text. */
  readonly json: string
  readonly indexes: Readonly<Record<string, Scalar>>
}

/**
 * Takes a change over, and refuses what the tables cannot carry before anything is sent.
 * @throws BUZZER_INVALID_OPTION for names, ids and index values; BUZZER_MESSAGE_TOO_LARGE for a value
 */
export function prepareChange(change: StateChange, maxValueBytes: number): RecordChange {
  const { collection, id } = change
  checkText(collection, 'collection', 'the name of a collection')
  checkText(id, 'id', `an id of ${collection}`)
  if (change.op === 'delete') return { ...change }
  const { value, ...put } = change
  const indexes: [string, Scalar][] = []
  // `-0` is 0 to PostgreSQL and to JSON; `undefined` is left out.
  for (const [index, scalar] of Object.entries<Scalar | undefined>(change.indexes ?? {})) {
    if (scalar === undefined) continue
    checkText(index, 'index', `the name of an index of ${collection}`)
    checkScalar(scalar, `index ${index} of record ${id} of ${collection}`)
    indexes.push([index, scalar === 0 ? 0 : scalar])
  }
  if (change.expiresAt !== undefined && Number.isNaN(change.expiresAt)) {
    throw invalid(`expiresAt of record ${id} of ${collection} is not a number`, { collection, id, option: 'expiresAt' })
  }
  return { ...put, indexes: Object.fromEntries(indexes), json: toJson(collection, id, value, maxValueBytes) }
}

/** @throws BUZZER_INVALID_OPTION */
export function checkCollection({ name, indexes, unique = [] }: CollectionDeclaration): void {
  checkText(name, 'collection', 'the name of a collection')
  for (const index of indexes) checkText(index, 'index', `the name of an index of ${name}`)
  for (const index of unique) {
    if (!indexes.includes(index)) {
      throw invalid(`collection ${name} declares ${index} unique, but not as an index`, { collection: name, index })
    }
  }
}

/** @throws BUZZER_INVALID_OPTION */
export function checkScalar(value: Scalar, what: string): void {
  if (typeof value === 'string') checkText(value, 'text', what)
  else if (!Number.isFinite(value)) {
    throw invalid(`${what} is ${String(value)}; an index holds text and finite numbers`, { value })
  }
}

function checkText(text: string, kind: keyof typeof maxBytes, what: string): void {
  const limit = maxBytes[kind]
  // PostgreSQL's text has no NUL, and a half of a surrogate pair has no UTF-8: two ids would become one.
  if (typeof text !== 'string' || text.includes('\0') || !text.isWellFormed()) {
    throw invalid(`${what} is ${JSON.stringify(text)}; text with NUL or half a character cannot be stored`, {
      value: text,
    })
  }
  if (text.length * 3 > limit && Buffer.byteLength(text) > limit) {
    const bytes = Buffer.byteLength(text)
    throw invalid(`${what} has ${bytes} bytes, at most ${limit} can be stored: ${text.slice(0, 40)}…`, {
      bytes,
      maxBytes: limit,
    })
  }
}

function toJson(collection: string, id: string, value: unknown, limit: number): string {
  const text = JSON.stringify(value) as string | undefined
  if (text === undefined) {
    throw invalid(`the value of record ${id} of ${collection} is ${typeof value}, which JSON cannot carry`, {
      collection,
      id,
    })
  }
  // A UTF-16 unit is at most three bytes, so the exact length is counted only near the limit.
  if (text.length * 3 > limit && Buffer.byteLength(text) > limit) {
    const bytes = Buffer.byteLength(text)
    throw new BuzzerError(
      'BUZZER_MESSAGE_TOO_LARGE',
      `the value of record ${id} of ${collection} has ${bytes} bytes; at most ${limit} are taken`,
      { details: { collection, id, bytes, maxBytes: limit } },
    )
  }
  return text
}

export function invalid(message: string, details: Readonly<Record<string, unknown>>): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', message, { details })
}
