import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { type Clock, newId, silentLogger, systemClock } from '../../message/index.ts'
import { virtualClock } from '../../testing/virtual-clock.ts'
import type { Delivery, OutgoingMessage, Settlement } from '../index.ts'
import { memory, memoryBroker, type MemoryOptions, type MemoryTransport } from './memory.ts'

const hour = 3_600_000

async function open(options: MemoryOptions & { clock?: Clock } = {}): Promise<MemoryTransport> {
  const { clock = systemClock, ...rest } = options
  const transport = memory(rest)
  await transport.connect({ bus: 'b', instanceId: 'i', clock, logger: silentLogger, onState() {} })
  return transport
}

function message(queue: string, change: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return {
    id: newId(),
    to: { queue },
    attributes: {},
    headers: {},
    body: new Uint8Array([1, 2, 3]),
    priority: 4,
    mandatory: false,
    ...change,
  }
}

function turns(count = 3): Promise<void> {
  return count === 0 ? Promise.resolve() : new Promise(resolve => setImmediate(() => resolve(turns(count - 1))))
}

async function collect(
  transport: MemoryTransport,
  queue: string,
  settle: (delivery: Delivery) => Settlement = () => ({ as: 'ack' }),
): Promise<Delivery[]> {
  const deliveries: Delivery[] = []
  const onDelivery = async (delivery: Delivery): Promise<Settlement> => {
    deliveries.push(delivery)
    return settle(delivery)
  }
  await transport.receive(queue, onDelivery, { maxInFlight: 1, orderBy: 'none' })
  return deliveries
}

const acknowledge = async (): Promise<Settlement> => ({ as: 'ack' })

const declare = (transport: MemoryTransport, name: string, options: object = {}): Promise<void> =>
  transport.declare({ queues: [{ name, ...options }], topics: [], bindings: [] })

describe('limits', () => {
  test('beyond maxMessages or maxBytes of the broker a send rejects with BUZZER_QUEUE_FULL and the figures', async () => {
    const transport = await open({ maxMessages: 2 })
    await declare(transport, 'q')
    await transport.send([message('q'), message('q')])
    await assert.rejects(transport.send([message('q')]), {
      code: 'BUZZER_QUEUE_FULL',
      details: { limit: 'maxMessages', value: 2, present: 2 },
    })
    await transport.admin.purge('q')
    await transport.send([message('q')])
    const small = await open({ maxBytes: 10 })
    await declare(small, 'q')
    await small.send([message('q')])
    await assert.rejects(small.send([message('q', { body: new Uint8Array(8) })]), { code: 'BUZZER_QUEUE_FULL' })
  })

  test('limits given beside a shared broker hold for sends through that transport, settlements included', async () => {
    const broker = memoryBroker()
    const wide = await open({ broker })
    const narrow = await open({ broker, maxMessages: 1 })
    await declare(wide, 'q')
    await declare(wide, 'out')
    await wide.send([message('q'), message('q')])
    await assert.rejects(narrow.send([message('q')]), { code: 'BUZZER_QUEUE_FULL' })
    const codes: string[] = []
    await collect(narrow, 'q', () => ({
      as: 'ack',
      send: [message('out')],
      onRefused: error => {
        codes.push(error.code)
        return { as: 'ack' }
      },
    }))
    await turns()
    // With the first refused and acknowledged there is room for none still: one message is held.
    expect(codes).toEqual(['BUZZER_QUEUE_FULL', 'BUZZER_QUEUE_FULL'])
  })

  test('a scheduled publish takes room of the broker, and gives it back when cancelled', async () => {
    const transport = await open({ maxMessages: 1 })
    const scheduled = message('q', { to: { topic: 't', bases: [] }, deliverAt: systemClock.now() + hour })
    await transport.send([scheduled])
    await declare(transport, 'q')
    await assert.rejects(transport.send([message('q')]), { code: 'BUZZER_QUEUE_FULL' })
    expect(await transport.admin.cancelScheduled(scheduled.id)).toBe(true)
    await transport.send([message('q')])
  })

  test('an option that is no limit, and a broker that is none, are refused', () => {
    assert.throws(() => memory({ maxMessages: 0 }), { code: 'BUZZER_INVALID_OPTION' })
    const broker = { transaction: () => Promise.reject(new Error('no')), isQuiet: true, clock: undefined }
    assert.throws(() => memory({ broker }), { code: 'BUZZER_INVALID_OPTION' })
  })
})

describe('time', () => {
  test('B37 a delay beyond what one timer holds is kept, to the millisecond', async () => {
    const clock = virtualClock()
    const transport = await open({ clock })
    await declare(transport, 'q')
    const deliveries = await collect(transport, 'q')
    const ms = 2 ** 31 + 12_345
    await transport.send([message('q', { deliverAt: clock.now() + ms })])
    await clock.advance(ms - 1)
    expect(deliveries).toHaveLength(0)
    await clock.advance(1)
    await turns()
    expect(deliveries).toHaveLength(1)
  })

  test('B37 ten thousand messages due at once come in order of their times', async () => {
    const clock = virtualClock()
    const transport = await open({ clock })
    await declare(transport, 'q')
    const deliveries = await collect(transport, 'q')
    const base = clock.now()
    const all = Array.from({ length: 10_000 }, (_, n) => message('q', { id: `m${n}`, deliverAt: base + 10_000 - n }))
    await transport.send(all)
    await clock.advance(10_000, async () => {})
    await turns(200)
    expect(deliveries.map(delivery => delivery.id)).toEqual(all.map(one => one.id).toReversed())
  })

  test('deadLetterTtlMs deletes dead letters of that age, and only dead ones', async () => {
    const clock = virtualClock()
    const transport = await open({ clock })
    await declare(transport, 'q', { deadLetterTtlMs: hour })
    await collect(transport, 'q', delivery =>
      delivery.headers['die'] === '1' ? { as: 'dead-letter', reason: 'poison' } : { as: 'retry', delayMs: 10 * hour },
    )
    await transport.send([message('q', { headers: { die: '1' } }), message('q')])
    await turns()
    await clock.advance(hour - 1)
    expect(await transport.admin.queue('q')).toMatchObject({ dead: 1, scheduled: 1 })
    await clock.advance(1)
    expect(await transport.admin.queue('q')).toMatchObject({ dead: 0, scheduled: 1 })
  })

  test('a redriven message starts its time to live anew', async () => {
    const clock = virtualClock()
    const transport = await open({ clock })
    await declare(transport, 'q', { deadLetterExpired: true })
    await transport.send([message('q', { expiresAt: clock.now() + hour, attributes: { expirytime: 'x' } })])
    await clock.advance(hour)
    expect(await transport.admin.queue('q')).toMatchObject({ dead: 1, ready: 0 })
    await clock.advance(5 * hour)
    await transport.admin.redrive('q')
    const { items } = await transport.admin.peek('q')
    expect(items[0]?.expiresAt).toBe(clock.now() + hour)
    expect(items[0]?.attributes['expirytime']).toBe(new Date(clock.now() + hour).toISOString())
    await clock.advance(hour - 1)
    expect((await transport.admin.queue('q')).ready).toBe(1)
  })

  test('the broker runs on the clock of the transports connected, and keeps delays when that changes', async () => {
    const broker = memoryBroker()
    expect(broker.clock).toBeUndefined()
    const [first, second] = [virtualClock(), virtualClock()]
    const before = await open({ broker, clock: first })
    expect(broker.clock).toBe(first)
    await declare(before, 'q')
    const waiting = await collect(before, 'q', () => ({ as: 'retry', delayMs: hour }))
    await before.send([message('q')])
    await turns()
    await first.advance(hour / 2)
    await before.close()
    const after = await open({ broker, clock: second })
    expect(broker.clock).toBe(second)
    const deliveries = await collect(after, 'q')
    await first.advance(hour)
    await second.advance(hour / 2 - 1)
    expect([waiting.length, deliveries.length]).toEqual([1, 0])
    await second.advance(1)
    await turns()
    expect(deliveries.map(delivery => delivery.attempt)).toEqual([2])
  })

  test('a broker with a clock of its own keeps it', async () => {
    const clock = virtualClock()
    const broker = memoryBroker({ clock })
    await open({ broker })
    expect(broker.clock).toBe(clock)
  })
})

describe('life', () => {
  const url = new URL('./memory.ts', import.meta.url).href
  const run = (code: string): ReturnType<typeof spawnSync> =>
    spawnSync(
      process.execPath,
      [
        '--conditions=buzzer-source',
        '--input-type=module',
        '-e',
        `import { memory } from '${url}'
         const transport = memory()
         await transport.connect({})
         await transport.declare({ queues: [{ name: 'q' }], topics: [], bindings: [] })
         const deliverAt = Date.now() + 150
         const message = { id: 'a', to: { queue: 'q' }, attributes: {}, headers: {}, body: new Uint8Array(), priority: 4 }
         await transport.send([{ ...message, deliverAt, mandatory: true }])
         ${code}`,
      ],
      { encoding: 'utf8', timeout: 20_000 },
    )

  test('a process that receives stays alive for what is scheduled, until its transport is closed', () => {
    const { status, stdout, stderr } = run(`
      await transport.receive('q', async () => {
        setImmediate(() => transport.close())
        console.log('delivered')
        return { as: 'ack' }
      }, { maxInFlight: 1, orderBy: 'none' })`)
    expect([status, stdout, stderr]).toEqual([0, 'delivered\n', ''])
  })

  test('a process that only sends, or whose receivers are stopped, ends', () => {
    const { status, stdout, stderr } = run(`
      const receiver = await transport.receive('q', async () => ({ as: 'ack' }), { maxInFlight: 1, orderBy: 'none' })
      await receiver.stop()
      process.on('exit', () => console.log(Date.now() < deliverAt + 100))`)
    expect([status, stdout, stderr]).toEqual([0, 'true\n', ''])
  })
})

describe('delivery', () => {
  test('a handler that always publishes the next message never starves the event loop', async () => {
    const transport = await open()
    await declare(transport, 'q')
    const deliveries = await collect(transport, 'q', () => ({ as: 'ack', send: [message('q')] }))
    await transport.send([message('q')])
    const before = performance.now()
    await new Promise(resolve => setTimeout(resolve, 10))
    expect(performance.now() - before).toBeLessThan(1_000)
    expect(deliveries.length).toBeGreaterThan(10)
    await transport.close()
  })

  test('isQuiet is false from the send until the settlement, and true while only time or nobody is waited for', async () => {
    const clock = virtualClock()
    const transport = await open({ clock })
    const { broker } = transport
    await declare(transport, 'q')
    await transport.send([message('q')])
    expect(broker.isQuiet).toBe(true)
    const { promise, resolve } = Promise.withResolvers<Settlement>()
    const receiver = await transport.receive('q', () => promise, { maxInFlight: 1, orderBy: 'none' })
    expect(broker.isQuiet).toBe(false)
    await turns()
    expect(broker.isQuiet).toBe(false)
    resolve({ as: 'retry', delayMs: hour })
    await turns()
    expect(broker.isQuiet).toBe(true)
    await receiver.pause()
    await clock.advance(hour)
    expect((await transport.admin.queue('q')).ready).toBe(1)
    expect(broker.isQuiet).toBe(true)
    await receiver.resume()
    expect(broker.isQuiet).toBe(false)
    await transport.close()
  })

  test('B23 parked: not delivered, no expiry, the key goes on; unpark puts it back at its old place with its attempt', async () => {
    const clock = virtualClock()
    const transport = await open({ clock })
    await declare(transport, 'q', { orderBy: 'key' })
    let isParking = true
    const receiver = await transport.receive(
      'q',
      async delivery => {
        seen.push(`${delivery.id}:${delivery.attempt}`)
        return (isParking && delivery.id === '1' ? { as: 'park' } : { as: 'ack' }) as Settlement
      },
      { maxInFlight: 4, orderBy: 'key' },
    )
    const seen: string[] = []
    const expiresAt = clock.now() + hour
    await transport.send(['1', '2'].map(id => message('q', { id, key: 'k', ...(id === '1' ? { expiresAt } : {}) })))
    await turns()
    expect(seen).toEqual(['1:1', '2:1'])
    expect(await transport.admin.queue('q')).toMatchObject({ parked: 1, ready: 0 })
    await receiver.pause()
    await clock.advance(hour / 2)
    await transport.send([message('q', { id: '3', key: 'k' })])
    const [parked] = (await transport.admin.peek('q', { state: 'parked' })).items
    isParking = false
    expect(await transport.admin.unpark('q', [parked?.id ?? ''])).toBe(1)
    await receiver.resume()
    await turns()
    expect(seen.slice(2).toSorted()).toEqual(['1:2', '3:1'])
  })

  test('alter of orderBy is refused while deliveries are open, and orders what waits when none is', async () => {
    const transport = await open()
    await declare(transport, 'q')
    const { promise, resolve } = Promise.withResolvers<Settlement>()
    const receiver = await transport.receive('q', () => promise, { maxInFlight: 2, orderBy: 'none' })
    await transport.send([1, 2, 3, 4].map(n => message('q', { id: String(n), key: 'k', priority: n })))
    await turns()
    await assert.rejects(transport.admin.alter('q', { orderBy: 'key' }), { code: 'BUZZER_INVALID_OPTION' })
    resolve({ as: 'release' })
    await receiver.pause()
    await turns()
    await transport.admin.alter('q', { orderBy: 'key' })
    const ids: string[] = []
    let running = 0
    await transport.receive(
      'q',
      async delivery => {
        assert.equal(++running, 1)
        ids.push(delivery.id)
        await turns(1)
        running--
        return { as: 'ack' }
      },
      { maxInFlight: 4, orderBy: 'key' },
    )
    await turns(20)
    expect(ids).toEqual(['1', '2', '3', '4'])
  })

  test('a receiver that asks for an order gives it to a queue without one, and is refused by one with another', async () => {
    const transport = await open()
    await declare(transport, 'plain')
    await declare(transport, 'strict', { orderBy: 'queue' })
    await transport.receive('plain', acknowledge, { maxInFlight: 1, orderBy: 'key' })
    expect((await transport.admin.queue('plain')).options.orderBy).toBe('key')
    await assert.rejects(transport.receive('strict', acknowledge, { maxInFlight: 1, orderBy: 'key' }), {
      code: 'BUZZER_TOPOLOGY_CONFLICT',
    })
  })

  test('what is no settlement is a retry and a report', async () => {
    const errors: unknown[] = []
    const transport = memory()
    const logger = { ...silentLogger, error: (fields: object) => void errors.push(fields) }
    await transport.connect({ bus: 'b', instanceId: 'i', clock: systemClock, logger, onState() {} })
    await declare(transport, 'q')
    const deliveries = await collect(transport, 'q', delivery =>
      delivery.attempt === 1 ? (undefined as unknown as Settlement) : { as: 'ack' },
    )
    await transport.send([message('q')])
    await turns(5)
    expect(deliveries.map(delivery => delivery.attempt)).toEqual([1, 2])
    expect(errors).toHaveLength(1)
  })
})

describe('transactions', () => {
  test('X4 a quota that only the whole transaction breaks refuses all of it at the commit', async () => {
    const transport = await open()
    await declare(transport, 'q', { maxMessages: 1 })
    const committing = transport.broker.transaction(async tx => {
      await transport.send([message('q')], { tx })
      await transport.send([message('q')], { tx })
    })
    await assert.rejects(committing, { code: 'BUZZER_QUEUE_FULL' })
    expect((await transport.admin.queue('q')).ready).toBe(0)
  })

  test('X4 a transaction that is over, or of another broker, is refused', async () => {
    const transport = await open()
    await declare(transport, 'q')
    let leaked: unknown
    await transport.broker.transaction(async tx => {
      leaked = tx
      assert.equal(tx.state, 'open')
    })
    await assert.rejects(transport.send([message('q')], { tx: leaked as never }), { code: 'BUZZER_INVALID_OPTION' })
    await memoryBroker().transaction(async tx => {
      await assert.rejects(transport.send([message('q')], { tx }), { code: 'BUZZER_INVALID_OPTION' })
    })
  })

  test('X4 of two transactions that write one record the second is refused at its commit, with its messages', async () => {
    const transport = await open()
    await declare(transport, 'q')
    const put = { op: 'put' as const, collection: 'inbox', id: 'a', value: 1, expected: 'absent' as const }
    const inner = Promise.withResolvers<void>()
    const first = transport.broker.transaction(async tx => {
      await transport.store.commit([put], { tx })
      await transport.send([message('q', { id: 'first' })], { tx })
      await inner.promise
    })
    const second = transport.broker.transaction(async tx => {
      await transport.store.commit([put], { tx })
      await transport.send([message('q', { id: 'second' })], { tx })
    })
    await second
    inner.resolve()
    await assert.rejects(first, { code: 'BUZZER_CONFLICT' })
    const { items } = await transport.admin.peek('q')
    expect(items.map(item => item.messageId)).toEqual(['second'])
  })
})

test('loops of awaited sends let the receiver keep up and never fill the broker', async () => {
  const transport = await open({ maxMessages: 4_000 })
  await transport.declare({ queues: [{ name: 'q' }], topics: [], bindings: [] })
  let handled = 0
  const onDelivery = async (): Promise<Settlement> => {
    handled++
    return { as: 'ack' }
  }
  await transport.receive('q', onDelivery, { maxInFlight: 1_000, orderBy: 'none' })
  const loop = async (): Promise<void> => {
    for (let n = 0; n < 20; n++) await transport.send([message('q')])
  }
  await Promise.all(Array.from({ length: 1_000 }, loop))
  await turns(5)
  expect(handled).toBe(20_000)
  await transport.close()
})
