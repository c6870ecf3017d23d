import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Channel, type Clock } from './index.ts'

describe('iteration', () => {
  it('CH-54 an ended iterator stays done, and a drained channel ends a new loop at once', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    writer.tryWrite(1)
    writer.complete()
    const iterator = reader.readAll()
    expect(await iterator.next()).toEqual({ value: 1, done: false })
    for (let time = 0; time < 3; time++) expect(await iterator.next()).toEqual({ value: undefined, done: true })
    expect(await Array.fromAsync(reader)).toEqual([])
  })

  it('an error is told once, then the iterator is done', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    const broken = new Error('broken')
    const iterator = reader.readAll()
    const [first, second] = [iterator.next(), iterator.next()]
    writer.complete(broken)
    await expect(first).rejects.toBe(broken)
    expect(await second).toMatchObject({ done: true })
    expect(await iterator.next()).toMatchObject({ done: true })
    await expect(Array.fromAsync(reader)).rejects.toBe(broken)
  })

  it('CH-56 two interleaved loops get each item exactly once', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    const loops = [Array.fromAsync(reader), Array.fromAsync(reader)]
    for (let item = 0; item < 1_000; item++) {
      writer.tryWrite(item)
      if (item % 10 === 0) await Promise.resolve()
    }
    writer.complete()
    const [first = [], second = []] = await Promise.all(loops)
    expect(first.length).toBeGreaterThan(0)
    expect(second.length).toBeGreaterThan(0)
    expect([...first, ...second].toSorted((a, b) => a - b)).toEqual([...Array(1_000).keys()])
  })

  it('CH-57 an abort rejects the waiting next(), the following one is done', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    const controller = new AbortController()
    const iterator = reader.readAll({ signal: controller.signal })
    const next = iterator.next()
    controller.abort(new Error('enough'))
    await expect(next).rejects.toThrow('enough')
    writer.tryWrite(1)
    expect(await iterator.next()).toMatchObject({ done: true })
    expect(reader.tryRead()).toBe(1)
  })

  it('after an abort the next step rejects, and the items stay', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    const controller = new AbortController()
    for (const item of [1, 2, 3]) writer.tryWrite(item)
    const seen: number[] = []
    const loop = (async () => {
      for await (const item of reader.readAll({ signal: controller.signal })) {
        seen.push(item)
        controller.abort(new Error('enough'))
      }
    })()
    await expect(loop).rejects.toThrow('enough')
    expect([seen, reader.takeAvailable()]).toEqual([[1], [2, 3]])
  })

  it('break closes nothing and loses nothing', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    for (const item of [1, 2, 3]) writer.tryWrite(item)
    for await (const item of reader) if (item === 1) break
    expect(writer.tryWrite(4)).toBe(true)
    expect(reader.takeAvailable()).toEqual([2, 3, 4])
  })

  it('return() gives up the places of all waiting next() of that loop, and of no other', async () => {
    const channel = Channel.unbounded<number>()
    const mine = channel.reader.readAll()
    const other = channel.reader.readAll()
    const waiting = [mine.next(), other.next(), mine.next()]
    expect(channel.stats().pendingReads).toBe(3)
    expect(await mine.return?.()).toMatchObject({ done: true })
    expect(channel.stats().pendingReads).toBe(1)
    channel.writer.tryWrite(1)
    expect(await Promise.all(waiting)).toEqual([
      { value: undefined, done: true },
      { value: 1, done: false },
      { value: undefined, done: true },
    ])
  })
})

/** The batches as they come, with the time of each. */
function collect(batches: AsyncIterable<number[]>): { seen: [number, number[]][]; end: Promise<unknown> } {
  const began = Date.now()
  const seen: [number, number[]][] = []
  const end = (async () => {
    for await (const batch of batches) seen.push([Date.now() - began, batch])
  })().catch((error: unknown) => error)
  return { seen, end }
}

describe('batches', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('CH-68 without maxWaitMs a batch is what is there when its first item is', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    for (const item of [1, 2, 3, 4, 5]) writer.tryWrite(item)
    const { seen, end } = collect(reader.batches({ max: 3 }))
    await vi.advanceTimersByTimeAsync(5)
    writer.tryWrite(6)
    await vi.advanceTimersByTimeAsync(5)
    writer.complete()
    expect(await end).toBeUndefined()
    expect(seen).toEqual([
      [0, [1, 2, 3]],
      [0, [4, 5]],
      [5, [6]],
    ])
  })

  it('CH-68 trickling items are cut when the time since the first is up', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    const { seen, end } = collect(reader.batches({ max: 10, maxWaitMs: 50 }))
    for (let item = 0; item < 6; item++) {
      await vi.advanceTimersByTimeAsync(20)
      writer.tryWrite(item)
    }
    await vi.advanceTimersByTimeAsync(100)
    expect(vi.getTimerCount()).toBe(0)
    writer.complete()
    await end
    expect(seen).toEqual([
      [70, [0, 1, 2]],
      [130, [3, 4, 5]],
    ])
  })

  it('CH-68 pouring items fill batches, without a timer left', async () => {
    const { reader, writer } = Channel.bounded<number>(4)
    const { seen, end } = collect(reader.batches({ max: 10, maxWaitMs: 50 }))
    const writing = writer.writeAll([...Array(25).keys()])
    await vi.advanceTimersByTimeAsync(49)
    expect(seen.map(([at, batch]) => [at, batch.length])).toEqual([
      [0, 10],
      [0, 10],
    ])
    await vi.advanceTimersByTimeAsync(1)
    await writing
    expect(seen[2]).toEqual([50, [20, 21, 22, 23, 24]])
    expect(vi.getTimerCount()).toBe(0)
    writer.complete()
    await end
  })

  it('CH-68 a short batch is delivered before the end and before an error', async () => {
    for (const error of [undefined, new Error('broken')]) {
      const { reader, writer } = Channel.unbounded<number>()
      const { seen, end } = collect(reader.batches({ max: 10, maxWaitMs: 50 }))
      writer.tryWrite(1)
      await vi.advanceTimersByTimeAsync(10)
      writer.complete(error)
      expect(await end).toBe(error)
      expect(seen).toEqual([[10, [1]]])
      expect(vi.getTimerCount()).toBe(0)
    }
  })

  it('CH-68 a short batch is delivered before an abort, and by return()', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    const controller = new AbortController()
    const batches = reader.batches({ max: 10, maxWaitMs: 50, signal: controller.signal })
    const first = batches.next()
    writer.tryWrite(1)
    controller.abort(new Error('enough'))
    expect(await first).toEqual({ value: [1], done: false })
    await expect(batches.next()).rejects.toThrow('enough')
    expect(await batches.next()).toMatchObject({ done: true })

    const others = reader.batches({ max: 10, maxWaitMs: 50 })
    const [second, third] = [others.next(), others.next()]
    writer.tryWrite(2)
    await others.return?.()
    expect(await second).toEqual({ value: [2], done: false })
    expect(await third).toMatchObject({ done: true })
    expect(await others.next()).toMatchObject({ done: true })
    expect(vi.getTimerCount()).toBe(0)
  })

  it('CH-68 with maxWaitMs Infinity only a full batch or the end counts, and the clock option is used', async () => {
    const asked: number[] = []
    const clock: Clock = {
      now: () => 0,
      setTimeout: (_, ms) => asked.push(ms),
      clearTimeout: () => {},
    }
    const channel = Channel.unbounded<number>({ clock })
    const full = channel.reader.batches({ max: 2, maxWaitMs: Infinity }).next()
    channel.writer.tryWrite(1)
    expect(asked).toEqual([])
    channel.writer.tryWrite(2)
    expect(await full).toEqual({ value: [1, 2], done: false })
    void channel.reader.batches({ max: 2, maxWaitMs: 7 }).next()
    channel.writer.tryWrite(3)
    expect(asked).toEqual([7])
  })

  it('batches over a full rendezvous or bounded channel take blocked writers along', async () => {
    for (const capacity of [0, 2]) {
      const { reader, writer } = Channel.bounded<number>(capacity)
      const writes = [1, 2, 3, 4, 5].map(item => writer.write(item))
      expect(await reader.batches({ max: 4 }).next()).toEqual({ value: [1, 2, 3, 4], done: false })
      expect(reader.takeAvailable()).toEqual([5])
      await Promise.all(writes)
    }
  })
})

describe('consume', () => {
  it('CH-69 with concurrency 3 never four handlers run at once, whatever the order they settle in', async () => {
    const { reader, writer } = Channel.bounded<number>(4)
    let running = 0
    let most = 0
    const done: number[] = []
    const consuming = reader.consume(
      async item => {
        most = Math.max(most, ++running)
        for (let turn = 0; turn < (item * 7) % 5; turn++) await new Promise(resolve => setImmediate(resolve))
        running--
        done.push(item)
      },
      { concurrency: 3 },
    )
    await writer.writeAll([...Array(50).keys()])
    writer.complete()
    await consuming
    expect(most).toBe(3)
    expect(done.toSorted((a, b) => a - b)).toEqual([...Array(50).keys()])
    expect(done).not.toEqual([...Array(50).keys()])
  })

  it('CH-69 a failing handler stops it: the others finish, the rest stays in the channel', async () => {
    const channel = Channel.unbounded<number>()
    for (let item = 0; item < 10; item++) channel.writer.tryWrite(item)
    const finished: number[] = []
    const consuming = channel.reader.consume(
      async item => {
        await new Promise(resolve => setImmediate(resolve))
        if (item === 1) throw new Error('handler')
        await new Promise(resolve => setImmediate(resolve))
        finished.push(item)
      },
      { concurrency: 3 },
    )
    await expect(consuming).rejects.toThrow('handler')
    // Item 0 ended in the turn after the failure: nothing was started in its place.
    expect(finished).toEqual([0, 2])
    expect(channel.reader.takeAvailable()).toEqual([3, 4, 5, 6, 7, 8, 9])
    expect(channel.writer.closed).toBe(false)
    expect(channel.stats().pendingReads).toBe(0)
  })

  it('CH-69 a handler that throws, with any value, rejects with it', async () => {
    for (const error of [new Error('handler'), undefined, null]) {
      const { reader, writer } = Channel.unbounded<number>()
      for (const item of [1, 2]) writer.tryWrite(item)
      const outcome = await reader
        .consume(() => {
          throw error
        })
        .then(
          () => 'resolved',
          (thrown: unknown) => thrown,
        )
      expect(outcome).toBe(error)
      expect(reader.takeAvailable()).toEqual([2])
    }
  })

  it('an abort stops it and leaves the items; an item handed over is still handled', async () => {
    const channel = Channel.unbounded<number>()
    const controller = new AbortController()
    const handled: number[] = []
    const consuming = channel.reader.consume(item => void handled.push(item), { signal: controller.signal })
    expect(channel.stats().pendingReads).toBe(1)
    channel.writer.tryWrite(1)
    channel.writer.tryWrite(2)
    expect(handled).toEqual([])
    controller.abort(new Error('enough'))
    await expect(consuming).rejects.toThrow('enough')
    expect(handled).toEqual([1])
    expect(channel.reader.takeAvailable()).toEqual([2])
  })

  it('ends with the channel: resolves, or rejects with the raw error after the last item', async () => {
    for (const error of [undefined, new Error('broken')]) {
      const { reader, writer } = Channel.unbounded<number>()
      const handled: number[] = []
      writer.tryWrite(1)
      const consuming = reader.consume(async item => void handled.push(item))
      writer.tryWrite(2)
      writer.complete(error)
      if (error === undefined) await consuming
      else await expect(consuming).rejects.toBe(error)
      expect(handled).toEqual([1, 2])
    }
  })

  it('no handler runs inside a call on the writer', async () => {
    const { reader, writer } = Channel.rendezvous<number>()
    const handled: number[] = []
    const consuming = reader.consume(item => void handled.push(item))
    expect(writer.tryWrite(1)).toBe(true)
    expect(handled).toEqual([])
    await Promise.resolve()
    expect(handled).toEqual([1])
    writer.complete()
    await consuming
  })

  it('concurrency Infinity starts them all', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    const release = Promise.withResolvers<void>()
    let running = 0
    for (let item = 0; item < 100; item++) writer.tryWrite(item)
    writer.complete()
    const consuming = reader.consume(
      () => {
        running++
        return release.promise
      },
      { concurrency: Infinity },
    )
    for (let tick = 0; tick < 20; tick++) await Promise.resolve()
    expect(running).toBe(100)
    release.resolve()
    await consuming
  })
})
