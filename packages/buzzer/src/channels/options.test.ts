import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { describe, expect, it } from 'vitest'
import {
  Channel,
  type ChannelEvent,
  ChannelReader,
  ChannelWriter,
  createWorkerChannel,
  fromEvent,
  fromIterable,
  merge,
  openWorkerChannel,
  select,
  tee,
} from './index.ts'

function compare(a: number, b: number): number {
  return a - b
}

function thing(): void {}

describe('bad arguments throw at once', () => {
  const { reader } = Channel.unbounded<number>()

  it.each([-1, NaN, 1.5, Infinity, -Infinity])('CH-58 a capacity of %d is a RangeError that names it', capacity => {
    for (const create of [
      () => Channel.bounded(capacity),
      () => Channel.bounded({ capacity }),
      () => Channel.prioritized({ compare, capacity }),
      () => tee(reader, 2, { capacity }),
      () => fromIterable([], { capacity }),
    ]) {
      expect(create).toThrow(RangeError)
      expect(create).toThrow(`capacity must be an integer ≥ 0, not ${capacity}`)
    }
  })

  it('CH-58 an unknown mode or a missing function is a TypeError that names it', () => {
    const cases: [() => unknown, string][] = [
      [() => Channel.bounded({ capacity: 1, fullMode: 'drop-all' as 'wait' }), 'fullMode'],
      [() => Channel.rendezvous({ fullMode: 'drop-oldest' as 'wait' }), 'fullMode'],
      [() => Channel.prioritized({ compare, fullMode: 'drop-write' as 'wait' }), 'fullMode'],
      [() => Channel.prioritized({} as { compare: typeof compare }), 'compare'],
      [() => Channel.bounded({ capacity: 1, weigh: 3 as unknown as () => number }), 'weigh'],
      [() => Channel.bounded({ capacity: 1, onDrop: 'x' as unknown as () => void }), 'onDrop'],
      [() => Channel.bounded('5' as unknown as number), 'capacity'],
      [() => reader.consume(undefined as unknown as () => void), 'handler'],
      [() => select({ a: reader }, { order: 'shuffled' as 'random' }), 'order'],
      [() => fromEvent(new EventTarget(), 'x', { capacity: 1, fullMode: 'wait' as 'drop-write' }), 'fullMode'],
      [() => createWorkerChannel({ codec: 'xml' as 'json' }), 'codec'],
      [() => openWorkerChannel({ buffer: new SharedArrayBuffer(8_192), name: 'x' }), 'handle'],
    ]
    for (const [create, option] of cases) {
      expect(create).toThrow(TypeError)
      expect(create).toThrow(option)
    }
  })

  it('CH-58 max and concurrency below 1, and times below 0, are RangeErrors', () => {
    for (const [create, option] of [
      [() => reader.batches({ max: 0 }), 'max'],
      [() => reader.batches({ max: 1, maxWaitMs: -1 }), 'maxWaitMs'],
      [() => reader.takeAvailable(0), 'max'],
      [() => reader.consume(() => {}, { concurrency: 0 }), 'concurrency'],
      [() => reader.consume(() => {}, { concurrency: 1.5 }), 'concurrency'],
      [() => select({ a: reader }, { timeoutMs: NaN }), 'timeoutMs'],
      [() => tee(reader, 0), 'branches'],
      [() => createWorkerChannel({ bytes: 0 }), 'bytes'],
    ] as const) {
      expect(create).toThrow(RangeError)
      expect(create).toThrow(option)
    }
  })
})

describe('names and numbers', () => {
  it('a channel without a name is called by its kind and a running number', () => {
    const [first, second] = [Channel.bounded(1).name, Channel.bounded(1).name]
    expect(first).toMatch(/^bounded-\d+$/)
    expect(second).not.toBe(first)
    expect(Channel.prioritized({ compare: () => 0 }).name).toMatch(/^prioritized-\d+$/)
    expect(Channel.unbounded({ name: 'orders' }).name).toBe('orders')
  })

  it('error messages name the channel', async () => {
    const { reader, writer } = Channel.unbounded<number>({ name: 'orders' })
    writer.complete()
    await expect(writer.write(1)).rejects.toThrow('channel "orders" is closed')
    await expect(reader.read()).rejects.toThrow('channel "orders" is closed')
  })

  it('stats tell what is there, who waits, and totals', async () => {
    const channel = Channel.bounded<string>({ capacity: 10, weigh: item => item.length, name: 'words' })
    channel.writer.tryWrite('three')
    channel.writer.tryWrite('four')
    const waiting = [channel.writer.write('blocked'), channel.writer.waitToWrite()]
    expect(channel.stats()).toEqual({
      name: 'words',
      count: 2,
      weight: 9,
      written: 2,
      taken: 0,
      dropped: 0,
      pendingReads: 0,
      pendingWrites: 1,
      waitingToRead: 0,
      waitingToWrite: 1,
    })
    expect(channel.writer.abort()).toEqual(['three', 'four'])
    for (const each of waiting) await expect(each).rejects.toMatchObject({ name: 'AbortError' })
  })

  it('diagnostics_channel tells of drop, first blocked write, room and completion', async () => {
    const seen: [string, ChannelEvent][] = []
    const names = ['drop', 'full', 'room', 'complete']
    const listeners = names.map(name => {
      const listener = (event: unknown): void => {
        const told = event as ChannelEvent
        if (told.name === 'watched') seen.push([name, told])
      }
      subscribe(`buzzer:channels:${name}`, listener)
      return () => unsubscribe(`buzzer:channels:${name}`, listener)
    })
    const waiting = Channel.bounded<number>({ capacity: 1, name: 'watched' })
    waiting.writer.tryWrite(1)
    const writes = [waiting.writer.write(2), waiting.writer.write(3)]
    waiting.reader.takeAvailable()
    await Promise.all(writes)
    const broken = new Error('broken')
    waiting.writer.complete(broken)
    const dropping = Channel.bounded<number>({ capacity: 1, fullMode: 'drop-write', name: 'watched' })
    dropping.writer.tryWrite(1)
    dropping.writer.tryWrite(2)
    for (const stop of listeners) stop()
    dropping.writer.tryWrite(3)
    expect(seen.map(([name]) => name)).toEqual(['full', 'room', 'complete', 'drop'])
    expect(seen[0]?.[1]).toMatchObject({ pendingWrites: 1, count: 1 })
    expect(seen[1]?.[1]).toMatchObject({ pendingWrites: 0, written: 3 })
    expect(seen[2]?.[1]).toMatchObject({ error: broken, taken: 3 })
    expect(seen[3]?.[1]).toMatchObject({ dropped: 1 })
  })
})

describe('custom halves', () => {
  class Numbers extends ChannelReader<number> {
    readonly items: number[] = []
    readonly bell = Channel.unbounded<true>()
    override tryRead(): number | typeof Channel.empty {
      return this.items.shift() ?? Channel.empty
    }
    override async waitToRead(options?: { signal?: AbortSignal }): Promise<boolean> {
      if (this.items.length > 0) return true
      return this.bell.reader.waitToRead(options)
    }
    put(item: number): void {
      this.items.push(item)
      this.bell.writer.tryWrite(true)
      this.bell.reader.takeAvailable()
    }
  }

  class Slots extends ChannelWriter<number> {
    readonly items: number[] = []
    free = 1
    open = true
    readonly bell = Channel.unbounded<true>()
    override tryWrite(item: number): boolean {
      if (!this.open || this.free === 0) return false
      this.free--
      this.items.push(item)
      return true
    }
    override async waitToWrite(options?: { signal?: AbortSignal }): Promise<boolean> {
      if (!this.open) return false
      return this.free > 0 || (await this.bell.reader.waitToRead(options))
    }
    release(): void {
      this.free++
      this.bell.writer.tryWrite(true)
      this.bell.reader.takeAvailable()
    }
  }

  it('CH-38 count of a reader that does not count throws TypeError', () => {
    expect(() => new Numbers().count).toThrow(TypeError)
  })

  it('CH-59 read, readAll, batches, consume and takeAvailable are built on try and wait', async () => {
    const reader = new Numbers()
    const reads = [reader.read(), reader.read()]
    for (const item of [1, 2]) reader.put(item)
    expect(await Promise.all(reads)).toEqual([1, 2])
    reader.items.push(3, 4, 5, 6)
    expect(await reader.batches({ max: 2 }).next()).toEqual({ value: [3, 4], done: false })
    expect(reader.takeAvailable()).toEqual([5, 6])
    reader.items.push(7)
    const handled: number[] = []
    const consuming = reader.consume(item => void handled.push(item))
    await new Promise(resolve => setImmediate(resolve))
    reader.put(8)
    await new Promise(resolve => setImmediate(resolve))
    reader.bell.writer.complete()
    await consuming
    expect(handled).toEqual([7, 8])
    expect(await Array.fromAsync(reader)).toEqual([])
    await expect(reader.read()).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED' })
  })

  it('CH-59 an error of waitToRead is the cause of read and comes raw out of a loop', async () => {
    const reader = new Numbers()
    const broken = new Error('broken')
    const reads = [reader.read(), reader.readAll().next()]
    reader.bell.writer.complete(broken)
    await expect(reads[0]).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED', cause: broken })
    await expect(reads[1]).rejects.toBe(broken)
  })

  it('CH-59 an aborted read of a custom reader leaves no wait behind and loses nothing', async () => {
    const reader = new Numbers()
    const controller = new AbortController()
    const read = reader.read({ signal: controller.signal })
    await Promise.resolve()
    expect(reader.bell.stats().waitingToRead).toBe(1)
    controller.abort(new Error('enough'))
    await expect(read).rejects.toThrow('enough')
    expect(reader.bell.stats().waitingToRead).toBe(0)
    reader.put(1)
    expect(await reader.read()).toBe(1)
  })

  it('CH-59 write waits and tries; closed: ChannelClosedError', async () => {
    const writer = new Slots()
    await writer.write(1)
    const blocked = writer.write(2)
    await new Promise(resolve => setImmediate(resolve))
    expect(writer.items).toEqual([1])
    writer.release()
    await blocked
    expect(writer.items).toEqual([1, 2])
    writer.free = 2
    expect(await writer.writeAll([3, 4])).toBe(2)
    writer.open = false
    await expect(writer.write(5)).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED' })
  })

  it('CH-59 the other defaults: completion never settles, peek is empty, completing does nothing', async () => {
    const reader = new Numbers()
    const writer = new Slots()
    expect(reader.tryPeek()).toBe(Channel.empty)
    expect(reader.completion).toBe(reader.completion)
    expect([reader.closed, writer.closed]).toEqual([false, false])
    expect(writer.tryComplete()).toBe(false)
    expect(() => writer.complete()).toThrow('closed')
    expect(writer.abort()).toEqual([])
  })

  it('CH-59 an exception from a try member becomes a rejection', async () => {
    class Broken extends ChannelReader<number> {
      override tryRead(): number {
        throw new Error('tryRead')
      }
      override async waitToRead(): Promise<boolean> {
        return true
      }
    }
    class BrokenWriter extends ChannelWriter<number> {
      override tryWrite(): boolean {
        throw new Error('tryWrite')
      }
      override async waitToWrite(): Promise<boolean> {
        return true
      }
    }
    const reader = new Broken()
    await expect(reader.read()).rejects.toThrow('tryRead')
    await expect(reader.readAll().next()).rejects.toThrow('tryRead')
    await expect(reader.batches({ max: 2 }).next()).rejects.toThrow('tryRead')
    await expect(reader.consume(() => {})).rejects.toThrow('tryRead')
    await expect(new BrokenWriter().write(1)).rejects.toThrow('tryWrite')
    await expect(new BrokenWriter().writeAll([1])).rejects.toThrow('tryWrite')
  })

  it('a custom reader can be merged and selected from', async () => {
    const reader = new Numbers()
    const channel = Channel.unbounded<number>()
    const selecting = select({ mine: reader, theirs: channel.reader })
    await Promise.resolve()
    reader.put(1)
    expect(await selecting).toEqual({ key: 'mine', value: 1 })
    const merged = merge([reader, channel.reader])
    const reads = [merged.read(), merged.read()]
    reader.put(2)
    channel.writer.tryWrite(3)
    expect((await Promise.all(reads)).toSorted()).toEqual([2, 3])
  })
})

describe('items of every sort', () => {
  const items = [undefined, null, NaN, 0, false, Symbol('s'), thing, ''] as const

  it('CH-60 come out of every member as they went in', async () => {
    for (const item of items) {
      const { reader, writer } = Channel.unbounded<unknown>()
      const put = (times: number): void => {
        for (let time = 0; time < times; time++) writer.tryWrite(item)
      }
      put(6)
      expect(reader.tryPeek()).toBe(item)
      expect(reader.tryRead()).toBe(item)
      expect(await reader.read()).toBe(item)
      expect((await reader.readAll().next()).value).toBe(item)
      expect((await reader.batches({ max: 1 }).next()).value).toEqual([item])
      expect(await select({ only: reader })).toEqual({ key: 'only', value: item })
      expect(reader.takeAvailable()).toEqual([item])
      const read = reader.read()
      const next = reader.readAll().next()
      put(2)
      expect(await read).toBe(item)
      expect((await next).value).toBe(item)
    }
  })

  it('CH-60 Channel.empty as an item is a TypeError', async () => {
    const { reader, writer } = Channel.unbounded<unknown>()
    expect(() => writer.tryWrite(Channel.empty)).toThrow(TypeError)
    await expect(writer.write(Channel.empty)).rejects.toThrow(TypeError)
    expect(reader.count).toBe(0)
  })

  it('CH-60 a promise comes out whole of the try members, loops and consume, while read follows it', async () => {
    const { reader, writer } = Channel.unbounded<Promise<number>>()
    const promise = Promise.resolve(1)
    for (let time = 0; time < 5; time++) writer.tryWrite(promise)
    expect(reader.tryRead()).toBe(promise)
    expect((await reader.readAll().next()).value).toBe(promise)
    expect((await reader.batches({ max: 1 }).next()).value).toEqual([promise])
    expect(await reader.read()).toBe(1)
    writer.complete()
    const handled: unknown[] = []
    await reader.consume(item => void handled.push(item))
    expect(handled).toEqual([promise])
  })
})
