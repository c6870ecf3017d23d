import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { Channel } from '../channels/index.ts'
import {
  ActionBlock,
  BatchBlock,
  BatchedJoinBlock,
  BlockClosedError,
  BroadcastBlock,
  BufferBlock,
  JoinBlock,
  type Propagator,
  type Source,
  type Target,
  TransformBlock,
  TransformManyBlock,
  WriteOnceBlock,
} from './index.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

const propagators: Record<string, (options?: object) => Propagator<number, unknown>> = {
  buffer: options => new BufferBlock<number>(options),
  transform: options => new TransformBlock((item: number) => item, options),
  'transform-many': options => new TransformManyBlock((item: number) => [item], options),
  broadcast: options => new BroadcastBlock<number>(options),
  'write-once': options => new WriteOnceBlock<number>(options),
  batch: options => new BatchBlock<number>(1, options),
}
const targets: Record<string, (options?: object) => Target<number>> = {
  ...propagators,
  action: options => new ActionBlock(() => {}, options),
}
const all: Record<string, (options?: object) => Target<number> | Source<unknown>> = {
  ...targets,
  join: options => new JoinBlock<[number, number]>(2, options),
  'batched-join': options => new BatchedJoinBlock<[number, number]>(1, 2, options),
}
const bounded = Object.keys(all).filter(kind => kind !== 'write-once')

afterEach(() => vi.useRealTimers())

function noop(): void {}

describe('every block', () => {
  test.each(Object.keys(all))('DF-1 %s: without options nothing is there yet and nothing has happened', kind => {
    const block = (all[kind] as (options?: object) => Source<unknown>)()
    expect(block.stats()).toMatchObject({
      inputCount: 0,
      running: 0,
      outputCount: 0,
      accepted: 0,
      delivered: 0,
      skipped: 0,
      retried: 0,
      discarded: 0,
      waitingSends: 0,
      links: 0,
    })
    expect(block.faults).toEqual([])
  })

  test.each(bounded)('DF-1 %s: a capacity that is no integer ≥ 1 and not Infinity is a RangeError', kind => {
    for (const capacity of [0, -1, 1.5, Number.NaN]) expect(() => all[kind]?.({ capacity })).toThrow(RangeError)
    expect(() => all[kind]?.({ capacity: Number.POSITIVE_INFINITY })).not.toThrow()
  })

  test('DF-1 the default capacity is 1,024, the default parallelism 1', async () => {
    const buffer = new BufferBlock<number>()
    let accepted = 0
    while (buffer.post(accepted)) accepted++
    expect(accepted).toBe(1_024)
    let most = 0
    let running = 0
    const action = new ActionBlock<number>(async () => {
      most = Math.max(most, ++running)
      await turn()
      running--
    })
    for (let item = 0; item < 5; item++) action.post(item)
    await action.complete()
    expect(most).toBe(1)
  })

  test('DF-1 bad numbers are a RangeError, options that cannot be honoured a TypeError, both at construction', () => {
    for (const parallel of [0, -1, 1.5, Number.NaN])
      expect(() => new ActionBlock(noop, { parallel })).toThrow(RangeError)
    for (const size of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => new BatchBlock(size)).toThrow(RangeError)
      expect(() => new BatchedJoinBlock<[number]>(size, 1)).toThrow(RangeError)
      expect(() => new JoinBlock<number[]>(size)).toThrow(RangeError)
    }
    expect(() => new BatchBlock(2, { maxGroups: 0 })).toThrow(RangeError)
    expect(() => new BatchBlock(2, { maxWaitMs: -1 })).toThrow(RangeError)
    expect(() => new ActionBlock(noop, { rate: { limit: 0, perMs: 1 } })).toThrow(RangeError)
    expect(() => new ActionBlock(noop, { rate: { limit: 1, perMs: 0 } })).toThrow(RangeError)
    expect(() => new ActionBlock(noop, { onError: { retryAfterMs: -1 } })).toThrow(RangeError)
    expect(() => new ActionBlock(noop, { onError: 'ignore' as 'skip' })).toThrow(TypeError)
    expect(() => new ActionBlock(undefined as unknown as () => void)).toThrow(TypeError)
    expect(() => new ActionBlock(noop, { unmatched: 'drop' })).toThrow(TypeError)
    expect(() => new BufferBlock({ unmatched: 'ignore' as 'drop' })).toThrow(TypeError)
    expect(() => new BatchBlock(2, { greedy: false, maxWaitMs: 5 })).toThrow(TypeError)
    expect(() => new BatchBlock(2, { maxWeight: 5 })).toThrow(TypeError)
    expect(() => new BroadcastBlock({ delivery: 'some' as 'all' })).toThrow(TypeError)
    expect(() => new WriteOnceBlock({ capacity: 3 } as object)).toThrow(TypeError)
  })

  test.each(Object.keys(all))('DF-2 %s: completing twice gives the same promise, which resolves', async kind => {
    const block = (all[kind] as () => Source<unknown>)()
    const completion = block.completion
    const first = block.complete()
    expect(first).toBe(completion)
    expect(block.complete()).toBe(completion)
    await expect(completion).resolves.toBeUndefined()
    expect(block.completion).toBe(completion)
  })

  test.each(Object.keys(all))(
    'DF-3 %s: a name of its own shows in stats and errors, otherwise kind and number',
    async kind => {
      const named = (all[kind] as (options: object) => Target<number>)({ name: 'mine' })
      expect(named.name).toBe('mine')
      expect(named.stats().name).toBe('mine')
      const first = (all[kind] as () => Target<number>)()
      const second = (all[kind] as () => Target<number>)()
      expect(first.name).toMatch(new RegExp(`^${kind}-\\d+$`))
      expect(second.name).not.toBe(first.name)
      if (!(kind in targets)) return
      void named.complete()
      await expect(named.send(1)).rejects.toThrow(/"mine"/)
    },
  )

  test.each(Object.keys(targets))(
    'DF-4 %s: completed, it takes nothing, and a linked source keeps its items',
    async kind => {
      const target = (targets[kind] as () => Target<number>)()
      const source = new BufferBlock<number>()
      await target.complete()
      expect(target.post(1)).toBe(false)
      await expect(target.send(1)).rejects.toMatchObject({ code: 'BUZZER_BLOCK_CLOSED', retryable: false })
      expect(source.link(target).active).toBe(false)
      source.post(1)
      await turn()
      expect(source.outputCount).toBe(1)
      expect(source.tryReceive()).toBe(1)
    },
  )

  test.each(Object.keys(targets).filter(kind => kind !== 'write-once'))(
    'DF-5 %s: post is true while open, false afterwards, bounded or not',
    kind => {
      for (const capacity of [1, 10, Number.POSITIVE_INFINITY]) {
        const block = (targets[kind] as (options: object) => Target<number>)({ capacity })
        expect(block.post(1)).toBe(true)
        void block.complete()
        expect(block.post(2)).toBe(false)
      }
    },
  )

  test.each(Object.keys(all))('DF-10 %s: with a signal aborted before construction it is dead at once', async kind => {
    const reason = new Error('too late')
    const block = (all[kind] as (options: object) => Propagator<number, unknown>)({
      signal: AbortSignal.abort(reason),
    })
    if (kind in targets) {
      expect(block.post(1)).toBe(false)
      await expect(block.send(1)).rejects.toMatchObject({ code: 'BUZZER_BLOCK_CLOSED', cause: reason })
    }
    block.fault(new Error('another'))
    if (kind !== 'action') {
      block.link(new BufferBlock<unknown>(), { propagate: 'none' })
      expect(block.tryReceive()).toBe(Channel.empty)
      await expect(block.receive()).rejects.toMatchObject({ code: 'BUZZER_BLOCK_CLOSED', cause: reason })
      await expect(block.waitToReceive()).rejects.toBe(reason)
    }
    await expect(block.complete()).rejects.toBe(reason)
    expect(block.faults.map(fault => fault.error)).toEqual([reason])
  })

  test.each(Object.keys(targets).filter(kind => !['write-once', 'broadcast', 'action'].includes(kind)))(
    'DF-19 %s: whatever ends it, every waiting send settles and the counts are 0',
    async kind => {
      for (const end of ['fault', 'abort', 'dispose']) {
        const controller = new AbortController()
        const error = new Error('end')
        const block = (targets[kind] as (options: object) => Target<number>)({
          capacity: 1,
          signal: controller.signal,
        })
        const sends = Array.from({ length: 20 }, (_, item) => block.send(item))
        await turn()
        if (end === 'fault') block.fault(error)
        else if (end === 'abort') controller.abort(error)
        else await block[Symbol.asyncDispose]()
        const settled = await Promise.allSettled(sends)
        expect(settled.map(each => each.status)).toEqual(['fulfilled', ...Array(19).fill('rejected')])
        expect((settled[1] as PromiseRejectedResult).reason).toBeInstanceOf(BlockClosedError)
        expect(block.stats()).toMatchObject({ inputCount: 0, outputCount: 0, waitingSends: 0, discarded: 1 })
        await expect(block.completion).rejects.toBe(block.faults[0]?.error)
      }
    },
  )

  test('DF-75 failed blocks that nobody awaits raise no unhandled rejection', async () => {
    const seen: unknown[] = []
    const listener = (error: unknown): void => void seen.push(error)
    process.on('unhandledRejection', listener)
    for (const make of Object.values(all)) {
      const block = make()
      block.fault(new Error(`nobody looks at ${block.name}`))
    }
    const action = new ActionBlock<number>(() => {
      throw new Error('nor here')
    })
    action.post(1)
    await turn()
    await turn()
    process.off('unhandledRejection', listener)
    expect(seen).toEqual([])
  })
})

describe('end and failure', () => {
  test('the block is closed at once by a failure, running functions are waited for, later errors are collected', async () => {
    const first = new Error('first')
    const second = new Error('second')
    const release = Promise.withResolvers<void>()
    let signal: AbortSignal | undefined
    const block = new TransformBlock<number, number>(
      async (item, context) => {
        signal = context.signal
        await release.promise
        if (item === 1) throw second
        return item
      },
      { parallel: 2, name: 'two' },
    )
    block.post(1)
    block.post(2)
    block.post(3)
    await turn()
    let settled = false
    void block.completion.catch(() => {}).then(() => (settled = true))
    block.fault(first)
    expect(signal?.aborted).toBe(true)
    expect(signal?.reason).toBe(first)
    expect(block.post(4)).toBe(false)
    expect(block.stats()).toMatchObject({ inputCount: 0, running: 2 })
    await turn()
    expect(settled).toBe(false)
    release.resolve()
    await expect(block.completion).rejects.toBe(first)
    expect(block.faults).toEqual([
      { error: first, block: 'two' },
      { error: second, block: 'two', item: 1 },
    ])
    expect(block.stats()).toMatchObject({ running: 0, discarded: 3, outputCount: 0 })
  })

  test('a fault after complete() still ends the block; after the end it does nothing', async () => {
    const error = new Error('late')
    const buffer = new BufferBlock<number>()
    buffer.post(1)
    void buffer.complete()
    buffer.fault(error)
    await expect(buffer.completion).rejects.toBe(error)
    const done = new BufferBlock<number>()
    await done.complete()
    done.fault(error)
    expect(done.faults).toEqual([])
    await expect(done.completion).resolves.toBeUndefined()
  })

  test('a source with output that nobody takes never completes', async () => {
    const buffer = new BufferBlock<number>()
    buffer.post(1)
    let settled = false
    void buffer.complete().then(() => (settled = true))
    await turn()
    await turn()
    expect(settled).toBe(false)
    expect(buffer.tryReceive()).toBe(1)
    await turn()
    expect(settled).toBe(true)
  })

  test('disposing faults with an AbortError, waits for running functions and never rejects', async () => {
    let finished = false
    const action = new ActionBlock<number>(async () => {
      await turn()
      finished = true
    })
    action.post(1)
    await turn()
    await action[Symbol.asyncDispose]()
    expect(finished).toBe(true)
    await expect(action.completion).rejects.toMatchObject({ name: 'AbortError' })
    await action[Symbol.asyncDispose]()
  })

  test('an ended block has let go of its signal', async () => {
    const { signal } = new AbortController()
    const remove = vi.spyOn(signal, 'removeEventListener')
    const buffer = new BufferBlock<number>({ signal })
    await buffer.complete()
    expect(remove).toHaveBeenCalledTimes(1)
  })
})

describe('work', () => {
  test('functions never run on the stack of post, send, link, complete or receive', async () => {
    let onStack = false
    const seen: boolean[] = []
    const note = (): boolean => {
      seen.push(onStack)
      return true
    }
    const source = new TransformBlock<number, number>(item => {
      note()
      return item
    })
    const full = new BufferBlock<number>({ capacity: 1 })
    onStack = true
    source.post(1)
    const sent = source.send(2)
    source.link(full, { where: note })
    onStack = false
    await sent
    await turn()
    onStack = true
    const received = full.receive()
    full.tryReceive()
    void source.complete()
    onStack = false
    await received
    await turn()
    expect(seen.length).toBeGreaterThan(3)
    expect(seen).not.toContain(true)
  })

  test('functions run in the AsyncLocalStorage context in which the block was made', async () => {
    const storage = new AsyncLocalStorage<string>()
    const seen: (string | undefined)[] = []
    const note = (item: number): number => {
      seen.push(storage.getStore())
      return item
    }
    const made = storage.run('made here', () => ({
      map: new TransformBlock<number, number>(note, { key: note }),
      many: new TransformManyBlock<number, number>(async item => (note(item), [item])),
    }))
    const sink = new ActionBlock<number>(() => void seen.push(storage.getStore()))
    storage.run('linked there', () => {
      made.map.link(made.many, { where: item => note(item) > 0 })
      made.many.link(sink)
    })
    storage.run('posted elsewhere', () => made.map.post(1))
    void made.map.complete()
    await sink.completion
    expect(seen).toEqual(['made here', 'made here', 'made here', 'made here', undefined])
  })

  test('after 1,024 items the event loop has its turn', async () => {
    let most = 0
    let since = 0
    const action = new ActionBlock<number>(() => void (most = Math.max(most, ++since)), {
      capacity: Number.POSITIVE_INFINITY,
    })
    for (let item = 0; item < 10_000; item++) action.post(item)
    const watch = (): void => {
      since = 0
      if (action.stats().delivered < 10_000) setImmediate(watch)
    }
    setImmediate(watch)
    await action.complete()
    expect(most).toBeLessThanOrEqual(2_048)
    expect(action.stats().delivered).toBe(10_000)
  })

  test('a loop that awaits send into endless room lets the event loop turn', async () => {
    const buffer = new BufferBlock<number>({ capacity: Number.POSITIVE_INFINITY })
    let turned = 0
    let over = false
    const watch = (): void => {
      turned++
      if (!over) setImmediate(watch)
    }
    setImmediate(watch)
    for (let item = 0; item < 10_000; item++) await buffer.send(item)
    for (let item = 0; item < 10_000; item++) await buffer.receive()
    over = true
    expect(turned).toBeGreaterThanOrEqual(16)
  })
})

describe('diagnostics', () => {
  test('fault, skip, retry, unmatched and complete are told to those who listen', async () => {
    const told: string[] = []
    const kinds = ['fault', 'skip', 'retry', 'unmatched', 'complete']
    const listeners = kinds.map(kind => {
      const listener = (): void => void told.push(kind)
      subscribe(`buzzer:dataflow:${kind}`, listener)
      return { kind, listener }
    })
    const source = new TransformBlock<number, number>(
      item => {
        if (item > 1) throw new Error('no')
        return item
      },
      { unmatched: 'drop', onError: (_error, _item, attempt) => (attempt === 1 ? 'retry' : 'skip') },
    )
    source.link(new BufferBlock<number>(), { where: () => false })
    source.post(1)
    source.post(2)
    await source.complete()
    const failing = new BufferBlock<number>()
    failing.fault(new Error('x'))
    for (const { kind, listener } of listeners) unsubscribe(`buzzer:dataflow:${kind}`, listener)
    expect(told).toEqual(expect.arrayContaining(['retry', 'skip', 'unmatched', 'complete', 'fault']))
    expect(source.stats()).toMatchObject({ accepted: 2, skipped: 1, retried: 1, discarded: 1 })
  })

  test('a head that nobody takes for 5 s is told once', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    const told: unknown[] = []
    const listener = (message: unknown): void => void told.push(message)
    subscribe('buzzer:dataflow:stalled', listener)
    const buffer = new BufferBlock<number>({ name: 'slow' })
    buffer.post(1)
    buffer.post(2)
    vi.advanceTimersByTime(4_999)
    expect(told).toEqual([])
    vi.advanceTimersByTime(1)
    expect(told).toEqual([{ block: 'slow', outputCount: 2, forMs: 5_000 }])
    vi.advanceTimersByTime(20_000)
    expect(told).toHaveLength(1)
    buffer.takeAvailable()
    await buffer.complete()
    expect(vi.getTimerCount()).toBe(0)
    unsubscribe('buzzer:dataflow:stalled', listener)
  })
})
