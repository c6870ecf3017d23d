import { EventEmitter, getEventListeners } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { MessageChannel } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import {
  Channel,
  fromEvent,
  fromIterable,
  fromPort,
  fromReadable,
  fromWeb,
  type SourceOptions,
  type SourceReader,
  toPort,
  toWebWritable,
  toWritable,
} from '../index.ts'

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}

interface Source {
  readonly reader: SourceReader<number>
  /** How many items the source was asked for. */
  pulled(): number
  stopped(): boolean
}

type Make = (items: number, failure: Error | undefined, options: SourceOptions) => Source

const pulling: Record<string, Make> = {
  'a generator': (items, failure, options) => {
    let pulled = 0
    let stopped = false
    function* source(): Generator<number> {
      try {
        for (; pulled < items; ) yield pulled++
        if (failure !== undefined) throw failure
      } finally {
        stopped = true
      }
    }
    return { reader: fromIterable(source(), options), pulled: () => pulled, stopped: () => stopped }
  },
  'an async generator': (items, failure, options) => {
    let pulled = 0
    let stopped = false
    async function* source(): AsyncGenerator<number> {
      try {
        for (; pulled < items; ) {
          yield pulled++
          await turns(1)
        }
        if (failure !== undefined) throw failure
      } finally {
        stopped = true
      }
    }
    return { reader: fromIterable(source(), options), pulled: () => pulled, stopped: () => stopped }
  },
  'a Node stream': (items, failure, options) => {
    let pulled = 0
    const stream = new Readable({
      objectMode: true,
      highWaterMark: 1,
      read() {
        if (pulled < items) this.push(pulled++)
        else if (failure === undefined) this.push(null)
        else this.destroy(failure)
      },
    })
    // The stream itself reads one ahead.
    return {
      reader: fromReadable(stream, options),
      pulled: () => Math.max(0, pulled - 1),
      stopped: () => stream.destroyed,
    }
  },
  'a web stream': (items, failure, options) => {
    let pulled = 0
    let stopped = false
    const stream = new ReadableStream<number>(
      {
        pull(controller) {
          if (pulled < items) controller.enqueue(pulled++)
          else if (failure === undefined) controller.close()
          else controller.error(failure)
        },
        cancel() {
          stopped = true
        },
      },
      { highWaterMark: 0 },
    )
    return { reader: fromWeb(stream, options), pulled: () => pulled, stopped: () => stopped }
  },
}

describe.each(Object.entries(pulling))('CH-73 from %s', (name, make) => {
  it('pulls nothing before the first read, then never more than capacity ahead', async () => {
    const { reader, pulled } = make(100, undefined, { capacity: 5 })
    await turns(10)
    expect(pulled()).toBe(0)
    for (let item = 0; item < 20; item++) {
      expect(await reader.read()).toBe(item)
      await turns(10)
      expect(pulled()).toBeLessThanOrEqual(item + 1 + 5)
      expect(reader.count).toBe(5)
    }
    await reader[Symbol.asyncDispose]()
  })

  it('its end completes the channel', async () => {
    const { reader } = make(100, undefined, {})
    expect(await Array.fromAsync(reader)).toEqual([...Array(100).keys()])
    await expect(reader.completion).resolves.toBeUndefined()
  })

  it('its error completes with that error, after the items before it', async () => {
    const failure = new Error('source')
    const { reader } = make(3, failure, {})
    const seen: number[] = []
    const loop = (async () => {
      for await (const item of reader) seen.push(item)
    })()
    await expect(loop).rejects.toBe(failure)
    // A destroyed Node stream drops what it had read ahead.
    expect(seen).toEqual(name === 'a Node stream' ? seen.slice(0, 3) : [0, 1, 2])
    await expect(reader.completion).rejects.toBe(failure)
  })

  it('disposing stops the source and completes the channel; what was read ahead stays', async () => {
    const { reader, stopped } = make(100, undefined, { capacity: 3 })
    expect(await reader.read()).toBe(0)
    await turns(10)
    await reader[Symbol.asyncDispose]()
    await reader[Symbol.asyncDispose]()
    await turns(2)
    expect(stopped()).toBe(true)
    expect(reader.closed).toBe(true)
    expect(await Array.fromAsync(reader)).toEqual([1, 2, 3])
  })

  it('an abort of the signal stops the source and completes the channel', async () => {
    const controller = new AbortController()
    const { reader, stopped } = make(100, undefined, { capacity: 3, signal: controller.signal })
    expect(await reader.read()).toBe(0)
    await turns(10)
    controller.abort()
    await turns(2)
    expect(stopped()).toBe(true)
    expect(reader.closed).toBe(true)
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
    const early = make(100, undefined, { signal: AbortSignal.abort() })
    expect(await Array.fromAsync(early.reader)).toEqual([])
    expect(early.pulled()).toBe(0)
  })

  it('capacity 0 pulls one item for one waiting reader', async () => {
    const { reader, pulled } = make(100, undefined, { capacity: 0 })
    expect(await reader.read()).toBe(0)
    await turns(5)
    expect(pulled()).toBe(1)
    expect(await reader.read()).toBe(1)
    await reader[Symbol.asyncDispose]()
  })
})

async function* stuck(): AsyncGenerator<number> {
  yield 1
  await new Promise(() => {})
}

describe('CH-73 details of the sources', () => {
  it('a Node stream that closes before its end is an error', async () => {
    const stream = new PassThrough({ objectMode: true })
    const reader = fromReadable<number>(stream)
    const read = reader.read()
    await turns(1)
    stream.destroy()
    await expect(read).rejects.toMatchObject({ cause: { code: 'ERR_STREAM_PREMATURE_CLOSE' } })
  })

  it('a Node stream that fails before the first read does not go unheard', async () => {
    const stream = new PassThrough({ objectMode: true })
    const reader = fromReadable<number>(stream)
    stream.destroy(new Error('early'))
    await turns(2)
    await expect(reader.read()).rejects.toMatchObject({ cause: { message: 'early' } })
  })

  it('disposing does not wait for a source that is stuck', async () => {
    const reader = fromIterable(stuck())
    expect(await reader.read()).toBe(1)
    await turns(1)
    await reader[Symbol.asyncDispose]()
    expect(await reader.waitToRead()).toBe(false)
  })

  it('Readable.from and ReadableStream.from take a reader as it is', async () => {
    const { reader, writer } = Channel.unbounded<number>()
    await writer.writeAll([1, 2, 3, 4])
    writer.complete()
    expect(await Readable.from(reader).take(2).toArray()).toEqual([1, 2])
    expect(await Array.fromAsync(ReadableStream.from(reader))).toEqual(expect.arrayContaining([4]))
  })
})

describe('CH-73 fromEvent', () => {
  it.each([
    ['drop-oldest', [3, 4, 5]],
    ['drop-newest', [1, 2, 5]],
    ['drop-write', [1, 2, 3]],
  ] as const)('%s: an emitter cannot wait, so the rest is dropped and told', async (fullMode, kept) => {
    const emitter = new EventEmitter()
    const dropped: number[] = []
    const reader = fromEvent<number>(emitter, 'item', { capacity: 3, fullMode, onDrop: item => dropped.push(item) })
    for (const item of [1, 2, 3, 4, 5]) emitter.emit('item', item)
    expect(reader.takeAvailable()).toEqual(kept)
    expect(dropped).toHaveLength(2)
    await reader[Symbol.asyncDispose]()
    expect(emitter.listenerCount('item')).toBe(0)
  })

  it('endOn completes, error fails, map makes the item, and no listener stays', async () => {
    const emitter = new EventEmitter()
    const options = { capacity: 9, fullMode: 'drop-write', endOn: 'end' } as const
    const ended = fromEvent(emitter, 'item', { ...options, map: (a: number, b: number) => a + b })
    const failed = fromEvent<number>(emitter, 'item', options)
    emitter.emit('item', 1, 2)
    emitter.emit('end', 'ignored')
    emitter.emit('item', 5, 5)
    expect(await Array.fromAsync(ended)).toEqual([3])
    expect(await Array.fromAsync(failed)).toEqual([1])
    const broken = new Error('emitter')
    const again = fromEvent<number>(emitter, 'item', options)
    emitter.emit('item', 1)
    emitter.emit('error', broken)
    expect(await again.read()).toBe(1)
    await expect(again.completion).rejects.toBe(broken)
    expect(emitter.eventNames()).toEqual([])
  })

  it('listens to an EventTarget, and stops with the signal', async () => {
    const target = new EventTarget()
    const controller = new AbortController()
    const reader = fromEvent<Event>(target, 'ping', { capacity: 1, fullMode: 'drop-oldest', signal: controller.signal })
    const event = new Event('ping')
    target.dispatchEvent(event)
    expect(await reader.read()).toBe(event)
    controller.abort()
    target.dispatchEvent(new Event('ping'))
    expect(await Array.fromAsync(reader)).toEqual([])
    expect(getEventListeners(target, 'ping')).toHaveLength(0)
  })
})

describe('CH-73 toWritable', () => {
  it('holds the stream back until the channel has the item; end completes', async () => {
    const { reader, writer } = Channel.bounded<number>(2)
    const stream = toWritable(writer)
    const called: number[] = []
    for (let item = 0; item < 5; item++) stream.write(item, () => called.push(item))
    stream.end()
    await turns(3)
    expect(called).toEqual([0, 1])
    expect(await reader.read()).toBe(0)
    await turns(3)
    expect(called).toEqual([0, 1, 2])
    expect(await Array.fromAsync(reader)).toEqual([1, 2, 3, 4])
  })

  it('destroy(error) completes with the error, a destroy before the end with BUZZER_CHANNEL_SOURCE_CLOSED', async () => {
    const broken = new Error('stream')
    for (const [error, expected] of [
      [broken, broken],
      [undefined, { code: 'BUZZER_CHANNEL_SOURCE_CLOSED' }],
    ] as const) {
      const { reader, writer } = Channel.bounded<number>(1)
      const stream = toWritable(writer)
      stream.on('error', () => {})
      stream.write(1)
      stream.write(2)
      await turns(1)
      stream.destroy(error)
      await turns(1)
      expect(await reader.read()).toBe(1)
      await expect(reader.completion).rejects.toMatchObject(expected)
    }
  })

  it('a closed channel fails the stream', async () => {
    const { writer } = Channel.bounded<number>(1)
    const stream = toWritable(writer)
    const failed = new Promise(resolve => stream.once('error', resolve))
    writer.complete()
    stream.write(1)
    expect(await failed).toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED' })
  })

  it('a pipe through a channel keeps every chunk', async () => {
    const { reader, writer } = Channel.bounded<number>(3)
    Readable.from(Array(1_000).keys()).pipe(toWritable(writer))
    expect(await Array.fromAsync(reader)).toEqual([...Array(1_000).keys()])
  })
})

describe('CH-73 toWebWritable', () => {
  it('a write is done when the channel has the item; close completes', async () => {
    const { reader, writer } = Channel.bounded<number>(1)
    const stream = toWebWritable(writer).getWriter()
    const done: number[] = []
    const writes = [0, 1].map(item => stream.write(item).then(() => done.push(item)))
    await turns(2)
    expect(done).toEqual([0])
    expect(await reader.read()).toBe(0)
    await Promise.all(writes)
    await stream.close()
    expect(await Array.fromAsync(reader)).toEqual([1])
  })

  it('abort completes with the reason and takes back a blocked write', async () => {
    const { reader, writer } = Channel.bounded<number>(1)
    const stream = toWebWritable(writer).getWriter()
    const reason = new Error('enough')
    const writes = [stream.write(0), stream.write(1)].map(write => write.catch((error: unknown) => error))
    await turns(1)
    await stream.abort(reason)
    expect(await writes[1]).toBe(reason)
    expect(await reader.read()).toBe(0)
    await expect(reader.completion).rejects.toBe(reason)
  })

  it('a closed channel fails the stream', async () => {
    const { writer } = Channel.bounded<number>(1)
    writer.complete()
    const stream = toWebWritable(writer).getWriter()
    stream.closed.catch(() => {})
    await expect(stream.write(1)).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED' })
  })
})

describe('CH-73 ports', () => {
  it('without credit tryWrite is false; the reader grants capacity and again as it reads', async () => {
    const { port1, port2 } = new MessageChannel()
    const reader = fromPort<number>(port1, { capacity: 10 })
    const writer = toPort<number>(port2)
    await turns(3)
    expect(writer.tryWrite(0)).toBe(false)
    const first = reader.read()
    expect(await writer.waitToWrite()).toBe(true)
    let written = 0
    while (writer.tryWrite(written)) written++
    expect(written).toBe(10)
    expect(await first).toBe(0)
    const writing = writer
      .writeAll(Array.from({ length: 1_000 }, (_, index) => 10 + index))
      .then(() => writer.complete())
    for (let item = 1; item < 1_010; item++) {
      expect(await reader.read()).toBe(item)
      expect(reader.count).toBeLessThanOrEqual(10)
    }
    await writing
    expect(await Array.fromAsync(reader)).toEqual([])
    port1.close()
  })

  it('any cloneable item travels, and one port carries both directions', async () => {
    const { port1, port2 } = new MessageChannel()
    const there = { reader: fromPort<unknown>(port2), writer: toPort<unknown>(port1) }
    const back = { reader: fromPort<unknown>(port1), writer: toPort<unknown>(port2) }
    const echo = there.reader.consume(item => back.writer.write(item))
    const items = [new Map([[1, new Date(0)]]), undefined, null, 10n, new Uint8Array([1, 2])]
    const echoed = back.reader.batches({ max: 5, maxWaitMs: Infinity }).next()
    for (const item of items) await there.writer.write(item)
    expect((await echoed).value).toEqual(items)
    there.writer.complete()
    await echo
    port1.close()
  })

  it('an error follows the items; one that cannot be cloned is told by its text', async () => {
    for (const error of [new Error('broken'), () => 'broken']) {
      const { port1, port2 } = new MessageChannel()
      const reader = fromPort<number>(port1)
      const writer = toPort<number>(port2)
      const first = reader.read()
      await writer.write(1)
      writer.complete(error)
      expect(await first).toBe(1)
      await expect(reader.completion).rejects.toThrow('broken')
      port1.close()
    }
  })

  it('an item that cannot be cloned fails the channel', async () => {
    const { port1, port2 } = new MessageChannel()
    const reader = fromPort<unknown>(port1)
    const writer = toPort<unknown>(port2)
    const read = reader.read().catch((error: unknown) => error)
    await writer.write(() => {})
    expect(await read).toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED', cause: { name: 'DataCloneError' } })
    await expect(writer.write(1)).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED' })
    port1.close()
  })

  it('a reader that lets go turns the writer away; a port that closes is an error at both ends', async () => {
    const gone = new MessageChannel()
    const reader = fromPort<number>(gone.port1)
    const writer = toPort<number>(gone.port2)
    const blocked = writer.write(1)
    await reader[Symbol.asyncDispose]()
    await expect(blocked).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED' })
    expect(await reader.waitToRead()).toBe(false)
    gone.port1.close()

    const closed = new MessageChannel()
    const read = fromPort<number>(closed.port1).read()
    const write = toPort<number>(closed.port2).waitToWrite()
    await write
    const wait = toPort<number>(closed.port2)
    const waiting = wait.waitToWrite()
    closed.port1.close()
    await expect(read).rejects.toMatchObject({ cause: { code: 'BUZZER_CHANNEL_SOURCE_CLOSED' } })
    await expect(waiting).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_PEER_LOST' })
  })
})
