import { describe, expect, test } from 'vitest'
import { Channel } from '../channels/index.ts'
import { ActionBlock, BatchBlock, BroadcastBlock, BufferBlock, JoinBlock, nullTarget, WriteOnceBlock } from './index.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
const numbers = (count: number): number[] => Array.from({ length: count }, (_, item) => item)

describe('BroadcastBlock', () => {
  test('DF-9 with clone, linked to an action: 100 items are each cloned and processed', async () => {
    let clones = 0
    const broadcast = new BroadcastBlock<{ n: number }>({ clone: item => (clones++, { ...item }), capacity: 7 })
    const originals = numbers(100).map(n => ({ n }))
    const seen: { n: number }[] = []
    const action = new ActionBlock<{ n: number }>(item => void seen.push(item), { capacity: 1 })
    broadcast.link(action)
    for (const item of originals) await broadcast.send(item)
    void broadcast.complete()
    await action.completion
    expect(seen).toEqual(originals)
    expect(seen.some((item, index) => item === originals[index])).toBe(false)
    expect(clones).toBe(100)
  })

  test('DF-27 three targets: each gets every item in order, cloned', async () => {
    const broadcast = new BroadcastBlock<{ n: number }>({ clone: item => ({ ...item }) })
    const targets = numbers(3).map(index => new BufferBlock<{ n: number }>({ capacity: index === 1 ? 1 : 10 }))
    for (const target of targets) broadcast.link(target)
    for (const n of numbers(3)) expect(broadcast.post({ n })).toBe(true)
    const got = await Promise.all(
      targets.map(async target => [await target.receive(), await target.receive(), await target.receive()]),
    )
    for (const items of got) expect(items).toEqual([{ n: 0 }, { n: 1 }, { n: 2 }])
    expect(new Set(got.flat()).size).toBe(9)
  })

  test('DF-28 every receive clones the latest; a late link gets it before the completion', async () => {
    const item = { n: 1 }
    const broadcast = new BroadcastBlock<{ n: number }>({ clone: each => ({ ...each }) })
    broadcast.post({ n: 0 })
    broadcast.post(item)
    const received = [await broadcast.receive(), broadcast.tryReceive(), await broadcast.receive()]
    expect(received).toEqual([item, item, item])
    expect(new Set([...received, item]).size).toBe(4)
    expect(broadcast.takeAvailable()).toEqual([item])
    expect(broadcast.tryReceive(each => each.n === 5)).toBe(Channel.empty)
    const late = new BufferBlock<{ n: number }>()
    broadcast.link(late)
    void broadcast.complete()
    expect(await Array.fromAsync(late)).toEqual([item])
    await broadcast.completion
    await late.completion
    await expect(broadcast.receive()).rejects.toMatchObject({ code: 'BUZZER_BLOCK_CLOSED' })
  })

  test('DF-29 a linked target has completed: post is true and the block completes', async () => {
    const broadcast = new BroadcastBlock<number>()
    const target = new BufferBlock<number>()
    broadcast.link(target)
    await target.complete()
    expect(broadcast.post(1)).toBe(true)
    broadcast.link(target)
    await broadcast.complete()
  })

  test.each(['complete', 'fault', 'abort'])(
    'DF-30 capacity 1, 40 sends, a full link; %s: every send settles',
    async end => {
      const controller = new AbortController()
      const broadcast = new BroadcastBlock<number>({ capacity: 1, signal: controller.signal })
      const full = new BufferBlock<number>({ capacity: 1 })
      full.post(-1)
      broadcast.link(full)
      const sends = numbers(40).map(item => broadcast.send(item))
      await turn()
      expect(broadcast.stats().waitingSends).toBe(39)
      if (end === 'complete') void broadcast.complete()
      else if (end === 'fault') broadcast.fault(new Error('end'))
      else controller.abort(new Error('end'))
      const settled = await Promise.allSettled(sends)
      expect(settled.map(({ status }) => status)).toEqual(['fulfilled', ...Array(39).fill('rejected')])
      if (end !== 'complete') return
      expect(full.takeAvailable()).toEqual([-1])
      await broadcast.completion
      expect(full.takeAvailable()).toEqual([0])
    },
  )

  test("delivery 'all': the slowest sets the pace, within capacity, and a refusal counts as delivered", async () => {
    const broadcast = new BroadcastBlock<number>({ capacity: 2 })
    const fast = new BufferBlock<number>()
    const slow = new BufferBlock<number>({ capacity: 1 })
    const odd = new BufferBlock<number>()
    broadcast.link(fast)
    broadcast.link(slow)
    broadcast.link(odd, { where: item => item % 2 === 1 })
    const sent: number[] = []
    const feed = (async () => {
      for (const item of numbers(6)) {
        await broadcast.send(item)
        sent.push(item)
      }
    })()
    await turn()
    expect(sent).toEqual([0, 1, 2])
    expect([fast.outputCount, slow.outputCount, odd.outputCount]).toEqual([2, 1, 1])
    expect(broadcast.inputCount).toBe(1)
    const drained: number[] = []
    for (let left = 6; left > 0; left--) {
      drained.push(await slow.receive())
      await turn()
    }
    await feed
    expect(drained).toEqual(numbers(6))
    expect(fast.takeAvailable()).toEqual(numbers(6))
    expect(odd.takeAvailable()).toEqual([1, 3, 5])
  })

  test("delivery 'latest': a slow link misses what lies between", async () => {
    const broadcast = new BroadcastBlock<number>({ delivery: 'latest' })
    const fast = new BufferBlock<number>()
    const slow = new BufferBlock<number>({ capacity: 1 })
    broadcast.link(fast)
    broadcast.link(slow)
    for (const item of numbers(6)) await broadcast.send(item)
    await turn()
    expect(fast.takeAvailable()).toEqual(numbers(6))
    expect(slow.tryReceive()).toBe(0)
    await turn()
    expect(slow.tryReceive()).toBe(5)
  })

  test('an unlinked slow link holds nobody up', async () => {
    const broadcast = new BroadcastBlock<number>()
    const full = new BufferBlock<number>({ capacity: 1 })
    full.post(0)
    const link = broadcast.link(full)
    const other = new BufferBlock<number>()
    broadcast.link(other)
    for (const item of numbers(3)) broadcast.post(item)
    await turn()
    expect(other.outputCount).toBe(1)
    link.unlink()
    await turn()
    expect(other.takeAvailable()).toEqual(numbers(3))
  })

  test('without links an item just becomes the latest, and a new link gets it first', async () => {
    const broadcast = new BroadcastBlock<number>({ capacity: 1 })
    for (const item of numbers(5)) expect(broadcast.post(item)).toBe(true)
    const late = new BufferBlock<number>()
    broadcast.link(late)
    broadcast.post(5)
    await turn()
    expect(late.takeAvailable()).toEqual([4, 5])
  })

  test('who waits in receive gets the next item, not the one after it', async () => {
    const broadcast = new BroadcastBlock<number>()
    const received = [broadcast.receive(), broadcast.receive()]
    for (const item of numbers(3)) broadcast.post(item)
    expect(await Promise.all(received)).toEqual([0, 0])
    expect(await broadcast.receive()).toBe(2)
  })

  test('iterating subscribes: every loop gets every item, and leaving it unlinks', async () => {
    const broadcast = new BroadcastBlock<number>()
    const whole = Array.fromAsync(broadcast)
    const part = (async () => {
      const seen: number[] = []
      for await (const item of broadcast) if (seen.push(item) === 2) break
      return seen
    })()
    for (const item of numbers(5)) await broadcast.send(item)
    expect(await part).toEqual([0, 1])
    void broadcast.complete()
    expect(await whole).toEqual(numbers(5))
    expect(broadcast.stats().links).toBe(0)
    const failed = new BroadcastBlock<number>()
    const error = new Error('broken')
    const loop = failed.receiveAll()
    const step = loop.next()
    failed.fault(error)
    await expect(step).rejects.toBe(error)
  })

  test('a throwing clone ends the block', async () => {
    const error = new Error('cannot be copied')
    const broadcast = new BroadcastBlock<number>({
      clone: () => {
        throw error
      },
    })
    broadcast.link(nullTarget())
    broadcast.post(1)
    await expect(broadcast.completion).rejects.toBe(error)
  })

  test('clone is called once per receiver, also while the receiver waits for room or for its group', async () => {
    let clones = 0
    const broadcast = new BroadcastBlock<number>({ clone: item => (clones++, item) })
    const full = new BufferBlock<number>({ capacity: 1 })
    full.post(-1)
    const batch = new BatchBlock<number>(2, { greedy: false })
    broadcast.link(full)
    broadcast.link(batch)
    broadcast.post(1)
    await turn()
    await turn()
    const partner = batch.send(2)
    full.tryReceive()
    await partner
    await turn()
    expect(full.tryReceive()).toBe(1)
    expect(batch.tryReceive()).toEqual([1, 2])
    expect(clones).toBe(2)
  })

  test('linked to both inputs of a non-greedy join, each item makes a pair', async () => {
    const broadcast = new BroadcastBlock<number>()
    const join = new JoinBlock<[number, number]>(2, { greedy: false })
    broadcast.link(join.targets[0])
    broadcast.link(join.targets[1])
    for (const item of numbers(3)) await broadcast.send(item)
    void broadcast.complete()
    expect(await Array.fromAsync(join)).toEqual(numbers(3).map(item => [item, item]))
  })
})

describe('WriteOnceBlock', () => {
  test('DF-31 the first post is true, the others false; always the first value, for every receiver', async () => {
    const block = new WriteOnceBlock<number>()
    const early = [block.receive(), block.receive()]
    expect([block.post(1), block.post(2), block.post(3)]).toEqual([true, false, false])
    await expect(block.send(4)).rejects.toMatchObject({ code: 'BUZZER_BLOCK_CLOSED' })
    await block.completion
    expect(await Promise.all([...early, block.receive(), block.receive()])).toEqual([1, 1, 1, 1])
    expect([block.tryReceive(), block.tryReceive(item => item > 1), block.takeAvailable()]).toEqual([
      1,
      Channel.empty,
      [1],
    ])
    expect(await Array.fromAsync(block)).toEqual([1])
    block.fault(new Error('too late'))
    expect(block.tryReceive()).toBe(1)
  })

  test('DF-32 completed without a value: receive rejects with BlockClosedError', async () => {
    const block = new WriteOnceBlock<number>()
    const waiting = block.receive()
    await block.complete()
    await expect(waiting).rejects.toMatchObject({ code: 'BUZZER_BLOCK_CLOSED' })
    await expect(block.receive()).rejects.toMatchObject({ code: 'BUZZER_BLOCK_CLOSED' })
    expect(block.tryReceive()).toBe(Channel.empty)
  })

  test('DF-61 waitToReceive: true with a value, also after the end; false without', async () => {
    const block = new WriteOnceBlock<number>()
    const waiting = block.waitToReceive()
    block.post(1)
    expect(await waiting).toBe(true)
    await block.completion
    expect(await block.waitToReceive()).toBe(true)
    const none = new WriteOnceBlock<number>()
    const nothing = none.waitToReceive()
    await none.complete()
    expect(await nothing).toBe(false)
    expect(await none.waitToReceive()).toBe(false)
  })

  test('every link, made before or after, gets the item and then the completion, a full one as soon as it has room', async () => {
    const block = new WriteOnceBlock<number>()
    const before = new BufferBlock<number>()
    const full = new BufferBlock<number>({ capacity: 1 })
    full.post(0)
    block.link(before)
    block.link(full)
    block.post(1)
    await block.completion
    expect(before.outputCount).toBe(1)
    expect(before.post(2)).toBe(false)
    expect(full.takeAvailable()).toEqual([0])
    expect(await Array.fromAsync(full)).toEqual([1])
    const after = new BufferBlock<number>()
    const open = new BufferBlock<number>()
    block.link(after)
    block.link(open, { propagate: 'none' })
    expect(await Array.fromAsync(after)).toEqual([1])
    expect(await open.receive()).toBe(1)
    expect(open.post(2)).toBe(true)
  })
})
