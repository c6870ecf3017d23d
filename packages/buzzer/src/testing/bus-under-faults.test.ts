import { describe, expect, test } from 'vitest'
import { defineEvent, type QueueOptions } from '../index.ts'
import type { Capabilities } from '../transport/index.ts'
import { memory } from '../transport/transports/memory.ts'
import { faulty } from './faulty.ts'
import { createHarness } from './harness.ts'

interface Order {
  n: number
}

const Placed = defineEvent<Order>('faults.placed', { key: ({ n }) => String(n % 5) })
const Billed = defineEvent<Order>('faults.billed')
const minute = 60_000

/** How acknowledgement, outputs and records are made one (spec bus 4.9). */
const modes: readonly { readonly mode: string; readonly capabilities: Partial<Capabilities> }[] = [
  { mode: 'one step of the broker', capabilities: {} },
  { mode: 'outbox of the store', capabilities: { transactions: 'none' } },
  { mode: 'delays in the store', capabilities: { delayMaxMs: 0, cancel: 'none' } },
  { mode: 'dead letters by the core', capabilities: { deadLetter: 'none', transactions: 'none' } },
]

function scene(capabilities: Partial<Capabilities>) {
  return faulty(memory(), { capabilities })
}

/** Reproducible chance. */
function chance(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32
    return state / 2 ** 32
  }
}

describe.each(modes)('$mode', ({ capabilities }) => {
  test('M4, promise 3: a lost settlement never makes an output leave twice under different ids, nor a record change twice', async () => {
    const transport = scene(capabilities)
    let runs = 0
    await using harness = await createHarness({
      transport,
      configure(bus) {
        bus.queue('billing').handle(Placed, async (order, ctx) => {
          runs++
          await ctx.publish(Billed, order)
          ctx.tx.put('bills', String(order.n), { run: runs }, 'absent')
        })
        bus.queue('ledger').handle(Billed, () => {})
      },
    })
    // The first settlement is that of `billing`: nothing else is on its way.
    transport.inject.loseSettlement()
    await harness.bus.publish(Placed, { n: 1 })
    await harness.advance(minute)
    expect(
      new Set(
        harness
          .consumed(Billed)
          .all()
          .map(one => one.id),
      ).size,
    ).toBe(1)
    expect((await harness.bus.store?.get('bills', '1'))?.version).toBe(1)
    expect(harness.deadLettered(Placed).count()).toBe(0)
    // With the outbox of the store the inbox knows the message: it is not handled again.
    expect(runs).toBe(capabilities.transactions === 'none' ? 1 : 2)
  })

  test('F11 a message whose settlement is lost every time is dead-lettered as max-deliveries-exceeded, with a fault', async () => {
    const transport = scene(capabilities)
    const options: QueueOptions = { retry: { immediate: 0, delayedMs: [], maxDeliveries: 3 } }
    await using harness = await createHarness({
      transport,
      configure(bus) {
        // The handler succeeds each time: what is counted are its deliveries.
        bus.queue('billing', options).handle(Placed, () => {})
      },
    })
    transport.inject.loseSettlement(3)
    await harness.bus.publish(Placed, { n: 1 })
    await harness.advance(minute)
    const { items } = await harness.bus.admin.deadLetters('billing').list()
    expect(items.map(item => item.reason)).toEqual(['max-deliveries-exceeded'])
    expect(harness.attempts(Placed).count()).toBe(3)
  })

  test('L2 a connection lost under load: nothing accepted is lost, keys keep their order, every output leaves once', async () => {
    const transport = scene(capabilities)
    const order = new Map<number, number[]>()
    await using harness = await createHarness({
      transport,
      configure(bus) {
        bus.queue('billing', { orderBy: 'key', concurrency: 4 }).handle(Placed, async ({ n }, ctx) => {
          await new Promise(resolve => setTimeout(resolve, 1))
          await ctx.publish(Billed, { n })
        })
        bus.queue('ledger').handle(Billed, () => {})
      },
    })
    const sends: Promise<unknown>[] = []
    for (let n = 0; n < 60; n++) {
      sends.push(harness.bus.publish(Placed, { n }))
      if (n === 20 || n === 40) transport.inject.disconnect(5_000)
    }
    await harness.advance(minute)
    await Promise.all(sends)
    await harness.idle()
    const handled = harness.consumed(Placed).all()
    for (const { message } of handled) {
      const seen = order.get(message.n % 5) ?? []
      if (!seen.includes(message.n)) seen.push(message.n)
      order.set(message.n % 5, seen)
    }
    for (const numbers of order.values()) expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
    expect(new Set(handled.map(one => one.message.n)).size).toBe(60)
    const billed = harness.consumed(Billed).all()
    const ids = new Map<number, Set<string>>()
    for (const { id, message } of billed) ids.set(message.n, (ids.get(message.n) ?? new Set()).add(id))
    expect(ids.size).toBe(60)
    expect([...ids.values()].filter(one => one.size > 1)).toEqual([])
    expect(harness.deadLettered(Placed).count()).toBe(0)
  })

  test.each([1, 2, 3, 4, 5])(
    'chaos %i: whatever fails, every accepted message is handled or dead, and its output too',
    async seed => {
      const random = chance(seed)
      const transport = scene(capabilities)
      await using harness = await createHarness({
        transport,
        random,
        configure(bus) {
          bus.queue('billing', { concurrency: 8 }).handle(Placed, async ({ n }, ctx) => {
            if (random() < 0.1) throw new Error('now and then')
            await ctx.publish(Billed, { n })
          })
          bus.queue('ledger').handle(Billed, () => {
            if (random() < 0.1) throw new Error('now and then')
          })
        },
      })
      const accepted: number[] = []
      for (let n = 0; n < 150; n++) {
        const fate = random()
        if (fate < 0.1) transport.inject.failSend()
        else if (fate < 0.2) transport.inject.loseSettlement()
        else if (fate < 0.25) transport.inject.duplicateSend()
        else if (fate < 0.28) transport.inject.disconnect(1 + Math.floor(random() * 2_000))
        const sending = harness.bus.publish(Placed, { n }).then(
          () => void accepted.push(n),
          () => undefined,
        )
        if (random() < 0.3) await harness.advance(Math.floor(random() * 3_000))
        else if (random() < 0.5) await new Promise(resolve => setImmediate(resolve))
        void sending
      }
      await harness.advance(60 * minute)
      await harness.idle()
      expect(accepted.length).toBeGreaterThan(100)
      const done = new Set(
        [...harness.consumed(Placed).all(), ...harness.deadLettered(Placed).all()].map(one => one.message.n),
      )
      expect(accepted.filter(n => !done.has(n))).toEqual([])
      const handled = new Set(
        harness
          .consumed(Placed)
          .all()
          .map(one => one.id),
      )
      const billed = [...harness.consumed(Billed).all(), ...harness.deadLettered(Billed).all()]
      expect([...handled].filter(id => !billed.some(one => one.causationId === id))).toEqual([])
      for (const queue of await harness.bus.admin.queues())
        expect([queue.name, queue.ready, queue.locked]).toEqual([queue.name, 0, 0])
      expect((await harness.bus.health()).status).toBe('healthy')
    },
  )
})

describe('the outbox of the store', () => {
  test('X2 a broker that refuses sends for a while: the relay tries again, the handler is not run again', async () => {
    const transport = scene({ transactions: 'none' })
    await using harness = await createHarness({
      transport,
      configure(bus) {
        bus.queue('billing').handle(Placed, async (order, ctx) => void (await ctx.publish(Billed, order)))
        bus.queue('ledger').handle(Billed, () => {})
      },
    })
    const heal = transport.inject.failSendWhen(message => message.attributes['type'] === Billed.type)
    await harness.bus.publish(Placed, { n: 1 })
    await harness.advance(5_000)
    expect([harness.attempts(Placed).count(), harness.consumed(Billed).count()]).toEqual([1, 0])
    heal()
    await harness.advance(minute)
    expect([harness.attempts(Placed).count(), harness.consumed(Billed).count()]).toEqual([1, 1])
  })

  test('4.9 a row that fails for good is parked, holds back nobody, degrades health, and leaves when retried', async () => {
    const transport = scene({ transactions: 'none' })
    await using harness = await createHarness({
      transport,
      outbox: { maxAttempts: 3, backoffMs: 100 },
      configure(bus) {
        bus.queue('billing').handle(Placed, async (order, ctx) => void (await ctx.publish(Billed, order)))
        bus.queue('ledger').handle(Billed, () => {})
      },
    })
    const heal = transport.inject.failSendWhen(
      message => message.attributes['type'] === Billed.type && new TextDecoder().decode(message.body).includes('13'),
    )
    await harness.bus.publish(Placed, { n: 13 })
    await harness.bus.publish(Placed, { n: 14 })
    await harness.advance(minute)
    expect(
      harness
        .consumed(Billed)
        .all()
        .map(one => one.message.n),
    ).toEqual([14])
    const { items } = await harness.bus.admin.outbox.list('parked')
    expect(items).toHaveLength(1)
    expect(items[0]).toMatchObject({ type: Billed.type, attempts: 3 })
    expect(await harness.bus.health()).toMatchObject({ status: 'degraded', outbox: { parked: 1 } })
    heal()
    await harness.bus.admin.outbox.retry(items.map(item => item.id))
    await harness.advance(minute)
    expect(harness.consumed(Billed).count()).toBe(2)
    expect((await harness.bus.health()).status).toBe('healthy')
  })
})
