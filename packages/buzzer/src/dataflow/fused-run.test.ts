import { AsyncResource } from 'node:async_hooks'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Channel } from '../channels/index.ts'
import { ActionBlock, type Block, type BlockStats, TransformBlock } from './index.ts'
import { inSharedContext } from './turn.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

interface Line {
  readonly head: TransformBlock<number, number>
  readonly blocks: readonly Block[]
  readonly sink: ActionBlock<number>
}

type Fn = (item: number) => number | typeof Channel.empty | Promise<number>

/** The same line of blocks, made so that its stages may run as one loop, or so that they may not. */
function lineOf(together: boolean, fns: readonly Fn[], last: (item: number) => unknown, capacity: number): Line {
  const make = (): Line => {
    const maps = fns.map((fn, index) => new TransformBlock<number, number>(fn, { capacity, name: `map-${index}` }))
    const sink = new ActionBlock<number>(last, { capacity, name: 'sink' })
    maps.forEach((map, index) => map.link(maps[index + 1] ?? sink))
    return { head: maps[0] as TransformBlock<number, number>, blocks: [...maps, sink], sink }
  }
  return together ? inSharedContext(new AsyncResource('test'), make) : make()
}

const counts = ({ accepted, delivered, discarded, inputCount, outputCount, running }: BlockStats): number[] => [
  accepted,
  delivered,
  discarded,
  inputCount,
  outputCount,
  running,
]

describe('stages of one pipeline that run as one loop', () => {
  test('an item goes through all stages before the next one starts', async () => {
    const log: string[] = []
    const fns = ['a', 'b', 'c'].map(name => (item: number) => (log.push(`${name}${item}`), item))
    const line = lineOf(true, fns, item => log.push(`d${item}`), 1_024)
    for (let item = 0; item < 10; item++) line.head.post(item)
    await line.head.complete()
    await line.sink.completion
    expect(log.slice(0, 8)).toEqual(['a0', 'b0', 'c0', 'd0', 'a1', 'b1', 'c1', 'd1'])
    for (const block of line.blocks) expect(counts(block.stats())).toEqual([10, 10, 0, 0, 0, 0])
  })

  test('a function that looks at the blocks sees every item where it is', async () => {
    const seen: number[][][] = []
    const look = (line: Line): void => void seen.push(line.blocks.map(block => counts(block.stats())))
    const line: Line = lineOf(
      true,
      [
        item => item,
        item => {
          if (item === 5) look(line)
          return item
        },
      ],
      item => {
        if (item === 7) look(line)
      },
      1_024,
    )
    for (let item = 0; item < 20; item++) line.head.post(item)
    await line.head.complete()
    await line.sink.completion
    expect(seen[0]).toEqual([
      [20, 6, 0, 14, 0, 0],
      [6, 5, 0, 0, 0, 1],
      [5, 5, 0, 0, 0, 0],
    ])
    expect(seen[1]?.map(([, , , , , running]) => running)).toEqual([0, 0, 1])
    const [accepted = 0, delivered, , waiting = 0] = seen[1]?.[2] ?? []
    expect([delivered, accepted]).toEqual([7, 7 + waiting + 1])
    for (const block of line.blocks) expect(counts(block.stats())).toEqual([20, 20, 0, 0, 0, 0])
  })

  test.each(['throws', 'rejects', 'faults the sink', 'posts into the middle', 'completes the middle'])(
    'a function that %s in the middle of a run',
    async what => {
      const error = new Error(what)
      const got: number[] = []
      const line: Line = lineOf(
        true,
        [
          item => item,
          item => {
            if (item !== 5) return item
            if (what === 'throws') throw error
            if (what === 'rejects') return Promise.reject(error)
            if (what === 'faults the sink') line.sink.fault(error)
            if (what === 'posts into the middle') (line.blocks[1] as TransformBlock<number, number>).post(100)
            if (what === 'completes the middle') void line.blocks[1]?.complete()
            return item
          },
        ],
        item => void got.push(item),
        1_024,
      )
      for (let item = 0; item < 20; item++) line.head.post(item)
      for (let left = 5; left > 0; left--) await turn()
      if (what === 'posts into the middle') {
        expect(got.toSorted((a, b) => a - b)).toEqual([...Array.from({ length: 20 }, (_, item) => item), 100])
        return
      }
      if (what === 'completes the middle') {
        expect(got).toEqual([0, 1, 2, 3, 4, 5])
        expect(line.head.outputCount).toBe(14)
        return
      }
      expect(got).toEqual([0, 1, 2, 3, 4])
      for (const block of line.blocks) {
        await expect(block.completion).rejects.toBe(error)
        const { accepted, delivered, discarded } = block.stats()
        expect(delivered + discarded).toBe(accepted)
      }
    },
  )

  test('random lines behave as blocks linked by hand: same outputs, same counts, whatever the functions do', async () => {
    const kind = fc.constantFrom('sync', 'empty', 'async', 'look')
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(kind, fc.integer({ min: 2, max: 7 })), { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 8, max: 60 }),
        fc.integer({ min: 1, max: 64 }),
        async (stages, items, capacity) => {
          const outcomes = []
          for (const together of [true, false]) {
            const got: number[] = []
            const lineRef: { line?: Line } = {}
            const fns = stages.map(
              ([what, every]): Fn =>
                item => {
                  if (item % every !== 0) return item
                  if (what === 'empty') return Channel.empty
                  if (what === 'async') return Promise.resolve(item)
                  if (what === 'look') {
                    for (const block of lineRef.line?.blocks ?? []) {
                      const { accepted, delivered, discarded, inputCount, outputCount, running } = block.stats()
                      // Whatever is in a block is waiting, running or ready; what came to nothing is delivered by nobody.
                      expect(accepted - delivered - discarded).toBeGreaterThanOrEqual(
                        inputCount + outputCount + running,
                      )
                    }
                  }
                  return item
                },
            )
            const line = lineOf(together, fns, item => void got.push(item), capacity)
            lineRef.line = line
            for (let item = 0; item < items; item++) await line.head.send(item)
            void line.head.complete()
            await line.sink.completion
            outcomes.push({ got, stats: line.blocks.map(block => counts(block.stats())) })
          }
          expect(outcomes[0]).toEqual(outcomes[1])
        },
      ),
      { numRuns: 200 },
    )
  })
})
