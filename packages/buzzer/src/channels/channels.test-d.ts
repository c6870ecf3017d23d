import { Readable } from 'node:stream'
import { describe, expectTypeOf, it } from 'vitest'
import {
  Channel,
  type ChannelReader,
  createWorkerChannel,
  type Empty,
  fromEvent,
  fromIterable,
  fromReadable,
  merge,
  type Selected,
  select,
  tee,
} from './index.ts'

declare const numbers: ChannelReader<number>
declare const words: ChannelReader<string>
declare const emitter: EventTarget

describe('types of channels', () => {
  it('tryRead narrows by Channel.empty', () => {
    const item = numbers.tryRead()
    expectTypeOf(item).toEqualTypeOf<number | Empty>()
    if (item !== Channel.empty) expectTypeOf(item).toEqualTypeOf<number>()
    expectTypeOf(Channel.empty).toEqualTypeOf<Empty>()
  })

  it('the item type flows from options to reader and writer', () => {
    const channel = Channel.prioritized({ compare: (a: { at: number }, b: { at: number }) => a.at - b.at })
    expectTypeOf(channel.reader.read()).resolves.toEqualTypeOf<{ at: number }>()
    expectTypeOf(channel.writer.tryWrite).parameter(0).toEqualTypeOf<{ at: number }>()
    expectTypeOf(Channel.bounded<string>(1).reader.batches({ max: 2 })).toExtend<AsyncIterable<string[]>>()
  })

  it('readers are covariant', () => {
    expectTypeOf<ChannelReader<1 | 2>>().toExtend<ChannelReader<number>>()
  })

  it('select tells the key with its value, and Empty only with a timeout', async () => {
    const chosen = await select({ numbers, words })
    expectTypeOf(chosen).toEqualTypeOf<{ key: 'numbers'; value: number } | { key: 'words'; value: string }>()
    if (chosen.key === 'words') expectTypeOf(chosen.value).toEqualTypeOf<string>()
    const timed = await select({ numbers }, { timeoutMs: 5 })
    expectTypeOf(timed).toEqualTypeOf<{ key: 'numbers'; value: number } | Empty>()
    expectTypeOf<Selected<{ numbers: typeof numbers }>>().toEqualTypeOf<{ key: 'numbers'; value: number }>()
  })

  it('merge of a list keeps the item type, of a record tells the key', () => {
    expectTypeOf(merge([numbers, numbers])).toEqualTypeOf<ChannelReader<number>>()
    expectTypeOf(merge({ numbers, words }).read()).resolves.toEqualTypeOf<
      { key: 'numbers'; value: number } | { key: 'words'; value: string }
    >()
  })

  it('tee and the bridges give readers that can be disposed of', () => {
    expectTypeOf(tee(numbers, 2)).toEqualTypeOf<(ChannelReader<number> & Disposable)[]>()
    expectTypeOf(fromIterable([1, 2])).toExtend<ChannelReader<number> & AsyncDisposable>()
    expectTypeOf(fromReadable(Readable.from([])).read()).resolves.toEqualTypeOf<unknown>()
    expectTypeOf(
      fromEvent(emitter, 'x', { capacity: 1, fullMode: 'drop-oldest', map: (event: MessageEvent) => event.type }),
    ).toExtend<ChannelReader<string>>()
  })

  it('what cannot work does not compile', () => {
    // @ts-expect-error an emitter cannot wait
    fromEvent(emitter, 'x', { capacity: 1, fullMode: 'wait' })
    // @ts-expect-error a source of events needs its capacity
    fromEvent(emitter, 'x', { fullMode: 'drop-oldest' })
    // @ts-expect-error priorities need an order
    Channel.prioritized({})
    // @ts-expect-error a rendezvous has nothing to drop but the write
    Channel.rendezvous({ fullMode: 'drop-oldest' })
    // @ts-expect-error not an item of this channel
    Channel.bounded<number>(1).writer.tryWrite('x')
    // @ts-expect-error no such codec
    createWorkerChannel({ codec: 'xml' })
  })
})
