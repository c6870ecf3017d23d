import assert from 'node:assert/strict'
import { describe, expect, test } from 'vitest'
import { defineCommand, defineEvent, faultOf } from '../index.ts'
import { memory, memoryBroker } from '../transport/transports/memory.ts'
import { runCases } from './conformance/case.ts'
import { faulty } from './faulty.ts'
import { createHarness } from './harness.ts'
import { transportConformance } from './transport-conformance.ts'

interface Order {
  orderId: string
}

const OrderPlaced = defineEvent<Order>('orders.order-placed')
const Invoiced = defineEvent<Order>('orders.invoiced')
const Ship = defineCommand<Order>('orders.ship')
const order = { orderId: '1' }

describe('inject', () => {
  test('M4 failSend rejects the next send with BUZZER_SEND_FAILED and stores nothing', async () => {
    const transport = faulty(memory())
    await using harness = await createHarness({
      transport,
      configure: bus => void bus.queue('billing').handle(OrderPlaced, () => {}),
    })
    transport.inject.failSend()
    await assert.rejects(harness.bus.publish(OrderPlaced, order), { code: 'BUZZER_SEND_FAILED', retryable: true })
    await harness.idle()
    expect(harness.consumed(OrderPlaced).count()).toBe(0)
    await harness.bus.publish(OrderPlaced, order)
    await harness.idle()
    expect(harness.consumed(OrderPlaced).count()).toBe(1)
  })

  test('M4 failSendWhen fails what a handler emits: the attempt failed, a later one succeeds, the output leaves once', async () => {
    const transport = faulty(memory())
    await using harness = await createHarness({
      transport,
      configure: bus =>
        void bus
          .queue('billing')
          .handle(OrderPlaced, async (message, ctx) => void (await ctx.publish(Invoiced, message))),
    })
    const heal = transport.inject.failSendWhen(message => message.attributes['type'] === Invoiced.type)
    await harness.bus.publish(OrderPlaced, order)
    await harness.idle()
    expect(harness.attempts(OrderPlaced).count()).toBeGreaterThan(1)
    expect(harness.published(Invoiced).count()).toBe(0)
    heal()
    await harness.advance(60_000)
    expect(harness.consumed(OrderPlaced).count()).toBeGreaterThan(0)
    expect(harness.published(Invoiced).count()).toBe(1)
    expect(harness.deadLettered(OrderPlaced).count()).toBe(0)
  })

  test('F10 a fault that cannot be sent does not keep the message from the dead letters', async () => {
    const transport = faulty(memory())
    await using harness = await createHarness({
      transport,
      configure: bus =>
        void bus.queue('billing', { retry: 'none' }).handle(OrderPlaced, () => {
          throw new Error('no')
        }),
    })
    transport.inject.failSendWhen(message => message.attributes['type'] === faultOf(OrderPlaced).type)
    await harness.bus.publish(OrderPlaced, order)
    await harness.idle()
    expect((await harness.bus.admin.deadLetters('billing').list()).items).toHaveLength(1)
    expect(harness.attempts(OrderPlaced).count()).toBe(1)
  })

  test('M4 duplicateSend stores twice with one id: a handler runs twice, one that deduplicates once', async () => {
    const transport = faulty(memory())
    await using harness = await createHarness({
      transport,
      configure: bus => {
        bus.queue('plain').handle(OrderPlaced, () => {})
        bus.queue('once', { deduplicate: 'id' }).handle(OrderPlaced, () => {})
      },
    })
    transport.inject.duplicateSend()
    await harness.bus.publish(OrderPlaced, order)
    // The second copy waits for the outcome of the first.
    await harness.advance(5_000)
    const runs = harness.attempts(OrderPlaced).all()
    expect(runs.map(run => run.queue).toSorted()).toEqual(['once', 'plain', 'plain'])
    expect(new Set(runs.map(run => run.id)).size).toBe(1)
  })

  test('M4 loseSettlement brings the message back with attempt + 1, and nothing of the settlement was applied', async () => {
    const transport = faulty(memory())
    const deliveries: number[] = []
    await using harness = await createHarness({
      transport,
      configure: bus =>
        void bus.queue('billing', { retry: { immediate: 0 } }).handle(OrderPlaced, async (message, ctx) => {
          deliveries.push(ctx.attempt)
          await ctx.publish(Invoiced, message)
          ctx.tx.put('billing', message.orderId, { attempt: ctx.attempt })
        }),
    })
    transport.inject.loseSettlement()
    await harness.bus.publish(OrderPlaced, order)
    await harness.idle()
    expect(deliveries).toEqual([1, 2])
    const record = await harness.bus.store?.get('billing', '1')
    expect(record).toMatchObject({ version: 1, value: { attempt: 2 } })
    const { ready } = await transport.inner.admin.queue('billing')
    expect(ready).toBe(0)
  })

  test('M4 disconnect: sends wait for the connection, what was running loses its lock and comes again', async () => {
    const transport = faulty(memory())
    const reasons: unknown[] = []
    await using harness = await createHarness({
      transport,
      configure: bus =>
        void bus.queue('billing').handle(OrderPlaced, (_, ctx) => {
          if (ctx.attempt > 1) return
          return new Promise<void>(resolve => {
            ctx.signal.addEventListener('abort', () => {
              reasons.push((ctx.signal.reason as { code: string }).code)
              resolve()
            })
          })
        }),
    })
    await harness.bus.publish(OrderPlaced, order)
    await harness
      .attempts(Invoiced)
      .any()
      .catch(() => false)
    transport.inject.disconnect(10_000)
    const sending = harness.bus.publish(Invoiced, order)
    expect((await harness.bus.health()).status).toBe('degraded')
    await harness.advance(9_000)
    expect(reasons).toEqual(['BUZZER_LOCK_LOST'])
    expect(harness.consumed(OrderPlaced).count()).toBe(0)
    expect(harness.published(Invoiced).count()).toBe(0)
    await harness.advance(2_000)
    await sending
    await harness.idle()
    expect(harness.consumed(OrderPlaced).count()).toBe(1)
    expect((await harness.bus.health()).status).toBe('healthy')
  })
})

describe('weakened capabilities', () => {
  test('may not be stronger than the transport', () => {
    const weak = faulty(memory(), { capabilities: { transactions: 'none', priorities: 1, delayMaxMs: 0 } })
    expect(weak.capabilities).toMatchObject({ transactions: 'none', priorities: 1, delayMaxMs: 0, ordering: 'key' })
    for (const capabilities of [{ transactions: 'settle-and-send' }, { priorities: 2 }, { delayMaxMs: 1 }] as const) {
      assert.throws(() => faulty(weak, { capabilities }), { code: 'BUZZER_INVALID_OPTION' })
    }
  })

  test('X2 without transactions the outputs go through the outbox of the store', async () => {
    const transport = faulty(memory(), { capabilities: { transactions: 'none' } })
    await using harness = await createHarness({
      transport,
      configure: bus => {
        bus.queue('billing').handle(OrderPlaced, async (message, ctx) => void (await ctx.publish(Invoiced, message)))
        bus.queue('other').handle(Invoiced, () => {})
      },
    })
    await harness.bus.publish(OrderPlaced, order)
    await harness.advance(5_000)
    expect(harness.consumed(OrderPlaced).count()).toBe(1)
    expect(harness.consumed(Invoiced).count()).toBe(1)
  })

  test('T3 without delay the store holds a delayed message', async () => {
    const transport = faulty(memory(), { capabilities: { delayMaxMs: 0 } })
    await using harness = await createHarness({
      transport,
      configure: bus => void bus.queue('billing', { retry: 'none' }).handle(OrderPlaced, () => {}),
    })
    await harness.bus.publish(OrderPlaced, order, { delayMs: 60_000 })
    await harness.advance(59_000)
    expect(harness.consumed(OrderPlaced).count()).toBe(0)
    await harness.advance(3_000)
    expect(harness.consumed(OrderPlaced).count()).toBe(1)
  })

  test('D4 without native dead letters the core keeps them, and nothing is asked of the broker', async () => {
    const transport = faulty(memory(), { capabilities: { deadLetter: 'none' } })
    await using harness = await createHarness({
      transport,
      configure: bus =>
        void bus.queue('billing', { retry: 'none' }).handle(OrderPlaced, () => {
          throw new Error('no')
        }),
    })
    await harness.bus.publish(OrderPlaced, order)
    await harness.idle()
    const { items } = await harness.bus.admin.deadLetters('billing').list()
    expect(items.map(({ reason, error }) => [reason, error?.message])).toEqual([['retries-exhausted', 'no']])
    expect((await transport.inner.admin.queue('billing')).dead).toBe(0)
    expect((await transport.inner.admin.queue('billing')).ready).toBe(0)
  })

  test('T4 without ttl the bus itself drops what expired while it waited', async () => {
    const transport = faulty(memory(), { capabilities: { ttl: 'none' } })
    await using harness = await createHarness({
      transport,
      configure: bus => void bus.queue('dock').handle(Ship, () => {}),
    })
    await harness.bus.queue('dock').pause()
    await harness.bus.send(Ship, order, { ttlMs: 1_000 })
    await harness.advance(2_000)
    await harness.bus.queue('dock').resume()
    await harness.idle()
    expect(harness.attempts(Ship).count()).toBe(0)
    expect((await transport.inner.admin.queue('dock')).ready).toBe(0)
  })
})

const broker = memoryBroker()
runCases(
  transportConformance({
    name: 'faulty, weakened in nothing',
    create: () => faulty(memory({ broker })),
    clients: 'two',
  }),
  test.concurrent,
)
const weakBroker = memoryBroker()
runCases(
  transportConformance({
    name: 'faulty, weakened in everything',
    create: () =>
      faulty(memory({ broker: weakBroker }), {
        capabilities: {
          delayMaxMs: 0,
          deadLetter: 'none',
          ordering: 'none',
          transactions: 'none',
          deduplication: 'none',
          ttl: 'none',
          priorities: 1,
          mandatory: 'none',
          cancel: 'none',
          temporaryQueues: 'none',
        },
      }),
  }),
  test.concurrent,
)
