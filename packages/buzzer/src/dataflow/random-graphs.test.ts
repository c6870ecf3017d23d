import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  BatchBlock,
  type BlockStats,
  BroadcastBlock,
  BufferBlock,
  encapsulate,
  type Propagator,
  TransformBlock,
  TransformManyBlock,
} from './index.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

type Items = readonly number[]
/** Every block of a graph takes and gives groups of numbers, so that nothing is lost in a batch. */
type Node = Propagator<Items, Items>

const kinds = ['buffer', 'transform', 'transform async', 'transform parallel', 'many', 'many async', 'batch'] as const
type Kind = (typeof kinds)[number]

function make(kind: Kind, capacity: number, signal: AbortSignal): Node {
  const options = { capacity, signal }
  switch (kind) {
    case 'buffer':
      return new BufferBlock<Items>(options)
    case 'transform':
      return new TransformBlock<Items, Items>(items => items, options)
    case 'transform async':
      return new TransformBlock<Items, Items>(async items => items, options)
    case 'transform parallel':
      return new TransformBlock<Items, Items>(
        async items => ((items[0] as number) % 2 === 0 ? await turn() : null, items),
        { ...options, parallel: 3 },
      )
    case 'many':
      return new TransformManyBlock<Items, Items>(items => [items], options)
    case 'many async':
      return new TransformManyBlock<Items, Items>(
        async function* (items) {
          yield items
        },
        { ...options, parallel: 2 },
      )
    case 'batch':
      // A batch of groups is flattened at once, so that it looks like the others.
      return batch(capacity, signal)
  }
}

function batch(capacity: number, signal: AbortSignal): Node {
  const batching = new BatchBlock<Items>(Math.min(2, capacity), { capacity, signal })
  const node = new TransformBlock<Items[], Items>(groups => groups.flat(), { capacity, signal })
  batching.link(node)
  return encapsulate(batching, node)
}

const program = fc.record({
  chain: fc.array(fc.record({ kind: fc.constantFrom(...kinds), capacity: fc.integer({ min: 1, max: 4 }) }), {
    minLength: 3,
    maxLength: 6,
  }),
  fork: fc.boolean(),
  items: fc.integer({ min: 0, max: 40 }),
  end: fc.constantFrom('complete', 'fault', 'abort', 'dispose'),
  where: fc.nat(5),
  after: fc.nat(12),
})

test('DF-79 random graphs: every send and completion settles, no item twice, none lost but by failure', async () => {
  await fc.assert(
    fc.asyncProperty(program, async ({ chain, fork, items, end, where, after }) => {
      const controller = new AbortController()
      const never = new AbortController()
      const nodes = chain.map(({ kind, capacity }, index) =>
        make(kind, capacity, index === where % chain.length && end === 'abort' ? controller.signal : never.signal),
      )
      nodes.forEach((node, index) => void (index > 0 && nodes[index - 1]?.link(node)))
      const last = nodes.at(-1) as Node
      const seen: number[] = []
      // Two ways to the same sink: an item may go either way, never both.
      const left = new BufferBlock<Items>({ capacity: 1 })
      const sink = new TransformBlock<Items, number>(group => {
        seen.push(...group)
        return group.length
      })
      if (fork) {
        last.link(left, { where: group => (group[0] as number) % 3 === 0 })
        left.link(sink)
      }
      last.link(sink)
      const counted = (async () => {
        for await (const _ of sink);
      })().catch(() => {})
      const first = nodes[0] as Node
      const accepted: number[] = []
      const sends = Array.from({ length: items }, (_, item) =>
        first.send([item]).then(
          () => void accepted.push(item),
          () => {},
        ),
      )
      for (let step = after; step > 0; step--) await turn()
      const victim = nodes[where % nodes.length] as Node
      const error = new Error('random end')
      if (end === 'complete') await Promise.all(sends)
      if (end === 'fault') victim.fault(error)
      else if (end === 'abort') controller.abort(error)
      else if (end === 'dispose') await victim[Symbol.asyncDispose]()
      const completion = first.complete()
      await Promise.all(sends)
      const completions = [...nodes.map(node => node.completion), sink.completion, completion]
      const settled = await Promise.allSettled(completions)
      await counted
      expect(new Set(seen).size).toBe(seen.length)
      for (const item of seen) expect(accepted).toContain(item)
      const failed = settled.some(({ status }) => status === 'rejected')
      if (!failed) expect(seen.toSorted((a, b) => a - b)).toEqual(accepted.toSorted((a, b) => a - b))
      if (!fork && !chain.some(({ kind }) => kind === 'batch') && !failed) expect(seen).toEqual(accepted)
      for (const node of nodes)
        expect(node.stats()).toMatchObject({ inputCount: 0, outputCount: 0, running: 0, waitingSends: 0 })
    }),
    { numRuns: 400 },
  )
}, 60_000)

test('DF-79 in a chain of blocks one for one, what was accepted is delivered or discarded, to the item', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ kind: fc.constantFrom(...kinds.slice(0, 4)), capacity: fc.integer({ min: 1, max: 4 }) }), {
        minLength: 1,
        maxLength: 5,
      }),
      fc.integer({ min: 1, max: 30 }),
      fc.nat(8),
      async (chain, items, after) => {
        const never = new AbortController()
        const nodes = chain.map(({ kind, capacity }) => make(kind, capacity, never.signal))
        nodes.forEach((node, index) => void (index > 0 && nodes[index - 1]?.link(node)))
        const first = nodes[0] as Node
        const sends = Array.from({ length: items }, (_, item) => first.send([item]))
        const settled = Promise.allSettled(sends)
        for (let step = after; step > 0; step--) await turn()
        nodes[after % nodes.length]?.fault(new Error('random end'))
        await Promise.allSettled(nodes.map(node => node.completion))
        const stats: BlockStats[] = nodes.map(node => node.stats())
        for (const each of stats) expect(each.accepted).toBe(each.delivered + each.discarded)
        stats.forEach((each, index) => void (index > 0 && expect(each.accepted).toBe(stats[index - 1]?.delivered)))
        expect((await settled).filter(({ status }) => status === 'fulfilled')).toHaveLength(first.stats().accepted)
      },
    ),
    { numRuns: 300 },
  )
}, 60_000)

test('DF-79 a broadcast in the middle: every branch gets every item, whatever the capacities', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 0, max: 40 }),
      async (capacities, capacity, items) => {
        const broadcast = new BroadcastBlock<number>({ capacity })
        const branches = capacities.map(room => {
          const branch = new TransformBlock<number, number>(
            async item => (item % room === 0 ? await turn() : null, item),
            {
              capacity: room,
              parallel: room,
            },
          )
          broadcast.link(branch)
          return Array.fromAsync(branch)
        })
        for (let item = 0; item < items; item++) await broadcast.send(item)
        void broadcast.complete()
        const expected = Array.from({ length: items }, (_, item) => item)
        for (const seen of await Promise.all(branches)) expect(seen).toEqual(expected)
      },
    ),
    { numRuns: 100 },
  )
}, 60_000)
