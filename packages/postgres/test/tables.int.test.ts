import { setTimeout as sleep } from 'node:timers/promises'
import { silentLogger, systemClock } from 'buzzer'
import type { OutgoingMessage } from 'buzzer/transport'
import { service } from 'buzzer-servers'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { postgres, type PostgresOptions, type PostgresTransport } from '../src/index.ts'
import { ownSchema } from './own-schema.ts'

const { url = '' } = await service('postgres')

function message(queue: string, id: string, change: Partial<OutgoingMessage> = {}): OutgoingMessage {
  const body = new TextEncoder().encode(id)
  return { id, to: { queue }, attributes: { id }, headers: {}, body, priority: 4, mandatory: false, ...change }
}

describe.skipIf(url === '')('what lies in the tables', () => {
  const world = ownSchema(url)
  afterAll(() => world[Symbol.asyncDispose]())

  async function client(options: PostgresOptions = {}): Promise<PostgresTransport> {
    const transport = postgres({ connectionString: url, schema: world.schema, ...options })
    const context = { bus: 'tables', instanceId: 'x', clock: systemClock, logger: silentLogger, onState() {} }
    await transport.connect(context)
    onTestFinished(() => transport.close())
    return transport
  }

  async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
    const giveUpAt = performance.now() + 20_000
    while (!(await holds())) {
      if (performance.now() > giveUpAt) throw new Error('what was waited for did not come about')
      await sleep(3)
    }
  }

  const declare = (transport: PostgresTransport, name: string, change: object = {}): Promise<void> =>
    transport.declare({ queues: [{ name, maxDeliveries: 1_000_000, ...change }], topics: [], bindings: [] })

  test('a queue that was given an order after its messages keeps the order of their acceptance, key by key', async () => {
    const transport = await client()
    await declare(transport, 'late')
    const ids = Array.from({ length: 60 }, (_, n) => `${n % 3}:${n}`)
    await transport.send(ids.map(id => message('late', id, { key: id.slice(0, 1) })))
    await transport.send([message('late', 'living', { key: '0', expiresAt: Date.now() + 600_000 })])
    await transport.admin.alter('late', { orderBy: 'key' })
    await transport.send([message('late', '0:last', { key: '0' })])
    expect(await transport.admin.queue('late')).toMatchObject({ ready: 62, locked: 0 })
    const got: string[] = []
    const open = new Set<string>()
    let overlaps = 0
    await transport.receive(
      'late',
      async ({ id, key = '' }) => {
        if (open.has(key)) overlaps++
        open.add(key)
        got.push(id)
        await sleep(1)
        open.delete(key)
        return { as: 'ack' }
      },
      { maxInFlight: 8, orderBy: 'key' },
    )
    await until(() => got.length === 62)
    expect(overlaps).toBe(0)
    for (const key of ['0', '1', '2']) {
      const wanted = ids.filter(id => id.startsWith(`${key}:`))
      const own = got.filter(id => id.startsWith(`${key}:`) || (key === '0' && id === 'living'))
      expect(own).toEqual(key === '0' ? [...wanted, 'living', '0:last'] : wanted)
    }
  })

  test('a retry that waits holds its key when the queue is given an order, and the queue can lose it again', async () => {
    const transport = await client()
    await declare(transport, 'waiting')
    await transport.send([message('waiting', 'first', { key: 'k' }), message('waiting', 'second', { key: 'k' })])
    const receiver = await transport.receive(
      'waiting',
      ({ id }) => Promise.resolve(id === 'first' ? { as: 'retry', delayMs: 600_000 } : { as: 'release' }),
      { maxInFlight: 1, orderBy: 'none' },
    )
    await until(async () => (await transport.admin.queue('waiting')).scheduled === 1)
    await receiver.stop()
    await transport.admin.alter('waiting', { orderBy: 'key' })
    const got: string[] = []
    const ordered = await transport.receive(
      'waiting',
      async ({ id }) => {
        got.push(id)
        return { as: 'ack' }
      },
      { maxInFlight: 4, orderBy: 'key' },
    )
    await sleep(200)
    expect(got).toEqual([])
    await ordered.stop()
    await transport.admin.alter('waiting', { orderBy: 'none' })
    expect(await transport.admin.queue('waiting')).toMatchObject({ ready: 1, scheduled: 1, locked: 0 })
    expect(await transport.admin.purge('waiting', { state: 'scheduled' })).toBe(1)
    expect(await transport.admin.purge('waiting')).toBe(1)
  })

  test('purging the head of a key lets the key go on; dead letters of one queue are not those of another', async () => {
    const transport = await client()
    await declare(transport, 'keyed', { orderBy: 'key' })
    const before = Date.now()
    await transport.send([message('keyed', 'old', { key: 'k' })])
    const receiver = await transport.receive('keyed', () => Promise.resolve({ as: 'retry', delayMs: 600_000 }), {
      maxInFlight: 1,
      orderBy: 'key',
    })
    await until(async () => (await transport.admin.queue('keyed')).scheduled === 1)
    await receiver.stop()
    await transport.send([message('keyed', 'new', { key: 'k' })])
    expect(await transport.admin.purge('keyed', { state: 'scheduled', before: before - 60_000 })).toBe(0)
    expect(await transport.admin.purge('keyed', { state: 'scheduled' })).toBe(1)
    const got: string[] = []
    await transport.receive(
      'keyed',
      async ({ id }) => {
        got.push(id)
        return { as: 'dead-letter', reason: 'why', detail: { n: 1 } }
      },
      { maxInFlight: 1, orderBy: 'key' },
    )
    await until(async () => (await transport.admin.queue('keyed')).dead === 1)
    expect(got).toEqual(['new'])
    await declare(transport, 'other')
    expect(await transport.admin.queue('other')).toMatchObject({ dead: 0 })
  })

  test('slots of deduplication keys are emptied before they come round again, and keys within a window stay', async () => {
    const transport = await client()
    await declare(transport, 'judged', { deduplicationWindowMs: 60_000 })
    await transport.send([message('judged', 'a', { deduplicationKey: 'one' })])
    const next = `(mod(floor(extract(epoch from clock_timestamp()) / 900)::bigint + 1, 8))::smallint`
    await world.pool.query(
      `insert into ${world.quoted}.seen (slot, queue, hash, at) values (${next}, 1, gen_random_uuid(), now() - interval '2 hours')`,
    )
    const old = async (): Promise<number> => {
      const { rows } = await world.pool.query<{ n: number }>(
        `select count(*)::integer as n from ${world.quoted}.seen where at < now() - interval '1 hour'`,
      )
      return rows[0]?.n ?? -1
    }
    expect(await old()).toBe(1)
    await until(async () => (await old()) === 0)
    await transport.send([message('judged', 'b', { deduplicationKey: 'one' })])
    expect(await transport.admin.queue('judged')).toMatchObject({ ready: 1 })
  })

  test('a prefix keeps two systems of one schema apart', async () => {
    const [one, two] = [await client({ prefix: 'one.' }), await client({ prefix: 'two.' })]
    await declare(one, 'same')
    await declare(two, 'same')
    await one.send([message('same', 'mine')])
    expect((await two.admin.queues()).map(({ name, ready }) => [name, ready])).toEqual([['same', 0]])
    const { items } = await one.admin.peek('same')
    expect(items.map(({ messageId }) => messageId)).toEqual(['mine'])
  })

  test("declare: 'verify' changes nothing and lists all that is missing or different", async () => {
    const [maker, checker] = [await client(), await client({ declare: 'verify' })]
    await declare(maker, 'there', { ttlMs: 1_000 })
    const topology = {
      queues: [{ name: 'there' }, { name: 'absent' }],
      topics: [{ name: 'topic', bases: ['base'] }],
      bindings: [{ topic: 'topic', queue: 'there', exclusive: false }],
    }
    const error = await checker.declare(topology).catch((failure: unknown) => failure)
    expect(error).toMatchObject({
      code: 'BUZZER_TOPOLOGY_CONFLICT',
      details: {
        missing: [
          'queue absent does not exist',
          'topic topic does not exist',
          'topic topic is not bound to queue there',
        ],
      },
    })
    expect((await maker.admin.queues()).some(({ name }) => name === 'absent')).toBe(false)
    await maker.declare(topology)
    await checker.declare(topology)
  })

  test('RP9 (short form) while somebody holds the vacuum horizon, a claim that begins at the lowest live rank reads far less', async () => {
    const own = ownSchema(url)
    onTestFinished(() => own[Symbol.asyncDispose]())
    const transport = await client({ schema: own.schema })
    // What a client sends itself is leased as it is stored, and leaves nothing behind among what is ready.
    const sender = await client({ schema: own.schema })
    await declare(transport, 'busy')
    await own.transaction(async holder => {
      await holder.query('set transaction isolation level repeatable read')
      await holder.query('select txid_current()')
      let handled = 0
      const receiver = await transport.receive(
        'busy',
        async () => {
          handled++
          return { as: 'ack' }
        },
        { maxInFlight: 10, orderBy: 'none' },
      )
      for (let n = 0; n < 1_500; n++) await sender.send([message('busy', `m${n}`)])
      await until(() => handled === 1_500)
      await receiver.stop()
      await sender.send([message('busy', 'last')])
      const { items } = await transport.admin.peek('busy')
      const cost = async (lowest: number): Promise<number> => {
        const { rows } = await own.pool.query<{ 'QUERY PLAN': { Plan: { 'Shared Hit Blocks': number } }[] }>(
          `explain (analyze, buffers, format json) select head from ${own.quoted}.claim(gen_random_uuid(), 1, 0, 2, 1, 30000, false, false, $1::bigint)`.replace(
            '$1',
            String(lowest),
          ),
        )
        return rows[0]?.['QUERY PLAN'][0]?.Plan['Shared Hit Blocks'] ?? -1
      }
      await cost(0)
      await cost(Number(items[0]?.id))
      const [thorough, begun] = [await cost(0), await cost(Number(items[0]?.id))]
      expect(thorough).toBeGreaterThan(100)
      expect(begun).toBeLessThan(thorough / 3)
    })
  }, 60_000)
})
