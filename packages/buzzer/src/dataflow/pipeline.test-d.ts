import { describe, expectTypeOf, test } from 'vitest'
import { Channel, type ChannelReader, type ChannelWriter, type Empty } from '../channels/index.ts'
import {
  ActionBlock,
  BatchBlock,
  BatchedJoinBlock,
  BufferBlock,
  choose,
  encapsulate,
  type Inlet,
  inWorkers,
  JoinBlock,
  nullTarget,
  type Pipeline,
  type Propagator,
  pipeline,
  TransformBlock,
  TransformManyBlock,
} from './index.ts'

interface Order {
  id: string
  rows: number[]
}
type Shape = { kind: 'circle'; radius: number } | { kind: 'square'; side: number }

const guard = (item: unknown): item is string => typeof item === 'string'

describe('DF-78 types', () => {
  test('every step of a pipeline infers the next', () => {
    const orders = pipeline<string>().map(async (id): Promise<Order> => ({ id, rows: [1] }))
    expectTypeOf(orders).toEqualTypeOf<Pipeline<string, Order>>()
    const rows = orders.flatMap(order => order.rows)
    expectTypeOf(rows).toEqualTypeOf<Pipeline<string, number>>()
    const batches = rows.batch(10)
    expectTypeOf(batches).toEqualTypeOf<Pipeline<string, number[]>>()
    const sealed = batches.forEach(batch => expectTypeOf(batch).toEqualTypeOf<number[]>())
    expectTypeOf(sealed).toEqualTypeOf<Pipeline<string, never>>()
    expectTypeOf(sealed.send).parameter(0).toEqualTypeOf<string>()
  })

  test('map leaves out Channel.empty, and unwraps promises', () => {
    const some = pipeline<number>().map(n => (n > 0 ? n.toFixed() : Channel.empty))
    expectTypeOf(some).toEqualTypeOf<Pipeline<number, string>>()
    const later = pipeline<number>().map(async n => (n > 0 ? n.toFixed() : Channel.empty))
    expectTypeOf(later).toEqualTypeOf<Pipeline<number, string>>()
  })

  test('flatMap takes iterables, async iterables, promises of them, and nothing', () => {
    expectTypeOf(
      pipeline<number>().flatMap(async function* (n) {
        yield String(n)
      }),
    ).toEqualTypeOf<Pipeline<number, string>>()
    expectTypeOf(pipeline<number>().flatMap(async n => new Set([n > 1]))).toEqualTypeOf<Pipeline<number, boolean>>()
    expectTypeOf(pipeline<number>().flatMap(n => (n > 1 ? [n] : undefined))).toEqualTypeOf<Pipeline<number, number>>()
  })

  test('a type guard in filter narrows', () => {
    const circles = pipeline<Shape>().filter(shape => shape.kind === 'circle')
    expectTypeOf(circles).toEqualTypeOf<Pipeline<Shape, { kind: 'circle'; radius: number }>>()
    expectTypeOf(pipeline<string | number>().filter(guard)).toEqualTypeOf<Pipeline<string | number, string>>()
    expectTypeOf(pipeline<number>().filter(async n => n > 1)).toEqualTypeOf<Pipeline<number, number>>()
  })

  test('pipeline.from takes its item type from the source, and cannot be fed by hand', () => {
    const line = pipeline.from(new Set(['a']))
    expectTypeOf(line).toEqualTypeOf<Pipeline<never, string>>()
    expectTypeOf(pipeline.from({} as ChannelReader<Order>)).toEqualTypeOf<Pipeline<never, Order>>()
    // @ts-expect-error -- it feeds itself
    line.post('b')
  })

  test('steps and ends must fit', () => {
    const line = pipeline<number>()
    // @ts-expect-error -- numbers do not go through a block of strings
    line.through(new BufferBlock<string>())
    // @ts-expect-error -- nor to a sink of strings
    line.to(new ActionBlock<string>(() => {}))
    // @ts-expect-error -- nor to a channel of strings
    line.to({} as ChannelWriter<string>)
    expectTypeOf(line.through(new BatchBlock<number>(2))).toEqualTypeOf<Pipeline<number, number[]>>()
  })

  test('options know the item', () => {
    pipeline<Order>().map(order => order.id, {
      key: order => order.rows,
      onError: (_error, order) => (order.id ? 'skip' : 'retry'),
    })
    // @ts-expect-error -- no such action
    pipeline<Order>().map(order => order.id, { onError: () => 'ignore' })
  })

  test('link fits by type, and a type guard in `where` lets a narrower target in', () => {
    const shapes = new BufferBlock<Shape>()
    const circles = new BufferBlock<{ kind: 'circle'; radius: number }>()
    // @ts-expect-error -- a square is no circle
    shapes.link(circles)
    shapes.link(circles, { where: shape => shape.kind === 'circle' })
    shapes.link(new ActionBlock<{ kind: string }>(() => {}))
    shapes.link(nullTarget())
  })

  test('joins have the tuple of their inputs', () => {
    const join = new JoinBlock<[number, string, boolean]>(3)
    expectTypeOf(join.targets[1]).toEqualTypeOf<Inlet<string>>()
    expectTypeOf(join.receive()).resolves.toEqualTypeOf<[number, string, boolean]>()
    // @ts-expect-error -- the arity is that of the tuple
    expectTypeOf(new JoinBlock<[number, string]>(3))
    const batched = new BatchedJoinBlock<[number, string]>(10, 2)
    expectTypeOf(batched.targets[0]).toEqualTypeOf<Inlet<number>>()
    expectTypeOf(batched.receive()).resolves.toEqualTypeOf<[number[], string[]]>()
  })

  test('choose knows its keys, and empties only with a timeout', async () => {
    const cases = { numbers: new BufferBlock<number>(), words: new BufferBlock<string>() }
    const chosen = await choose(cases)
    expectTypeOf(chosen).toEqualTypeOf<{ key: 'numbers'; value: number } | { key: 'words'; value: string }>()
    if (chosen.key === 'words') expectTypeOf(chosen.value).toEqualTypeOf<string>()
    expectTypeOf(choose(cases, { timeoutMs: 1 })).resolves.toEqualTypeOf<typeof chosen | Empty>()
  })

  test('blocks are what their interfaces say', () => {
    expectTypeOf(new TransformBlock((n: number) => String(n))).toExtend<Propagator<number, string>>()
    expectTypeOf(new TransformManyBlock((n: number) => [String(n)])).toExtend<Propagator<number, string>>()
    const whole = encapsulate(new BufferBlock<number>(), new BufferBlock<string>())
    expectTypeOf(whole).toEqualTypeOf<Propagator<number, string>>()
    const resize = inWorkers<number, string>(new URL('file:///x.js'))
    expectTypeOf(pipeline<number>().map(resize)).toEqualTypeOf<Pipeline<number, string>>()
  })
})
