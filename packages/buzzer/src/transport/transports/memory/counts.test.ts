import fc from 'fast-check'
import { expect, test } from 'vitest'
import { silentLogger } from '../../../message/index.ts'
import { virtualClock } from '../../../testing/virtual-clock.ts'
import type { Delivery, OrderBy, OutgoingMessage, Settlement } from '../../index.ts'
import { memory } from '../memory.ts'

type Step =
  | {
      readonly as: 'send'
      readonly key: number
      readonly priority: number
      readonly delayMs: number
      readonly ttlMs: number
    }
  | {
      readonly as: 'settle'
      readonly which: number
      readonly how: 'ack' | 'retry' | 'retry-later' | 'release' | 'dead-letter' | 'park'
    }
  | { readonly as: 'advance'; readonly ms: number }
  | { readonly as: 'purge'; readonly state: 'ready' | 'scheduled' | 'parked' | 'dead' }
  | { readonly as: 'redrive' | 'unpark' | 'cancel'; readonly which: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      as: fc.constant('send' as const),
      key: fc.nat(3),
      priority: fc.nat(9),
      delayMs: fc.constantFrom(0, 0, 0, 30, 200),
      ttlMs: fc.constantFrom(0, 0, 0, 50, 500),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      as: fc.constant('settle' as const),
      which: fc.nat(9),
      how: fc.constantFrom('ack', 'ack', 'retry', 'retry-later', 'release', 'dead-letter', 'park'),
    }),
  },
  { weight: 3, arbitrary: fc.record({ as: fc.constant('advance' as const), ms: fc.nat(120) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      as: fc.constant('purge' as const),
      state: fc.constantFrom('ready', 'scheduled', 'parked', 'dead'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ as: fc.constantFrom('redrive', 'unpark', 'cancel'), which: fc.nat(20) }) },
)

const settlements: Readonly<Record<(Step & { as: 'settle' })['how'], Settlement>> = {
  ack: { as: 'ack' },
  retry: { as: 'retry' },
  'retry-later': { as: 'retry', delayMs: 40 },
  release: { as: 'release' },
  'dead-letter': { as: 'dead-letter', reason: 'poison' },
  // The broker's own addition to the contract.
  park: { as: 'park' } as unknown as Settlement,
}

const turn = (): Promise<void> => new Promise(resolve => void setImmediate(resolve))

async function play(orderBy: OrderBy, steps: readonly Step[]): Promise<void> {
  const clock = virtualClock({ startAt: new Date(0) })
  const transport = memory({ maxMessages: 1_000 })
  const { admin } = transport
  await transport.connect({ bus: 'b', instanceId: 'i', clock, logger: silentLogger, onState() {} })
  await transport.declare({ queues: [{ name: 'q', orderBy, maxDeliveries: 6 }], topics: [], bindings: [] })
  const open: { readonly delivery: Delivery; readonly resolve: (settlement: Settlement) => void }[] = []
  const onDelivery = (delivery: Delivery): Promise<Settlement> =>
    new Promise(resolve => {
      const rivals = open.filter(one => (orderBy === 'queue' ? true : one.delivery.key === delivery.key))
      if (orderBy !== 'none') expect(rivals, `${delivery.id} overlaps`).toEqual([])
      open.push({ delivery, resolve })
    })
  await transport.receive('q', onDelivery, { maxInFlight: 3, orderBy })
  let sent = 0
  const settled = async (): Promise<void> => {
    await turn()
    await turn()
  }
  for (const one of steps) {
    if (one.as === 'send') {
      const now = clock.now()
      const message: OutgoingMessage = {
        id: `m${++sent}`,
        to: { queue: 'q' },
        attributes: {},
        headers: {},
        body: new Uint8Array(one.priority),
        key: `k${one.key}`,
        priority: one.priority,
        mandatory: false,
        ...(one.delayMs === 0 ? {} : { deliverAt: now + one.delayMs }),
        ...(one.ttlMs === 0 ? {} : { expiresAt: now + one.delayMs + one.ttlMs }),
      }
      await transport.send([message])
    } else if (one.as === 'settle') {
      const [first] = open.splice(one.which % Math.max(1, open.length), 1)
      first?.resolve(settlements[one.how])
    } else if (one.as === 'advance') await clock.advance(one.ms)
    else if (one.as === 'purge') await admin.purge('q', { state: one.state })
    else if (one.as === 'cancel') await admin.cancelScheduled(`m${one.which}`)
    else {
      const state = one.as === 'redrive' ? 'dead' : 'parked'
      const { items } = await admin.peek('q', { state, limit: 1_000 })
      const ids = items.slice(one.which % 3, (one.which % 3) + 2).map(item => item.id)
      const count = await (one.as === 'redrive' ? admin.redrive('q', { ids }) : admin.unpark('q', ids))
      expect(count).toBe(ids.length)
    }
    await settled()

    // The counts, which are kept, agree with what is there, which is looked up.
    const figures = await admin.queue('q')
    const { items } = await admin.peek('q', { limit: 1_000 })
    const present = Object.groupBy(items, item => item.state)
    for (const state of ['ready', 'locked', 'scheduled', 'parked', 'dead'] as const) {
      expect([state, figures[state]]).toEqual([state, present[state]?.length ?? 0])
    }
    expect(figures.locked).toBe(open.length)
    expect(new Set(items.map(item => item.id)).size).toBe(items.length)
    expect(figures.bytes).toBe(items.reduce((sum, item) => sum + item.body.length + bytesOf(item.attributes), 0))
    // Nothing that could run waits: an idle slot means that each ready message waits behind another of its key.
    if (figures.locked < 3 && orderBy === 'none') expect(figures.ready).toBe(0)
    if (figures.locked < 3 && orderBy === 'key') {
      const busy = new Set(
        items.filter(item => item.state === 'locked' || item.state === 'scheduled').map(item => item.key),
      )
      for (const item of present.ready ?? []) expect(busy.has(item.key), `${item.messageId} could run`).toBe(true)
    }
  }

  // All room is given back: the broker takes exactly as much as it may.
  for (const { resolve } of open.splice(0)) resolve({ as: 'dead-letter', reason: 'end' })
  await transport.close()
  const other = memory({ broker: transport.broker })
  await other.connect({ bus: 'b', instanceId: 'j', clock, logger: silentLogger, onState() {} })
  for (const state of ['ready', 'scheduled', 'parked', 'dead'] as const) await other.admin.purge('q', { state })
  expect(await other.admin.queue('q')).toMatchObject({
    ready: 0,
    locked: 0,
    scheduled: 0,
    parked: 0,
    dead: 0,
    bytes: 0,
  })
  const fill = Array.from({ length: 1_000 }, (_, n): OutgoingMessage => {
    return {
      id: `f${n}`,
      to: { queue: 'q' },
      attributes: {},
      headers: {},
      body: new Uint8Array(0),
      priority: 4,
      mandatory: false,
    }
  })
  await other.send(fill)
  await other.close()
}

function bytesOf(attributes: Readonly<Record<string, string>>): number {
  return Object.entries(attributes).reduce((sum, [name, value]) => sum + name.length + value.length, 0)
}

for (const orderBy of ['none', 'key', 'queue'] as const) {
  test(`B63 orderBy ${orderBy}: counts agree with a look through any operations, no key overlaps, all room is given back`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 120 }), steps => play(orderBy, steps)),
      { numRuns: 60 },
    )
  })
}
