import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import type { Channel as BuzzerChannel } from 'buzzer/channels'
import { capacity, passing, turn } from './passing.ts'

/** The producer of all our try-path contenders. */
async function produce({ writer }: BuzzerChannel<number>, n: number): Promise<void> {
  for (let item = 0; item < n; ) {
    if (writer.tryWrite(item)) item++
    else await writer.waitToWrite()
  }
  writer.complete()
}

export const consume = passing('ours', 'Buzzer tryWrite, consume', async () => {
  const { Channel } = await import('buzzer/channels')
  return async n => {
    const channel = Channel.bounded<number>(capacity)
    let sum = 0
    const consuming = channel.reader.consume(item => {
      sum += item
    })
    await produce(channel, n)
    await consuming
    return sum
  }
})

export const waitAndTry = passing('ours', 'Buzzer tryWrite, tryRead', async () => {
  const { Channel } = await import('buzzer/channels')
  return async n => {
    const channel = Channel.bounded<number>(capacity)
    const { reader } = channel
    let sum = 0
    const consuming = (async () => {
      while (await reader.waitToRead()) {
        for (let item = reader.tryRead(); item !== Channel.empty; item = reader.tryRead()) sum += item
      }
    })()
    await produce(channel, n)
    await consuming
    return sum
  }
})

export const batches = passing('ours', 'Buzzer batches', async () => {
  const { Channel } = await import('buzzer/channels')
  return async n => {
    const channel = Channel.bounded<number>(capacity)
    let sum = 0
    const consuming = (async () => {
      for await (const batch of channel.reader.batches({ max: capacity })) for (const item of batch) sum += item
    })()
    await produce(channel, n)
    await consuming
    return sum
  }
})

/** Paused while it is filled: otherwise `push` calls the worker on its own stack, and nothing is ever queued. */
export const fastqQueued = passing('rival', 'fastq callbacks', async () => {
  const { default: fastq } = await import('fastq')
  return async n => {
    let sum = 0
    const queue = fastq((item: number, done: (error: null) => void) => {
      sum += item
      done(null)
    }, 1)
    for (let item = 0; item < n; ) {
      queue.pause()
      for (const end = Math.min(n, item + capacity); item < end; ) queue.push(item++)
      queue.resume()
      await turn()
    }
    return sum
  }
})

export const fastqInPush = passing('rival', 'fastq callbacks, run inside push', async () => {
  const { default: fastq } = await import('fastq')
  return async n => {
    let sum = 0
    const queue = fastq((item: number, done: (error: null) => void) => {
      sum += item
      done(null)
    }, 1)
    for (let item = 0; item < n; ) {
      for (const end = Math.min(n, item + capacity); item < end; ) queue.push(item++)
      await turn()
    }
    return sum
  }
})

export const passThroughData = passing('rival', "PassThrough on('data')", async () => {
  return async n => {
    const stream = new PassThrough({ objectMode: true, highWaterMark: capacity })
    let sum = 0
    stream.on('data', (item: number) => {
      sum += item
    })
    const ended = once(stream, 'end')
    for (let item = 0; item < n; item++) if (!stream.write(item)) await once(stream, 'drain')
    stream.end()
    await ended
    return sum
  }
})

export const effectTakeAll = passing('rival', 'effect Queue.takeAll', async () => {
  const { Effect, Fiber, Queue } = await import('effect')
  return n =>
    Effect.runPromise(
      Effect.gen(function* () {
        const queue = yield* Queue.bounded<number>(capacity)
        let sum = 0
        const consumer = yield* Effect.forkChild(
          Effect.gen(function* () {
            for (let taken = 0; taken < n; ) {
              const items = yield* Queue.takeAll(queue)
              taken += items.length
              for (const item of items) sum += item
            }
          }),
        )
        for (let item = 0; item < n; item++) yield* Queue.offer(queue, item)
        yield* Fiber.join(consumer)
        return sum
      }),
    )
})

export const burst = passing('ours', 'Buzzer', async () => {
  const { Channel } = await import('buzzer/channels')
  return async n => {
    const { reader, writer } = Channel.bounded<number>(capacity)
    let sum = 0
    for (let item = 0; item < n; ) {
      for (const end = Math.min(n, item + capacity); item < end; ) writer.tryWrite(item++)
      for (let taken = reader.tryRead(); taken !== Channel.empty; taken = reader.tryRead()) sum += taken
    }
    return sum
  }
})

export const denqueBurst = passing('rival', 'denque', async () => {
  const { default: Denque } = await import('denque')
  return async n => {
    const queue = new Denque<number>()
    let sum = 0
    for (let item = 0; item < n; ) {
      for (const end = Math.min(n, item + capacity); item < end; ) queue.push(item++)
      for (let taken = queue.shift(); taken !== undefined; taken = queue.shift()) sum += taken
    }
    return sum
  }
})

export const arrayBurst = passing('rival', 'Array push, shift', async () => async n => {
  const queue: number[] = []
  let sum = 0
  for (let item = 0; item < n; ) {
    for (const end = Math.min(n, item + capacity); item < end; ) queue.push(item++)
    for (let taken = queue.shift(); taken !== undefined; taken = queue.shift()) sum += taken
  }
  return sum
})
