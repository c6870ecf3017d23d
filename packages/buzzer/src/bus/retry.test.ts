import { describe, expect, test } from 'vitest'
import { type BuzzerError, defineCommand, RetryLaterError } from '../message/index.ts'
import { createHarness } from '../testing/index.ts'
import { faultOf } from './index.ts'

const Do = defineCommand<{ n: number }>('work.do')
const minute = 60_000

describe('retry by the built-in policy', () => {
  test('F4 a message that always fails runs 16 times: 4 rounds, 10 s, 1 min and 5 min apart, then a dead letter with one fault', async () => {
    const starts: number[] = []
    const faults: string[] = []
    await using harness = await createHarness({
      random: () => 0,
      configure: bus => {
        bus.queue('q').handle(Do, (_, ctx) => {
          starts.push(harness.now.getTime())
          expect(ctx.attempt).toBe(starts.length)
          throw new Error('always')
        })
        bus.queue('faults').handle(faultOf(Do), fault => {
          faults.push(`${fault.reason} after ${fault.attempts}`)
        })
      },
    })
    const begin = harness.now.getTime()
    await harness.bus.send(Do, { n: 1 })
    await harness.advance(7 * minute)
    expect(starts.map(at => at - begin)).toEqual([
      ...Array.from({ length: 4 }, () => 0),
      ...Array.from({ length: 4 }, () => 10_000),
      ...Array.from({ length: 4 }, () => 70_000),
      ...Array.from({ length: 4 }, () => 370_000),
    ])
    expect(faults).toEqual(['retries-exhausted after 16'])
    expect((await harness.bus.admin.deadLetters('q').list()).items.map(letter => letter.attempts)).toEqual([16])
  })

  test('F4 jitter lengthens a wait by at most its share', async () => {
    const starts: number[] = []
    await using harness = await createHarness({
      random: () => 1 - Number.EPSILON,
      configure: bus => {
        bus.queue('q', { retry: { immediate: 0, delayedMs: [1_000], jitter: 0.5 } }).handle(Do, () => {
          starts.push(harness.now.getTime())
          throw new Error('always')
        })
      },
    })
    await harness.bus.send(Do, { n: 1 })
    await harness.advance(2_000)
    expect((starts[1] ?? 0) - (starts[0] ?? 0)).toBe(1_500)
  })

  test('F5 RetryLaterError waits exactly as asked, without jitter', async () => {
    const starts: number[] = []
    await using harness = await createHarness({
      configure: bus => {
        bus.queue('q').handle(Do, () => {
          starts.push(harness.now.getTime())
          if (starts.length === 1) throw new RetryLaterError(3 * minute)
        })
      },
    })
    await harness.bus.send(Do, { n: 1 })
    await harness.advance(4 * minute)
    expect(starts).toHaveLength(2)
    expect((starts[1] ?? 0) - (starts[0] ?? 0)).toBe(3 * minute)
  })

  test('T4 a TTL that ends during a retry wait counts as well', async () => {
    let runs = 0
    await using harness = await createHarness({
      configure: bus => {
        bus.queue('q', { onExpired: 'dead-letter', retry: { immediate: 0, delayedMs: [minute] } }).handle(Do, () => {
          runs++
          throw new Error('always')
        })
      },
    })
    await harness.bus.send(Do, { n: 1 }, { ttlMs: 30_000 })
    await harness.advance(2 * minute)
    expect(runs).toBe(1)
    expect((await harness.bus.admin.deadLetters('q').list()).items.map(letter => letter.reason)).toEqual(['expired'])
  })
})

describe('timeouts and stops', () => {
  test('F12 the default time limit of an attempt is five minutes', async () => {
    const reasons: unknown[] = []
    await using harness = await createHarness({
      configure: bus => {
        bus.queue('q', { retry: 'none' }).handle(Do, async (_, ctx) => {
          ctx.signal.addEventListener('abort', () => reasons.push((ctx.signal.reason as BuzzerError).code))
          await new Promise(() => {})
        })
      },
    })
    await harness.bus.send(Do, { n: 1 })
    await harness.advance(5 * minute - 1)
    expect(reasons).toEqual([])
    await harness.advance(1)
    expect(reasons).toEqual(['BUZZER_HANDLER_TIMEOUT'])
    expect((await harness.bus.admin.deadLetters('q').list()).items).toHaveLength(1)
  })
})
