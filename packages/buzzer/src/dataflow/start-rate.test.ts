import { afterEach, describe, expect, test, vi } from 'vitest'
import { ActionBlock } from './index.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

afterEach(() => vi.useRealTimers())
const fakeTime = (): void => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })

describe('rate', () => {
  test('DF-71 10 per 100 ms: of 50 items never 11 start in a window', async () => {
    fakeTime()
    const starts: number[] = []
    const action = new ActionBlock<number>(() => void starts.push(performance.now()), {
      rate: { limit: 10, perMs: 100 },
    })
    for (let item = 0; item < 50; item++) action.post(item)
    const done = action.complete()
    for (let step = 0; step < 60; step++) await vi.advanceTimersByTimeAsync(10)
    await done
    expect(starts).toHaveLength(50)
    for (let index = 10; index < 50; index++)
      expect((starts[index] as number) - (starts[index - 10] as number)).toBeGreaterThanOrEqual(100)
    expect((starts[49] as number) - (starts[0] as number)).toBe(400)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('DF-71 retries count as starts', async () => {
    fakeTime()
    const starts: number[] = []
    const action = new ActionBlock<number>(
      () => {
        starts.push(performance.now())
        if (starts.length < 4) throw new Error('again')
      },
      { rate: { limit: 2, perMs: 100 }, onError: 'retry' },
    )
    action.post(1)
    const done = action.complete()
    await vi.advanceTimersByTimeAsync(500)
    await done
    const [first = 0] = starts
    expect(starts.map(at => at - first)).toEqual([0, 0, 100, 100])
  })

  test('an own clock is used for all of it', async () => {
    const timers: { callback: () => void; ms: number }[] = []
    const clock = {
      at: 0,
      now: () => clock.at,
      setTimeout: (callback: () => void, ms: number) => timers.push({ callback, ms }),
      clearTimeout: () => {},
    }
    let calls = 0
    const action = new ActionBlock<number>(() => void calls++, { rate: { limit: 1, perMs: 70 }, clock })
    action.post(1)
    action.post(2)
    await turn()
    expect([calls, timers.map(({ ms }) => ms)]).toEqual([1, [70]])
    clock.at = 70
    timers[0]?.callback()
    await turn()
    expect(calls).toBe(2)
  })
})
