import { capacity, passing, turn } from './passing.ts'

/** `makers` producers share the numbers, `takers` consumers add them up. */
function buzzer(name: string, makers: number, takers: number) {
  return passing('ours', name, async () => {
    const { Channel } = await import('buzzer/channels')
    return async n => {
      const { reader, writer } = Channel.bounded<number>(capacity)
      let next = 0
      let sum = 0
      const take = async (): Promise<void> => {
        for (let left = n / takers; left > 0; left--) {
          const item = await reader.read()
          sum += item
        }
      }
      const make = async (): Promise<void> => {
        while (next < n) await writer.write(next++)
      }
      const consuming = Array.from({ length: takers }, (_, index) => (index === 0 ? takeRest() : take()))
      await Promise.all(Array.from({ length: makers }, make))
      writer.complete()
      await Promise.all(consuming)
      return sum

      async function takeRest(): Promise<void> {
        const rest = n - Math.ceil(n / takers) * (takers - 1)
        for (let left = rest; left > 0; left--) {
          const item = await reader.read()
          sum += item
        }
      }
    }
  })
}

/** Gated like all that cannot hold their producer back: otherwise `push` runs the worker at once, and nothing queues. */
function fastqPromise(name: string, workers: number) {
  return passing('rival', name, async () => {
    const { promise } = await import('fastq')
    return async n => {
      let sum = 0
      const queue = promise<unknown, number, void>(async item => {
        sum += item
      }, workers)
      for (let item = 0; item < n; ) {
        for (const end = Math.min(n, item + capacity); item < end; ) void queue.push(item++)
        await queue.drained()
      }
      return sum
    }
  })
}

function fastqOneByOne(name: string, workers: number) {
  return passing('rival', name, async () => {
    const { promise } = await import('fastq')
    return async n => {
      let next = 0
      let sum = 0
      const queue = promise<unknown, number, void>(async item => {
        sum += item
      }, workers)
      const make = async (): Promise<void> => {
        while (next < n) await queue.push(next++)
      }
      await Promise.all(Array.from({ length: workers }, make))
      return sum
    }
  })
}

function effectQueue(name: string, pairs: number) {
  return passing('rival', name, async () => {
    const { Effect, Fiber, Queue } = await import('effect')
    return n =>
      Effect.runPromise(
        Effect.gen(function* () {
          const queue = yield* Queue.bounded<number>(capacity)
          let sum = 0
          let taken = 0
          let next = 0
          const consumer = Effect.gen(function* () {
            while (taken < n) {
              taken++
              const item = yield* Queue.take(queue)
              sum += item
            }
          })
          const producer = Effect.gen(function* () {
            while (next < n) yield* Queue.offer(queue, next++)
          })
          const fibers = []
          for (let pair = 0; pair < pairs; pair++) fibers.push(yield* Effect.forkChild(consumer))
          for (let pair = 0; pair < pairs; pair++) fibers.push(yield* Effect.forkChild(producer))
          for (const fiber of fibers) yield* Fiber.join(fiber)
          return sum
        }),
      )
  })
}

function pQueue(name: string, concurrency: number) {
  return passing('rival', name, async () => {
    const { default: PQueue } = await import('p-queue')
    return async n => {
      const queue = new PQueue({ concurrency })
      let sum = 0
      for (let item = 0; item < n; item++) {
        const given = item
        void queue.add(async () => {
          sum += given
        })
        if ((item + 1) % capacity === 0) await queue.onIdle()
      }
      await queue.onIdle()
      return sum
    }
  })
}

export const one = {
  buzzer: buzzer('Buzzer write, read', 1, 1),
  fastq: fastqPromise('fastq.promise', 1),
  fastqOneByOne: fastqOneByOne('fastq.promise, each push awaited', 1),
  effect: effectQueue('effect Queue', 1),
  pQueue: pQueue('p-queue', 1),
  asyncQueue: passing('rival', 'async.queue', async () => {
    const { queue: asyncQueue } = await import('async')
    return async n => {
      let sum = 0
      const queue = asyncQueue<number>((item, done) => {
        sum += item
        done()
      }, 1)
      for (let item = 0; item < n; ) {
        for (const end = Math.min(n, item + capacity); item < end; ) queue.push(item++, () => {})
        if (!queue.idle()) await queue.drain()
        await turn()
      }
      return sum
    }
  }),
  webRead: passing('rival', 'Web stream read()', async () => async n => {
    let next = 0
    const stream = new ReadableStream<number>(
      {
        pull(controller) {
          if (next < n) controller.enqueue(next++)
          else controller.close()
        },
      },
      { highWaterMark: capacity },
    )
    const reader = stream.getReader()
    let sum = 0
    for (let result = await reader.read(); !result.done; result = await reader.read()) sum += result.value
    return sum
  }),
}

export const four = {
  buzzer: buzzer('Buzzer 4 × 4', 4, 4),
  fastq: fastqPromise('fastq.promise 4 × 4', 4),
  fastqOneByOne: fastqOneByOne('fastq.promise 4 × 4, each push awaited', 4),
  effect: effectQueue('effect Queue 4 × 4', 4),
  pQueue: pQueue('p-queue, concurrency 4', 4),
}

/** Every item goes there and back; its value is added up when it is back. */
export const pingPong = {
  buzzer: passing('ours', 'Buzzer', async () => {
    const { Channel } = await import('buzzer/channels')
    return async n => {
      const there = Channel.bounded<number>(1)
      const back = Channel.bounded<number>(1)
      const echo = (async () => {
        for (let left = n; left > 0; left--) await back.writer.write(await there.reader.read())
      })()
      let sum = 0
      for (let item = 0; item < n; item++) {
        await there.writer.write(item)
        const echoed = await back.reader.read()
        sum += echoed
      }
      await echo
      return sum
    }
  }),
  fastq: passing('rival', 'fastq.promise push', async () => {
    const { promise } = await import('fastq')
    return async n => {
      const queue = promise<unknown, number, number>(async item => item, 1)
      let sum = 0
      for (let item = 0; item < n; item++) {
        const echoed = await queue.push(item)
        sum += echoed
      }
      return sum
    }
  }),
  effect: passing('rival', 'effect Queue', async () => {
    const { Effect, Fiber, Queue } = await import('effect')
    return n =>
      Effect.runPromise(
        Effect.gen(function* () {
          const there = yield* Queue.bounded<number>(1)
          const back = yield* Queue.bounded<number>(1)
          const echo = yield* Effect.forkChild(
            Effect.gen(function* () {
              for (let left = n; left > 0; left--) yield* Queue.offer(back, yield* Queue.take(there))
            }),
          )
          let sum = 0
          for (let item = 0; item < n; item++) {
            yield* Queue.offer(there, item)
            const echoed = yield* Queue.take(back)
            sum += echoed
          }
          yield* Fiber.join(echo)
          return sum
        }),
      )
  }),
  web: passing('rival', 'Web TransformStream', async () => async n => {
    const there = new TransformStream<number, number>()
    const writer = there.writable.getWriter()
    const reader = there.readable.getReader()
    let sum = 0
    for (let item = 0; item < n; item++) {
      const written = writer.write(item)
      const { value = 0 } = await reader.read()
      await written
      sum += value
    }
    return sum
  }),
}
