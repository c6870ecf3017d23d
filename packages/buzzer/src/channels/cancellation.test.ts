import { getEventListeners } from 'node:events'
import { describe, expect, it } from 'vitest'
import { Channel, type WaitOptions } from './index.ts'

const kinds: [string, () => Channel<number>][] = [
  ['bounded', () => Channel.bounded<number>(1)],
  ['weighed', () => Channel.bounded<number>({ capacity: 1, weigh: () => 1 })],
  ['unbounded', () => Channel.unbounded<number>()],
  ['prioritized', () => Channel.prioritized<number>({ compare: (a, b) => a - b })],
  ['rendezvous', () => Channel.rendezvous<number>()],
]

const reason = new Error('enough')
const aborted = AbortSignal.abort(reason)

function listenersOf(signal: AbortSignal): number {
  return getEventListeners(signal, 'abort').length
}

describe.each(kinds)('cancellation: %s', (_, create) => {
  it('CH-25 an aborted signal: write, waitToWrite and writeAll reject, nothing is stored', async () => {
    const { reader, writer } = create()
    await expect(writer.write(1, { signal: aborted })).rejects.toBe(reason)
    await expect(writer.waitToWrite({ signal: aborted })).rejects.toBe(reason)
    await expect(writer.writeAll([1], { signal: aborted })).rejects.toBe(reason)
    expect(reader.count).toBe(0)
    expect(reader.tryRead()).toBe(Channel.empty)
  })

  it('CH-26 an aborted signal: every reading member rejects, with and without data, open and closed', async () => {
    const { reader, writer } = create()
    const members: ((options: WaitOptions) => Promise<unknown>)[] = [
      options => reader.waitToRead(options),
      options => reader.read(options),
      options => reader.readAll(options).next(),
      options => reader.batches({ max: 2, ...options }).next(),
      options => reader.consume(() => {}, options),
    ]
    const check = async (): Promise<void> => {
      for (const member of members) await expect(member({ signal: aborted })).rejects.toBe(reason)
    }
    await check()
    const written = writer.write(1).catch(() => {})
    await check()
    writer.tryComplete()
    await check()
    writer.abort()
    await check()
    await written
  })

  it('CH-27 waitToRead rejects with the reason when aborted while it waits', async () => {
    const { reader } = create()
    const controller = new AbortController()
    const waiting = reader.waitToRead({ signal: controller.signal })
    controller.abort(reason)
    await expect(waiting).rejects.toBe(reason)
  })

  it('CH-28 an aborted read loses nothing: the next read gets the item', async () => {
    const { reader, writer } = create()
    const controller = new AbortController()
    const read = reader.read({ signal: controller.signal })
    controller.abort(reason)
    await expect(read).rejects.toBe(reason)
    const next = reader.read()
    expect(writer.tryWrite(42)).toBe(true)
    expect(await next).toBe(42)
  })

  it('CH-29 five aborted reads, then seven rounds: each read gets its own value', async () => {
    const { reader, writer } = create()
    const controllers = Array.from({ length: 5 }, () => new AbortController())
    const dead = controllers.map(({ signal }) => reader.read({ signal }).catch((error: unknown) => error))
    for (const controller of controllers) controller.abort(reason)
    for (let round = 0; round < 7; round++) {
      const read = reader.read()
      await writer.write(round)
      expect(await read).toBe(round)
    }
    expect(await Promise.all(dead)).toEqual(Array.from({ length: 5 }, () => reason))
  })

  it('CH-30 no abort listener is left once an operation has settled, whichever way', async () => {
    const { reader, writer } = create()
    const controller = new AbortController()
    const { signal } = controller
    const options = { signal }

    const read = reader.read(options)
    expect(listenersOf(signal)).toBe(1)
    await writer.write(1, options)
    await read
    expect(listenersOf(signal)).toBe(0)

    const iterator = reader.readAll(options)
    const next = iterator.next()
    expect(listenersOf(signal)).toBe(1)
    await iterator.return?.()
    expect(await next).toEqual({ value: undefined, done: true })
    expect(listenersOf(signal)).toBe(0)

    const batch = reader.batches({ max: 3, maxWaitMs: Infinity, signal })
    const firstBatch = batch.next()
    expect(listenersOf(signal)).toBe(1)
    await batch.return?.()
    await firstBatch
    expect(listenersOf(signal)).toBe(0)

    const waiting = [reader.waitToRead(options), reader.read(options), reader.consume(() => {}, options)]
    expect(listenersOf(signal)).toBe(3)
    writer.complete()
    await Promise.allSettled(waiting)
    expect(listenersOf(signal)).toBe(0)
  })
})

describe('cancellation of writes', () => {
  it('an aborted blocked write leaves the line, and its item never shows', async () => {
    const { reader, writer } = Channel.bounded<number>(1)
    const controller = new AbortController()
    writer.tryWrite(1)
    const second = writer.write(2, { signal: controller.signal })
    const third = writer.write(3)
    controller.abort(reason)
    await expect(second).rejects.toBe(reason)
    expect(listenersOf(controller.signal)).toBe(0)
    expect(reader.takeAvailable()).toEqual([1, 3])
    await third
  })

  it('an aborted heavy write lets the light ones behind it in', async () => {
    const channel = Channel.bounded<number>({ capacity: 6, weigh: item => item })
    const controller = new AbortController()
    channel.writer.tryWrite(3)
    const heavy = channel.writer.write(5, { signal: controller.signal })
    const light = channel.writer.write(2)
    expect(channel.writer.tryWrite(1)).toBe(false)
    controller.abort(reason)
    await expect(heavy).rejects.toBe(reason)
    await light
    expect(channel.stats()).toMatchObject({ count: 2, weight: 5, pendingWrites: 0 })
  })

  it('an aborted heavy write that was alone wakes those who wait for room', async () => {
    const { writer } = Channel.bounded<number>({ capacity: 6, weigh: item => item })
    const controller = new AbortController()
    writer.tryWrite(3)
    const heavy = writer.write(5, { signal: controller.signal })
    const waiting = writer.waitToWrite()
    controller.abort(reason)
    await expect(heavy).rejects.toBe(reason)
    expect(await waiting).toBe(true)
  })

  it('an abort after the item was handed over changes nothing', async () => {
    const { reader, writer } = Channel.bounded<number>(1)
    const controller = new AbortController()
    const read = reader.read({ signal: controller.signal })
    writer.tryWrite(1)
    controller.abort(reason)
    expect(await read).toBe(1)
  })

  it('the middle one of three blocked reads can go', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    const controller = new AbortController()
    const first = reader.read()
    const second = reader.read({ signal: controller.signal })
    const third = reader.read()
    controller.abort(reason)
    writer.tryWrite(1)
    writer.tryWrite(2)
    expect(await Promise.all([first, third])).toEqual([1, 2])
    await expect(second).rejects.toBe(reason)
  })

  it('writeAll closes an async source that is aborted while it is waited for', async () => {
    const { writer } = Channel.unbounded<number>()
    const controller = new AbortController()
    let closed = false
    const source: AsyncIterable<number> = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise(() => {}),
        return: async () => {
          closed = true
          return { value: undefined, done: true }
        },
      }),
    }
    const writing = writer.writeAll(source, { signal: controller.signal })
    await Promise.resolve()
    controller.abort(reason)
    await expect(writing).rejects.toBe(reason)
    expect(closed).toBe(true)
    expect(listenersOf(controller.signal)).toBe(0)
  })

  it('writeAll stops at the first rejection, closes the source and tells how many otherwise', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    let closed = false
    function* source(): Generator<number> {
      try {
        yield 1
        yield 2
        writer.complete()
        yield 3
      } finally {
        closed = true
      }
    }
    await expect(writer.writeAll(source())).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED' })
    expect(closed).toBe(true)
    expect(reader.takeAvailable()).toEqual([1, 2])
    const other = Channel.unbounded<number>()
    expect(await other.writer.writeAll([1, 2, 3])).toBe(3)
    expect(other.writer.closed).toBe(false)
  })
})
