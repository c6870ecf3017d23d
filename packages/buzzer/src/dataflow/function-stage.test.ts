import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { Channel } from '../channels/index.ts'
import { ActionBlock, BufferBlock, type FunctionOptions, TransformBlock } from './index.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
const letters = Array.from('abcdefghijklmnopqrstuvwxyz')

afterEach(() => vi.useRealTimers())
const fakeTime = (): void => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })

function allButThree(item: number): number {
  if (item === 3) throw new DOMException('not this one', 'AbortError')
  return item
}

function pick(item: number): number | undefined | typeof Channel.empty {
  if (item % 3 === 0) return item
  return item % 3 === 1 ? Channel.empty : undefined
}

/** Waits a random number of turns, so that settlements come in any order. */
async function turns(count: number): Promise<void> {
  for (let left = count; left > 0; left--) await turn()
}

describe('ActionBlock', () => {
  const optionSets: FunctionOptions<string>[] = [
    {},
    { capacity: 1 },
    { capacity: 3, parallel: 1 },
    { ordered: false },
    { key: item => item },
    { rate: { limit: 1_000, perMs: 1 } },
    { onError: 'skip' },
  ]
  test.each(optionSets)('DF-6 26 letters in order, sync and async, sent and linked: %o', async options => {
    for (const asynchronous of [false, true]) {
      for (const linked of [false, true]) {
        const seen: string[] = []
        const note = (letter: string): void => void seen.push(letter)
        const action = new ActionBlock<string>(
          asynchronous ? async letter => (await Promise.resolve(), note(letter)) : note,
          options,
        )
        const entry = linked ? new BufferBlock<string>() : action
        if (entry !== action) (entry as BufferBlock<string>).link(action)
        for (const letter of letters) await entry.send(letter)
        void entry.complete()
        await action.completion
        expect(seen).toEqual(letters)
      }
    }
  })

  test('DF-7 one running, one queued: inputCount is 1', async () => {
    const release = Promise.withResolvers<void>()
    const action = new ActionBlock<number>(() => release.promise)
    action.post(1)
    action.post(2)
    await turn()
    expect(action.inputCount).toBe(1)
    expect(action.stats()).toMatchObject({ running: 1, accepted: 2, delivered: 0 })
    release.resolve()
    await action.complete()
    expect(action.stats()).toMatchObject({ running: 0, inputCount: 0, delivered: 2 })
  })

  test('DF-8 parallel 1, asynchronous: 100 items strictly one after the other', async () => {
    const log: string[] = []
    const action = new ActionBlock<number>(async item => {
      log.push(`begin ${item}`)
      await turns(item % 3)
      log.push(`end ${item}`)
    })
    for (let item = 0; item < 100; item++) action.post(item)
    await action.complete()
    expect(log).toEqual(Array.from({ length: 100 }, (_, item) => [`begin ${item}`, `end ${item}`]).flat())
  })

  test.each(['throw', 'throw before the first await', 'rejected promise'])(
    'DF-11 %s: completion rejects, counts are 0, post is false',
    async how => {
      const error = new Error(how)
      const seen: number[] = []
      const fn = {
        throw: (item: number): void => {
          seen.push(item)
          throw error
        },
        'throw before the first await': async (item: number): Promise<void> => {
          seen.push(item)
          throw error
        },
        'rejected promise': (item: number): Promise<void> => {
          seen.push(item)
          return Promise.reject(error)
        },
      }[how] as (item: number) => void
      for (const block of [new ActionBlock(fn), new TransformBlock<number, void>(fn)]) {
        seen.length = 0
        for (let item = 0; item < 4; item++) block.post(item)
        await expect(block.completion).rejects.toBe(error)
        expect(seen).toEqual([0])
        expect(block.stats()).toMatchObject({ inputCount: 0, outputCount: 0, running: 0, discarded: 4 })
        expect(block.post(5)).toBe(false)
      }
    },
  )

  test('a result whose `then` cannot be read fails like any other, and stops no other block', async () => {
    const error = new Error('hands off')
    const result = {
      // oxlint-disable-next-line unicorn/no-thenable -- that is what is tested
      get then(): never {
        throw error
      },
    }
    const action = new ActionBlock<number>(() => result)
    const other = new ActionBlock<number>(() => {})
    action.post(1)
    other.post(1)
    await expect(action.completion).rejects.toBe(error)
    await other.complete()
    expect(other.stats().delivered).toBe(1)
  })

  test('an AbortError of the function is an error like any other', async () => {
    const error = new DOMException('cancelled by the function', 'AbortError')
    const action = new ActionBlock<number>(() => Promise.reject(error))
    action.post(1)
    await expect(action.completion).rejects.toBe(error)
  })

  test('DF-12 parallel 2: eight items, really two at once, never three', async () => {
    let running = 0
    let most = 0
    const action = new ActionBlock<number>(
      async item => {
        most = Math.max(most, ++running)
        await turns(1 + (item % 3))
        running--
      },
      { parallel: 2 },
    )
    for (let item = 0; item < 8; item++) action.post(item)
    await action.complete()
    expect(most).toBe(2)
  })

  test('DF-13 faults hold error, item and block; an item that cannot be printed does no harm', async () => {
    const error = new Error('no')
    const item = {
      toString() {
        throw new Error('unprintable')
      },
    }
    const action = new ActionBlock<object>(
      () => {
        throw error
      },
      { name: 'printer' },
    )
    action.post(item)
    await expect(action.completion).rejects.toBe(error)
    expect(action.faults).toHaveLength(1)
    expect(action.faults[0]?.error).toBe(error)
    expect(action.faults[0]?.block).toBe('printer')
    expect(action.faults[0]?.item).toBe(item)
  })

  test('DF-72 setParallel up and down under load: the bound holds for new starts', async () => {
    let running = 0
    let bound = 2
    const over: number[] = []
    let most = 0
    const action = new ActionBlock<number>(
      async item => {
        if (++running > bound) over.push(item)
        most = Math.max(most, running)
        await turns(2)
        running--
      },
      { parallel: bound, capacity: 1_000 },
    )
    for (let item = 0; item < 400; item++) action.post(item)
    for (const next of [8, 1, 5, Number.POSITIVE_INFINITY, 3]) {
      await turns(7)
      // What runs is not stopped: only from here on may no more than `next` be there when one starts.
      bound = Math.max(next, running)
      action.setParallel(next)
      if (running > next) {
        for (;;) {
          if (running <= next) break
          await turn()
        }
        bound = next
      }
    }
    await action.complete()
    expect(over).toEqual([])
    expect(most).toBeGreaterThan(8)
    expect(() => action.setParallel(0)).toThrow(RangeError)
  })
})

describe('TransformBlock', () => {
  test.each([1, 4, Number.POSITIVE_INFINITY])(
    'DF-21 capacity × sync or async, parallel %d: 100 items in input order',
    async parallel => {
      for (const capacity of [1, 5, 1_024]) {
        for (const asynchronous of [false, true]) {
          const block = new TransformBlock<number, number>(
            asynchronous ? async item => (await turns(item % 2), item * 2) : item => item * 2,
            { capacity, parallel },
          )
          const seen: number[] = []
          const sink = new ActionBlock<number>(item => void seen.push(item), { capacity })
          block.link(sink)
          for (let item = 0; item < 100; item++) await block.send(item)
          void block.complete()
          await sink.completion
          expect(seen).toEqual(Array.from({ length: 100 }, (_, item) => item * 2))
        }
      }
    },
  )

  test('DF-22 parallel, ordered: 1,000 items of random duration in exact input order, mixed with synchronous ones', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 12 }),
        fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1_000, maxLength: 1_000 }),
        async (parallel, durations) => {
          const block = new TransformBlock<number, number>(
            item => {
              const duration = durations[item] as number
              return duration === 0 ? item : turns(duration).then(() => item)
            },
            { parallel, capacity: 64 },
          )
          const seen: number[] = []
          const sink = new ActionBlock<number>(item => void seen.push(item))
          block.link(sink)
          for (let item = 0; item < durations.length; item++) await block.send(item)
          void block.complete()
          await sink.completion
          expect(seen).toEqual(durations.map((_, item) => item))
        },
      ),
      { numRuns: 5 },
    )
  })

  test('ordered: false gives results as they come', async () => {
    const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const block = new TransformBlock<number, number>(async item => (await gates[item]?.promise, item), {
      parallel: 2,
      ordered: false,
    })
    block.post(0)
    block.post(1)
    gates[1]?.resolve()
    expect(await block.receive()).toBe(1)
    gates[0]?.resolve()
    expect(await block.receive()).toBe(0)
  })

  test('Channel.empty means no output and frees the slot, undefined is a value like any other', async () => {
    for (const asynchronous of [false, true]) {
      const block = new TransformBlock<number, number | undefined>(asynchronous ? async item => pick(item) : pick, {
        capacity: 2,
        parallel: 2,
      })
      const seen: unknown[] = []
      const sink = new ActionBlock<unknown>(item => void seen.push(item))
      block.link(sink)
      for (let item = 0; item < 9; item++) await block.send(item)
      void block.complete()
      await sink.completion
      expect(seen).toEqual([0, undefined, 3, undefined, 6, undefined])
    }
  })

  test('capacity counts what waits, runs, is held for its order and is not yet taken', async () => {
    const gate = Promise.withResolvers<void>()
    const block = new TransformBlock<number, number>(item => (item === 0 ? gate.promise.then(() => 0) : item), {
      parallel: 3,
      capacity: 3,
    })
    expect([block.post(0), block.post(1), block.post(2), block.post(3)]).toEqual([true, true, true, false])
    await turn()
    // Two are done and held behind the first: the room is still taken.
    expect(block.stats()).toMatchObject({ running: 1, outputCount: 0, inputCount: 0 })
    expect(block.post(3)).toBe(false)
    gate.resolve()
    await turn()
    expect(block.outputCount).toBe(3)
    expect(block.post(3)).toBe(false)
    expect(block.tryReceive()).toBe(0)
    expect(block.post(3)).toBe(true)
  })

  test('DF-23 onError skip: the others are output, in order, completion resolves', async () => {
    for (const asynchronous of [false, true]) {
      const block = new TransformBlock<number, number>(asynchronous ? async item => allButThree(item) : allButThree, {
        onError: 'skip',
        parallel: 3,
      })
      for (let item = 0; item < 6; item++) block.post(item)
      const completion = block.complete()
      expect(await Array.fromAsync(block)).toEqual([0, 1, 2, 4, 5])
      await completion
      expect(block.stats()).toMatchObject({ accepted: 6, delivered: 5, skipped: 1, discarded: 0 })
    }
  })
})

describe('onError', () => {
  test('DF-70 retries at once and later: attempts, times and order exact', async () => {
    fakeTime()
    const start = performance.now()
    const calls: [item: number, atMs: number][] = []
    const asked: [item: number, attempt: number][] = []
    const block = new TransformBlock<number, number>(
      item => {
        calls.push([item, performance.now() - start])
        const failures = { 1: 3, 2: 1 }[item] ?? 0
        if (calls.filter(([each]) => each === item).length <= failures) throw new Error(`fails ${item}`)
        return item
      },
      {
        onError: async (_error, item, attempt) => {
          asked.push([item, attempt])
          if (item === 2) return 'retry'
          return attempt < 3 ? { retryAfterMs: attempt * 100 } : 'retry'
        },
      },
    )
    for (const item of [0, 1, 2, 3]) block.post(item)
    void block.complete()
    const items = Array.fromAsync(block)
    await vi.advanceTimersByTimeAsync(1_000)
    expect(await items).toEqual([0, 1, 2, 3])
    expect(calls).toEqual([
      [0, 0],
      [1, 0],
      [1, 100],
      [1, 300],
      [1, 300],
      [2, 300],
      [2, 300],
      [3, 300],
    ])
    expect(asked).toEqual([
      [1, 1],
      [1, 2],
      [1, 3],
      [2, 1],
    ])
    expect(block.stats()).toMatchObject({ retried: 4, delivered: 4, skipped: 0 })
    expect(vi.getTimerCount()).toBe(0)
  })

  test('DF-70 with parallel functions a retry keeps its place in the order', async () => {
    fakeTime()
    let failed = false
    const block = new TransformBlock<number, number>(
      async item => {
        if (item === 0 && !failed) {
          failed = true
          throw new Error('once')
        }
        return item
      },
      { parallel: 4, onError: { retryAfterMs: 50 } },
    )
    for (let item = 0; item < 8; item++) block.post(item)
    await vi.advanceTimersByTimeAsync(49)
    expect(block.outputCount).toBe(0)
    await vi.advanceTimersByTimeAsync(1)
    await turn()
    expect(block.takeAvailable()).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  })

  test.each([
    [
      'throws',
      () => {
        throw new TypeError('from onError')
      },
    ],
    ['rejects', () => Promise.reject(new TypeError('from onError'))],
    ['answers nonsense', () => 'perhaps' as 'skip'],
  ])('DF-70 an onError that %s ends the block with that error', async (_how, onError) => {
    const block = new TransformBlock<number, number>(
      () => {
        throw new Error('from the function')
      },
      { onError },
    )
    block.post(1)
    await expect(block.completion).rejects.toBeInstanceOf(TypeError)
    expect(block.faults[0]?.item).toBe(1)
    expect(block.stats()).toMatchObject({ running: 0, discarded: 1 })
  })

  test('a failure cancels retries that wait, and their timers', async () => {
    fakeTime()
    const action = new ActionBlock<number>(
      () => {
        throw new Error('always')
      },
      { onError: { retryAfterMs: 1_000 } },
    )
    action.post(1)
    await turn()
    expect(action.stats().running).toBe(1)
    expect(vi.getTimerCount()).toBe(1)
    action.fault(new Error('enough'))
    await expect(action.completion).rejects.toThrow('enough')
    expect(vi.getTimerCount()).toBe(0)
    expect(action.stats()).toMatchObject({ running: 0, discarded: 1 })
  })

  test('an endless retry at once starves nobody', async () => {
    let calls = 0
    const action = new ActionBlock<number>(
      () => {
        calls++
        throw new Error('always')
      },
      { onError: 'retry' },
    )
    action.post(1)
    for (let left = 5; left > 0; left--) await turn()
    expect(calls).toBeGreaterThan(1)
    action.fault(new Error('enough'))
    await action.completion.catch(() => {})
    const then = calls
    await turn()
    expect(calls).toBe(then)
  })
})
