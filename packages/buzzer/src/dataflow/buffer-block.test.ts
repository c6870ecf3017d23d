import { describe, expect, test } from 'vitest'
import { Channel } from '../channels/index.ts'
import { ActionBlock, BlockClosedError, BufferBlock, TransformBlock, WriteOnceBlock } from './index.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
const numbers = (count: number): number[] => Array.from({ length: count }, (_, item) => item)

describe('taking items in', () => {
  test('DF-15 capacity 1, a send waits: receiving lets it in, in order', async () => {
    const buffer = new BufferBlock<number>({ capacity: 1 })
    buffer.post(1)
    const sent = buffer.send(2)
    expect(buffer.stats().waitingSends).toBe(1)
    expect(await buffer.receive()).toBe(1)
    await sent
    expect(await buffer.receive()).toBe(2)
  })

  test('DF-16 capacity k, k + 10 sends, complete(): the first k resolve, the rest reject', async () => {
    for (const capacity of [1, 3, 10]) {
      const buffer = new BufferBlock<number>({ capacity })
      const sends = numbers(capacity + 10).map(item => buffer.send(item))
      const completion = buffer.complete()
      const settled = await Promise.allSettled(sends)
      expect(settled.map(({ status }) => status)).toEqual(
        numbers(capacity + 10).map(item => (item < capacity ? 'fulfilled' : 'rejected')),
      )
      expect((settled[capacity] as PromiseRejectedResult).reason).toBeInstanceOf(BlockClosedError)
      expect(buffer.takeAvailable()).toEqual(numbers(capacity))
      await completion
    }
  })

  test('nothing that comes later overtakes a waiting send, no post either', async () => {
    const buffer = new BufferBlock<number>({ capacity: 2 })
    buffer.post(1)
    buffer.post(2)
    const third = buffer.send(3)
    buffer.tryReceive()
    await third
    const fourth = buffer.send(4)
    expect(buffer.post(5)).toBe(false)
    buffer.tryReceive()
    await fourth
    expect(buffer.takeAvailable()).toEqual([3, 4])
  })

  test('DF-55 full: a send waits; receiving resolves it, completing instead rejects it', async () => {
    const one = new BufferBlock<number>({ capacity: 1 })
    one.post(1)
    const accepted = one.send(2)
    one.tryReceive()
    await expect(accepted).resolves.toBeUndefined()
    const other = new BufferBlock<number>({ capacity: 1 })
    other.post(1)
    const refused = other.send(2)
    void other.complete()
    await expect(refused).rejects.toBeInstanceOf(BlockClosedError)
    expect(other.takeAvailable()).toEqual([1])
  })

  test('DF-56 a waiting send is aborted: when room comes nothing is taken, and it was rejected with the reason', async () => {
    const buffer = new BufferBlock<number>({ capacity: 1 })
    buffer.post(1)
    const controller = new AbortController()
    const reason = new Error('changed my mind')
    const sent = buffer.send(2, { signal: controller.signal })
    const next = buffer.send(3)
    controller.abort(reason)
    await expect(sent).rejects.toBe(reason)
    buffer.tryReceive()
    await next
    expect(buffer.takeAvailable()).toEqual([3])
    await expect(buffer.send(4, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    expect(buffer.stats()).toMatchObject({ accepted: 2, waitingSends: 0 })
  })

  test('Channel.empty is no item', async () => {
    const buffer = new BufferBlock<unknown>()
    expect(() => buffer.post(Channel.empty)).toThrow(TypeError)
    await expect(buffer.send(Channel.empty)).rejects.toThrow(TypeError)
    for (const item of [undefined, null, Number.NaN]) buffer.post(item)
    expect(buffer.takeAvailable()).toEqual([undefined, null, Number.NaN])
  })
})

describe('giving items out', () => {
  test('DF-14 only the head is tested, and a refusal leaves all in place', () => {
    const buffer = new BufferBlock<number>()
    for (const item of numbers(5)) buffer.post(item)
    const tested: number[] = []
    const like =
      (wanted: number) =>
      (item: number): boolean => {
        tested.push(item)
        return item === wanted
      }
    expect(buffer.tryReceive(like(3))).toBe(Channel.empty)
    expect(buffer.outputCount).toBe(5)
    expect(buffer.tryReceive(like(0))).toBe(0)
    expect(tested).toEqual([0, 0])
    expect(buffer.takeAvailable(2)).toEqual([1, 2])
    expect(buffer.takeAvailable()).toEqual([3, 4])
    expect(buffer.tryReceive()).toBe(Channel.empty)
    expect(() => buffer.takeAvailable(0)).toThrow(RangeError)
  })

  test.each([1, 3, 1_024])('DF-17 capacity %d × max: 100 items over a chain, in order, to the end', async capacity => {
    for (const max of [undefined, 1, 7, 100]) {
      const chain = numbers(4).map(() => new BufferBlock<number>({ capacity }))
      const seen: number[] = []
      const sink = new ActionBlock<number>(item => void seen.push(item), { capacity })
      const options = max === undefined ? {} : { max }
      const relink = (): void => {
        chain.forEach((block, index) => {
          if (block.stats().links === 0) block.link(chain[index + 1] ?? sink, { ...options })
        })
      }
      relink()
      const feed = (async () => {
        for (const item of numbers(100)) await chain[0]?.send(item)
        void chain[0]?.complete()
      })()
      for (let left = 2_000; seen.length < 100 && left > 0; left--) {
        await turn()
        relink()
      }
      await feed
      relink()
      expect(seen).toEqual(numbers(100))
      if (max === undefined) await sink.completion
    }
  })

  test('DF-18 drained by takeAvailable, waitToReceive waits, and a post wakes it', async () => {
    const buffer = new BufferBlock<number>()
    buffer.post(1)
    buffer.takeAvailable()
    const wait = buffer.waitToReceive()
    let settled = false
    void wait.then(() => (settled = true))
    await turn()
    expect(settled).toBe(false)
    buffer.post(2)
    expect(await wait).toBe(true)
    expect(buffer.outputCount).toBe(1)
  })

  test('DF-57 ended source: BlockClosedError; aborted or timed-out signal: its reason', async () => {
    const ended = new BufferBlock<number>()
    await ended.complete()
    await expect(ended.receive()).rejects.toMatchObject({ code: 'BUZZER_BLOCK_CLOSED' })
    const failed = new BufferBlock<number>()
    const error = new Error('broken')
    const waiting = failed.receive()
    failed.fault(error)
    await expect(waiting).rejects.toMatchObject({ code: 'BUZZER_BLOCK_CLOSED', cause: error })
    await expect(failed.waitToReceive()).rejects.toBe(error)
    const open = new BufferBlock<number>()
    const reason = new Error('enough')
    await expect(open.receive({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    await expect(open.receive({ signal: AbortSignal.timeout(1) })).rejects.toMatchObject({ name: 'TimeoutError' })
    const controller = new AbortController()
    const aborted = open.receive({ signal: controller.signal })
    const next = open.receive()
    controller.abort(reason)
    open.post(1)
    await expect(aborted).rejects.toBe(reason)
    expect(await next).toBe(1)
  })

  test('DF-58 100 waiting receives, 100 posts: the i-th gets i', async () => {
    const buffer = new BufferBlock<number>()
    const received = numbers(100).map(() => buffer.receive())
    for (const item of numbers(100)) buffer.post(item)
    expect(await Promise.all(received)).toEqual(numbers(100))
  })

  test('DF-59 10,000 chained waits, one burst: no stack overflow', async () => {
    const buffer = new BufferBlock<number>({ capacity: 10_000 })
    let sum = 0
    const chain = async (left: number): Promise<void> => {
      if (left === 0) return
      await buffer.waitToReceive()
      sum += await buffer.receive()
      await chain(left - 1)
    }
    const done = chain(10_000)
    for (const item of numbers(10_000)) buffer.post(item)
    await done
    expect(sum).toBe((10_000 * 9_999) / 2)
  })

  test('DF-60 waitToReceive before or after data is true and takes nothing', async () => {
    const buffer = new BufferBlock<number>()
    const before = buffer.waitToReceive()
    buffer.post(1)
    expect(await before).toBe(true)
    expect(await buffer.waitToReceive()).toBe(true)
    expect(buffer.outputCount).toBe(1)
    void buffer.complete()
    buffer.takeAvailable()
    expect(await buffer.waitToReceive()).toBe(false)
  })
})

describe('DF-67 iterating', () => {
  test('breaking off closes nothing and loses nothing', async () => {
    const buffer = new BufferBlock<number>()
    for (const item of numbers(5)) buffer.post(item)
    for await (const item of buffer) if (item === 1) break
    expect(buffer.takeAvailable()).toEqual([2, 3, 4])
  })

  test('two loops compete: each item goes to one of them', async () => {
    const buffer = new BufferBlock<number>()
    const loops = [Array.fromAsync(buffer), Array.fromAsync(buffer)]
    for (const item of numbers(100)) {
      buffer.post(item)
      if (item % 10 === 0) await turn()
    }
    void buffer.complete()
    const [one = [], two = []] = await Promise.all(loops)
    expect([...one, ...two].toSorted((a, b) => a - b)).toEqual(numbers(100))
  })

  test('several next() wait at once and are served in order; return() gives up the rest', async () => {
    const buffer = new BufferBlock<number>()
    const loop = buffer.receiveAll()
    const steps = [loop.next(), loop.next(), loop.next()]
    buffer.post(1)
    buffer.post(2)
    await loop.return?.()
    expect(await Promise.all(steps)).toEqual([
      { done: false, value: 1 },
      { done: false, value: 2 },
      { done: true, value: undefined },
    ])
    buffer.post(3)
    expect(await loop.next()).toEqual({ done: true, value: undefined })
    expect(buffer.outputCount).toBe(1)
  })

  test('an abort rejects the next step with the reason, and the items stay', async () => {
    const buffer = new BufferBlock<number>()
    const controller = new AbortController()
    const reason = new Error('enough')
    const loop = buffer.receiveAll({ signal: controller.signal })
    const waiting = loop.next()
    controller.abort(reason)
    buffer.post(1)
    await expect(waiting).rejects.toBe(reason)
    expect(await loop.next()).toEqual({ done: true, value: undefined })
    await expect(buffer.receiveAll({ signal: controller.signal }).next()).rejects.toBe(reason)
    expect(buffer.outputCount).toBe(1)
  })

  test('the end ends the loop, a fault is rethrown once', async () => {
    const buffer = new BufferBlock<number>()
    buffer.post(1)
    void buffer.complete()
    expect(await Array.fromAsync(buffer)).toEqual([1])
    expect(await Array.fromAsync(buffer)).toEqual([])
    const failed = new BufferBlock<number>()
    const error = new Error('broken')
    const loop = failed.receiveAll()
    const steps = [loop.next(), loop.next()]
    failed.fault(error)
    await expect(steps[0]).rejects.toBe(error)
    expect(await steps[1]).toEqual({ done: true, value: undefined })
    await expect(Array.fromAsync(failed)).rejects.toBe(error)
  })
})

describe('as halves of a channel', () => {
  test('asReader reads, peeks, counts and tells the end', async () => {
    const buffer = new BufferBlock<number>()
    const reader = buffer.asReader()
    const waiting = reader.read()
    for (const item of numbers(4)) buffer.post(item)
    expect(await waiting).toBe(0)
    expect(reader.tryPeek()).toBe(1)
    expect([reader.tryRead(), reader.count]).toEqual([1, 2])
    void buffer.complete()
    expect(reader.closed).toBe(true)
    expect(await Array.fromAsync(reader)).toEqual([2, 3])
    await reader.completion
    await expect(reader.read()).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED' })
  })

  test('asWriter writes, waits for room, and completes with or without an error', async () => {
    const buffer = new BufferBlock<number>({ capacity: 1 })
    const writer = buffer.asWriter()
    await writer.write(1)
    expect(writer.tryWrite(2)).toBe(false)
    const waiting = writer.write(2)
    const room = writer.waitToWrite()
    expect(await buffer.receive()).toBe(1)
    await waiting
    buffer.tryReceive()
    expect(await room).toBe(true)
    writer.complete()
    expect(() => writer.complete()).toThrow()
    expect(await writer.waitToWrite()).toBe(false)
    await expect(writer.write(3)).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED' })
    const error = new Error('broken')
    const failed = new BufferBlock<number>({ capacity: 1 })
    failed.post(1)
    const blocked = failed.asWriter().write(2)
    const hint = failed.asWriter().waitToWrite()
    failed.asWriter().complete(error)
    await expect(blocked).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED', cause: error })
    await expect(hint).rejects.toBe(error)
    await expect(failed.completion).rejects.toBe(error)
  })

  test('a reader of a write-once block gets the item, then the end', async () => {
    const block = new WriteOnceBlock<number>()
    block.post(1)
    expect(await Array.fromAsync(block.asReader())).toEqual([1])
  })
})

test('DF-20 a transform linked to itself: 200 laps, each counted, no stack growth; unlinked and drained it completes', async () => {
  const laps: number[] = []
  const block = new TransformBlock<number, number>(item => {
    laps.push(item)
    return item + 1
  })
  const link = block.link(block, { propagate: 'none', where: item => item < 200 })
  const out = block.receive()
  block.post(0)
  expect(await out).toBe(200)
  expect(laps).toEqual(numbers(200))
  link.unlink()
  await block.complete()
})

test('a full block that feeds itself stands still without spinning', async () => {
  let calls = 0
  const block = new TransformBlock<number, number>(item => (calls++, item), { capacity: 2 })
  block.link(block, { propagate: 'none' })
  block.post(1)
  block.post(2)
  await turn()
  await turn()
  const then = calls
  await turn()
  expect(calls).toBe(then)
  expect(block.outputCount).toBe(2)
})
