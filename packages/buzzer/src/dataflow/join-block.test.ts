import { describe, expect, test } from 'vitest'
import { BufferBlock, JoinBlock } from './index.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
const numbers = (count: number): number[] => Array.from({ length: count }, (_, item) => item)

describe('JoinBlock', () => {
  test('DF-42 one input filled: receive waits; all filled: the tuple, of any arity', async () => {
    const join = new JoinBlock<[number, string, boolean, null]>(4)
    const received = join.receive()
    join.targets[0].post(1)
    join.targets[1].post('a')
    join.targets[2].post(true)
    await turn()
    expect(join.stats()).toMatchObject({ inputCount: 3, outputCount: 0, accepted: 3 })
    join.targets[3].post(null)
    expect(await received).toEqual([1, 'a', true, null])
    expect(join.targets.map(target => target.name)).toEqual(numbers(4).map(index => `${join.name}[${index}]`))
  })

  test('capacity counts per input: unmatched items plus tuples', async () => {
    const join = new JoinBlock<[number, number]>(2, { capacity: 2 })
    expect(numbers(3).map(item => join.targets[0].post(item))).toEqual([true, true, false])
    expect(numbers(3).map(item => join.targets[1].post(item))).toEqual([true, true, false])
    const sent = join.targets[0].send(2)
    expect(join.tryReceive()).toEqual([0, 0])
    await sent
    expect(join.stats()).toMatchObject({ inputCount: 1, outputCount: 1 })
  })

  test('DF-43 non-greedy: the first send waits for its partner, then both are accepted', async () => {
    const join = new JoinBlock<[number, number]>(2, { greedy: false })
    expect(join.targets[0].post(0)).toBe(false)
    let accepted = false
    const first = join.targets[0].send(1).then(() => (accepted = true))
    await turn()
    expect(accepted).toBe(false)
    await join.targets[1].send(2)
    await first
    expect(join.tryReceive()).toEqual([1, 2])
  })

  test('DF-44 a faulted input fails the whole block', async () => {
    const error = new Error('broken')
    const join = new JoinBlock<[number, number]>(2)
    join.targets[0].post(1)
    join.targets[1].fault(error)
    await expect(join.completion).rejects.toBe(error)
    expect(join.targets[0].post(2)).toBe(false)
    await expect(join.targets[0].complete()).rejects.toBe(error)
    expect(join.stats().discarded).toBe(1)
  })

  test('DF-45 waiting sends are aborted, then the partner arrives: no tuple, and the block still completes', async () => {
    const join = new JoinBlock<[number, number]>(2, { greedy: false })
    const controller = new AbortController()
    const sends = numbers(5).map(item => join.targets[0].send(item, { signal: controller.signal }))
    const settled = Promise.allSettled(sends)
    await turn()
    controller.abort(new Error('gone'))
    const partner = join.targets[1].send(1)
    await turn()
    expect((await settled).every(({ status }) => status === 'rejected')).toBe(true)
    expect(join.outputCount).toBe(0)
    void join.complete()
    await expect(partner).rejects.toMatchObject({ code: 'BUZZER_BLOCK_CLOSED' })
    await join.completion
  })

  test.each([true, false])(
    'DF-46 a tree of bounded joins with maxGroups, greedy %s: exact count, completes',
    async greedy => {
      const leaves = numbers(4).map(() => new BufferBlock<number>({ capacity: 3 }))
      const [left, right] = [
        new JoinBlock<[number, number]>(2, { greedy, capacity: 2 }),
        new JoinBlock<[number, number]>(2, { greedy, capacity: 2 }),
      ]
      const root = new JoinBlock<[[number, number], [number, number]]>(2, { greedy, capacity: 2, maxGroups: 50 })
      leaves[0]?.link(left.targets[0])
      leaves[1]?.link(left.targets[1])
      leaves[2]?.link(right.targets[0])
      leaves[3]?.link(right.targets[1])
      left.link(root.targets[0])
      right.link(root.targets[1])
      const feeds = leaves.map(async leaf => {
        for (const item of numbers(60)) await leaf.send(item)
      })
      const tuples = await Array.fromAsync(root)
      expect(tuples).toEqual(
        numbers(50).map(item => [
          [item, item],
          [item, item],
        ]),
      )
      await root.completion
      for (const leaf of leaves) leaf.fault(new Error('end'))
      await Promise.allSettled(feeds)
    },
  )

  test('it ends as soon as an input that is complete has run empty; what others hold is discarded and counted', async () => {
    const join = new JoinBlock<[number, number]>(2)
    for (const item of numbers(5)) join.targets[0].post(item)
    join.targets[1].post(0)
    join.targets[1].post(1)
    void join.targets[1].complete()
    expect(join.targets[0].post(6)).toBe(false)
    expect(join.takeAvailable()).toEqual([
      [0, 0],
      [1, 1],
    ])
    await join.completion
    expect(join.stats()).toMatchObject({ accepted: 7, delivered: 2, discarded: 3, inputCount: 0 })
    const open = new JoinBlock<[number, number]>(2)
    open.targets[0].post(1)
    void open.targets[0].complete()
    expect(open.targets[1].post(2)).toBe(true)
    expect(open.tryReceive()).toEqual([1, 2])
    await open.completion
  })

  test('DF-54 two buffers linked to a non-greedy join, both complete: the tuple comes before completion', async () => {
    const [one, two] = [new BufferBlock<number>(), new BufferBlock<number>()]
    const join = new JoinBlock<[number, number]>(2, { greedy: false })
    one.link(join.targets[0])
    two.link(join.targets[1])
    one.post(1)
    two.post(2)
    void one.complete()
    void two.complete()
    expect(await join.receive()).toEqual([1, 2])
    await Promise.all([one.completion, two.completion, join.completion])
  })

  test('one source linked to both inputs of a non-greedy join gives two items to a tuple, none twice', async () => {
    const source = new BufferBlock<number>()
    const join = new JoinBlock<[number, number]>(2, { greedy: false })
    source.link(join.targets[0])
    source.link(join.targets[1])
    for (const item of numbers(5)) source.post(item)
    await turn()
    expect(join.takeAvailable()).toEqual([
      [0, 1],
      [2, 3],
    ])
    expect(source.takeAvailable()).toEqual([4])
  })
})
