import type { Scalar } from 'buzzer/store'

/**
 * A value of an index as two columns that sort as the store promises: numbers (n, ''), then text (Infinity, text).
 * In JSON `num` is `null` for Infinity, which JSON does not have.
 */
export interface IndexValue {
  readonly num: number | null
  readonly txt: string
}

export function indexValue(scalar: Scalar): IndexValue {
  return typeof scalar === 'number' ? { num: scalar, txt: '' } : { num: null, txt: scalar }
}

/** The two columns of a row as the value they stand for. */
export function scalarOf(num: number, txt: string): Scalar {
  return num === Number.POSITIVE_INFINITY ? txt : num
}
