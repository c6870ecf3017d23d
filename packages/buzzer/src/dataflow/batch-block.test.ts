import { afterEach, describe, expect, test, vi } from 'vitest'
import { BatchBlock, BatchedJoinBlock, BlockClosedError, BufferBlock } from './index.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
const numbers = (count: number): number[] => Array.from({ length: count }, (_, item) => item)

afterEach(() => vi.useRealTimers())
const fakeTime = (): void => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })

describe('BatchBlock', () => {
  test('DF-33 a size above the capacity is a RangeError', () => {
    expect(() => new BatchBlock(5, { capacity: 4 })).toThrow(RangeError)
    expect(() => new BatchBlock(5, { capacity: 4, greedy: false })).toThrow(RangeError)
    expect(() => new BatchedJoinBlock<[number, number]>(5, 2, { capacity: 4 })).toThrow(RangeError)
    expect(() => new BatchBlock(5, { capacity: 5 })).not.toThrow()
  })

  test('DF-34 outputCount grows exactly at each n-th post', () => {
    for (const size of [1, 2, 5]) {
      const batch = new BatchBlock<number>(size)
      for (const item of numbers(20)) {
        batch.post(item)
        expect(batch.outputCount).toBe(Math.floor((item + 1) / size))
        expect(batch.inputCount).toBe((item + 1) % size)
      }
      expect(batch.takeAvailable().flat()).toEqual(numbers(20 - (20 % size)))
    }
  })

  test('a batch counts its items against the capacity', async () => {
    const batch = new BatchBlock<number>(2, { capacity: 3 })
    expect(numbers(4).map(item => batch.post(item))).toEqual([true, true, true, false])
    const sent = batch.send(3)
    expect(await batch.receive()).toEqual([0, 1])
    await sent
    expect(await batch.receive()).toEqual([2, 3])
  })

  test('DF-35 non-greedy, size 2: the first send waits, with the second both are accepted, in order', async () => {
    const batch = new BatchBlock<number>(2, { greedy: false })
    expect(batch.post(0)).toBe(false)
    let accepted = false
    const first = batch.send(1).then(() => (accepted = true))
    await turn()
    expect(accepted).toBe(false)
    const second = batch.send(2)
    await Promise.all([first, second])
    expect(batch.takeAvailable()).toEqual([[1, 2]])
  })

  test('DF-36 n buffers linked to a non-greedy batch of n: one item of each per batch', async () => {
    const buffers = numbers(4).map(() => new BufferBlock<string>())
    const batch = new BatchBlock<string>(4, { greedy: false })
    for (const buffer of buffers) buffer.link(batch)
    for (const round of numbers(5))
      for (const [index, buffer] of buffers.entries()) {
        buffer.post(`${round}-${index}`)
        await turn()
      }
    const batches = batch.takeAvailable()
    expect(batches).toHaveLength(5)
    for (const [round, items] of batches.entries())
      expect(items.toSorted()).toEqual(numbers(4).map(index => `${round}-${index}`))
  })

  test('non-greedy: until the group is complete items stay where they are and may be taken by others', async () => {
    const buffer = new BufferBlock<number>()
    const batch = new BatchBlock<number>(2, { greedy: false })
    buffer.link(batch)
    buffer.post(1)
    await turn()
    expect(buffer.tryReceive()).toBe(1)
    const sent = batch.send(2)
    await turn()
    expect(batch.outputCount).toBe(0)
    buffer.post(3)
    await sent
    await turn()
    expect(batch.takeAvailable()[0]?.toSorted()).toEqual([2, 3])
  })

  test('non-greedy: a group forms only when its items fit', async () => {
    const batch = new BatchBlock<number>(2, { greedy: false, capacity: 3 })
    const sends = numbers(4).map(item => batch.send(item))
    await turn()
    expect(batch.outputCount).toBe(1)
    expect(batch.stats().waitingSends).toBe(2)
    batch.tryReceive()
    await Promise.all(sends)
    expect(batch.takeAvailable()).toEqual([[2, 3]])
  })

  test('DF-37 three of five buffered, complete(): a partial batch of three, then completion', async () => {
    const batch = new BatchBlock<number>(5)
    for (const item of numbers(3)) batch.post(item)
    let settled = false
    const completion = batch.complete().then(() => (settled = true))
    await turn()
    expect(settled).toBe(false)
    expect(batch.tryReceive()).toEqual([0, 1, 2])
    await completion
  })

  test('DF-38 maxGroups reached: a send is rejected, batches made are still receivable', async () => {
    const batch = new BatchBlock<number>(2, { maxGroups: 2, capacity: 4 })
    for (const item of numbers(4)) await batch.send(item)
    expect(batch.post(4)).toBe(false)
    await expect(batch.send(4)).rejects.toBeInstanceOf(BlockClosedError)
    expect(batch.takeAvailable()).toEqual([
      [0, 1],
      [2, 3],
    ])
    await batch.completion
    const waiting = new BatchBlock<number>(2, { maxGroups: 1, greedy: false })
    const sends = await Promise.allSettled(numbers(3).map(item => waiting.send(item)))
    expect(sends.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected'])
  })

  test('DF-39 nothing buffered, completed, or aborted: triggerBatch makes no batch', async () => {
    for (const greedy of [true, false]) {
      const batch = new BatchBlock<number>(3, { greedy })
      batch.triggerBatch()
      expect(batch.outputCount).toBe(0)
      void batch.complete()
      batch.triggerBatch()
      expect(batch.outputCount).toBe(0)
    }
    const controller = new AbortController()
    const aborted = new BatchBlock<number>(3, { signal: controller.signal })
    aborted.post(1)
    controller.abort()
    aborted.triggerBatch()
    expect(aborted.outputCount).toBe(0)
  })

  test('DF-40 k < n buffered, triggerBatch: a batch of k, and the count starts at zero', async () => {
    for (const k of [1, 2, 4]) {
      const batch = new BatchBlock<number>(5)
      for (const item of numbers(k)) batch.post(item)
      batch.triggerBatch()
      expect(batch.tryReceive()).toEqual(numbers(k))
      for (const item of numbers(4)) batch.post(item)
      expect(batch.outputCount).toBe(0)
      batch.post(4)
      expect(batch.tryReceive()).toEqual(numbers(5))
    }
    const waiting = new BatchBlock<number>(5, { greedy: false })
    const sends = [waiting.send(1), waiting.send(2)]
    waiting.triggerBatch()
    await Promise.all(sends)
    expect(waiting.tryReceive()).toEqual([1, 2])
  })

  test('DF-41 triggered and partial batches count for maxGroups', async () => {
    const batch = new BatchBlock<number>(3, { maxGroups: 3 })
    batch.post(0)
    batch.triggerBatch()
    for (const item of numbers(3)) batch.post(item)
    batch.post(9)
    batch.triggerBatch()
    expect(batch.post(10)).toBe(false)
    expect(batch.takeAvailable()).toEqual([[0], [0, 1, 2], [9]])
    await batch.completion
  })

  test('DF-74 maxWaitMs counts from the first item of a batch, and there is no timer while nothing is there', async () => {
    fakeTime()
    const batch = new BatchBlock<number>(3, { maxWaitMs: 100 })
    expect(vi.getTimerCount()).toBe(0)
    batch.post(1)
    expect(vi.getTimerCount()).toBe(1)
    vi.advanceTimersByTime(60)
    batch.post(2)
    vi.advanceTimersByTime(39)
    expect(batch.outputCount).toBe(0)
    vi.advanceTimersByTime(1)
    expect(batch.tryReceive()).toEqual([1, 2])
    expect(vi.getTimerCount()).toBe(0)
    for (const item of numbers(7)) batch.post(item)
    expect(batch.takeAvailable()).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ])
    vi.advanceTimersByTime(100)
    expect(batch.takeAvailable()).toEqual([[6]])
    batch.post(8)
    void batch.complete()
    expect(vi.getTimerCount()).toBe(0)
    expect(batch.takeAvailable()).toEqual([[8]])
    await batch.completion
    const failed = new BatchBlock<number>(3, { maxWaitMs: 100 })
    failed.post(1)
    failed.fault(new Error('end'))
    expect(vi.getTimerCount()).toBe(0)
  })

  test('DF-74 a batch never weighs more than maxWeight, unless it is one item', async () => {
    const weighed: number[] = []
    const weigh = (item: number): number => {
      weighed.push(item)
      return item
    }
    const batch = new BatchBlock<number>(4, { weigh, maxWeight: 10 })
    for (const item of [4, 5, 3, 7, 20, 1, 1, 1, 1, 2]) batch.post(item)
    void batch.complete()
    expect(batch.takeAvailable()).toEqual([[4, 5], [3, 7], [20], [1, 1, 1, 1], [2]])
    expect(weighed).toEqual([4, 5, 3, 7, 20, 1, 1, 1, 1, 2])
    await batch.completion
  })

  test('DF-74 an item that is too heavy for the last batch of maxGroups is not accepted', async () => {
    const batch = new BatchBlock<number>(4, { weigh: item => item, maxWeight: 10, maxGroups: 1 })
    expect([batch.post(6), batch.post(6)]).toEqual([true, false])
    expect(batch.takeAvailable()).toEqual([[6]])
    expect(batch.stats().accepted).toBe(1)
    await batch.completion
  })

  test('a throwing weigh ends the block and turns the item away', async () => {
    const error = new Error('no scales')
    const batch = new BatchBlock<number>(4, {
      weigh: () => {
        throw error
      },
      maxWeight: 1,
    })
    expect(batch.post(1)).toBe(false)
    await expect(batch.completion).rejects.toBe(error)
    const wrong = new BatchBlock<number>(4, { weigh: () => Number.NaN, maxWeight: 1 })
    await expect(wrong.send(1)).rejects.toMatchObject({ code: 'BUZZER_BLOCK_CLOSED' })
    await expect(wrong.completion).rejects.toBeInstanceOf(RangeError)
  })
})

describe('BatchedJoinBlock', () => {
  test('DF-47 only one input posts: when the size is reached the other lists are empty', async () => {
    const block = new BatchedJoinBlock<[number, string, boolean]>(3, 3)
    for (const item of numbers(6)) block.targets[0].post(item)
    block.targets[1].post('a')
    block.targets[0].post(6)
    block.targets[2].post(true)
    expect(block.takeAvailable()).toEqual([
      [[0, 1, 2], [], []],
      [[3, 4, 5], [], []],
      [[6], ['a'], [true]],
    ])
    expect(block.outputCount).toBe(0)
  })

  test('DF-48 all inputs complete with a partial group: partial tuple, then completion', async () => {
    const block = new BatchedJoinBlock<[number, string]>(5, 2)
    block.targets[0].post(1)
    block.targets[1].post('a')
    void block.targets[0].complete()
    expect(block.targets[0].post(2)).toBe(false)
    expect(block.targets[1].post('b')).toBe(true)
    expect(block.outputCount).toBe(0)
    const completion = block.targets[1].complete()
    expect(completion).toBe(block.completion)
    expect(block.tryReceive()).toEqual([[1], ['a', 'b']])
    await completion
  })

  test('DF-49 greedy: false is a TypeError', () => {
    expect(() => new BatchedJoinBlock<[number]>(2, 1, { greedy: false } as object)).toThrow(TypeError)
  })

  test('DF-44 a faulted input fails the whole block', async () => {
    const error = new Error('broken')
    const block = new BatchedJoinBlock<[number, number]>(5, 2)
    block.targets[0].post(1)
    block.targets[1].fault(error)
    await expect(block.completion).rejects.toBe(error)
    await expect(block.targets[0].send(2)).rejects.toMatchObject({ cause: error })
    expect(block.stats()).toMatchObject({ inputCount: 0, discarded: 1 })
  })

  test('maxGroups ends it, and capacity counts per input', async () => {
    const block = new BatchedJoinBlock<[number, number]>(2, 2, { maxGroups: 2, capacity: 2 })
    expect([block.targets[0].post(1), block.targets[0].post(2), block.targets[0].post(3)]).toEqual([true, true, false])
    expect([block.targets[1].post(4), block.targets[1].post(5)]).toEqual([true, true])
    expect(block.targets[1].post(6)).toBe(false)
    expect(block.takeAvailable()).toEqual([
      [[1, 2], []],
      [[], [4, 5]],
    ])
    await block.completion
  })
})
