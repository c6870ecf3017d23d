import { describe, expect, it, vi } from 'vitest'
import { message, topology, withShop } from '../../test/broker/shop.ts'
import { type BuzzerError, silentLogger } from '../message/index.ts'
import type { Delivery, Settlement } from '../transport/index.ts'
import { embedded, type EmbeddedTransport } from './index.ts'

const shop = withShop()

/** A busy machine takes its time; a broken promise takes for ever. */
function eventually(check: () => unknown): Promise<unknown> {
  return vi.waitFor(check, 30_000)
}

const ack: Settlement = { as: 'ack' }

function messages(count: number): ReturnType<typeof message>[] {
  return Array.from({ length: count }, (_, index) => message(`m${index}`))
}

/** A receiver that holds what it gets until it is told. */
async function holding(
  transport: EmbeddedTransport,
  maxInFlight: number,
): Promise<{ open: Map<string, (settlement: Settlement) => void>; most: () => number; stop(): Promise<void> }> {
  const open = new Map<string, (settlement: Settlement) => void>()
  let most = 0
  const receiver = await transport.receive(
    'orders',
    async delivery => {
      const answer = Promise.withResolvers<Settlement>()
      open.set(delivery.id, settlement => {
        open.delete(delivery.id)
        answer.resolve(settlement)
      })
      most = Math.max(most, open.size)
      return await answer.promise
    },
    { maxInFlight, orderBy: 'none' },
  )
  return { open, most: () => most, stop: () => receiver.stop() }
}

describe('a receiver', () => {
  it('B12 has maxInFlight open deliveries and never one more, and so has a second one beside it', async () => {
    const transport = await shop.here()
    await transport.declare(topology)
    await transport.send(messages(100))
    const first = await holding(transport, 7)
    const second = await holding(transport, 5)
    for (let round = 0; round < 10; round++) {
      const left = 100 - 5 * round
      await eventually(() => expect(first.open.size + second.open.size).toBe(Math.min(12, left)))
      expect(await transport.admin.queue('orders')).toMatchObject({ locked: 12, ready: left - 12 })
      for (const settle of [...first.open.values(), ...second.open.values()].slice(0, 5)) settle(ack)
    }
    await eventually(() => expect(first.open.size + second.open.size).toBe(12))
    expect([first.most(), second.most()]).toEqual([7, 5])
    for (const { open } of [first, second]) for (const settle of open.values()) settle({ as: 'release' })
  })

  it('B16 whose onDelivery always rejects: the message comes back counted and ends dead, neighbours flow, errors are told', async () => {
    const errors: string[] = []
    const logger = { ...silentLogger, error: (_: object, words: string) => void errors.push(words) }
    const transport = embedded({ path: shop.path })
    await transport.connect({ logger })
    await transport.declare({ ...topology, queues: [{ name: 'orders', maxDeliveries: 4 }] })
    const handled: string[] = []
    const attempts: number[] = []
    await transport.receive(
      'orders',
      delivery => {
        if (delivery.id !== 'poison') return Promise.resolve(handled.push(delivery.id)).then(() => ack)
        attempts.push(delivery.attempt)
        // Both ways in which a function can fail.
        if (delivery.attempt % 2 === 0) throw new Error('thrown')
        return Promise.reject(new Error('rejected'))
      },
      { maxInFlight: 2, orderBy: 'none' },
    )
    await transport.send([message('poison'), ...messages(50)])
    await eventually(async () =>
      expect(await transport.admin.queue('orders')).toMatchObject({ ready: 0, locked: 0, dead: 1 }),
    )
    expect(attempts).toEqual([1, 2, 3, 4])
    expect(handled).toHaveLength(50)
    expect(errors).toEqual(Array.from({ length: 4 }, () => 'onDelivery rejected; the message is retried'))
    const { items } = await transport.admin.peek('orders', { state: 'dead' })
    expect(items[0]?.deadLetter).toMatchObject({ reason: 'max-deliveries-exceeded', detail: { lastDelivery: 'retry' } })
    await transport.close()
  })

  it('B17 with 5,000 open deliveries settles them in any order', async () => {
    const transport = await shop.here()
    await transport.declare(topology)
    await transport.send(messages(5_000))
    const receiver = await holding(transport, 5_000)
    await eventually(() => expect(receiver.open.size).toBe(5_000))
    const settles = [...receiver.open.entries()]
    // Every seventh first, then every seventh from the second on, and so on: far from the order of arrival.
    for (let first = 0; first < 7; first++) {
      for (let index = first; index < settles.length; index += 7) {
        const [id, settle] = settles[index] as (typeof settles)[number]
        settle(id.endsWith('3') ? { as: 'dead-letter', reason: 'three' } : ack)
      }
    }
    await eventually(async () => expect((await transport.admin.queue('orders')).locked).toBe(0))
    expect(await transport.admin.queue('orders')).toMatchObject({ ready: 0, dead: 500 })
  })

  it('B19 whose handler runs five times as long as lockMs keeps its lock: it runs once, and its ack counts', async () => {
    const [owner] = await shop.connected(1, { lockMs: 300 })
    const transport = await shop.here({ lockMs: 300 })
    const runs: Delivery[] = []
    await transport.receive(
      'orders',
      async delivery => {
        runs.push(delivery)
        await new Promise(resolve => setTimeout(resolve, 1_500))
        return ack
      },
      { maxInFlight: 2, orderBy: 'none' },
    )
    await owner?.call('send', { messages: [message('long')] })
    await eventually(async () => {
      expect(runs).toHaveLength(1)
      expect(await transport.admin.queue('orders')).toMatchObject({ ready: 0, locked: 0 })
    })
    expect(runs).toHaveLength(1)
    expect(runs[0]?.signal.aborted).toBe(false)
    expect((await transport.admin.engine()).locksLost).toBe(0)
  })

  it('B29 whose settlement is refused: nothing of it is applied, and the answer of onRefused is followed', async () => {
    const transport = await shop.here()
    await transport.declare({ ...topology, queues: [...topology.queues, { name: 'small', maxMessages: 1 }] })
    await transport.store.connect({ bus: 'b', instanceId: 'i', clock: undefined as never, logger: silentLogger })
    const refusals: string[] = []
    const answers: Settlement[] = [
      { as: 'retry', delayMs: 50 },
      { as: 'dead-letter', reason: 'no room' },
    ]
    const attempts: number[] = []
    await transport.receive(
      'orders',
      async ({ attempt }) => {
        attempts.push(attempt)
        return {
          as: 'ack',
          state: [{ op: 'put', collection: 'c', id: 'r', value: 1, expected: 'any' }],
          send: [message('a', { to: { queue: 'small' } }), message('b', { to: { queue: 'small' } })],
          onRefused: (error: BuzzerError) => {
            refusals.push(error.code)
            return answers.shift() as Settlement
          },
        }
      },
      { maxInFlight: 1, orderBy: 'none' },
    )
    await transport.send([message('m1')])
    await eventually(async () => expect(await transport.admin.queue('orders')).toMatchObject({ dead: 1, locked: 0 }))
    expect(refusals).toEqual(['BUZZER_QUEUE_FULL', 'BUZZER_QUEUE_FULL'])
    expect(attempts).toEqual([1, 2])
    expect(await transport.admin.queue('small')).toMatchObject({ ready: 0 })
    expect(await transport.store.get('c', 'r')).toBeUndefined()
    const { items } = await transport.admin.peek('orders', { state: 'dead' })
    expect(items[0]?.deadLetter?.reason).toBe('no room')
  })

  it('that answers nonsense, or a delay that is none, is a defect that is told, and the message is retried', async () => {
    const transport = await shop.here()
    await transport.declare(topology)
    const answers: unknown[] = [undefined, { as: 'nothing' }, { as: 'retry', delayMs: Number.NaN }, ack]
    const attempts: number[] = []
    await transport.receive(
      'orders',
      async ({ attempt }) => {
        attempts.push(attempt)
        return answers[attempt - 1] as Settlement
      },
      { maxInFlight: 1, orderBy: 'none' },
    )
    await transport.send([message('m1')])
    await eventually(() => expect(attempts).toEqual([1, 2, 3, 4]))
    await eventually(async () => expect(await transport.admin.queue('orders')).toMatchObject({ ready: 0, locked: 0 }))
  })
})

describe('a transport that is closed', () => {
  it('while its handlers run and more waits is closed soon, and gives back what was open, uncounted', async () => {
    const transport = await shop.here()
    await transport.declare(topology)
    await transport.send(messages(100))
    const receiver = await holding(transport, 10)
    await eventually(() => expect(receiver.open.size).toBe(10))
    for (const settle of [...receiver.open.values()].slice(0, 3)) settle({ as: 'release' })
    const startedAt = performance.now()
    await transport.close()
    // The limit of a close that waits for what never ends is 30 s.
    expect(performance.now() - startedAt).toBeLessThan(15_000)
    const next = await shop.here()
    expect(await next.admin.queue('orders')).toMatchObject({ ready: 100, locked: 0 })
    const { items } = await next.admin.peek('orders', { limit: 20 })
    expect(items.map(({ attempt }) => attempt)).toEqual(Array.from({ length: 20 }, () => 0))
  })

  it('B8 refuses everything at once, and says what to do', async () => {
    const transport = await shop.here()
    await transport.declare(topology)
    await transport.close()
    const late = [
      transport.send([message('m1')]),
      transport.declare(topology),
      transport.receive('orders', async () => ack, { maxInFlight: 1, orderBy: 'none' }),
      transport.admin.queues(),
      transport.store.get('c', 'r'),
      transport.connect(),
    ]
    for (const outcome of await Promise.allSettled(late)) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { code: 'BUZZER_NOT_RUNNING', message: expect.stringContaining('make a new one') },
      })
    }
    await transport.close()
  })
})
