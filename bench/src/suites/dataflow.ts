import { once } from 'node:events'
import type { BenchCase, Contender, Suite, Trial } from '../suite.ts'

// Every contender passes the numbers 0 … n−1 through three stages of x → x + 1 into a summing sink, and checks the sum.
// Rivals without back-pressure of their own are gated every `capacity` items where the case says "gated".
const capacity = 1_024
const increment = (x: number): number => x + 1
const incrementLater = async (x: number): Promise<number> => x + 1

/** A contender whose `pass` sends n numbers through and resolves to the sum of what came out. */
function contender(
  side: 'ours' | 'rival',
  name: string,
  setup: () => Promise<(n: number) => Promise<number>>,
): Contender {
  return {
    name,
    side,
    async setup(): Promise<Trial> {
      const pass = await setup()
      return {
        async run(n) {
          const sum = await pass(n)
          const expected = (n * (n - 1)) / 2 + 3 * n
          if (sum !== expected) throw new Error(`${name} lost or changed items: sum ${sum} instead of ${expected}`)
        },
        async teardown() {},
      }
    },
  }
}

const ours = (name: string, make: () => Promise<(n: number) => Promise<number>>): Contender =>
  contender('ours', name, make)
const rival = (name: string, make: () => Promise<(n: number) => Promise<number>>): Contender =>
  contender('rival', name, make)

function* numbers(n: number): Generator<number> {
  for (let x = 0; x < n; x++) yield x
}

function buzzerPipeline(stage: (x: number) => number | Promise<number>, parallel = 1) {
  return async (): Promise<(n: number) => Promise<number>> => {
    const { pipeline } = await import('buzzer/dataflow')
    return async n => {
      let sum = 0
      const line = pipeline<number>({ capacity })
        .map(stage, { parallel })
        .map(stage, { parallel })
        .map(stage, { parallel })
        .forEach(x => {
          sum += x
        })
      for (let x = 0; x < n; x++) if (!line.post(x)) await line.send(x)
      await line.complete()
      return sum
    }
  }
}

const nodeTransform = rival('Node Transform', async () => {
  const { Transform, Writable } = await import('node:stream')
  const stage = (): InstanceType<typeof Transform> =>
    new Transform({
      objectMode: true,
      highWaterMark: capacity,
      transform: (x: number, _encoding, done) => done(null, increment(x)),
    })
  return async n => {
    let sum = 0
    const sink = new Writable({
      objectMode: true,
      highWaterMark: capacity,
      write(x: number, _encoding, done) {
        sum += x
        done()
      },
    })
    const head = stage()
    head.pipe(stage()).pipe(stage()).pipe(sink)
    const finished = once(sink, 'finish')
    for (let x = 0; x < n; x++) if (!head.write(x)) await once(head, 'drain')
    head.end()
    await finished
    return sum
  }
})

const nodeReadableMap = rival('Readable.map', async () => {
  const { Readable } = await import('node:stream')
  return async n => {
    let sum = 0
    const line = Readable.from(numbers(n), { highWaterMark: capacity })
    for await (const x of line.map(increment).map(increment).map(increment) as AsyncIterable<number>) sum += x
    return sum
  }
})

const webStreams = rival('Web TransformStream', async () => async n => {
  let sum = 0
  const strategy = new CountQueuingStrategy({ highWaterMark: capacity })
  const stage = (): TransformStream<number, number> =>
    new TransformStream({ transform: (x, controller) => controller.enqueue(increment(x)) }, strategy, strategy)
  let next = 0
  const source = new ReadableStream<number>(
    { pull: controller => (next < n ? controller.enqueue(next++) : controller.close()) },
    strategy,
  )
  const sink = new WritableStream<number>({ write: x => void (sum += x) }, strategy)
  await source.pipeThrough(stage()).pipeThrough(stage()).pipeThrough(stage()).pipeTo(sink)
  return sum
})

function ix(stage: (x: number) => number | Promise<number>): Contender {
  return rival('IxJS', async () => {
    const { from } = await import('ix/asynciterable')
    const { map } = await import('ix/asynciterable/operators')
    return async n => {
      let sum = 0
      for await (const x of from(numbers(n)).pipe(map(stage), map(stage), map(stage))) sum += x
      return sum
    }
  })
}

const rxMap = rival('RxJS map (no back-pressure)', async () => {
  const { from, lastValueFrom, map, tap } = await import('rxjs')
  return async n => {
    let sum = 0
    const line = from(numbers(n)).pipe(map(increment), map(increment), map(increment))
    await lastValueFrom(line.pipe(tap(x => void (sum += x))))
    return sum
  }
})

function rxAsync(name: string, gate: number): Contender {
  return rival(name, async () => {
    const { concatMap, mergeMap, range, lastValueFrom, tap } = await import('rxjs')
    return async n => {
      let sum = 0
      for (let start = 0; start < n; start += gate) {
        const line = range(start, Math.min(gate, n - start))
        const mapped =
          gate === Number.POSITIVE_INFINITY
            ? line.pipe(mergeMap(incrementLater, 8), mergeMap(incrementLater, 8), mergeMap(incrementLater, 8))
            : line.pipe(concatMap(incrementLater), concatMap(incrementLater), concatMap(incrementLater))
        await lastValueFrom(mapped.pipe(tap(x => void (sum += x))))
      }
      return sum
    }
  })
}

const effectStream = rival('effect Stream.map (chunked)', async () => {
  const { Effect, Stream } = await import('effect')
  return async n => {
    let sum = 0
    const line = Stream.range(0, n - 1).pipe(Stream.map(increment), Stream.map(increment), Stream.map(increment))
    await Effect.runPromise(
      Stream.runForEachArray(line, chunk => Effect.sync(() => chunk.forEach(x => void (sum += x)))),
    )
    return sum
  }
})

async function* numbersLater(n: number): AsyncGenerator<number> {
  for (let x = 0; x < n; x++) yield x
}

async function* mapped(source: AsyncIterable<number>): AsyncGenerator<number> {
  for await (const x of source) yield await incrementLater(x)
}

const asyncGenerators = rival('async generators', async () => async n => {
  let sum = 0
  for await (const x of mapped(mapped(mapped(numbersLater(n))))) sum += x
  return sum
})

const actionBlock = ours('ActionBlock, post', async () => {
  const { ActionBlock } = await import('buzzer/dataflow')
  return async n => {
    let sum = 0
    const action = new ActionBlock<number>(
      x => {
        sum += x + 3
      },
      { capacity },
    )
    for (let x = 0; x < n; x++) if (!action.post(x)) await action.send(x)
    await action.complete()
    return sum
  }
})

const channelConsume = rival('our channel, consume', async () => {
  const { Channel } = await import('buzzer/channels')
  return async n => {
    let sum = 0
    const { reader, writer } = Channel.bounded<number>(capacity)
    const consumed = reader.consume(x => {
      sum += x + 3
    })
    for (let x = 0; x < n; x++) if (!writer.tryWrite(x)) await writer.write(x)
    writer.complete()
    await consumed
    return sum
  }
})

const broadcast = ours('BroadcastBlock to three', async () => {
  const { ActionBlock, BroadcastBlock } = await import('buzzer/dataflow')
  return async n => {
    const sums = [0, 0, 0]
    const block = new BroadcastBlock<number>({ capacity })
    const sinks = sums.map((_, index) => {
      const sink = new ActionBlock<number>(x => void ((sums[index] as number) += x), { capacity })
      block.link(sink)
      return sink
    })
    for (let x = 0; x < n; x++) if (!block.post(x)) await block.send(x)
    void block.complete()
    await Promise.all(sinks.map(sink => sink.completion))
    if (new Set(sums).size !== 1) throw new Error(`the three sinks differ: ${sums.join(', ')}`)
    return (sums[0] as number) + 3 * n
  }
})

const join = ours('JoinBlock of three', async () => {
  const { ActionBlock, JoinBlock } = await import('buzzer/dataflow')
  return async n => {
    let sum = 0
    const block = new JoinBlock<[number, number, number]>(3, { capacity })
    const sink = new ActionBlock<[number, number, number]>(([a]) => void (sum += a + 3), { capacity })
    block.link(sink)
    const [a, b, c] = block.targets
    for (let x = 0; x < n; x++) {
      for (const target of [a, b, c]) if (!target.post(x)) await target.send(x)
    }
    void block.complete()
    await sink.completion
    return sum
  }
})

/**
 * Items pass without a pause while a timer of 1 ms asks how late it is. More than 20 ms is a failure of the run. Time in
 * which the machine ran other processes is nobody's fault here: a delay counts as far as this process was busy.
 */
const lateness: BenchCase = {
  name: 'a timer beside 10 million items',
  operation: 'firing of a timer of 1 ms, how late by this process’s own work, while items pass three maps and a sink',
  measure: 'latency',
  operations: 1_000,
  contenders: [
    {
      name: 'buzzer pipeline',
      side: 'ours',
      async setup() {
        const { pipeline } = await import('buzzer/dataflow')
        const pass = async (firings: number): Promise<number[]> => {
          const samples: number[] = []
          const line = pipeline<number>({ capacity })
            .map(increment)
            .map(increment)
            .map(increment)
            .forEach(() => {})
          const arm = (): void => {
            const due = performance.now() + 1
            const busy = process.cpuUsage()
            setTimeout(() => {
              const { user, system } = process.cpuUsage(busy)
              samples.push(Math.max(0, Math.min(performance.now() - due, (user + system) / 1_000 - 1)))
              if (samples.length < firings) arm()
            }, 1)
          }
          arm()
          let passed = 0
          for (; samples.length < firings || passed < firings * 10_000; passed++)
            if (!line.post(passed)) await line.send(passed)
          await line.complete()
          return samples
        }
        await pass(100)
        return {
          async run(n) {
            const samples = await pass(n)
            const latest = Math.max(...samples)
            if (latest > 20) throw new Error(`a timer was starved for ${latest.toFixed(1)} ms; the limit is 20 ms`)
            return samples
          },
          async teardown() {},
        }
      },
    },
  ],
}

export const suite: Suite = {
  title: 'Dataflow beside streams and reactive libraries',
  cases: [
    {
      name: 'three synchronous stages',
      operation: 'number through three synchronous maps into a summing sink, capacity 1,024',
      measure: 'per-cpu-second',
      processes: 2,
      contenders: [
        ours('buzzer', buzzerPipeline(increment)),
        nodeTransform,
        webStreams,
        nodeReadableMap,
        ix(increment),
        rxMap,
        effectStream,
      ],
      bars: [
        { ours: 'buzzer', rival: 'Node Transform', atLeast: 3 },
        { ours: 'buzzer', rival: 'Web TransformStream', atLeast: 20 },
        { ours: 'buzzer', rival: 'Readable.map', atLeast: 25 },
        { ours: 'buzzer', rival: 'IxJS', atLeast: 25 },
        { ours: 'buzzer', rival: 'RxJS map (no back-pressure)', atLeast: 0.5 },
        { ours: 'buzzer', rival: 'effect Stream.map (chunked)', atLeast: 0.5 },
      ],
    },
    {
      name: 'three asynchronous stages',
      operation: 'number through three maps of async functions into a summing sink, capacity 1,024',
      measure: 'per-cpu-second',
      processes: 2,
      contenders: [
        ours('buzzer, parallel 1', buzzerPipeline(incrementLater)),
        ours('buzzer, parallel 8, ordered', buzzerPipeline(incrementLater, 8)),
        asyncGenerators,
        rxAsync('RxJS concatMap, gated', capacity),
        rxAsync('RxJS mergeMap(…, 8), ungated', Number.POSITIVE_INFINITY),
        ix(incrementLater),
      ],
      bars: [
        { ours: 'buzzer, parallel 1', rival: 'async generators', atLeast: 1 },
        { ours: 'buzzer, parallel 1', rival: 'RxJS concatMap, gated', atLeast: 2 },
        { ours: 'buzzer, parallel 1', rival: 'IxJS', atLeast: 5 },
        { ours: 'buzzer, parallel 8, ordered', rival: 'buzzer, parallel 1', atLeast: 1 },
        { ours: 'buzzer, parallel 8, ordered', rival: 'RxJS mergeMap(…, 8), ungated', atLeast: 5 },
      ],
    },
    {
      name: 'single blocks',
      operation: 'number through the block, capacity 1,024',
      measure: 'per-cpu-second',
      processes: 2,
      contenders: [
        actionBlock,
        broadcast,
        join,
        ours('three synchronous stages', buzzerPipeline(increment)),
        channelConsume,
      ],
      bars: [
        { ours: 'ActionBlock, post', rival: 'our channel, consume', atLeast: 0.8 },
        { ours: 'BroadcastBlock to three', rival: 'three synchronous stages', atLeast: 0.1 },
        { ours: 'JoinBlock of three', rival: 'three synchronous stages', atLeast: 0.1 },
      ],
    },
    lateness,
  ],
}
