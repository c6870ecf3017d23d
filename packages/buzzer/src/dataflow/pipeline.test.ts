import { Readable } from 'node:stream'
import { describe, expect, test, vi } from 'vitest'
import { Channel } from '../channels/index.ts'
import { ActionBlock, BroadcastBlock, BufferBlock, encapsulate, nullTarget, pipeline, TransformBlock } from './index.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
const numbers = (count: number): number[] => Array.from({ length: count }, (_, item) => item)

describe('pipeline', () => {
  test('send, steps, forEach, complete: every item arrives, in order, and completion waits for the last', async () => {
    const saved: number[][] = []
    const line = pipeline<string>({ name: 'orders' })
      .map(async text => Number(text), { parallel: 8 })
      .filter(n => n % 2 === 0)
      .filter(async n => n !== 4)
      .flatMap(n => [n, n + 1])
      .batch(4)
      .forEach(
        async rows => {
          await turn()
          saved.push(rows)
        },
        { parallel: 1 },
      )
    for (const item of numbers(10)) await line.send(String(item))
    await line.complete()
    expect(saved).toEqual([
      [0, 1, 2, 3],
      [6, 7, 8, 9],
    ])
    expect(line.blocks.map(block => block.name)).toEqual([
      'orders/map-1',
      'orders/filter-2',
      'orders/filter-3',
      'orders/flatMap-4',
      'orders/batch-5',
      'orders/forEach-6',
    ])
    expect(line.stats().map(({ accepted }) => accepted)).toEqual([10, 10, 5, 4, 8, 2])
    expect(line.post('1')).toBe(false)
  })

  test('capacity bounds a pipeline end to end: memory stays flat behind a slow consumer', async () => {
    const gate = Promise.withResolvers<void>()
    const line = pipeline<number>({ capacity: 2 })
      .map(item => item)
      .forEach(() => gate.promise)
    let accepted = 0
    while (line.post(accepted)) accepted++
    await turn()
    while (line.post(accepted)) {
      accepted++
      await turn()
    }
    expect(accepted).toBe(4)
    gate.resolve()
    await line.complete()
  })

  test('batch raises its capacity to its size', async () => {
    const line = pipeline.from(numbers(5), { capacity: 2 }).batch(5)
    expect(await Array.fromAsync(line)).toEqual([numbers(5)])
    expect(await Array.fromAsync(pipeline.from(numbers(3_000)).batch(3_000))).toHaveLength(1)
  })

  test('a step used twice throws; a sealed pipeline takes no step and cannot be iterated', () => {
    const line = pipeline<number>()
    const mapped = line.map(item => item)
    expect(() => line.map(item => item)).toThrow(TypeError)
    const sealed = mapped.forEach(() => {})
    expect(() => mapped.forEach(() => {})).toThrow(TypeError)
    expect(() => sealed.map(item => item)).toThrow(TypeError)
    expect(() => sealed[Symbol.asyncIterator]()).toThrow(TypeError)
    expect(() => pipeline<number>().to({} as BufferBlock<number>)).toThrow(TypeError)
    expect(() => pipeline<number>().through({} as BufferBlock<number>)).toThrow(TypeError)
  })

  test('an unsealed pipeline is consumed by iteration, and its complete() waits for the consumer', async () => {
    const line = pipeline<number>().map(item => item * 2)
    for (const item of numbers(3)) line.post(item)
    let settled = false
    const completion = line.complete().then(() => (settled = true))
    await turn()
    expect(settled).toBe(false)
    expect(await Array.fromAsync(line)).toEqual([0, 2, 4])
    await completion
    const bare = pipeline<number>()
    bare.post(1)
    void bare.complete()
    expect(await Array.fromAsync(bare)).toEqual([1])
  })

  test('through goes on in a block or an encapsulated graph of one’s own', async () => {
    const head = new TransformBlock<number, number>(item => item + 1)
    const tail = new TransformBlock<number, string>(item => `<${item}>`)
    head.link(tail)
    const line = pipeline.from(numbers(3)).through(encapsulate(head, tail)).through(new BufferBlock<string>())
    expect(await Array.fromAsync(line)).toEqual(['<1>', '<2>', '<3>'])
    await line.completion
  })

  test('a failure anywhere: completion rejects with it, send with BlockClosedError of that cause, iteration rethrows it', async () => {
    const error = new Error('third')
    const line = pipeline<number>({ capacity: 1 })
      .map(item => item)
      .map(item => {
        if (item === 3) throw error
        return item
      })
      .map(item => item)
    const reading = Array.fromAsync(line)
    const sending = (async () => {
      for (const item of numbers(100)) await line.send(item)
    })()
    await expect(sending).rejects.toMatchObject({ code: 'BUZZER_BLOCK_CLOSED', cause: error })
    await expect(reading).rejects.toBe(error)
    await expect(line.completion).rejects.toBe(error)
    for (const block of line.blocks) await expect(block.completion).rejects.toBe(error)
  })

  test('a failing batch save is retried and then faults', async () => {
    const attempts: number[] = []
    const error = new Error('database is gone')
    const line = pipeline<number>()
      .batch(2)
      .forEach(
        () => {
          throw error
        },
        {
          parallel: 4,
          onError: (_error, _rows, attempt) => (attempts.push(attempt) < 3 ? { retryAfterMs: 1 } : 'fault'),
        },
      )
    line.post(1)
    line.post(2)
    await expect(line.completion).rejects.toBe(error)
    expect(attempts).toEqual([1, 2, 3])
  })

  test('abort faults every block, default with an AbortError; so does the signal', async () => {
    const line = pipeline<number>()
      .map(item => item)
      .forEach(() => {})
    line.abort()
    await expect(line.completion).rejects.toMatchObject({ name: 'AbortError' })
    const reason = new Error('stop')
    const controller = new AbortController()
    const other = pipeline<number>({ signal: controller.signal }).forEach(() => {})
    controller.abort(reason)
    await expect(other.completion).rejects.toBe(reason)
    const dead = pipeline<number>({ signal: AbortSignal.abort(reason) })
      .map(item => item)
      .forEach(() => {})
    expect(dead.post(1)).toBe(false)
    await expect(dead.completion).rejects.toBe(reason)
    const bare = pipeline<number>()
    bare.abort(reason)
    await expect(bare.completion).rejects.toBe(reason)
  })

  test('disposing a sealed pipeline drains it and shows its failure, unless complete() or completion did', async () => {
    const seen: number[] = []
    {
      await using line = pipeline<number>().forEach(async item => {
        await turn()
        seen.push(item)
      })
      for (const item of numbers(5)) await line.send(item)
    }
    expect(seen).toEqual(numbers(5))
    const error = new Error('no')
    const failing = (): ReturnType<typeof start> => start()
    const start = () => {
      const line = pipeline<number>().forEach(() => {
        throw error
      })
      line.post(1)
      return line
    }
    await expect(failing()[Symbol.asyncDispose]()).rejects.toBe(error)
    const shown = failing()
    await expect(shown.complete()).rejects.toBe(error)
    await shown[Symbol.asyncDispose]()
  })

  test('disposing an unsealed pipeline aborts it', async () => {
    const line = pipeline<number>().map(item => item)
    line.post(1)
    await line[Symbol.asyncDispose]()
    await expect(line.completion).rejects.toMatchObject({ name: 'AbortError' })
  })
})

describe('pipeline.from', () => {
  test('takes arrays, generators, async generators, channel readers and streams', async () => {
    const channel = Channel.unbounded<number>()
    for (const item of numbers(3)) channel.writer.tryWrite(item)
    channel.writer.complete()
    const sources: (Iterable<number> | AsyncIterable<number>)[] = [
      numbers(3),
      numbers(3).values(),
      (async function* () {
        yield* numbers(3)
      })(),
      channel.reader,
      Readable.from(numbers(3)),
    ]
    for (const source of sources) expect(await Array.fromAsync(pipeline.from(source))).toEqual(numbers(3))
  })

  test('pulls only once sealed or iterated, and one item at a time as the head has room', async () => {
    let pulled = 0
    const source = (function* () {
      for (;;) yield pulled++
    })()
    const gate = Promise.withResolvers<void>()
    const line = pipeline.from(source, { capacity: 2 })
    await turn()
    expect(pulled).toBe(0)
    const sealed = line.forEach(() => gate.promise)
    await turn()
    await turn()
    expect(pulled).toBe(2)
    const closed = vi.spyOn(source, 'return')
    sealed.abort()
    gate.resolve()
    await sealed.completion.catch(() => {})
    await turn()
    expect(closed).toHaveBeenCalledTimes(1)
  })

  test('the end completes, an error faults, a failure closes the iterator, also one that waits', async () => {
    const error = new Error('source')
    const failing = (async function* (): AsyncGenerator<number> {
      yield 1
      throw error
    })()
    await expect(Array.fromAsync(pipeline.from(failing))).rejects.toBe(error)
    let closed = false
    const waiting: AsyncIterable<number> = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise(() => {}),
        return: async () => {
          closed = true
          return { done: true, value: undefined }
        },
      }),
    }
    const line = pipeline.from(waiting).forEach(() => {})
    await turn()
    line.abort(error)
    await expect(line.completion).rejects.toBe(error)
    await turn()
    expect(closed).toBe(true)
  })

  test('complete() closes the head and the source', async () => {
    let closed = false
    const endless = (function* () {
      try {
        for (let item = 0; ; item++) yield item
      } finally {
        closed = true
      }
    })()
    const line = pipeline.from(endless, { capacity: 4 }).forEach(turn)
    await turn()
    await line.complete()
    await turn()
    expect(closed).toBe(true)
  })

  test('disposing drains the whole source', async () => {
    const seen: number[] = []
    {
      await using _line = pipeline.from(numbers(5_000)).forEach(item => void seen.push(item))
    }
    expect(seen).toEqual(numbers(5_000))
  })

  test('an endless source with endless room starves nobody', async () => {
    const line = pipeline
      .from(
        (function* () {
          for (;;) yield 1
        })(),
        { capacity: Number.POSITIVE_INFINITY },
      )
      .forEach(() => {})
    for (let left = 5; left > 0; left--) await turn()
    line.abort()
    await line.completion.catch(() => {})
  })
})

describe('pipeline.to', () => {
  test('a block: completion waits for it, too', async () => {
    let finished = 0
    const sink = new ActionBlock<number>(async () => {
      await turn()
      finished++
    })
    const line = pipeline<number>()
      .map(item => item)
      .to(sink)
    for (const item of numbers(3)) line.post(item)
    await line.complete()
    expect(finished).toBe(3)
  })

  test('a broadcast, and a null target, whose end nobody waits for', async () => {
    const broadcast = new BroadcastBlock<number>()
    await pipeline.from(numbers(3)).to(broadcast).completion
    const line = pipeline<number>().to(nullTarget())
    line.post(1)
    await line.complete()
  })

  test('a channel writer: waits for room, completes it at the end', async () => {
    const channel = Channel.bounded<number>(1)
    const line = pipeline.from(numbers(5)).to(channel.writer)
    expect(await Array.fromAsync(channel.reader)).toEqual(numbers(5))
    await line.completion
  })

  test('a channel writer: completes it with the error; a closed channel fails the pipeline', async () => {
    const error = new Error('halfway')
    const channel = Channel.unbounded<number>()
    const line = pipeline<number>()
      .map(item => {
        if (item === 1) throw error
        return item
      })
      .to(channel.writer)
    line.post(0)
    await turn()
    line.post(1)
    await expect(Array.fromAsync(channel.reader)).rejects.toBe(error)
    const closed = Channel.unbounded<number>()
    closed.writer.complete()
    const stopped = pipeline.from([1]).to(closed.writer)
    await expect(stopped.completion).rejects.toMatchObject({ code: 'BUZZER_CHANNEL_CLOSED' })
  })
})

describe('DF-68 networks', () => {
  test('a filter to null and to an action: exact counts', async () => {
    const source = new BufferBlock<number>()
    let kept = 0
    const action = new ActionBlock<number>(() => void kept++)
    source.link(action, { where: item => item % 10 === 0 })
    source.link(nullTarget())
    for (const item of numbers(1_000)) await source.send(item)
    await source.complete()
    await action.completion
    expect([kept, source.stats().delivered]).toEqual([100, 1_000])
  })

  test('ten transforms in a row', async () => {
    const chain = numbers(10).map(() => new TransformBlock<number, number>(item => item + 1, { capacity: 3 }))
    chain.forEach((block, index) => void (index > 0 && chain[index - 1]?.link(block)))
    const reading = Array.fromAsync(chain[9] as TransformBlock<number, number>)
    for (const item of numbers(1_000)) await chain[0]?.send(item)
    void chain[0]?.complete()
    expect(await reading).toEqual(numbers(1_000).map(item => item + 10))
  })

  test('ping-pong between two transforms', async () => {
    let hits = 0
    const ping = new TransformBlock<number, number>(item => (hits++, item - 1), { capacity: 1 })
    const pong = new TransformBlock<number, number>(item => (hits++, item - 1), { capacity: 1 })
    const done = new BufferBlock<number>()
    ping.link(pong, { where: item => item > 0, propagate: 'none' })
    pong.link(ping, { where: item => item > 0, propagate: 'none' })
    ping.link(done)
    pong.link(done)
    ping.post(1_000)
    expect(await done.receive()).toBe(0)
    expect(hits).toBe(1_000)
  })
})

test('DF-76 items pass, the heap stays flat and timers are served; the lateness itself is asserted by the bench', async () => {
  let fired = 0
  const timer = setInterval(() => void fired++, 1)
  let sum = 0
  const line = pipeline<number>()
    .map(item => item + 1)
    .map(item => item - 1)
    .forEach(item => void (sum += item))
  const count = 300_000
  const before = process.memoryUsage().heapUsed
  for (let item = 0; item < count; item++) if (!line.post(item)) await line.send(item)
  await line.complete()
  clearInterval(timer)
  expect(sum).toBe((count * (count - 1)) / 2)
  expect(fired).toBeGreaterThan(0)
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(64 * 1_048_576)
})
