import { describe, expect, it } from 'vitest'
import { type Clock, systemClock } from '../message/index.ts'
import { RateLimit } from './rate-limit.ts'
import { Durations, pollAfterS } from './retry-after.ts'

function handClock(): Clock & { at: number } {
  return {
    ...systemClock,
    at: 0,
    monotonic() {
      return this.at
    },
  }
}

describe('rate limit', () => {
  it('HT-50 gives max points, says when the next is due, and is full again after perMs', () => {
    const clock = handClock()
    const limit = new RateLimit({ max: 2, perMs: 1_000 }, clock)
    expect([limit.take('a'), limit.take('a')]).toEqual([0, 0])
    expect(limit.take('a')).toBe(500)
    expect(limit.take('b')).toBe(0)
    clock.at = 499
    expect(limit.take('a')).toBeCloseTo(1)
    clock.at = 500
    expect(limit.take('a')).toBe(0)
    expect(limit.take('a')).toBe(500)
    clock.at = 2_000
    expect([limit.take('a'), limit.take('a')]).toEqual([0, 0])
    expect(limit.take('a')).toBe(500)
  })

  it('forgets the key unused longest, so invented keys take no memory', () => {
    const clock = handClock()
    const limit = new RateLimit({ max: 1, perMs: 1e9 }, clock)
    limit.take('first')
    for (let i = 0; i < 9_999; i++) limit.take(`k${i}`)
    expect(limit.take('first')).toBeGreaterThan(0)
    for (let i = 0; i < 10_000; i++) limit.take(`l${i}`)
    expect(limit.take('first')).toBe(0)
  })
})

describe('Retry-After of an operation', () => {
  it('is 2 when nothing is known, else the median, growing with age, 1 to 30', () => {
    expect(pollAfterS({ medianMs: undefined, ageMs: 0, retryInMs: undefined })).toBe(2)
    expect(pollAfterS({ medianMs: 4_200, ageMs: 0, retryInMs: undefined })).toBe(5)
    expect(pollAfterS({ medianMs: 4_200, ageMs: 20_000, retryInMs: undefined })).toBe(10)
    expect(pollAfterS({ medianMs: 10, ageMs: 0, retryInMs: undefined })).toBe(1)
    expect(pollAfterS({ medianMs: 1e9, ageMs: 0, retryInMs: undefined })).toBe(30)
  })

  it('OP-5 follows the delay of a retry', () => {
    expect(pollAfterS({ medianMs: 100, ageMs: 0, retryInMs: 9_500 })).toBe(10)
    expect(pollAfterS({ medianMs: 100, ageMs: 0, retryInMs: -5 })).toBe(1)
  })

  it('the median is over the last hundred of the command, each counted once', () => {
    const durations = new Durations()
    expect(durations.median('a')).toBeUndefined()
    for (let i = 1; i <= 200; i++) durations.ended(`id${i}`, 'a', i)
    for (let i = 0; i < 50; i++) durations.ended('id200', 'a', 1_000_000)
    expect(durations.median('a')).toBe(150)
    expect(durations.median('b')).toBeUndefined()
  })
})
