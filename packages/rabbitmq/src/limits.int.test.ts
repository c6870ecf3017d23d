import { setTimeout as sleep } from 'node:timers/promises'
import { silentLogger, systemClock } from 'buzzer'
import type { Delivery, Settlement } from 'buzzer/transport'
import { service } from 'buzzer-servers'
import { afterAll, describe, expect, test } from 'vitest'
import { until } from '../test/chaos.ts'
import { worldOn } from '../test/world.ts'

const there = await service('rabbitmq')
const patient = 120_000

describe.skipIf(there.url === undefined).concurrent('RabbitMQ, its own checklist: order, versions, limits', () => {
  const world = worldOn(there.url ?? '')
  const { connected, declared, message, name } = world
  afterAll(() => world.sweep(), patient)

  for (const orderBy of ['queue', 'key'] as const) {
    test(
      `RA11 orderBy '${orderBy}': the active consumer goes away with messages open; the next one goes on in order`,
      async () => {
        const [first, second] = [await connected(), await connected()]
        const queue = await declared(first, orderBy)
        const keys = orderBy === 'queue' ? ['one'] : Array.from({ length: 16 }, (_, n) => `k${n}`)
        await first.send(
          Array.from({ length: 160 }, (_, n) =>
            message(queue, { id: `${orderBy}${n}`, key: keys[n % keys.length] as string }),
          ),
        )
        const done: string[] = []
        const work = async ({ id }: Delivery): Promise<Settlement> => {
          await sleep(2)
          done.push(id)
          return { as: 'ack' }
        }
        await first.receive(queue, delivery => (done.length < 40 ? work(delivery) : new Promise(() => {})), {
          maxInFlight: 8,
          orderBy,
        })
        await until(
          () => done.length >= 40,
          () => `${done.length} done`,
        )
        const before = done.length
        await second.receive(queue, work, { maxInFlight: 8, orderBy })
        await sleep(100)
        expect(done.length).toBeLessThanOrEqual(before + 8)
        await first.close()
        await until(
          () => new Set(done).size === 160,
          () => `${new Set(done).size} of 160`,
        )
        for (const [at, key] of keys.entries()) {
          const numbers = done.map(id => Number(id.slice(orderBy.length))).filter(n => n % keys.length === at)
          // A repeat of the last one is a redelivery; what follows is in order.
          const firsts = numbers.filter((n, index) => numbers.indexOf(n) === index)
          expect(firsts, key).toEqual(firsts.toSorted((a, b) => a - b))
        }
        await second.close()
      },
      patient,
    )
  }

  test(
    'a queue declared by name alone keeps its order all the same: its receivers take turns',
    async () => {
      const [sender, one, two] = [await connected(), await connected(), await connected()]
      const queue = await declared(sender)
      await sender.send(Array.from({ length: 30 }, (_, n) => message(queue, { id: `turn${n}`, key: 'k' })))
      for (const transport of [one, two])
        await transport.declare({ queues: [{ name: queue, orderBy: 'queue' }], topics: [], bindings: [] })
      const done: string[] = []
      let open = 0
      let most = 0
      const work = async ({ id }: Delivery): Promise<Settlement> => {
        most = Math.max(most, ++open)
        await sleep(5)
        open--
        done.push(id)
        return { as: 'ack' }
      }
      await one.receive(queue, work, { maxInFlight: 4, orderBy: 'queue' })
      await two.receive(queue, work, { maxInFlight: 4, orderBy: 'queue' })
      await until(
        () => done.length >= 10,
        () => `${done.length} done`,
      )
      await one.close()
      await until(
        () => new Set(done).size === 30,
        () => `${new Set(done).size} of 30`,
      )
      expect(most).toBe(1)
      expect([...new Set(done)]).toEqual(Array.from({ length: 30 }, (_, n) => `turn${n}`))
      await Promise.all([sender.close(), two.close()])
    },
    patient,
  )

  test(
    'RA16 frames of 8,192 bytes carry bodies of 1 MiB; headers that do not fit into one are refused with both sizes',
    async () => {
      const transport = await connected({ frameMaxBytes: 8_192 })
      const queue = await declared(transport)
      const body = Buffer.alloc(1024 * 1024, 5)
      let got: Uint8Array | undefined
      await transport.receive(
        queue,
        async delivery => {
          got = delivery.body
          return { as: 'ack' }
        },
        { maxInFlight: 1, orderBy: 'none' },
      )
      await transport.send([message(queue, { body })])
      await until(
        () => got !== undefined,
        () => 'nothing came',
      )
      expect(Buffer.compare(got as Uint8Array, body)).toBe(0)
      await expect(transport.send([message(queue, { headers: { big: 'x'.repeat(9_000) } })])).rejects.toMatchObject({
        code: 'BUZZER_MESSAGE_TOO_LARGE',
      })
      await transport.send([message(queue)])
      await transport.close()
    },
    patient,
  )

  test(
    'RA17 priorities are what the version found can do',
    async () => {
      const transport = await connected()
      expect(transport.capabilities.priorities).toBe(transport.behaviour.priorities)
      await transport.close()
    },
    patient,
  )

  test(
    'wrong credentials and an unknown virtual host are refused for good, a closed port is not',
    async () => {
      const url = new URL(there.url ?? '')
      const attempt = (change: (url: URL) => void): Promise<void> => {
        const other = new URL(url)
        change(other)
        const context = { bus: 'x', instanceId: 'x', clock: systemClock, logger: silentLogger, onState() {} }
        return world.create({ url: other.href }).connect(context)
      }
      const refused = { code: 'BUZZER_CONFIGURATION', retryable: false }
      await expect(attempt(one => (one.password = 'wrong'))).rejects.toMatchObject({
        ...refused,
        message: expect.not.stringContaining('wrong@'),
      })
      await expect(attempt(one => (one.pathname = '/nowhere'))).rejects.toMatchObject(refused)
      await expect(attempt(one => (one.port = '1'))).rejects.toMatchObject({
        code: 'BUZZER_DISCONNECTED',
        retryable: true,
      })
    },
    patient,
  )

  test(
    "declare: 'verify' makes nothing and lists all that is missing or different; 'none' trusts",
    async () => {
      const [maker, verifier, truster] = [
        await connected(),
        await connected({ declare: 'verify' }),
        await connected({ declare: 'none' }),
      ]
      const [there1, missing, topic] = [name(), name(), name('t')]
      await maker.declare({ queues: [{ name: there1, ttlMs: 1_000 }], topics: [], bindings: [] })
      const wanted = {
        queues: [{ name: there1, ttlMs: 2_000 }, { name: missing }],
        topics: [{ name: topic, bases: [] }],
        bindings: [],
      }
      await expect(verifier.declare(wanted)).rejects.toMatchObject({
        code: 'BUZZER_TOPOLOGY_CONFLICT',
        details: {
          problems: [
            expect.stringContaining('ttlMs'),
            `queue ${missing} is missing`,
            expect.stringContaining(`topic ${topic}`),
          ],
        },
      })
      await truster.declare(wanted)
      await expect(maker.admin.queue(missing)).rejects.toMatchObject({ code: 'BUZZER_QUEUE_NOT_FOUND' })
      await Promise.all([maker.close(), verifier.close(), truster.close()])
    },
    patient,
  )

  test(
    'an expired message is never delivered, wherever it waited; a header that means something to the server arrives as it was',
    async () => {
      const transport = await connected()
      const queue = await declared(transport)
      await transport.send([
        message(queue, {
          id: 'live',
          headers: { 'x-death': 'mine', 'x-delivery-count': '9', cc: 'x', 'x-tenant': 'a' },
        }),
        message(queue, { id: 'expired', expiresAt: Date.now() + 50 }),
        message(queue, { id: 'late', expiresAt: Date.now() + 50, deliverAt: Date.now() + 100 }),
      ])
      await sleep(300)
      const seen: Delivery[] = []
      await transport.receive(
        queue,
        async delivery => {
          seen.push(delivery)
          return { as: 'ack' }
        },
        { maxInFlight: 5, orderBy: 'none' },
      )
      await until(
        async () => (await transport.admin.queue(queue)).ready === 0 && seen.length > 0,
        () => `${seen.length}`,
      )
      await sleep(100)
      expect(seen.map(({ id }) => id)).toEqual(['live'])
      expect(seen[0]).toMatchObject({
        attempt: 1,
        headers: { 'x-death': 'mine', 'x-delivery-count': '9', cc: 'x', 'x-tenant': 'a' },
      })
      await transport.close()
    },
    patient,
  )

  test(
    'a poison message is retried as often as it is asked to be, while its neighbours flow',
    async () => {
      const transport = await connected()
      const queue = await declared(transport)
      const attempts: number[] = []
      const good = new Set<string>()
      await transport.receive(
        queue,
        async ({ id, attempt }) => {
          if (id !== 'poison') {
            good.add(id)
            return { as: 'ack' }
          }
          attempts.push(attempt)
          return attempt < 20 ? { as: 'retry' } : { as: 'ack' }
        },
        { maxInFlight: 4, orderBy: 'none' },
      )
      await transport.send([message(queue, { id: 'poison' }), ...Array.from({ length: 200 }, () => message(queue))])
      await until(
        () => good.size === 200 && attempts.length === 20,
        () => `${good.size} good, attempts ${attempts.join()}`,
      )
      expect(attempts).toEqual(Array.from({ length: 20 }, (_, n) => n + 1))
      await transport.close()
    },
    patient,
  )

  test(
    'a limited queue refuses with BUZZER_QUEUE_FULL soon after its limit; purge counts what it removes, and says what it cannot',
    async () => {
      const transport = await connected()
      const queue = name()
      await transport.declare({ queues: [{ name: queue, maxMessages: 5 }], topics: [], bindings: [] })
      const codes: unknown[] = []
      for (let n = 0; n < 30; n++)
        await transport.send([message(queue)]).catch((error: { code?: unknown }) => codes.push(error.code))
      expect(codes.length).toBeGreaterThan(15)
      expect(new Set(codes)).toEqual(new Set(['BUZZER_QUEUE_FULL']))
      const { ready, unknown } = await transport.admin.queue(queue)
      expect(ready).toBe(30 - codes.length)
      expect(unknown).toContain('scheduled')
      expect(await transport.admin.purge(queue)).toBe(ready)
      await expect(transport.admin.purge(queue, { state: 'scheduled' })).rejects.toMatchObject({
        code: 'BUZZER_UNSUPPORTED',
      })
      await expect(transport.admin.peek(queue, { state: 'ready' })).rejects.toMatchObject({
        code: 'BUZZER_UNSUPPORTED',
      })
      await transport.close()
    },
    patient,
  )

  test(
    'what RabbitMQ cannot do is refused by name: deduplication, a delivery limit, transactions, delays without a chain',
    async () => {
      const transport = await connected({ delays: 'store' })
      const queue = await declared(transport)
      const declaring = (more: object) =>
        transport.declare({ queues: [{ name: name(), ...more }], topics: [], bindings: [] })
      const unsupported = { code: 'BUZZER_UNSUPPORTED', retryable: false, details: { transport: 'rabbitmq' } }
      await expect(declaring({ deduplicationWindowMs: 1_000 })).rejects.toMatchObject(unsupported)
      await expect(declaring({ maxDeliveries: 3 })).rejects.toMatchObject(unsupported)
      await expect(declaring({ deadLetterExpired: true })).rejects.toMatchObject(unsupported)
      await expect(transport.send([message(queue)], { tx: {} as never })).rejects.toMatchObject(unsupported)
      await expect(transport.send([message(queue, { deliverAt: Date.now() + 60_000 })])).rejects.toMatchObject(
        unsupported,
      )
      await transport.close()
    },
    patient,
  )
})
