import type { JsonValue } from '../message/index.ts'

/** The members of an operation that tell its result. */
export interface OperationResult {
  readonly result?: JsonValue
  readonly resultOmitted?: 'too-large' | 'not-json'
}

/**
 * A handler's value as an operation keeps it: as JSON would carry it, or the reason why it is left out.
 * Never throws: a result that cannot be kept does not fail finished work. Source: spec http 2.10.
 */
export function readResult(value: unknown, maxBytes: number): OperationResult {
  if (value === undefined) return {}
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch {
    // BigInt, a cycle, or a toJSON that throws.
  }
  if (text === undefined) return { resultOmitted: 'not-json' }
  if (Buffer.byteLength(text) > maxBytes) return { resultOmitted: 'too-large' }
  return { result: JSON.parse(text) as JsonValue }
}
