import { describe, expect, it } from 'vitest'
import { Channel, ChannelClosedError } from './index.ts'

const kinds: [string, () => Channel<number>][] = [
  ['bounded', () => Channel.bounded<number>(10)],
  ['bounded, capacity 1', () => Channel.bounded<number>(1)],
  ['weighed', () => Channel.bounded<number>({ capacity: 10, weigh: () => 1 })],
  ['unbounded', () => Channel.unbounded<number>()],
  ['prioritized', () => Channel.prioritized<number>({ compare: (a, b) => a - b })],
  ['prioritized and bounded', () => Channel.prioritized<number>({ compare: (a, b) => a - b, capacity: 10 })],
]
const allKinds: typeof kinds = [...kinds, ['rendezvous', () => Channel.rendezvous<number>()]]

/** What a promise is after all reactions that are due have run. */
async function stateOf(promise: Promise<unknown>): Promise<'pending' | 'resolved' | 'rejected'> {
  let state: 'pending' | 'resolved' | 'rejected' = 'pending'
  promise.then(
    () => (state = 'resolved'),
    () => (state = 'rejected'),
  )
  for (let tick = 0; tick < 20; tick++) await Promise.resolve()
  return state
}

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    value => expect.fail(`resolved to ${String(value)}`),
    (error: unknown) => error,
  )
}

describe.each(allKinds)('completion of a channel: %s', (_, create) => {
  it('CH-1 reader and writer are the same objects every time', () => {
    const channel = create()
    expect(channel.reader).toBe(channel.reader)
    expect(channel.writer).toBe(channel.writer)
  })

  it('CH-2 completion is always the same promise: pending while open, then resolved', async () => {
    const { reader, writer } = create()
    const before = reader.completion
    expect(await stateOf(before)).toBe('pending')
    writer.complete()
    expect(reader.completion).toBe(before)
    expect(await stateOf(before)).toBe('resolved')
  })

  it('CH-3 complete on an empty channel resolves completion', async () => {
    const { reader, writer } = create()
    writer.complete()
    await expect(reader.completion).resolves.toBeUndefined()
  })

  it('CH-5 complete rejects a blocked read and resolves completion first', async () => {
    const { reader, writer } = create()
    const order: string[] = []
    const completion = reader.completion.then(() => order.push('completion'))
    const read = reader.read().catch((error: unknown) => {
      order.push('read')
      return error
    })
    writer.complete()
    expect(await read).toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED', retryable: false, name: 'ChannelClosedError' })
    await completion
    expect(order).toEqual(['completion', 'read'])
  })

  it('CH-6 complete on a closed channel throws', () => {
    const { writer } = create()
    writer.complete()
    expect(() => writer.complete()).toThrow(ChannelClosedError)
    expect(writer.closed).toBe(true)
  })

  it('CH-7 tryComplete answers true, then false', () => {
    const { writer } = create()
    expect([writer.tryComplete(), writer.tryComplete(), writer.tryComplete()]).toEqual([true, false, false])
  })

  it('CH-8 tryComplete(error) rejects completion with it', async () => {
    const { reader, writer } = create()
    const error = new Error('broken')
    writer.tryComplete(error)
    expect(await rejection(reader.completion)).toBe(error)
  })

  it('CH-9 complete(error) rejects completion with the identical object, whatever it is', async () => {
    for (const error of [new Error('broken'), null, 0, '', false, Symbol('s')]) {
      const { reader, writer } = create()
      writer.complete(error)
      expect(await rejection(reader.completion)).toBe(error)
    }
  })

  it('CH-10 write after complete(error) rejects ChannelClosedError with the error as cause', async () => {
    const { writer } = create()
    const error = new Error('broken')
    writer.complete(error)
    const rejected = await rejection(writer.write(1))
    expect(rejected).toBeInstanceOf(ChannelClosedError)
    expect((rejected as Error).cause).toBe(error)
  })

  it('CH-11 waitToRead and waitToWrite after complete(error) reject with the raw error', async () => {
    const { reader, writer } = create()
    const error = new Error('broken')
    const waiting = [reader.waitToRead(), reader.waitToRead({ signal: new AbortController().signal })]
    writer.complete(error)
    for (const wait of [...waiting, reader.waitToRead(), writer.waitToWrite()]) {
      expect(await rejection(wait)).toBe(error)
    }
  })

  it('CH-12 read after complete(error) rejects ChannelClosedError with the error as cause', async () => {
    const { reader, writer } = create()
    const error = new Error('broken')
    writer.complete(error)
    const rejected = await rejection(reader.read())
    expect(rejected).toBeInstanceOf(ChannelClosedError)
    expect((rejected as Error).cause).toBe(error)
    expect((rejected as Error).message).toContain('broken')
  })

  it('CH-13 read rejects ChannelClosedError, closed before or while reading', async () => {
    const { reader, writer } = create()
    const blocked = reader.read()
    writer.complete()
    expect(await rejection(blocked)).toBeInstanceOf(ChannelClosedError)
    expect(await rejection(reader.read())).toBeInstanceOf(ChannelClosedError)
  })

  it('an AbortError is never wrapped', async () => {
    const { reader, writer } = create()
    const blocked = reader.read()
    const reason = new DOMException('enough', 'AbortError')
    writer.complete(reason)
    for (const each of [blocked, reader.read(), writer.write(1), reader.completion, reader.waitToRead()]) {
      expect(await rejection(each)).toBe(reason)
    }
  })

  it('CH-16 waitToRead on a closed and empty channel answers false', async () => {
    const { reader, writer } = create()
    writer.complete()
    expect(await reader.waitToRead()).toBe(false)
  })

  it('CH-17 waitToRead answers false when the channel is completed meanwhile', async () => {
    const { reader, writer } = create()
    const waiting = [reader.waitToRead(), reader.waitToRead({ signal: new AbortController().signal })]
    writer.complete()
    expect(await Promise.all(waiting)).toEqual([false, false])
  })

  it('CH-18 waitToWrite on a closed channel answers false', async () => {
    const { writer } = create()
    writer.complete()
    expect(await writer.waitToWrite()).toBe(false)
  })

  it('CH-22 try calls on a closed channel answer empty and false', () => {
    const { reader, writer } = create()
    writer.complete()
    expect(reader.tryRead()).toBe(Channel.empty)
    expect(reader.tryPeek()).toBe(Channel.empty)
    expect(writer.tryWrite(1)).toBe(false)
  })

  it('CH-24 write on a closed channel rejects', async () => {
    const { writer } = create()
    writer.complete()
    expect(await rejection(writer.write(1))).toBeInstanceOf(ChannelClosedError)
  })

  it('CH-46 reactions of completion run after tryComplete returned', async () => {
    const { reader, writer } = create()
    const order: string[] = []
    const reaction = reader.completion.then(() => order.push('reaction'))
    writer.tryComplete()
    order.push('returned')
    await reaction
    expect(order).toEqual(['returned', 'reaction'])
  })

  it('disposing the writer completes, disposing the channel aborts', async () => {
    const written = create()
    written.writer[Symbol.dispose]()
    written.writer[Symbol.dispose]()
    await expect(written.reader.completion).resolves.toBeUndefined()
    const aborted = create()
    await aborted[Symbol.asyncDispose]()
    await aborted[Symbol.asyncDispose]()
    expect(await rejection(aborted.reader.completion)).toMatchObject({ name: 'AbortError' })
  })
})

describe.each(kinds)('items left at the end: %s', (_, create) => {
  it('CH-4 completion is pending until the buffered item is read', async () => {
    const { reader, writer } = create()
    writer.tryWrite(1)
    writer.complete()
    expect(await stateOf(reader.completion)).toBe('pending')
    expect(reader.closed).toBe(true)
    expect(reader.tryRead()).toBe(1)
    expect(await stateOf(reader.completion)).toBe('resolved')
  })

  it('CH-14 waitToRead with an item there answers true', async () => {
    const { reader, writer } = create()
    writer.tryWrite(1)
    expect(await reader.waitToRead()).toBe(true)
  })

  it('CH-15 waitToRead waits for a write', async () => {
    const { reader, writer } = create()
    const waiting = [reader.waitToRead(), reader.waitToRead({ signal: new AbortController().signal })]
    expect(await stateOf(Promise.race(waiting))).toBe('pending')
    writer.tryWrite(1)
    expect(await Promise.all(waiting)).toEqual([true, true])
  })

  it('CH-23 tryPeek shows what tryRead takes, also when closed', () => {
    for (const close of [false, true]) {
      const { reader, writer } = create()
      writer.tryWrite(42)
      if (close) writer.complete()
      expect([reader.tryPeek(), reader.tryPeek(), reader.tryRead()]).toEqual([42, 42, 42])
      expect([reader.tryPeek(), reader.tryRead()]).toEqual([Channel.empty, Channel.empty])
    }
  })

  it('CH-45 a write wakes waitToRead and the item is buffered', async () => {
    const { reader, writer } = create()
    const waiting = reader.waitToRead()
    expect(writer.tryWrite(7)).toBe(true)
    expect(reader.count).toBe(1)
    expect(await waiting).toBe(true)
    expect(reader.tryRead()).toBe(7)
  })

  it('abort empties the buffer, returns it in order and settles completion at once', async () => {
    const { reader, writer } = create()
    writer.tryWrite(1)
    const error = new Error('stop')
    expect(writer.abort(error)).toEqual([1])
    expect(reader.tryRead()).toBe(Channel.empty)
    expect(await rejection(reader.completion)).toBe(error)
    expect(writer.abort()).toEqual([])
  })

  it('abort after complete drops what is left and keeps the outcome of complete', async () => {
    const { reader, writer } = create()
    writer.tryWrite(1)
    writer.complete()
    expect(writer.abort(new Error('late'))).toEqual([1])
    await expect(reader.completion).resolves.toBeUndefined()
  })
})

describe('completion and blocked writes', () => {
  it('complete rejects blocked writes, and their items are never delivered', async () => {
    const { reader, writer } = Channel.bounded<number>(1)
    writer.tryWrite(1)
    const blocked = writer.write(2)
    writer.complete()
    expect(await rejection(blocked)).toBeInstanceOf(ChannelClosedError)
    expect([reader.tryRead(), reader.tryRead()]).toEqual([1, Channel.empty])
  })

  it('a rendezvous has nothing to read after completion', async () => {
    const { reader, writer } = Channel.rendezvous<number>()
    const blocked = writer.write(1)
    writer.complete()
    expect(reader.tryRead()).toBe(Channel.empty)
    expect(await rejection(blocked)).toBeInstanceOf(ChannelClosedError)
  })

  it('items come before the error', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    writer.tryWrite(1)
    writer.complete(new Error('broken'))
    expect(await reader.waitToRead()).toBe(true)
    expect(await reader.read()).toBe(1)
    expect(await rejection(reader.read())).toBeInstanceOf(ChannelClosedError)
  })

  it('CH-47 completion is pending until the tenth of ten items is read', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    for (let item = 0; item < 10; item++) writer.tryWrite(item)
    writer.complete()
    for (let item = 0; item < 10; item++) {
      expect(await stateOf(reader.completion)).toBe('pending')
      expect(await reader.read()).toBe(item)
    }
    expect(await stateOf(reader.completion)).toBe('resolved')
  })

  it('abort does not return the items of blocked writes', async () => {
    const { writer } = Channel.bounded<number>(2)
    writer.tryWrite(1)
    writer.tryWrite(2)
    const blocked = writer.write(3)
    expect(writer.abort()).toEqual([1, 2])
    expect(await rejection(blocked)).toMatchObject({ name: 'AbortError' })
  })

  it('CH-61 a failed channel that nobody awaits raises no unhandled rejection', async () => {
    const seen: unknown[] = []
    const listen = (error: unknown): void => void seen.push(error)
    process.on('unhandledRejection', listen)
    const { reader, writer } = Channel.unbounded<number>()
    void reader.completion
    writer.complete(new Error('nobody cares'))
    Channel.unbounded().writer.complete(new Error('nobody even looked'))
    await new Promise(resolve => setImmediate(resolve))
    process.off('unhandledRejection', listen)
    expect(seen).toEqual([])
  })
})
