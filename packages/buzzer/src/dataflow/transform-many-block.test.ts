import { describe, expect, test } from 'vitest'
import { ActionBlock, type Many, TransformManyBlock } from './index.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
const numbers = (count: number): number[] => Array.from({ length: count }, (_, item) => item)

async function* slowly(count: number, from = 0): AsyncGenerator<number> {
  for (let item = from; item < from + count; item++) {
    await turn()
    yield item
  }
}

function* failing(item: number): Generator<number> {
  yield item
  if (item === 1) throw new Error('halfway')
  yield item
}

describe('TransformManyBlock', () => {
  test('takes arrays, sets, generators, async generators, promises of them, and nothing', async () => {
    const kinds: Many<string>[] = [
      ['a', 'b'],
      new Set(['c']),
      (function* () {
        yield 'd'
        yield 'e'
      })(),
      (async function* () {
        await turn()
        yield 'f'
      })(),
      null,
      undefined,
      [],
    ]
    for (const promised of [false, true]) {
      const given = promised ? kinds.slice(0, 2).concat(kinds.slice(4)) : kinds
      const block = new TransformManyBlock<number, string>(item =>
        promised ? Promise.resolve(given[item]) : given[item],
      )
      for (const index of given.keys()) block.post(index)
      const completion = block.complete()
      expect((await Array.fromAsync(block)).join('')).toBe(promised ? 'abc' : 'abcdef')
      await completion
      expect(block.stats()).toMatchObject({ accepted: given.length, running: 0, skipped: 0 })
    }
  })

  test.each([1, 3, 1_024])(
    'capacity %d: 100 items of three outputs each, in order, parallel and not',
    async capacity => {
      for (const parallel of [1, 4]) {
        for (const asynchronous of [false, true]) {
          const block = new TransformManyBlock<number, number>(
            item => (asynchronous ? slowly(3, item * 3) : numbers(3).map(each => item * 3 + each)),
            { capacity, parallel },
          )
          const seen: number[] = []
          const sink = new ActionBlock<number>(item => void seen.push(item), { capacity: 2 })
          block.link(sink)
          for (const item of numbers(100)) await block.send(item)
          void block.complete()
          await sink.completion
          expect(seen).toEqual(numbers(300))
        }
      }
    },
  )

  test('several iterators run at once, also while earlier ones have not ended; unordered outputs come as they come', async () => {
    for (const ordered of [true, false]) {
      const gate = Promise.withResolvers<void>()
      const started: number[] = []
      const block = new TransformManyBlock<number, string>(
        async function* (item) {
          started.push(item)
          yield `${item}a`
          if (item === 0) await gate.promise
          yield `${item}b`
        },
        { parallel: 3, ordered },
      )
      for (const item of numbers(3)) block.post(item)
      for (let left = 3; left > 0; left--) await turn()
      expect(started).toEqual([0, 1, 2])
      expect(block.stats().running).toBe(1)
      if (ordered) expect(block.takeAvailable()).toEqual(['0a'])
      else expect(block.takeAvailable().toSorted()).toEqual(['0a', '1a', '1b', '2a', '2b'])
      gate.resolve()
      void block.complete()
      expect(await Array.fromAsync(block)).toEqual(ordered ? ['0b', '1a', '1b', '2a', '2b'] : ['0b'])
    }
  })

  test('two endless synchronous iterators both get their turn', async () => {
    const block = new TransformManyBlock<number, number>(
      function* (item) {
        for (;;) yield item
      },
      { parallel: 2, ordered: false, capacity: 2 },
    )
    block.post(0)
    block.post(1)
    await turn()
    const seen = numbers(40)
      .map(() => block.tryReceive())
      .concat(await Promise.all(numbers(40).map(() => block.receive())))
    expect(seen).toContain(0)
    expect(seen).toContain(1)
    await block[Symbol.asyncDispose]()
  })

  test.each(['generator', 'async generator'])(
    'DF-24 a %s throws after three outputs: completion rejects',
    async kind => {
      const error = new Error('after three')
      const block = new TransformManyBlock<number, number>(
        kind === 'generator'
          ? function* (): Generator<number> {
              yield* numbers(3)
              throw error
            }
          : async function* (): AsyncGenerator<number> {
              yield* numbers(3)
              throw error
            },
        { capacity: 10 },
      )
      const seen: number[] = []
      const reading = (async () => {
        for await (const item of block) seen.push(item)
      })()
      block.post(7)
      await expect(reading).rejects.toBe(error)
      await expect(block.completion).rejects.toBe(error)
      expect(block.faults).toEqual([{ error, block: block.name, item: 7 }])
      expect(block.post(8)).toBe(false)
    },
  )

  test('an error of an iterator is asked about: skip keeps what was given, a retry then is an error', async () => {
    const skipping = new TransformManyBlock<number, number>(failing, { onError: 'skip' })
    for (const item of numbers(3)) skipping.post(item)
    const done = skipping.complete()
    expect(await Array.fromAsync(skipping)).toEqual([0, 0, 1, 2, 2])
    await done
    expect(skipping.stats()).toMatchObject({ skipped: 1, delivered: 5 })
    const retrying = new TransformManyBlock<number, number>(failing, { onError: 'retry' })
    retrying.post(1)
    await expect(retrying.completion).rejects.toBeInstanceOf(TypeError)
    let attempts = 0
    const early = new TransformManyBlock<number, number>(
      function* (): Generator<number> {
        if (++attempts < 3) throw new Error('before anything came')
        yield attempts
      },
      { onError: 'retry' },
    )
    early.post(1)
    expect(await early.receive()).toBe(3)
  })

  test('what is no iterable is an error of the function', async () => {
    const block = new TransformManyBlock<number, number>(() => 5 as unknown as number[])
    block.post(1)
    await expect(block.completion).rejects.toBeInstanceOf(TypeError)
  })

  test('DF-25 parallel 1, the function returns the same array each time: 100 laps, values right', async () => {
    const reused = [0, 0]
    const block = new TransformManyBlock<number, number>(
      item => {
        reused[0] = item
        reused[1] = item * 10
        return reused
      },
      { capacity: 1 },
    )
    const seen: number[] = []
    const sink = new ActionBlock<number>(item => void seen.push(item), { capacity: 1 })
    block.link(sink)
    for (const item of numbers(100)) await block.send(item)
    void block.complete()
    await sink.completion
    expect(seen).toEqual(numbers(100).flatMap(item => [item, item * 10]))
  })

  test('DF-26 an async iterable of ten: completion is pending until the tenth is taken', async () => {
    const block = new TransformManyBlock<number, number>(() => slowly(10))
    block.post(0)
    let settled = false
    void block.complete().then(() => (settled = true))
    for (const item of numbers(10)) {
      await turn()
      expect(settled).toBe(false)
      expect(await block.receive()).toBe(item)
    }
    await block.completion
  })

  test.each(['generator', 'async generator'])(
    'DF-73 an endless %s is at most `capacity` ahead of a slow sink, and a fault closes it',
    async kind => {
      let pulled = 0
      let closed = 0
      const block = new TransformManyBlock<number, number>(
        kind === 'generator'
          ? function* (): Generator<number> {
              try {
                for (;;) yield pulled++
              } finally {
                closed++
              }
            }
          : async function* (): AsyncGenerator<number> {
              try {
                for (;;) yield pulled++
              } finally {
                closed++
              }
            },
        { capacity: 5, parallel: 2 },
      )
      block.post(0)
      for (let left = 3; left > 0; left--) await turn()
      expect(pulled).toBe(5)
      for (const taken of numbers(20)) {
        expect(await block.receive()).toBe(taken)
        await turn()
        await turn()
        expect(pulled).toBe(taken + 6)
      }
      const error = new Error('enough')
      block.fault(error)
      await expect(block.completion).rejects.toBe(error)
      expect(closed).toBe(1)
      expect(block.stats()).toMatchObject({ running: 0, outputCount: 0, discarded: 6 })
    },
  )

  test('what ended iterators have left behind holds up new ones: the block stays within bounds', async () => {
    let calls = 0
    const block = new TransformManyBlock<number, number>(() => (calls++, numbers(3)), { capacity: 4 })
    const sends = numbers(10).map(item => block.send(item))
    await turn()
    expect(calls).toBe(2)
    expect(block.outputCount).toBe(6)
    void block.complete()
    await Promise.allSettled(sends)
    expect((await Array.fromAsync(block)).length).toBeGreaterThanOrEqual(12)
  })

  test('setParallel opens more iterators', async () => {
    let open = 0
    const gate = Promise.withResolvers<void>()
    const block = new TransformManyBlock<number, number>(async function* (item) {
      open++
      await gate.promise
      yield item
    })
    for (const item of numbers(4)) block.post(item)
    await turn()
    expect(open).toBe(1)
    block.setParallel(3)
    await turn()
    expect(open).toBe(3)
    gate.resolve()
    void block.complete()
    expect(await Array.fromAsync(block)).toEqual(numbers(4))
  })
})
