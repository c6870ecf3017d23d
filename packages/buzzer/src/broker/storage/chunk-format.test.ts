import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decodeKeys,
  decodeMarks,
  encodeKeys,
  encodeMarks,
  mark,
  readLayout,
  recordIntact,
  recordStart,
  withoutGone,
  writeBodies,
} from './chunk-format.ts'

const word = fc.oneof(
  { weight: 6, arbitrary: fc.constant(mark.gone) },
  { weight: 2, arbitrary: fc.constantFrom(0, mark.open | 1, mark.open | 1 | mark.ours) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(3, mark.held | 2, mark.parked | 1, mark.open | 7 | mark.deathUnit, mark.gone | 5),
  },
)
const words = fc.array(word, { minLength: 1, maxLength: 80 }).map(all => Uint32Array.from(all))

/** What a mark says once it is stored: of one that is gone nothing else. */
function stored(marks: Uint32Array): number[] {
  return Array.from(marks, one => (one & mark.gone ? mark.gone : one & ~mark.ours))
}

const isGone = (one: number | undefined): boolean => ((one as number) & mark.gone) !== 0

function bodiesOf(records: readonly Buffer[]): Buffer {
  let end = 0
  const ends = records.map(({ length }) => (end += length))
  return writeBodies(
    Buffer.concat(records),
    ends,
    records.map(record => crc32(record)),
    records.length,
  )
}

function readAll(bodies: Buffer, marks: Uint32Array): (string | undefined)[] {
  const layout = readLayout(bodies)
  if (layout === undefined) throw new Error('no layout')
  expect(layout.count).toBe(marks.length)
  return Array.from(marks, (one, index) => {
    const [start, end] = [recordStart(bodies, layout, index), recordStart(bodies, layout, index + 1)]
    if (isGone(one)) return undefined
    expect(recordIntact(bodies, layout, index)).toBe(true)
    return bodies.toString('latin1', start, end)
  })
}

describe('the blobs of a chunk', () => {
  it('marks are what they were, whatever is gone', () => {
    fc.assert(
      fc.property(words, marks => {
        expect(stored(decodeMarks(encodeMarks(marks), marks.length))).toEqual(stored(marks))
      }),
      { numRuns: 2_000 },
    )
  })

  it('keys of what is not gone are what they were', () => {
    fc.assert(
      fc.property(words, marks => {
        const keys = Float64Array.from(marks, (_, index) => index + 0.5)
        const read = decodeKeys(encodeKeys(keys, marks), marks.length)
        expect(read).toHaveLength(marks.length)
        for (const [index, one] of marks.entries()) if (!isGone(one)) expect(read[index]).toBe(index + 0.5)
      }),
      { numRuns: 2_000 },
    )
  })

  it('records of what is not gone are what they were, also when they are rewritten again', () => {
    fc.assert(
      fc.property(words, fc.infiniteStream(fc.boolean()), (marks, goes) => {
        const records = Array.from(marks, (_, index) => Buffer.from('r'.repeat(index % 7) + String(index), 'latin1'))
        const expected = (now: Uint32Array): (string | undefined)[] =>
          records.map((record, index) => (isGone(now[index]) ? undefined : record.toString('latin1')))
        const whole = bodiesOf(records)
        const once = withoutGone(whole, readLayout(whole) as never, marks)
        expect(readAll(once, marks)).toEqual(expected(marks))
        const later = marks.map(one => (goes.next().value === true ? mark.gone : one))
        expect(readAll(once, later)).toEqual(expected(later))
        const twice = withoutGone(once, readLayout(once) as never, later)
        expect(readAll(twice, later)).toEqual(expected(later))
        expect(twice.length).toBeLessThanOrEqual(once.length)
      }),
      { numRuns: 2_000 },
    )
  })

  it('one that is left of fifty takes up little more than its record, its key and a few bytes', () => {
    const marks = new Uint32Array(50).fill(mark.gone)
    marks[30] = 1
    const records = Array.from(marks, () => Buffer.alloc(240, 1))
    const whole = bodiesOf(records)
    expect(withoutGone(whole, readLayout(whole) as never, marks)).toHaveLength(240 + 32)
    expect(encodeKeys(new Float64Array(50), marks)).toHaveLength(16)
    expect(encodeMarks(marks)).toHaveLength(12)
  })

  it('a flipped bit in what says where records lie is found, never read as another record', () => {
    const marks = new Uint32Array(20).fill(mark.gone)
    for (const index of [5, 6, 9]) marks[index] = 0
    const records = Array.from(marks, (_, index) => Buffer.from(`record ${index}`))
    const whole = bodiesOf(records)
    const bodies = withoutGone(whole, readLayout(whole) as never, marks)
    for (let bit = 0; bit < bodies.length * 8; bit++) {
      const flipped = Buffer.from(bodies)
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
      const layout = readLayout(flipped)
      // Another number of messages does not fit the state of the chunk: it is damaged as a whole.
      if (layout === undefined || layout.count !== marks.length) continue
      for (const index of [5, 6, 9]) {
        if (!recordIntact(flipped, layout, index)) continue
        const [start, end] = [recordStart(flipped, layout, index), recordStart(flipped, layout, index + 1)]
        expect(flipped.toString('utf8', start, end), `bit ${bit}`).toBe(`record ${index}`)
      }
    }
  })
})
