import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { createBus, defineCommand, defineEvent, defineRequest } from '../index.ts'
import { defineTransport } from '../transport/index.ts'
import { memory, memoryBroker } from '../transport/transports/memory.ts'
import { createHarness } from './harness.ts'
import { virtualClock } from './virtual-clock.ts'

interface Order {
  orderId: string
}

const OrderPlaced = defineEvent<Order>('orders.order-placed')
const Invoiced = defineEvent<Order>('orders.invoiced')
const Ship = defineCommand<Order>('orders.ship')
const Quote = defineRequest<Order, { price: number }>('orders.quote')
const minute = 60_000
const nothing = (): void => {}

describe('probes', () => {
  test('M4 published, consumed and attempts count what happened, any is true as soon as seen', async () => {
    await using harness = await createHarness({
      configure: bus => {
        bus.queue('billing').handle(OrderPlaced, async (order, ctx) => {
          await ctx.publish(Invoiced, { orderId: order.orderId })
        })
      },
    })
    const id = await harness.bus.publish(OrderPlaced, { orderId: '42' }, { headers: { tenant: 'a' } })
    expect(await harness.consumed(OrderPlaced).any()).toBe(true)
    await harness.idle()
    expect(harness.published(OrderPlaced).count()).toBe(1)
    expect(harness.attempts(OrderPlaced).count()).toBe(1)
    expect(harness.deadLettered(OrderPlaced).count()).toBe(0)
    const [invoiced] = harness.published(Invoiced).all()
    expect(invoiced).toMatchObject({ message: { orderId: '42' }, causationId: id, conversationId: id })
    expect(harness.consumed(OrderPlaced).all()[0]).toMatchObject({
      id,
      message: { orderId: '42' },
      headers: { tenant: 'a' },
      queue: 'billing',
      attempt: 1,
    })
    expect(harness.sent(Ship).count()).toBe(0)
  })

  test('M4 any is false and first rejects once the bus is idle without a match', async () => {
    await using harness = await createHarness({
      configure: bus => {
        bus.queue('billing').handle(OrderPlaced, () => {})
      },
    })
    expect(await harness.consumed(OrderPlaced).any()).toBe(false)
    await harness.bus.publish(OrderPlaced, { orderId: '1' })
    expect(await harness.consumed(OrderPlaced).any(one => one.message.orderId === '2')).toBe(false)
    await assert.rejects(
      harness.consumed(OrderPlaced).first(one => one.message.orderId === '2'),
      /nothing consumed of orders.order-placed fits \(1 do not\), and the bus is idle/,
    )
    expect((await harness.consumed(OrderPlaced).first()).message.orderId).toBe('1')
  })

  test('M4 a failed attempt is recorded with its error, its outputs are not published, the dead letter is seen', async () => {
    await using harness = await createHarness({
      configure: bus => {
        bus
          .queue('billing', { retry: { immediate: 1, delayedMs: [minute] } })
          .handle(OrderPlaced, async (order, ctx) => {
            await ctx.publish(Invoiced, order)
            throw new Error('no money')
          })
      },
    })
    await harness.bus.publish(OrderPlaced, { orderId: '1' })
    await harness.idle()
    expect(harness.attempts(OrderPlaced).count()).toBe(2)
    await harness.advance(2 * minute)
    const attempts = harness.attempts(OrderPlaced).all()
    expect(attempts.map(one => one.attempt)).toEqual([1, 2, 3, 4])
    expect(attempts.map(one => (one.error as Error).message)).toEqual(Array.from({ length: 4 }, () => 'no money'))
    expect((attempts[2]?.at.getTime() ?? 0) - (attempts[1]?.at.getTime() ?? 0)).toBeGreaterThanOrEqual(minute)
    expect(harness.deadLettered(OrderPlaced).count()).toBe(1)
    expect(harness.consumed(OrderPlaced).count()).toBe(0)
    expect(harness.published(Invoiced).count()).toBe(0)
  })

  test('a probe of a base sees the events that extend it; iteration ends at idle', async () => {
    const Thing = defineEvent<Order>('things.happened')
    const Special = defineEvent<Order>('things.special', { extends: [Thing] })
    await using harness = await createHarness({
      configure: bus => {
        bus.queue('all').handle(Thing, () => {})
      },
    })
    await harness.bus.publish(Special, { orderId: '1' })
    await harness.bus.publish(Thing, { orderId: '2' })
    const seen: string[] = []
    for await (const { message } of harness.published(Thing)) seen.push(message.orderId)
    expect(seen).toEqual(['1', '2'])
    await harness.idle()
    expect(harness.consumed(Thing).count()).toBe(2)
    expect(harness.published(Special).count()).toBe(1)
  })

  test('M4 trace tells who caused what, with the ends of each', async () => {
    await using harness = await createHarness({
      configure: bus => {
        bus.queue('billing').handle(OrderPlaced, async (order, ctx) => void (await ctx.publish(Invoiced, order)))
        bus.queue('shipping').handle(Invoiced, async (order, ctx) => void (await ctx.send(Ship, order)))
        bus.queue('dock', { retry: 'none' }).handle(Ship, () => {
          throw new Error('no ship')
        })
      },
    })
    const id = await harness.bus.publish(OrderPlaced, { orderId: '1' })
    await harness.idle()
    const trace = harness.trace(id)
    expect(trace.ends.map(end => [end.queue, end.as])).toEqual([['billing', 'consumed']])
    expect(trace.caused.map(node => node.type)).toEqual(['orders.invoiced'])
    const ship = trace.caused[0]?.caused[0]
    expect(ship?.type).toBe('orders.ship')
    expect(ship?.ends[0]).toMatchObject({ queue: 'dock', as: 'dead-lettered', attempts: 1 })
    expect(() => harness.trace('unknown')).toThrow(/no message unknown/)
  })
})

describe('time', () => {
  test('T1 advance fires what is due and nothing later; now moves with it', async () => {
    await using harness = await createHarness({
      configure: bus => {
        bus.queue('billing').handle(OrderPlaced, () => {})
      },
    })
    const start = harness.now.getTime()
    await harness.bus.publish(OrderPlaced, { orderId: '1' }, { delayMs: minute })
    await harness.idle()
    await harness.advance(minute - 1)
    expect(harness.consumed(OrderPlaced).count()).toBe(0)
    await harness.advance(1)
    expect(harness.consumed(OrderPlaced).count()).toBe(1)
    expect(harness.now.getTime()).toBe(start + minute)
    expect(harness.consumed(OrderPlaced).all()[0]?.at.getTime()).toBe(start + minute)
  })

  test('a chain of delays inside one advance runs at the right virtual times', async () => {
    await using harness = await createHarness({
      configure: bus => {
        bus.queue('hops').handle(OrderPlaced, async (order, ctx) => {
          const hop = Number(order.orderId)
          if (hop < 5) await ctx.publish(OrderPlaced, { orderId: String(hop + 1) }, { delayMs: minute })
        })
      },
    })
    const start = harness.now.getTime()
    await harness.bus.publish(OrderPlaced, { orderId: '0' })
    await harness.advance(10 * minute)
    expect(
      harness
        .consumed(OrderPlaced)
        .all()
        .map(one => one.at.getTime() - start),
    ).toEqual([0, 1, 2, 3, 4, 5].map(hop => hop * minute))
  })

  test('a handler that hangs does not hold up advance: its timeout comes with the clock', async () => {
    await using harness = await createHarness({
      configure: bus => {
        bus.queue('slow', { retry: 'none', timeoutMs: minute }).handle(OrderPlaced, () => new Promise<void>(() => {}))
      },
    })
    await harness.bus.publish(OrderPlaced, { orderId: '1' })
    await assert.rejects(harness.idle({ timeoutMs: 50 }), /not idle after 50 ms: 1 sends or deliveries are open/)
    await harness.advance(minute)
    const [attempt] = harness.attempts(OrderPlaced).all()
    expect((attempt?.error as { code: string } | undefined)?.code).toBe('BUZZER_HANDLER_TIMEOUT')
    expect(harness.deadLettered(OrderPlaced).count()).toBe(1)
  })

  test('Q2 an unanswered request is no reason not to be idle, and times out with the clock', async () => {
    await using harness = await createHarness({
      configure: bus => {
        bus.queue('quotes').handle(Quote, () => ({ price: 1 }))
        bus.queue('other').handle(OrderPlaced, () => {})
      },
    })
    expect(await harness.bus.request(Quote, { orderId: '1' })).toEqual({ price: 1 })
    await harness.bus.queue('quotes').pause()
    const asking = harness.bus.request(Quote, { orderId: '2' }, { timeoutMs: minute }).catch((error: unknown) => error)
    await harness.idle()
    await harness.advance(minute)
    expect(((await asking) as { code: string }).code).toBe('BUZZER_REQUEST_TIMEOUT')
  })

  test('real work of a handler is waited for by idle', async () => {
    await using harness = await createHarness({
      configure: bus => {
        bus.queue('io').handle(OrderPlaced, async () => {
          await sleep(60)
        })
      },
    })
    await harness.bus.publish(OrderPlaced, { orderId: '1' })
    await harness.idle()
    expect(harness.consumed(OrderPlaced).count()).toBe(1)
  })

  test('messages without receiver and paused queues are no reason not to be idle', async () => {
    await using harness = await createHarness({
      configure: bus => {
        bus.queue('billing').handle(OrderPlaced, () => {})
      },
    })
    await harness.bus.queue('billing').pause()
    await harness.bus.publish(OrderPlaced, { orderId: '1' })
    await harness.idle()
    expect(harness.consumed(OrderPlaced).count()).toBe(0)
    await harness.bus.queue('billing').resume()
    await harness.idle()
    expect(harness.consumed(OrderPlaced).count()).toBe(1)
  })

  test('a virtual clock is refused on a transport with time of its own; there the clock is real by default', async () => {
    const inner = memory()
    const foreign = defineTransport({ ...inner, name: 'foreign' })
    await assert.rejects(createHarness({ transport: foreign, clock: 'virtual', configure: nothing }), {
      code: 'BUZZER_UNSUPPORTED',
    })
    await using harness = await createHarness({ transport: foreign, configure: nothing })
    await assert.rejects(harness.advance(1), { code: 'BUZZER_UNSUPPORTED' })
    expect(Math.abs(harness.now.getTime() - Date.now())).toBeLessThan(1_000)
  })

  test('on a real clock idle looks at the broker through its admin', async () => {
    await using harness = await createHarness({
      clock: 'real',
      configure: bus => {
        bus.queue('billing').handle(OrderPlaced, async () => {
          await sleep(20)
        })
      },
    })
    for (let n = 0; n < 50; n++) await harness.bus.publish(OrderPlaced, { orderId: String(n) })
    await harness.idle()
    expect(harness.consumed(OrderPlaced).count()).toBe(50)
  })

  test('two harnesses on one broker share its clock, and idle of one waits for the other', async () => {
    const broker = memoryBroker()
    await using sender = await createHarness({ transport: memory({ broker }), name: 'web', configure: () => {} })
    await using worker = await createHarness({
      transport: memory({ broker }),
      name: 'worker',
      configure: bus => {
        bus.queue('billing').handle(OrderPlaced, async () => {
          await sleep(20)
        })
      },
    })
    await sender.bus.publish(OrderPlaced, { orderId: '1' })
    await sender.bus.publish(OrderPlaced, { orderId: '2' }, { delayMs: minute })
    await sender.idle()
    expect(worker.consumed(OrderPlaced).count()).toBe(1)
    await sender.advance(minute)
    expect(worker.consumed(OrderPlaced).count()).toBe(2)
    expect(worker.now).toEqual(sender.now)
  })

  test('on a broker that another bus keeps on the real clock the clock is real, and a virtual one is refused', async () => {
    const broker = memoryBroker()
    await using bus = createBus({ name: 'plain', transport: memory({ broker }) })
    await bus.start()
    const transport = memory({ broker })
    await assert.rejects(createHarness({ transport, clock: 'virtual', configure: nothing }), {
      code: 'BUZZER_UNSUPPORTED',
    })
    await using harness = await createHarness({ transport: memory({ broker }), configure: nothing })
    await assert.rejects(harness.advance(1), { code: 'BUZZER_UNSUPPORTED' })
  })

  test('a harness is left although a handler hangs: the stop takes virtual time only', async () => {
    const harness = await createHarness({
      configure: bus => {
        bus.queue('slow').handle(OrderPlaced, () => new Promise<void>(() => {}))
      },
    })
    await harness.bus.publish(OrderPlaced, { orderId: '1' })
    await sleep(20)
    const before = performance.now()
    await harness[Symbol.asyncDispose]()
    expect(performance.now() - before).toBeLessThan(5_000)
  })
})

describe('virtualClock', () => {
  test('fires timers in order of time, then of setting, each at its own time, and none that was cleared', async () => {
    const clock = virtualClock({ startAt: new Date(1_000) })
    const fired: (readonly [string, number])[] = []
    const set = (name: string, ms: number): unknown => clock.setTimeout(() => fired.push([name, clock.now()]), ms)
    set('c', 30)
    set('a', 10)
    set('a2', 10)
    clock.clearTimeout(set('never', 20))
    clock.setTimeout(() => set('nested', 5), 12)
    await clock.advance(20)
    expect(fired).toEqual([
      ['a', 1_010],
      ['a2', 1_010],
      ['nested', 1_017],
    ])
    expect(clock.now()).toBe(1_020)
    expect(clock.monotonic()).toBe(20)
    expect(clock.nextAt).toBe(1_030)
    await clock.advance(10)
    expect(fired.at(-1)).toEqual(['c', 1_030])
    expect(clock.nextAt).toBeUndefined()
  })

  test('calls of advance queue up; time never goes back', async () => {
    const clock = virtualClock({ startAt: new Date(0) })
    const times: number[] = []
    clock.setTimeout(() => times.push(clock.now()), 5)
    await Promise.all([clock.advance(5), clock.advance(5)])
    expect(clock.now()).toBe(10)
    expect(times).toEqual([5])
    expect(() => clock.advance(-1)).toThrow(RangeError)
  })
})
