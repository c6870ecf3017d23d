import type { Delivery, Settlement } from 'buzzer/transport'
import { service } from 'buzzer-servers'
import { afterAll, describe, expect, test } from 'vitest'
import { until } from '../test/chaos.ts'
import { worldOn } from '../test/world.ts'

const there = await service('rabbitmq')
const patient = 120_000

describe.skipIf(there.url === undefined).concurrent('RabbitMQ, its own checklist: sends, settlements, topology', () => {
  const world = worldOn(there.url ?? '')
  const { connected, declared, message, name } = world
  afterAll(() => world.sweep(), patient)

  test(
    'RA2 of 100 messages in one array one goes to a queue that was deleted: it alone is refused, and the error tells of each',
    async () => {
      const [transport, other] = [await connected(), await connected()]
      const [queue, gone] = [await declared(transport), await declared(transport)]
      await transport.send([message(gone)])
      await other.admin.deleteQueue(gone)
      const array = Array.from({ length: 100 }, (_, n) => message(n === 42 ? gone : queue))
      await expect(transport.send(array)).rejects.toMatchObject({
        code: 'BUZZER_UNROUTABLE',
        retryable: false,
        details: { results: array.map((_, n) => (n === 42 ? 'not-stored' : 'stored')) },
      })
      expect((await transport.admin.queue(queue)).ready).toBe(99)
      await Promise.all([transport.close(), other.close()])
    },
    patient,
  )

  test(
    'RA3 returns and confirms of 1,000 messages at once are told apart, equal ids included',
    async () => {
      const transport = await connected()
      const [queue, topic] = [await declared(transport), name('t')]
      const outcomes = await Promise.allSettled(
        Array.from({ length: 1_000 }, (_, n) =>
          transport.send([
            message(n % 2 === 0 ? queue : { topic, bases: [] }, { id: `same${n % 50}`, mandatory: true }),
          ]),
        ),
      )
      expect(outcomes.map((outcome, n) => outcome.status === (n % 2 === 0 ? 'fulfilled' : 'rejected'))).not.toContain(
        false,
      )
      expect((await transport.admin.queue(queue)).ready).toBe(500)
      await transport.close()
    },
    patient,
  )

  test(
    'RA5 a queue deleted under its receiver is declared again, bindings too, and consumed; one that is not ours ends with an error',
    async () => {
      const errors: (Error | undefined)[] = []
      const [owner, guest, operator] = [
        await connected(),
        await connected({}, (_, error) => void errors.push(error)),
        await connected(),
      ]
      const [queue, topic] = [name(), name('t')]
      const topology = {
        queues: [{ name: queue }],
        topics: [{ name: topic, bases: [] }],
        bindings: [{ topic, queue, exclusive: false }],
      }
      await owner.declare(topology)
      const seen: string[] = []
      const onDelivery = async ({ id }: Delivery): Promise<Settlement> => {
        seen.push(id)
        return { as: 'ack' }
      }
      await owner.receive(queue, onDelivery, { maxInFlight: 5, orderBy: 'none' })
      await operator.admin.deleteQueue(queue)
      await until(
        () =>
          operator.send([message({ topic, bases: [] }, { id: 'after', mandatory: true })]).then(
            () => true,
            () => false,
          ),
        () => 'the queue did not come back with its binding',
      )
      await until(
        () => seen.includes('after'),
        () => seen.join(),
      )
      const foreign = await declared(operator)
      await guest.receive(foreign, onDelivery, { maxInFlight: 5, orderBy: 'none' })
      await operator.admin.deleteQueue(foreign)
      await until(
        () => errors.some(error => (error as { code?: string } | undefined)?.code === 'BUZZER_QUEUE_NOT_FOUND'),
        () => String(errors),
      )
      await Promise.all([owner.close(), guest.close(), operator.close()])
    },
    patient,
  )

  test(
    'RA6 an onDelivery that throws at once leaves the connection, and the deliveries beside it, alone',
    async () => {
      const states: string[] = []
      const transport = await connected({}, state => void states.push(state))
      const queue = await declared(transport)
      const seen: string[] = []
      await transport.receive(
        queue,
        ({ id, attempt }) => {
          seen.push(id)
          if (id === 'bad' && attempt < 3) throw new Error('a defect')
          return Promise.resolve({ as: 'ack' })
        },
        { maxInFlight: 5, orderBy: 'none' },
      )
      await transport.send([message(queue, { id: 'bad' }), message(queue, { id: 'good' })])
      await until(
        () => seen.filter(id => id === 'bad').length === 3 && seen.includes('good'),
        () => seen.join(),
      )
      expect(states).toEqual(['connected'])
      await transport.close()
    },
    patient,
  )

  test(
    'RA7 a conflict of arguments names the option and both values, and disturbs neither connection nor sends',
    async () => {
      const states: string[] = []
      const transport = await connected({}, state => void states.push(state))
      const queue = name()
      await transport.declare({ queues: [{ name: queue, ttlMs: 60_000 }], topics: [], bindings: [] })
      const sending = Promise.all(Array.from({ length: 50 }, () => transport.send([message(queue)])))
      await expect(
        transport.declare({ queues: [{ name: queue, ttlMs: 5_000 }], topics: [], bindings: [] }),
      ).rejects.toMatchObject({
        code: 'BUZZER_TOPOLOGY_CONFLICT',
        message: expect.stringMatching(/ttlMs "60000".*"5000"/),
      })
      const fewer = await connected({ keyPartitions: 4 })
      const keyed = await declared(fewer, 'key')
      await expect(
        transport.declare({ queues: [{ name: keyed, orderBy: 'key' }], topics: [], bindings: [] }),
      ).rejects.toMatchObject({
        code: 'BUZZER_TOPOLOGY_CONFLICT',
        message: expect.stringMatching(/keyPartitions 4.*8/),
      })
      await sending
      expect(states).toEqual(['connected'])
      await Promise.all([transport.close(), fewer.close()])
    },
    patient,
  )

  test(
    'RA8 attempts 1, 2, 3, 4 through an immediate retry, a delayed one and a connection that is lost',
    async () => {
      const transport = await connected()
      const queue = await declared(transport)
      const attempts: number[] = []
      const doomed = await connected()
      await transport.send([message(queue)])
      await doomed.receive(
        queue,
        async ({ attempt }) => {
          attempts.push(attempt)
          return attempt === 1 ? { as: 'retry' } : attempt === 2 ? { as: 'retry', delayMs: 60 } : new Promise(() => {})
        },
        { maxInFlight: 1, orderBy: 'none' },
      )
      await until(
        () => attempts.length === 3,
        () => attempts.join(),
      )
      await doomed.close()
      await transport.receive(
        queue,
        async ({ attempt }) => {
          attempts.push(attempt)
          return { as: 'ack' }
        },
        { maxInFlight: 1, orderBy: 'none' },
      )
      await until(
        () => attempts.length === 4,
        () => attempts.join(),
      )
      expect(attempts).toEqual([1, 2, 3, 4])
      await transport.close()
    },
    patient,
  )

  test(
    'RA8 classic queues say that they do not count, and carry the count of a delayed retry',
    async () => {
      const transport = await connected({ queueType: 'classic' })
      expect(transport.capabilities).toMatchObject({ redelivery: 'uncounted', priorities: 1 })
      const queue = await declared(transport)
      const attempts: number[] = []
      await transport.receive(
        queue,
        async ({ attempt }) => {
          attempts.push(attempt)
          return attempt < 3 ? { as: 'retry', delayMs: 20 } : { as: 'ack' }
        },
        { maxInFlight: 1, orderBy: 'none' },
      )
      await transport.send([message(queue)])
      await until(
        () => attempts.length === 3,
        () => attempts.join(),
      )
      expect(attempts).toEqual([1, 2, 3])
      await transport.close()
    },
    patient,
  )

  test(
    'RA9 what a receiver gives back at its stop goes to another one at once',
    async () => {
      const [leaving, staying] = [await connected(), await connected()]
      const queue = await declared(leaving)
      const { promise: leave, resolve } = Promise.withResolvers<void>()
      let held = 0
      const receiver = await leaving.receive(queue, () => (held++, leave.then(() => ({ as: 'release' as const }))), {
        maxInFlight: 20,
        orderBy: 'none',
      })
      await leaving.send(Array.from({ length: 20 }, () => message(queue)))
      await until(
        () => held === 20,
        () => `${held} held`,
      )
      const seen = new Set<string>()
      await staying.receive(
        queue,
        async ({ id }) => {
          seen.add(id)
          return { as: 'ack' }
        },
        { maxInFlight: 20, orderBy: 'none' },
      )
      const stopping = receiver.stop()
      resolve()
      await stopping
      await until(
        () => seen.size === 20,
        () => `${seen.size} of 20`,
      )
      expect(held).toBe(20)
      await Promise.all([leaving.close(), staying.close()])
    },
    patient,
  )
})
