import { getEventListeners } from 'node:events'
import { describe, expect, it, vi } from 'vitest'
import { Channel, type ChannelReader, merge, select, tee } from './index.ts'

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}

function waiters(channel: Channel<never> | Channel<number>): number {
  const { pendingReads, waitingToRead } = channel.stats()
  return pendingReads + waitingToRead
}

describe('select', () => {
  it('takes one item of one case; the first listed wins and the others keep theirs', async () => {
    const a = Channel.unbounded<number>()
    const b = Channel.unbounded<string>()
    a.writer.tryWrite(1)
    b.writer.tryWrite('x')
    expect(await select({ b: b.reader, a: a.reader })).toEqual({ key: 'b', value: 'x' })
    expect(await select({ b: b.reader, a: a.reader })).toEqual({ key: 'a', value: 1 })
  })

  it("order 'random' lets any ready case win", async () => {
    const won = new Set<string>()
    const channels = { a: Channel.unbounded<number>(), b: Channel.unbounded<number>(), c: Channel.unbounded<number>() }
    for (const { writer } of Object.values(channels)) for (let item = 0; item < 200; item++) writer.tryWrite(item)
    const { a, b, c } = channels
    for (let time = 0; time < 200; time++) {
      won.add((await select({ a: a.reader, b: b.reader, c: c.reader }, { order: 'random' })).key)
    }
    expect(won).toEqual(new Set(['a', 'b', 'c']))
  })

  it('waits for the first item, and leaves no wait behind', async () => {
    const a = Channel.unbounded<number>()
    const b = Channel.unbounded<number>()
    const selecting = select({ a: a.reader, b: b.reader })
    expect([waiters(a), waiters(b)]).toEqual([1, 1])
    b.writer.tryWrite(2)
    expect(await selecting).toEqual({ key: 'b', value: 2 })
    expect([waiters(a), waiters(b)]).toEqual([0, 0])
  })

  it('a case that ended is out; when all have ended it rejects ChannelClosedError', async () => {
    const a = Channel.unbounded<number>()
    const b = Channel.unbounded<number>()
    const selecting = select({ a: a.reader, b: b.reader })
    a.writer.complete()
    await turns(1)
    b.writer.tryWrite(1)
    expect(await selecting).toEqual({ key: 'b', value: 1 })
    b.writer.complete()
    await expect(select({ a: a.reader, b: b.reader })).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED' })
    await expect(select({})).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED' })
  })

  it('a case that failed rejects it, unless an item is ready elsewhere', async () => {
    const a = Channel.unbounded<number>()
    const b = Channel.unbounded<number>()
    const broken = new Error('broken')
    a.writer.complete(broken)
    b.writer.tryWrite(1)
    const cases = { a: a.reader, b: b.reader }
    expect(await select(cases)).toEqual({ key: 'b', value: 1 })
    await expect(select(cases)).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED', cause: broken })
    expect(waiters(b)).toBe(0)
    const stopped = Channel.unbounded<number>()
    stopped.writer.abort()
    await expect(select({ stopped: stopped.reader })).rejects.toMatchObject({ name: 'AbortError' })
  })

  it('timeoutMs answers Channel.empty, and 0 never waits', async () => {
    vi.useFakeTimers()
    try {
      const a = Channel.unbounded<number>()
      const selecting = select({ a: a.reader }, { timeoutMs: 50 })
      await vi.advanceTimersByTimeAsync(49)
      expect(waiters(a)).toBe(1)
      await vi.advanceTimersByTimeAsync(1)
      expect(await selecting).toBe(Channel.empty)
      expect([waiters(a), vi.getTimerCount()]).toEqual([0, 0])
      expect(await select({ a: a.reader }, { timeoutMs: 0 })).toBe(Channel.empty)
      a.writer.tryWrite(1)
      expect(await select({ a: a.reader }, { timeoutMs: 0 })).toEqual({ key: 'a', value: 1 })
      a.writer.complete()
      await expect(select({ a: a.reader }, { timeoutMs: 0 })).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED' })
      const b = Channel.unbounded<number>()
      const inTime = select({ b: b.reader }, { timeoutMs: 50 })
      b.writer.tryWrite(1)
      expect(await inTime).toEqual({ key: 'b', value: 1 })
      expect(vi.getTimerCount()).toBe(0)
    } finally {
      vi.useRealTimers()
    }
  })

  it('an abort takes nothing and leaves nothing behind', async () => {
    const a = Channel.unbounded<number>()
    const controller = new AbortController()
    const { signal } = controller
    const selecting = select({ a: a.reader }, { signal })
    controller.abort(new Error('enough'))
    await expect(selecting).rejects.toThrow('enough')
    expect([waiters(a), getEventListeners(signal, 'abort').length]).toEqual([0, 0])
    a.writer.tryWrite(1)
    await expect(select({ a: a.reader }, { signal })).rejects.toThrow('enough')
    expect(a.reader.tryRead()).toBe(1)
  })

  it('over a rendezvous it is met by write', async () => {
    const a = Channel.rendezvous<number>()
    const selecting = select({ a: a.reader })
    expect(a.writer.tryWrite(1)).toBe(false)
    await a.writer.write(2)
    expect(await selecting).toEqual({ key: 'a', value: 2 })
  })

  it('CH-70 1,000 rounds of random writes, closes and aborts: every item taken once, no waiter left', async () => {
    let seed = 42
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648
      return Math.floor((seed / 2_147_483_648) * below)
    }
    for (let round = 0; round < 1_000; round++) {
      const channels = [Channel.bounded<number>(2), Channel.unbounded<number>(), Channel.rendezvous<number>()]
      const [a, b, c] = channels as [Channel<number>, Channel<number>, Channel<number>]
      const written: number[] = []
      const taken: number[] = []
      const writes: Promise<unknown>[] = []
      const selecting = Array.from({ length: 3 }, async () => {
        for (;;) {
          const controller = new AbortController()
          const { signal } = controller
          const choosing = select({ a: a.reader, b: b.reader, c: c.reader }, { signal, order: 'random' })
          if (random(4) === 0) controller.abort('enough')
          const chosen = await choosing.catch((error: unknown) => error)
          if (chosen === 'enough') continue
          if (chosen instanceof Error) return
          taken.push((chosen as { value: number }).value)
        }
      })
      for (let item = 0; item < 20; item++) {
        const { writer } = channels[random(3)] as Channel<number>
        writes.push(writer.write(item).then(() => written.push(item)))
        if (random(3) === 0) await Promise.resolve()
      }
      await Promise.all(writes)
      for (const { writer } of channels) writer.complete()
      await Promise.all(selecting)
      expect(taken.toSorted((x, y) => x - y)).toEqual([...Array(20).keys()])
      expect(written).toHaveLength(20)
      expect(channels.map(waiters)).toEqual([0, 0, 0])
    }
  })
})

describe('merge', () => {
  it('CH-71 sources take turns, and what nobody asks for stays where it is', async () => {
    const fast = Channel.unbounded<string>()
    const slow = Channel.unbounded<string>()
    for (const item of ['f1', 'f2', 'f3', 'f4']) fast.writer.tryWrite(item)
    for (const item of ['s1', 's2']) slow.writer.tryWrite(item)
    const merged = merge([fast.reader, slow.reader])
    await turns(2)
    expect([fast.reader.count, slow.reader.count, merged.count]).toEqual([4, 2, 6])
    expect(merged.tryPeek()).toBe('f1')
    expect([merged.tryRead(), merged.tryRead(), await merged.read()]).toEqual(['f1', 's1', 'f2'])
    expect([fast.reader.count, slow.reader.count, merged.count]).toEqual([2, 1, 3])
  })

  it('ends when all have ended', async () => {
    const a = Channel.unbounded<number>()
    const b = Channel.unbounded<number>()
    const merged = merge([a.reader, b.reader])
    const all = Array.fromAsync(merged)
    a.writer.tryWrite(1)
    a.writer.complete()
    await turns(1)
    b.writer.tryWrite(2)
    b.writer.complete()
    expect(await all).toEqual([1, 2])
    await expect(merged.completion).resolves.toBeUndefined()
    expect([merged.closed, await merged.waitToRead(), merged.count]).toEqual([true, false, 0])
    expect(await Array.fromAsync(merge([]))).toEqual([])
  })

  it("a source's error ends it once that source is drained; the others keep their items", async () => {
    const a = Channel.unbounded<number>()
    const b = Channel.unbounded<number>()
    const broken = new Error('broken')
    a.writer.tryWrite(1)
    a.writer.complete(broken)
    for (const item of [2, 3]) b.writer.tryWrite(item)
    const merged = merge([a.reader, b.reader])
    expect(merged.tryRead()).toBe(1)
    expect(merged.tryRead()).toBe(Channel.empty)
    await expect(merged.completion).rejects.toBe(broken)
    await expect(merged.waitToRead()).rejects.toBe(broken)
    await expect(merged.read()).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED', cause: broken })
    expect(b.reader.takeAvailable()).toEqual([2, 3])
  })

  it('a record of readers tells which one', async () => {
    const orders = Channel.unbounded<number>()
    const names = Channel.unbounded<string>()
    const merged = merge({ orders: orders.reader, names: names.reader })
    names.writer.tryWrite('a')
    expect(await merged.read()).toEqual({ key: 'names', value: 'a' })
    const read = merged.read()
    orders.writer.tryWrite(1)
    expect(await read).toEqual({ key: 'orders', value: 1 })
  })

  it('an aborted read leaves no wait at the sources', async () => {
    const a = Channel.unbounded<number>()
    const b = Channel.unbounded<number>()
    const merged = merge([a.reader, b.reader])
    const controller = new AbortController()
    const reads = [merged.read({ signal: controller.signal }), merged.waitToRead({ signal: controller.signal })]
    await turns(1)
    expect(waiters(a)).toBe(2)
    controller.abort(new Error('enough'))
    for (const read of reads) await expect(read).rejects.toThrow('enough')
    expect([waiters(a), waiters(b)]).toEqual([0, 0])
  })

  it('moves 10,000 items of ten sources, each exactly once', async () => {
    const sources = Array.from({ length: 10 }, () => Channel.bounded<number>(3))
    const writing = sources.map(async ({ writer }, index) => {
      for (let item = 0; item < 1_000; item++) await writer.write(index * 1_000 + item)
      writer.complete()
    })
    const items = await Array.fromAsync(merge(sources.map(({ reader }) => reader)))
    await Promise.all(writing)
    expect(items.toSorted((x, y) => x - y)).toEqual([...Array(10_000).keys()])
  })
})

describe('tee', () => {
  it('gives every item to every branch, then the end', async () => {
    const { reader, writer } = Channel.bounded<number>(4)
    const branches = tee(reader, 3, { capacity: 2 })
    const all = Promise.all(branches.map(branch => Array.fromAsync(branch)))
    await writer.writeAll([...Array(100).keys()])
    writer.complete()
    expect(await all).toEqual(Array.from({ length: 3 }, () => [...Array(100).keys()]))
  })

  it('an error goes to all branches, after the items', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    const broken = new Error('broken')
    writer.tryWrite(1)
    writer.complete(broken)
    for (const branch of tee(reader, 2)) {
      expect(await branch.read()).toBe(1)
      await expect(branch.completion).rejects.toBe(broken)
    }
  })

  it('CH-72 the slow branch sets the pace, a disposed one holds nobody up', async () => {
    const source = Channel.bounded<number>(1_000)
    for (let item = 0; item < 1_000; item++) source.writer.tryWrite(item)
    const [fast, slow, leaving] = tee(source.reader, 3, { capacity: 4 }) as [
      ChannelReader<number> & Disposable,
      ChannelReader<number> & Disposable,
      ChannelReader<number> & Disposable,
    ]
    const seen: number[] = []
    void fast.consume(item => seen.push(item)).catch(() => {})
    await turns(5)
    expect([seen.length, slow.count, leaving.count, source.reader.count]).toEqual([4, 4, 4, 996])
    for (let item = 0; item < 10; item++) {
      expect(slow.tryRead()).toBe(item)
      expect(leaving.tryRead()).toBe(item)
      await turns(2)
    }
    expect([seen.length, source.reader.count]).toEqual([14, 986])
    leaving[Symbol.dispose]()
    expect(leaving.tryRead()).toBe(Channel.empty)
    expect(await Array.fromAsync(leaving)).toEqual([])
    for (let item = 10; item < 30; item++) {
      expect(await slow.read()).toBe(item)
      await turns(2)
    }
    expect([seen.length, source.reader.count]).toEqual([34, 966])
  })

  it('when all have left, the source is left alone, without a waiter', async () => {
    const source = Channel.unbounded<number>()
    const branches = tee(source.reader, 2)
    await turns(1)
    expect(waiters(source)).toBe(1)
    for (const branch of branches) branch[Symbol.dispose]()
    await turns(1)
    expect(waiters(source)).toBe(0)
    source.writer.tryWrite(1)
    await turns(1)
    expect(source.reader.tryRead()).toBe(1)
  })

  it('with a drop mode nobody is held up, and onDrop tells the branch', async () => {
    const source = Channel.unbounded<number>()
    const dropped: [number, number][] = []
    const [kept, late] = tee(source.reader, 2, {
      capacity: 2,
      fullMode: 'drop-oldest',
      onDrop: (item, branch) => dropped.push([item, branch]),
    })
    for (let item = 0; item < 4; item++) {
      source.writer.tryWrite(item)
      await turns(1)
      expect(kept?.tryRead()).toBe(item)
    }
    expect(late?.takeAvailable()).toEqual([2, 3])
    expect(dropped).toEqual([
      [0, 1],
      [1, 1],
    ])
  })
})
