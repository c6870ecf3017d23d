import { expect, it } from 'vitest'
import { readProgress } from './progress.ts'

const at = '2026-01-01T00:00:00.000Z'
const now = Date.parse(at)

it.each([
  [150, { percent: 100 }],
  [-3, { percent: 0 }],
  [Number.NaN, {}],
  [Number.POSITIVE_INFINITY, {}],
  [12.5, { percent: 12.5 }],
  [
    { done: 1, total: 4 },
    { done: 1, total: 4, percent: 25 },
  ],
  [
    { done: 9, total: 4 },
    { done: 9, total: 4, percent: 100 },
  ],
  [
    { done: 1, total: 0 },
    { done: 1, total: 0 },
  ],
  [{ done: 7 }, { done: 7 }],
  [{ done: Number.NaN, total: 3 }, { total: 3 }],
])('OP-17 %j is recorded as %j', (report, expected) => {
  expect(readProgress(report, now)).toEqual({ ...expected, at })
})

it('OP-17 a note is cut at 500 characters and never inside one', () => {
  expect(readProgress({ done: 1, note: '🍩'.repeat(600) }, now).note).toBe('🍩'.repeat(500))
})

it('a report that is none does not fail', () => {
  expect(readProgress(null as never, now)).toEqual({ at })
  expect(readProgress({ done: 'x', note: 5 } as never, now)).toEqual({ at })
})
