import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, it } from 'vitest'
import type * as room from '../index.ts'
import { Channel, type Codec, createWorkerChannel, openWorkerChannel, type WorkerChannelHandle } from '../index.ts'

type Room = typeof room
interface Given {
  readonly handle: WorkerChannelHandle
  readonly back: WorkerChannelHandle
}

const workers: Worker[] = []

/** Runs `job` in a thread of its own. It sees its arguments only. */
function inWorker(job: (room: Room, given: Given) => Promise<unknown> | void, given: Partial<Given>): Worker {
  const code = `
    const { workerData } = require('node:worker_threads')
    import(workerData.room).then(room => (${job.toString()})(room, workerData.given))`
  const worker = new Worker(code, {
    eval: true,
    execArgv: ['--conditions=buzzer-source'],
    workerData: { room: new URL('../index.ts', import.meta.url).href, given },
  })
  // Some die on purpose.
  worker.on('error', () => {})
  workers.push(worker)
  return worker
}

afterEach(async () => {
  await Promise.all(workers.splice(0).map(worker => worker.terminate()))
})

describe('a worker channel in one thread', () => {
  it('carries items of each codec', async () => {
    const bytes: Codec<number> = {
      encode: item => new Uint8Array([item]),
      decode: given => given[0] ?? -1,
    }
    const json = createWorkerChannel<unknown>()
    const text = createWorkerChannel<string>({ codec: 'text' })
    const raw = createWorkerChannel<Uint8Array>({ codec: 'bytes' })
    const own = createWorkerChannel<number>({ codec: bytes })
    await json.writer.write({ a: [1, null, 'ü'] })
    await text.writer.write('žluťoučký 🐎')
    await text.writer.write('')
    await raw.writer.write(new Uint8Array([1, 2, 3]))
    await own.writer.write(7)
    expect(json.reader.tryPeek()).toEqual({ a: [1, null, 'ü'] })
    expect(await json.reader.read()).toEqual({ a: [1, null, 'ü'] })
    expect(text.reader.takeAvailable()).toEqual(['žluťoučký 🐎', ''])
    expect(raw.reader.tryRead()).toEqual(new Uint8Array([1, 2, 3]))
    expect(own.reader.tryRead()).toBe(7)
    expect(() => json.writer.tryWrite(undefined)).toThrow(TypeError)
    expect(() => json.writer.tryWrite(Channel.empty)).toThrow(TypeError)
  })

  it('full means no room for the encoded item; count is the number of messages; a larger one is a RangeError', async () => {
    const { reader, writer } = createWorkerChannel<string>({ bytes: 64, codec: 'text' })
    expect(writer.tryWrite('x'.repeat(28))).toBe(true)
    expect(writer.tryWrite('y'.repeat(28))).toBe(true)
    expect(writer.tryWrite('')).toBe(false)
    expect(reader.count).toBe(2)
    const writes = ['a', 'b'.repeat(60), 'c'].map(item => writer.write(item))
    expect(writer.tryWrite('')).toBe(false)
    const items: string[] = []
    for (let index = 0; index < 5; index++) items.push(await reader.read())
    expect(items.map(item => item[0])).toEqual(['x', 'y', 'a', 'b', 'c'])
    await Promise.all(writes)
    expect(() => writer.tryWrite('z'.repeat(61))).toThrow(RangeError)
    await expect(writer.write('z'.repeat(61))).rejects.toThrow(RangeError)
  })

  it('completes, with and without error, after the items that are there', async () => {
    for (const error of [undefined, new Error('broken')]) {
      const { reader, writer } = createWorkerChannel<number>()
      await writer.write(1)
      const completion = reader.completion
      writer.complete(error)
      expect(() => writer.complete()).toThrow('closed')
      expect([writer.tryComplete(), writer.tryWrite(2), writer.closed, reader.closed]).toEqual([
        false,
        false,
        true,
        true,
      ])
      expect(await reader.read()).toBe(1)
      await expect(reader.read()).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED' })
      if (error === undefined) {
        await completion
        expect(await reader.waitToRead()).toBe(false)
        expect(await writer.waitToWrite()).toBe(false)
      } else {
        await expect(completion).rejects.toBe(error)
        await expect(reader.waitToRead()).rejects.toBe(error)
        await expect(writer.write(1)).rejects.toMatchObject({ cause: error })
      }
    }
  })

  it('abort empties the ring, returns what was in it and rejects blocked writes', async () => {
    const { reader, writer } = createWorkerChannel<string>({ bytes: 64, codec: 'text' })
    await writer.write('x'.repeat(40))
    const blocked = writer.write('y'.repeat(40))
    const reason = new Error('stop')
    const read = reader.completion
    expect(writer.abort(reason)).toEqual(['x'.repeat(40)])
    await expect(blocked).rejects.toMatchObject({ cause: reason })
    await expect(read).rejects.toBe(reason)
    expect(reader.tryRead()).toBe(Channel.empty)
  })

  it('abort after complete drops what is left and keeps the outcome of complete', async () => {
    const { reader, writer } = createWorkerChannel<number>()
    await writer.writeAll([1, 2])
    writer.complete()
    expect(reader.tryRead()).toBe(1)
    expect(writer.abort()).toEqual([2])
    await reader.completion
    expect([reader.tryRead(), reader.count, writer.abort()]).toEqual([Channel.empty, 0, []])
  })

  it('cancellation loses nothing and lets the next in line through', async () => {
    const { reader, writer } = createWorkerChannel<string>({ bytes: 64, codec: 'text' })
    const reason = new Error('enough')
    const controller = new AbortController()
    const { signal } = controller
    const read = reader.read({ signal })
    await writer.write('x'.repeat(20))
    expect(await read).toBe('x'.repeat(20))
    await writer.write('x'.repeat(20))
    const heavy = writer.write('y'.repeat(60), { signal })
    const light = writer.write('z')
    controller.abort(reason)
    await expect(heavy).rejects.toBe(reason)
    await light
    expect(reader.takeAvailable().map(item => item[0])).toEqual(['x', 'z'])
    await expect(reader.read({ signal })).rejects.toBe(reason)
    await expect(reader.waitToRead({ signal })).rejects.toBe(reason)
    await expect(writer.waitToWrite({ signal })).rejects.toBe(reason)
  })

  it('a decoder that throws loses that message only', async () => {
    const { reader, writer } = createWorkerChannel<number>({
      codec: {
        encode: item => new Uint8Array([item]),
        decode: ([item = 0]) => {
          if (item === 1) throw new Error('bad item')
          return item
        },
      },
    })
    await writer.writeAll([1, 2])
    await expect(reader.read()).rejects.toThrow('bad item')
    expect(await reader.read()).toBe(2)
  })
})

describe('between threads', () => {
  it('CH-74 4 KiB: a million messages of 0 to 2,000 bytes, whole and in order, over wrap-around and 2³²', async () => {
    const total = 1_000_000
    const { handle, reader } = createWorkerChannel<Uint8Array>({ bytes: 4_096, codec: 'bytes' })
    // Both indexes stand just before their overflow.
    const words = new Int32Array(handle.buffer)
    words[64] = words[96] = -400_000_000
    inWorker(
      async ({ openWorkerChannel }, given) => {
        const { writer } = openWorkerChannel<Uint8Array>(given.handle, { codec: 'bytes' })
        const patterns = Array.from({ length: 256 }, (_, byte) => new Uint8Array(2_000).fill(byte))
        for (let index = 0; index < 1_000_000; index++) {
          const item = (patterns[index & 255] as Uint8Array).subarray(0, (index * 7) % 2_001)
          if (!writer.tryWrite(item)) await writer.write(item)
        }
        writer.complete()
      },
      { handle },
    )
    const patterns = Array.from({ length: 256 }, (_, byte) => Buffer.alloc(2_000, byte))
    let index = 0
    await reader.consume(item => {
      const expected = (patterns[index & 255] as Buffer).subarray(0, (index * 7) % 2_001)
      if (!expected.equals(item)) throw new Error(`message ${index} is not what was written`)
      index++
    })
    expect(index).toBe(total)
    expect(words[64]).toBeGreaterThan(0)
  }, 120_000)

  it('a waiting reader and a waiting writer wake each other: ping-pong', async () => {
    const there = createWorkerChannel<number>({ bytes: 64 })
    const back = createWorkerChannel<number>({ bytes: 64 })
    inWorker(
      async ({ openWorkerChannel }, given) => {
        const { reader } = openWorkerChannel<number>(given.handle)
        const { writer } = openWorkerChannel<number>(given.back)
        for await (const item of reader) await writer.write(item * 2)
        writer.complete()
      },
      { handle: there.handle, back: back.handle },
    )
    for (let item = 0; item < 1_000; item++) {
      await there.writer.write(item)
      expect(await back.reader.read()).toBe(item * 2)
    }
    there.writer.complete()
    await back.reader.completion
  })

  it("an error crosses as an Error of the same name, message and code; the writer's abort drops unread items", async () => {
    const failed = createWorkerChannel<number>()
    const aborted = createWorkerChannel<number>()
    inWorker(
      async ({ openWorkerChannel }, given) => {
        const { writer } = openWorkerChannel<number>(given.handle)
        await writer.write(1)
        writer.complete(Object.assign(new RangeError('too far'), { code: 'E_FAR' }))
        const other = openWorkerChannel<number>(given.back)
        await other.writer.write(1)
        other.writer.abort()
      },
      { handle: failed.handle, back: aborted.handle },
    )
    await expect(Array.fromAsync(failed.reader)).rejects.toMatchObject({
      name: 'RangeError',
      message: 'too far',
      code: 'E_FAR',
    })
    await expect(aborted.reader.completion).rejects.toMatchObject({ name: 'AbortError' })
    expect(aborted.reader.tryRead()).toBe(Channel.empty)
  })

  it('a second thread on one side throws BUZZER_CHANNEL_SIDE_TAKEN', async () => {
    const { handle, reader, writer } = createWorkerChannel<string>()
    expect(reader.tryRead()).toBe(Channel.empty)
    inWorker(
      async ({ openWorkerChannel }, given) => {
        const channel = openWorkerChannel<string>(given.handle)
        const told = await channel.reader.read().catch((error: Error) => error)
        await channel.writer.write(told instanceof Error ? told.message : told)
      },
      { handle },
    )
    expect(await reader.read()).toMatch(/thread 0 is the reader of worker channel "worker-/)
    expect(() => writer.tryWrite('no')).toThrow(expect.objectContaining({ code: 'BUZZER_CHANNEL_SIDE_TAKEN' }) as Error)
  })

  it('disposing says goodbye to the peer', async () => {
    const { handle, writer } = createWorkerChannel<string>({ bytes: 64 })
    inWorker(
      async ({ openWorkerChannel }, given) => {
        const channel = openWorkerChannel<string>(given.handle)
        await channel.reader.read()
        await channel[Symbol.asyncDispose]()
        await channel[Symbol.asyncDispose]()
      },
      { handle },
    )
    const writing = writer.writeAll(Array.from({ length: 1_000 }, () => 'x'.repeat(50)))
    await expect(writing).rejects.toMatchObject({
      code: 'BUZZER_CHANNEL_CLOSED',
      cause: { code: 'BUZZER_CHANNEL_PEER_LOST', message: expect.stringContaining('let go') as string },
    })
  })
})

describe('CH-75 a worker that dies', () => {
  it('between writes: whole messages stay readable, then the peer rejects with thread and exit code', async () => {
    const { handle, reader, watch } = (() => {
      const channel = createWorkerChannel<number>()
      return { ...channel, reader: channel.reader, handle: channel.handle, watch: channel.watch.bind(channel) }
    })()
    const worker = inWorker(
      async ({ openWorkerChannel }, given) => {
        const { writer } = openWorkerChannel<number>(given.handle)
        await writer.writeAll([1, 2, 3])
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
      },
      { handle },
    )
    const { threadId } = worker
    watch(worker)
    expect(await reader.read()).toBe(1)
    while (reader.count < 2) await new Promise(resolve => setImmediate(resolve))
    await worker.terminate()
    expect([await reader.read(), await reader.read()]).toEqual([2, 3])
    await expect(reader.read()).rejects.toMatchObject({
      code: 'BUZZER_CHANNEL_CLOSED',
      cause: { code: 'BUZZER_CHANNEL_PEER_LOST', details: { threadId, exitCode: 1 } },
    })
    await expect(reader.completion).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_PEER_LOST' })
  })

  it('inside a write: nothing of the unfinished message shows, a waiting read rejects', async () => {
    const channel = createWorkerChannel<number>()
    const worker = inWorker(
      async ({ openWorkerChannel }, given) => {
        const { writer } = openWorkerChannel<number>(given.handle, {
          codec: {
            encode: item => {
              if (item === 2) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
              return new TextEncoder().encode(String(item))
            },
            decode: () => 0,
          },
        })
        await writer.writeAll([1, 2])
      },
      { handle: channel.handle },
    )
    channel.watch(worker)
    expect(await channel.reader.read()).toBe(1)
    const read = channel.reader.read()
    await new Promise(resolve => setImmediate(resolve))
    await worker.terminate()
    await expect(read).rejects.toMatchObject({ cause: { code: 'BUZZER_CHANNEL_PEER_LOST' } })
    expect(channel.reader.count).toBe(0)
  })

  it('inside a read: a blocked write and a wait for room reject within one turn of the event loop', async () => {
    const channel = createWorkerChannel<string>({ bytes: 64, codec: 'text' })
    const worker = inWorker(
      async ({ openWorkerChannel }, given) => {
        const { reader } = openWorkerChannel<string>(given.handle, {
          codec: {
            encode: () => new Uint8Array(),
            decode: () => {
              Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
              return ''
            },
          },
        })
        await reader.read()
      },
      { handle: channel.handle },
    )
    channel.watch(worker)
    await channel.writer.write('x'.repeat(50))
    const waiting = [channel.writer.write('y'.repeat(50)), channel.writer.waitToWrite()]
    const settled = Promise.allSettled(waiting)
    await once(worker, 'online')
    await new Promise(resolve => setTimeout(resolve, 50))
    const exit = once(worker, 'exit')
    void worker.terminate()
    await exit
    let told = false
    void settled.then(() => (told = true))
    await new Promise(resolve => setImmediate(resolve))
    expect(told).toBe(true)
    await expect(waiting[0]).rejects.toMatchObject({ cause: { code: 'BUZZER_CHANNEL_PEER_LOST' } })
    await expect(waiting[1]).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_PEER_LOST' })
  })

  it.each([
    ['process.exit', 3],
    ['an uncaught error', 1],
    ['the end of its work', 0],
  ] as const)('an exit by %s says goodbye even unwatched, with code %i', async (way, exitCode) => {
    const jobs: Record<typeof way, (room: Room, given: Given) => Promise<unknown>> = {
      'process.exit': async ({ openWorkerChannel }, given) => {
        await openWorkerChannel<number>(given.handle).writer.write(1)
        process.exit(3)
      },
      'an uncaught error': async ({ openWorkerChannel }, given) => {
        await openWorkerChannel<number>(given.handle).writer.write(1)
        throw new Error('on purpose')
      },
      'the end of its work': async ({ openWorkerChannel }, given) => {
        await openWorkerChannel<number>(given.handle).writer.write(1)
      },
    }
    const { handle, reader } = createWorkerChannel<number>()
    inWorker(jobs[way], { handle })
    expect(await reader.read()).toBe(1)
    await expect(reader.read()).rejects.toMatchObject({ cause: { details: { exitCode } } })
  })

  it('a completed channel stays completed when its worker is gone', async () => {
    const channel = createWorkerChannel<number>()
    const worker = inWorker(
      async ({ openWorkerChannel }, given) => {
        const { writer } = openWorkerChannel<number>(given.handle)
        await writer.write(1)
        writer.complete()
      },
      { handle: channel.handle },
    )
    channel.watch(worker)
    await once(worker, 'exit')
    expect(await Array.fromAsync(channel.reader)).toEqual([1])
  })
})

it('a channel opened twice in one thread is one channel', async () => {
  const { handle, writer } = createWorkerChannel<number>()
  await writer.write(1)
  expect(await openWorkerChannel<number>(handle).reader.read()).toBe(1)
})
