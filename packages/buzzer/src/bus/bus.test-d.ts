import { describe, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { type Bus, bytes, createBus, defineCommand, defineEvent, defineRequest, faultOf, type Queue } from '../index.ts'
import type { IfJson } from '../message/index.ts'
import { memory, type MemoryTransaction } from '../transport/transports/memory.ts'

interface Order {
  readonly id: string
}

const OrderPlaced = defineEvent(
  'orders.placed',
  z.object({ id: z.string(), total: z.coerce.number<number>().default(0) }),
)
const ShipOrder = defineCommand<Order>('orders.ship')
const GetQuote = defineRequest('quotes.get', {
  request: z.object({ sku: z.string() }),
  response: z.object({ price: z.number() }),
})
const Find = defineRequest('parts.find', {
  request: z.string(),
  responses: { found: z.object({ price: z.number() }), missing: z.string() },
})
const Ask = defineRequest<{ readonly q: string }, number>('asks.ask')

declare const bus: Bus<MemoryTransaction>
declare const queue: Queue<MemoryTransaction>

describe('sending', () => {
  test('a publish takes the schema’s input and resolves to the id', () => {
    expectTypeOf(bus.publish(OrderPlaced, { id: '1' })).toEqualTypeOf<Promise<string>>()
    expectTypeOf(bus.send(ShipOrder, { id: '1' }, { to: 'shipping' })).toEqualTypeOf<Promise<string>>()
  })

  test('a wrong payload does not compile', () => {
    // @ts-expect-error id is text
    void bus.publish(OrderPlaced, { id: 1 })
    // @ts-expect-error id is missing
    void bus.send(ShipOrder, {})
    // @ts-expect-error no such property
    void bus.send(ShipOrder, { id: '1', other: 2 })
  })

  test('publishing a command and sending an event do not compile', () => {
    // @ts-expect-error a command is sent
    void bus.publish(ShipOrder, { id: '1' })
    // @ts-expect-error an event is published
    void bus.send(OrderPlaced, { id: '1' })
    // @ts-expect-error a command is not requested
    void bus.request(ShipOrder, { id: '1' })
    // @ts-expect-error a request is requested
    void bus.send(Ask, { q: '' })
  })

  test('a request resolves to its answer', () => {
    expectTypeOf(bus.request(GetQuote, { sku: 'a' })).resolves.toEqualTypeOf<{ price: number }>()
    expectTypeOf(bus.request(Ask, { q: 'a' })).resolves.toEqualTypeOf<number>()
    expectTypeOf(bus.request(Find, 'a')).resolves.toEqualTypeOf<
      { as: 'found'; value: { price: number } } | { as: 'missing'; value: string }
    >()
  })

  test('a transaction is that of transport or store', () => {
    expectTypeOf(createBus({ name: 'shop', transport: memory() })).toEqualTypeOf<Bus<MemoryTransaction>>()
    // @ts-expect-error not a transaction of this transport
    void bus.publish(OrderPlaced, { id: '1' }, { tx: 'begin' })
  })
})

describe('handling', () => {
  test('a handler sees the schema’s output', () => {
    queue.handle(OrderPlaced, order => {
      expectTypeOf(order).toEqualTypeOf<{ id: string; total: number }>()
    })
    queue.handleBatch(OrderPlaced, items => {
      expectTypeOf(items[0]?.message).toEqualTypeOf<{ id: string; total: number } | undefined>()
    })
  })

  test('a command’s handler may return JSON, nothing else', () => {
    queue.handle(ShipOrder, () => ({ tracking: 'x' }))
    queue.handle(ShipOrder, async () => {})
    // @ts-expect-error a function is no JSON
    queue.handle(ShipOrder, () => () => {})
  })

  test('a request handler without an answer, or with a wrong one, does not compile', () => {
    queue.handle(GetQuote, async () => ({ price: 1 }))
    queue.handle(Find, sku => (sku === 'a' ? { as: 'found', value: { price: 1 } } : { as: 'missing', value: sku }))
    // @ts-expect-error no answer
    queue.handle(GetQuote, () => {})
    // @ts-expect-error no answer
    queue.handle(Ask, async () => {})
    // @ts-expect-error a price is a number
    queue.handle(GetQuote, () => ({ price: 'much' }))
    // @ts-expect-error the value belongs to the other answer
    queue.handle(Find, () => ({ as: 'missing', value: { price: 1 } }))
  })

  test('the context emits with the same types', () => {
    queue.handle(ShipOrder, async (_, ctx) => {
      await ctx.publish(OrderPlaced, { id: '1' })
      // @ts-expect-error a command is sent
      await ctx.publish(ShipOrder, { id: '1' })
      expectTypeOf(await ctx.request(Ask, { q: '' })).toEqualTypeOf<number>()
    })
  })

  test('a fault carries the contract’s input', () => {
    queue.handle(faultOf(ShipOrder), fault => {
      expectTypeOf(fault.message).toEqualTypeOf<Order | undefined>()
    })
  })
})

describe('contracts', () => {
  test('what JSON cannot carry is a type error that names the property', () => {
    // @ts-expect-error 'at' is a Date
    defineEvent<{ id: string; at: Date }>('a.b')
    // @ts-expect-error 'when.at' is a Date
    defineCommand('a.b', z.object({ when: z.object({ at: z.date() }) }))
    // @ts-expect-error a Map does not survive
    defineEvent<{ all: Map<string, string> }>('a.b')
    // @ts-expect-error nor does a bigint
    defineRequest<{ n: bigint }, number>('a.b')
    defineEvent<Uint8Array>('a.b', { codec: bytes })
    expectTypeOf<IfJson<{ id: string; when: { at: Date } }, string>>().toEqualTypeOf<{
      readonly 'this property would not survive JSON; give the contract a codec, or another type': 'when.at'
    }>()
  })

  test('an event must be assignable to each of its bases', () => {
    const Base = defineEvent<{ readonly id: string }>('a.base')
    defineEvent<{ readonly id: string; readonly more: number }>('a.derived', { extends: [Base] })
    // @ts-expect-error id is missing
    defineEvent<{ readonly more: number }>('a.derived', { extends: [Base] })
  })

  test('key and correlationId see the input', () => {
    defineCommand<Order>('a.b', { key: order => order.id, correlationId: order => order.id })
    // @ts-expect-error no such property
    defineCommand<Order>('a.b', { key: order => order.number })
  })
})
