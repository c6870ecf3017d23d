import { describe, expect, test } from 'vitest'
import { Channel } from '../channels/index.ts'
import {
  ActionBlock,
  BatchBlock,
  BufferBlock,
  encapsulate,
  JoinBlock,
  nullTarget,
  TransformBlock,
  UnmatchedItemError,
} from './index.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
const numbers = (count: number): number[] => Array.from({ length: count }, (_, item) => item)

function collector(options?: object): { block: ActionBlock<number>; seen: number[] } {
  const seen: number[] = []
  return { block: new ActionBlock<number>(item => void seen.push(item), options), seen }
}

describe('links', () => {
  test('DF-50 filter and catch-all: of 0 to 5 three are processed, the source drains', async () => {
    const source = new BufferBlock<number>()
    const { block, seen } = collector()
    source.link(block, { where: item => item % 2 === 0 })
    source.link(nullTarget())
    for (const item of numbers(6)) source.post(item)
    await source.complete()
    await block.completion
    expect(seen).toEqual([0, 2, 4])
  })

  test('DF-51 appended, prepended and unlinked links are asked in exact order', async () => {
    const source = new BufferBlock<string>({ unmatched: 'wait' })
    const asked: string[] = []
    const sink = nullTarget<string>()
    const ask = (name: string, options: object = {}): ReturnType<typeof source.link> =>
      source.link(sink, {
        where: item => {
          asked.push(name)
          return item === name
        },
        ...options,
      })
    ask('b')
    ask('c')
    const first = ask('a', { prepend: true })
    ask('d')
    const gone = ask('x', { prepend: true })
    gone.unlink()
    for (const item of ['a', 'b', 'c', 'd']) source.post(item)
    await turn()
    expect(asked.join('')).toBe('aababcabcd')
    expect([first.active, gone.active]).toEqual([true, false])
    asked.length = 0
    first.unlink()
    source.post('b')
    source.post('c')
    await turn()
    expect(asked.join('')).toBe('bbc')
    expect(source.stats().links).toBe(3)
  })

  test("DF-52 propagate 'none': the source completes, the target stays open; linking a completed source is harmless", async () => {
    const source = new BufferBlock<number>()
    const target = new BufferBlock<number>()
    source.link(target, { propagate: 'none' })
    await source.complete()
    await turn()
    expect(target.post(1)).toBe(true)
    source.link(target, { propagate: 'none' })
    await turn()
    expect(target.post(2)).toBe(true)
    source.link(target)
    await turn()
    expect(target.post(3)).toBe(false)
  })

  test('DF-53 one target linked twice, the first link unlinked: each item comes once, by the second', async () => {
    const source = new BufferBlock<number>()
    const { block, seen } = collector()
    const asked: string[] = []
    const first = source.link(block, { where: () => asked.push('first') > 0 })
    source.link(block, { where: () => asked.push('second') > 0 })
    first.unlink()
    first.unlink()
    source.post(1)
    await source.complete()
    await block.completion
    expect(seen).toEqual([1])
    expect(asked).toEqual(['second'])
  })

  test('unlinking takes effect at once, also for an item that waits on the link', async () => {
    const source = new BufferBlock<number>()
    const target = new BufferBlock<number>({ capacity: 1 })
    target.post(0)
    using link = source.link(target)
    source.post(1)
    await turn()
    expect(target.post(9)).toBe(false)
    link.unlink()
    target.tryReceive()
    await turn()
    expect(target.outputCount).toBe(0)
    expect(source.tryReceive()).toBe(1)
    expect(target.post(2)).toBe(true)
  })

  test('`max` counts accepted items, also through encapsulate, then the link goes', async () => {
    const source = new BufferBlock<number>()
    const head = new BufferBlock<number>({ capacity: 1 })
    const tail = new BufferBlock<number>()
    head.link(tail)
    const link = source.link(encapsulate(head, tail), { max: 3 })
    for (const item of numbers(6)) source.post(item)
    for (let left = 8; left > 0; left--) await turn()
    expect(link.active).toBe(false)
    expect(tail.takeAvailable()).toEqual([0, 1, 2])
    expect(source.takeAvailable()).toEqual([3, 4, 5])
    expect(() => source.link(head, { max: 0 })).toThrow(RangeError)
  })

  test('while a target is full the others are asked, and who receives comes after the links', async () => {
    const source = new BufferBlock<number>()
    const full = new BufferBlock<number>({ capacity: 1 })
    const spare = new BufferBlock<number>({ capacity: 1 })
    source.link(full)
    source.link(spare)
    for (const item of numbers(4)) source.post(item)
    await turn()
    expect([full.takeAvailable(0 + 1), spare.outputCount, source.outputCount]).toEqual([[0], 1, 2])
    await turn()
    // Room in the first: the head went there, the next one waits.
    expect(full.tryReceive()).toBe(2)
    await turn()
    expect([full.tryReceive(), spare.tryReceive()]).toEqual([3, 1])
    const received = source.receive()
    source.post(7)
    await turn()
    expect(full.tryReceive()).toBe(7)
    full.post(0)
    spare.post(0)
    source.post(8)
    expect(await received).toBe(8)
  })

  test('sends and links that wait for room stand in one line, one item a turn', async () => {
    const target = new BufferBlock<string>({ capacity: 1 })
    target.post('first')
    const [one, two] = [new BufferBlock<string>(), new BufferBlock<string>()]
    for (const item of ['1a', '1b', '1c']) one.post(item)
    for (const item of ['2a', '2b']) two.post(item)
    one.link(target)
    await turn()
    const sent = target.send('sent')
    two.link(target)
    await turn()
    const order: unknown[] = []
    for (let left = 7; left > 0; left--) {
      order.push(target.tryReceive())
      await turn()
    }
    await sent
    expect(order).toEqual(['first', '1a', 'sent', '2a', '1b', '2b', '1c'])
  })

  test('a source whose items were taken elsewhere holds up nobody in line', async () => {
    const target = new BufferBlock<number>({ capacity: 1 })
    target.post(0)
    const source = new BufferBlock<number>()
    source.link(target)
    source.post(1)
    await turn()
    source.tryReceive()
    target.tryReceive()
    expect(target.post(2)).toBe(true)
  })

  test('a type guard in `where` picks the target by type', async () => {
    const source = new BufferBlock<number | string>()
    const words = new BufferBlock<string>()
    source.link(words, { where: item => typeof item === 'string' })
    source.link(nullTarget())
    source.post(1)
    source.post('a')
    await turn()
    expect(words.takeAvailable()).toEqual(['a'])
  })

  test('only blocks of this room can be linked to', () => {
    const source = new BufferBlock<number>()
    const channel = Channel.unbounded<number>()
    for (const stranger of [{}, null, channel.writer, { name: 'x', post: () => true }])
      expect(() => source.link(stranger as unknown as BufferBlock<number>)).toThrow(TypeError)
  })

  test('a throwing `where` ends the source', async () => {
    const source = new BufferBlock<number>()
    const target = new BufferBlock<number>()
    const error = new Error('no answer')
    source.link(target, {
      where: () => {
        throw error
      },
    })
    source.post(1)
    await expect(source.completion).rejects.toBe(error)
    await expect(target.completion).rejects.toBe(error)
    expect(source.faults).toEqual([{ error, block: source.name, item: 1 }])
    expect(target.faults).toEqual([{ error, block: source.name, item: 1 }])
  })
})

describe('unmatched items', () => {
  test("'fault' is the default; links made one after the other are all asked first", async () => {
    const source = new BufferBlock<number>()
    const evens = new BufferBlock<number>()
    const odds = new BufferBlock<number>()
    source.post(1)
    source.link(evens, { where: item => item % 2 === 0 })
    source.link(odds, { where: item => item % 2 === 1 })
    await turn()
    expect(odds.tryReceive()).toBe(1)
    source.post(1.5)
    await expect(source.completion).rejects.toBeInstanceOf(UnmatchedItemError)
    await expect(source.completion).rejects.toMatchObject({
      code: 'BUZZER_UNMATCHED_ITEM',
      item: 1.5,
      retryable: false,
    })
    expect(source.stats().discarded).toBe(1)
  })

  test('without links, or while one link only waits for room, nothing is unmatched', async () => {
    const source = new BufferBlock<number>()
    source.post(1)
    await turn()
    const full = new BufferBlock<number>({ capacity: 1 })
    full.post(0)
    source.link(full)
    source.link(nullTarget(), { where: () => false })
    await turn()
    await turn()
    expect(source.outputCount).toBe(1)
    expect(source.faults).toEqual([])
  })

  test("'drop' counts and goes on", async () => {
    const source = new BufferBlock<number>({ unmatched: 'drop' })
    const { block, seen } = collector()
    source.link(block, { where: item => item > 2 })
    for (const item of numbers(5)) source.post(item)
    await source.complete()
    await block.completion
    expect(seen).toEqual([3, 4])
    expect(source.stats()).toMatchObject({ accepted: 5, delivered: 2, discarded: 3 })
  })

  test("'wait' keeps it at the head until a new link or a receiver takes it", async () => {
    const source = new BufferBlock<number>({ unmatched: 'wait' })
    const { block, seen } = collector()
    source.link(block, { where: item => item > 0 })
    for (const item of [0, 1, 0, 2]) source.post(item)
    await turn()
    expect(seen).toEqual([])
    expect(await source.receive()).toBe(0)
    await turn()
    expect(seen).toEqual([1])
    source.link(nullTarget())
    await source.complete()
    await block.completion
    expect(seen).toEqual([1, 2])
  })

  test('a waiting receiver is a taker, and so is somebody who was told that an item is there', async () => {
    const source = new BufferBlock<number>()
    source.link(nullTarget(), { where: () => false })
    const received = source.receive()
    source.post(1)
    expect(await received).toBe(1)
    const hint = source.waitToReceive()
    source.post(2)
    expect(await hint).toBe(true)
    expect(source.tryReceive()).toBe(2)
    expect(source.faults).toEqual([])
  })
})

describe('completion and failure along links', () => {
  test('whoever awaits a completion finds it already propagated', async () => {
    const source = new BufferBlock<number>()
    const target = new BufferBlock<number>()
    source.link(target)
    await source.complete()
    expect(target.post(1)).toBe(false)
    expect(source.stats().links).toBe(0)
  })

  test('success completes a target only when every propagating source has told it', async () => {
    const [one, two, three] = [new BufferBlock<number>(), new BufferBlock<number>(), new BufferBlock<number>()]
    const { block, seen } = collector()
    one.link(block)
    two.link(block)
    three.link(block, { propagate: 'none' })
    one.post(1)
    await one.complete()
    two.post(2)
    await turn()
    expect(block.post(3)).toBe(true)
    await two.complete()
    await block.completion
    expect(seen).toEqual([1, 2, 3])
  })

  test('a link that is removed counts no more, but one at least must have told success', async () => {
    const [one, two] = [new BufferBlock<number>(), new BufferBlock<number>()]
    const target = new BufferBlock<number>()
    one.link(target)
    const link = two.link(target)
    await one.complete()
    expect(target.post(1)).toBe(true)
    link.unlink()
    expect(target.post(2)).toBe(false)
    const other = new BufferBlock<number>()
    new BufferBlock<number>().link(other).unlink()
    expect(other.post(1)).toBe(true)
  })

  test('failure, and that includes an abort, travels both ways with the same error object', async () => {
    const controller = new AbortController()
    const first = new BufferBlock<number>({ capacity: 1 })
    const middle = new TransformBlock<number, number>(item => item, { signal: controller.signal, capacity: 1 })
    const last = new BatchBlock<number>(5)
    first.link(middle)
    middle.link(last)
    const sends = numbers(20).map(item => first.send(item))
    const reason = new Error('stop')
    controller.abort(reason)
    for (const block of [first, middle, last]) await expect(block.completion).rejects.toBe(reason)
    for (const block of [first, middle, last]) expect(block.faults.map(({ error }) => error)).toEqual([reason])
    const settled = await Promise.allSettled(sends)
    expect(settled.at(-1)).toMatchObject({ status: 'rejected', reason: { code: 'BUZZER_BLOCK_CLOSED', cause: reason } })
  })

  test("'forward' does not fail the source, which keeps its items and can be linked anew", async () => {
    const source = new BufferBlock<number>()
    const failing = new ActionBlock<number>(() => {
      throw new Error('no')
    })
    source.link(failing, { propagate: 'forward' })
    source.post(1)
    await failing.completion.catch(() => {})
    source.post(2)
    await turn()
    expect(source.stats()).toMatchObject({ outputCount: 1, links: 0 })
    const { block, seen } = collector()
    source.link(block)
    await source.complete()
    await block.completion
    expect(seen).toEqual([2])
  })

  test('linking to a target that has failed faults the source in the next microtask', async () => {
    const error = new Error('gone')
    const target = new BufferBlock<number>()
    target.fault(error)
    const source = new BufferBlock<number>()
    source.link(target)
    expect(source.post(1)).toBe(true)
    await expect(source.completion).rejects.toBe(error)
  })

  test('a failed source fails a target that is linked late', async () => {
    const error = new Error('gone')
    const source = new BufferBlock<number>()
    source.fault(error)
    const target = new BufferBlock<number>()
    source.link(target)
    await expect(target.completion).rejects.toBe(error)
  })
})

test('DF-66 nullTarget: complete and fault do nothing, post stays true, completion never settles', async () => {
  const target = nullTarget<number>()
  let settled = false
  target.complete().then(
    () => (settled = true),
    () => (settled = true),
  )
  target.fault(new Error('no'))
  const source = new BufferBlock<number>()
  source.link(target)
  await source.complete()
  const failing = new BufferBlock<number>()
  failing.link(target)
  failing.fault(new Error('no'))
  await target[Symbol.asyncDispose]()
  await turn()
  expect(target.post(1)).toBe(true)
  await target.send(2)
  expect(settled).toBe(false)
})

describe('DF-64 encapsulate', () => {
  test('ten items pass a bounded head, and complete closes it', async () => {
    const head = new TransformBlock<number, number>(item => item + 1, { capacity: 1 })
    const tail = new TransformBlock<number, string>(item => `<${item}>`)
    head.link(tail)
    const whole = encapsulate(head, tail)
    const seen: string[] = []
    const sink = new ActionBlock<string>(item => void seen.push(item))
    whole.link(sink)
    for (const item of numbers(10)) await whole.send(item)
    await whole.complete()
    await sink.completion
    expect(seen).toEqual(numbers(10).map(item => `<${item + 1}>`))
    expect(whole.stats()).toMatchObject({ accepted: 10, delivered: 10 })
    expect(whole.completion).toBe(tail.completion)
  })

  test('a fault goes to the head', async () => {
    const error = new Error('from outside')
    const head = new BufferBlock<number>()
    const tail = new BufferBlock<number>()
    const whole = encapsulate(head, tail)
    whole.fault(error)
    await expect(head.completion).rejects.toBe(error)
    expect(tail.post(1)).toBe(true)
    await whole[Symbol.asyncDispose]()
    await expect(whole.completion).rejects.toMatchObject({ name: 'AbortError' })
  })

  test('its other members belong to the half in question', async () => {
    const head = new BufferBlock<number>()
    const join = new JoinBlock<[number, number]>(2)
    head.link(join.targets[0])
    const whole = encapsulate(head, join)
    whole.post(1)
    join.targets[1].post(2)
    expect(await whole.waitToReceive()).toBe(true)
    expect(whole.outputCount).toBe(1)
    expect(whole.tryReceive()).toEqual([1, 2])
    whole.asWriter().complete()
    expect(await Array.fromAsync(whole.asReader())).toEqual([])
  })
})
