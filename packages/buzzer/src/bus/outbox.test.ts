import { describe, expect, test } from 'vitest'
import { defineCommand, defineEvent, silentLogger } from '../message/index.ts'
import type { Store } from '../store/index.ts'
import { createHarness, faulty } from '../testing/index.ts'
import { memory, memoryBroker } from '../transport/transports/memory.ts'
import { createBus } from './index.ts'
import { outboxCollection, type OutboxRow } from './stored-sends.ts'

const Do = defineCommand<{ n: number }>('work.do', { queue: 'q' })
const Out = defineEvent<{ n: number; to: string }>('work.out', { key: one => one.to })

const rowsOf = async (store: Store<unknown> | undefined): Promise<number> =>
  ((await store?.query<OutboxRow>(outboxCollection, { index: 'dueAt' }))?.items ?? []).length

describe('outbox in the store (a transport without transactions)', () => {
  test('X2 committed, then the sends fail: relayed later in order, the handler is not run again', async () => {
    const transport = faulty(memory(), { capabilities: { transactions: 'none' } })
    let runs = 0
    const out: number[] = []
    await using harness = await createHarness({
      transport,
      configure: bus => {
        bus.queue('q').handle(Do, async (_, ctx) => {
          runs++
          for (let n = 0; n < 3; n++) await ctx.publish(Out, { n, to: 'a' })
        })
        bus.queue('out', { concurrency: 1 }).handle(Out, one => {
          out.push(one.n)
        })
      },
    })
    const allow = transport.inject.failSendWhen(message => message.attributes['type'] === Out.type)
    await harness.bus.send(Do, { n: 1 })
    await harness.advance(100)
    expect(runs).toBe(1)
    expect(out).toEqual([])
    allow()
    await harness.advance(5_000)
    expect(out).toEqual([0, 1, 2])
    expect(runs).toBe(1)
    expect(await rowsOf(harness.bus.store)).toBe(0)
  })

  test('X2 committed, then the acknowledgement is lost: the message comes again and the handler is not run again', async () => {
    const transport = faulty(memory(), { capabilities: { transactions: 'none' } })
    let runs = 0
    await using harness = await createHarness({
      transport,
      configure: bus => {
        // Nobody handles the event, so the settlement that gets lost is that of the command.
        bus.queue('q').handle(Do, async (_, ctx) => {
          runs++
          await ctx.publish(Out, { n: 1, to: 'a' })
        })
      },
    })
    transport.inject.loseSettlement()
    await harness.bus.send(Do, { n: 1 })
    await harness.advance(1_000)
    expect(runs).toBe(1)
    expect(await harness.bus.admin.queues()).toMatchObject([{ name: 'q', ready: 0, locked: 0, scheduled: 0, dead: 0 }])
  })

  test('a row that can never be sent is parked and holds back nobody; health says so; admin retries and deletes it', async () => {
    const transport = faulty(memory(), { capabilities: { transactions: 'none' } })
    const out: string[] = []
    await using harness = await createHarness({
      transport,
      outbox: { maxAttempts: 2 },
      configure: bus => {
        bus.queue('q').handle(Do, async (one, ctx) => {
          await ctx.publish(Out, { n: one.n, to: one.n === 1 ? 'bad' : 'good' })
        })
        bus.queue('out').handle(Out, one => {
          out.push(`${one.to} ${one.n}`)
        })
      },
    })
    const allow = transport.inject.failSendWhen(message => message.key === 'bad')
    await harness.bus.send(Do, { n: 1 })
    await harness.bus.send(Do, { n: 2 })
    await harness.advance(2_000)
    expect(out).toEqual(['good 2'])
    const parked = await harness.bus.admin.outbox.list('parked')
    expect(parked.items.map(row => [row.type, row.attempts, row.error?.code])).toEqual([
      [Out.type, 2, 'BUZZER_SEND_FAILED'],
    ])
    expect(await harness.bus.health()).toMatchObject({ status: 'degraded', outbox: { parked: 1 } })
    allow()
    await harness.bus.admin.outbox.retry(parked.items.map(row => row.id))
    await harness.advance(2_000)
    expect(out).toEqual(['good 2', 'bad 1'])
    expect((await harness.bus.health()).status).toBe('healthy')
  })

  test('X5 an instance that dies holding leases: another one sends its rows when the leases end', async () => {
    const broker = memoryBroker()
    const out: number[] = []
    const transport = faulty(memory({ broker }), { capabilities: { transactions: 'none' } })
    await using harness = await createHarness({
      transport,
      outbox: { leaseMs: 5_000 },
      configure: bus => {
        bus.queue('out').handle(Out, one => {
          out.push(one.n)
        })
      },
    })
    const { store } = harness.bus
    // The dead instance: it committed a row, took its lease, and was never heard of again.
    const message = {
      id: 'm1',
      to: { topic: Out.type, bases: [] },
      attributes: { id: 'm1', type: Out.type },
      headers: {},
      contentType: 'application/json',
      body: Buffer.from('{"n":7,"to":"a"}').toString('base64'),
      priority: 4,
      mandatory: false,
    }
    const dueAt = harness.now.getTime()
    const value = { message, state: 'pending', createdAt: dueAt, attempts: 0, lane: 'l', scheduled: false }
    await store?.commit([
      {
        op: 'put',
        collection: outboxCollection,
        id: 'row',
        value,
        expected: 'absent',
        indexes: { dueAt, messageId: 'm1' },
      },
    ])
    await store?.claim(outboxCollection, { index: 'dueAt', upTo: dueAt, limit: 10, leaseMs: 5_000, owner: 'dead' })
    await harness.advance(4_000)
    expect(out).toEqual([])
    await harness.advance(3_000)
    expect(out).toEqual([7])
  })
})

test('without transactions and store: outputs first, then the acknowledgement; start() warns once', async () => {
  const warnings: string[] = []
  const inner = faulty(memory(), { capabilities: { transactions: 'none' } })
  const transport = {
    name: inner.name,
    capabilities: inner.capabilities,
    connect: (...given: Parameters<typeof inner.connect>) => inner.connect(...given),
    declare: (...given: Parameters<typeof inner.declare>) => inner.declare(...given),
    send: (...given: Parameters<typeof inner.send>) => inner.send(...given),
    receive: (...given: Parameters<typeof inner.receive>) => inner.receive(...given),
    close: () => inner.close(),
  }
  await using bus = createBus({
    name: 'bare',
    transport,
    logger: { ...silentLogger, warn: (_, message) => void warnings.push(message) },
  })
  const done = Promise.withResolvers<number>()
  bus.queue('q', { retry: { delayedMs: [] } }).handle(Do, async (_, ctx) => {
    await ctx.publish(Out, { n: 5, to: 'a' })
    expect(() => ctx.tx).toThrow(/store/)
  })
  bus.queue('out', { retry: { delayedMs: [] } }).handle(Out, one => done.resolve(one.n))
  await bus.start()
  await bus.send(Do, { n: 1 })
  expect(await done.promise).toBe(5)
  expect(warnings.filter(one => one.includes('no transactions'))).toHaveLength(1)
})
