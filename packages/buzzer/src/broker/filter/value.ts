/** A value of the filter language. `undefined` is SQL's unknown: an absent property, `NULL`, an overflow. */
export type Value = string | number | boolean | undefined
/** Three-valued truth. */
export type Truth = boolean | undefined

const plainDecimal = /^-?\d+(\.\d+)?$/

/** Headers are text: a plain decimal number counts as that number, everything else is unknown. */
export function toNumber(value: Value): number | undefined {
  if (typeof value === 'number') return finite(value)
  return typeof value === 'string' && plainDecimal.test(value) ? finite(Number(value)) : undefined
}

/** A boolean is one; a text is one when it reads `true` or `false`. */
export function toTruth(value: Value): Truth {
  if (typeof value === 'boolean') return value
  return value === 'true' ? true : value === 'false' ? false : undefined
}

/** An overflow is unknown. */
export function finite(value: number): number | undefined {
  return Number.isFinite(value) ? value : undefined
}

export function not(truth: Truth): Truth {
  return truth === undefined ? undefined : !truth
}

/** Negative, zero or positive; booleans are the same or different, never ordered. */
export type Order = number | 'same' | 'different'

/** `undefined` where the two cannot be compared. */
export function compare(left: Value, right: Value): Order | undefined {
  if (left === undefined || right === undefined) return undefined
  if (typeof left === 'string' && typeof right === 'string') return compareText(left, right)
  if (typeof left === 'boolean' || typeof right === 'boolean') {
    if (typeof left === 'number' || typeof right === 'number') return undefined
    const a = toTruth(left)
    const b = toTruth(right)
    if (a === undefined || b === undefined) return undefined
    return a === b ? 'same' : 'different'
  }
  const a = toNumber(left)
  const b = toNumber(right)
  if (a === undefined || b === undefined) return undefined
  return a < b ? -1 : a > b ? 1 : 0
}

/** By code points: plain `<` compares UTF-16 units, which puts U+FF5E before U+1F600. */
function compareText(left: string, right: string): number {
  const end = Math.min(left.length, right.length)
  for (let at = 0; at < end; at++) {
    const a = left.charCodeAt(at)
    const b = right.charCodeAt(at)
    // At the first difference a surrogate stands for a code point above every unit that is none.
    if (a !== b) return (isSurrogate(a) ? a + 0x10000 : a) - (isSurrogate(b) ? b + 0x10000 : b)
  }
  return left.length - right.length
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdfff
}
