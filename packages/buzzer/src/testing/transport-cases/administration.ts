import assert from 'node:assert/strict'
import type { PeekedMessage, Settlement } from '../../transport/index.ts'
import { gate, type TransportCase, type TransportWorld } from '../conformance/transport-world.ts'
import { admin, all, deadLetters, delays, temporaryQueues } from './needs.ts'

async function bury(world: TransportWorld, queue: string, count: number, key?: string): Promise<void> {
  const inbox = await world.receive(queue, () => ({ as: 'dead-letter', reason: 'poison' }))
  await world.sendMany(queue, count, () => ({ headers: { tenant: 'a' }, ...(key === undefined ? {} : { key }) }))
  await world.figuresBecome(queue, { dead: count, ready: 0, locked: 0 })
  await inbox.receiver.stop()
}

async function peekAll(
  world: TransportWorld,
  queue: string,
  state?: PeekedMessage['state'],
): Promise<readonly PeekedMessage[]> {
  const page = await world.admin.peek?.(queue, { ...(state === undefined ? {} : { state }), limit: 1_000 })
  return page?.items ?? []
}

export const administration: readonly TransportCase[] = [
  {
    name: 'admin calls on an unknown queue reject with BUZZER_QUEUE_NOT_FOUND',
    source: 'broker 1',
    needs: admin('queue', 'peek', 'purge'),
    run: async world => {
      const unknown = world.name()
      const calls = [
        () => world.admin.queue(unknown),
        () => world.admin.peek?.(unknown),
        () => world.admin.purge?.(unknown),
      ]
      for (const call of calls) {
        await world.rejects(Promise.resolve(call()), 'BUZZER_QUEUE_NOT_FOUND', 'admin on an unknown queue')
      }
    },
  },
  {
    name: 'the counts of a queue are exact: ready, locked, scheduled, dead, receivers',
    source: 'broker 8 (B63)',
    needs: all(admin('queue'), deadLetters, delays),
    run: async world => {
      const queue = await world.queue()
      const { opened, open } = gate()
      await world.sendMany(queue, 5)
      await world.send(world.message(queue, { id: 'later', deliverAt: Date.now() + 600_000 }))
      const before = await world.figures(queue)
      assert.deepEqual([before.ready, before.locked, before.scheduled, before.dead, before.receivers], [5, 0, 1, 0, 0])
      assert.ok(before.bytes > 0)
      assert.ok(Math.abs((before.oldestReadyAt ?? 0) - Date.now()) < 60_000)
      const answers: Readonly<Record<string, Settlement>> = {
        '1': { as: 'retry', delayMs: 600_000 },
        '2': { as: 'dead-letter', reason: 'poison' },
      }
      const inbox = await world.receive(queue, delivery => opened.then(() => answers[delivery.id] ?? { as: 'ack' }), {
        maxInFlight: 3,
      })
      await inbox.take(3)
      await world.figuresBecome(queue, { ready: 2, locked: 3, scheduled: 1, dead: 0, receivers: 1 })
      await inbox.receiver.pause()
      open()
      await world.figuresBecome(queue, { ready: 2, locked: 0, scheduled: 2, dead: 1 })
      assert.ok((await world.admin.queues()).some(one => one.name === queue))
    },
  },
  {
    name: 'peek shows every state in queue order, page by page, and neither locks nor counts',
    source: 'broker 8 (B64)',
    needs: all(admin('peek'), delays),
    run: async world => {
      const queue = await world.queue()
      await world.sendMany(queue, 7, n => ({ key: `k${n}`, headers: { n: String(n) } }))
      await world.send(world.message(queue, { id: 'later', deliverAt: Date.now() + 600_000 }))
      const ids: string[] = []
      let after: string | undefined
      let pages = 0
      do {
        const page = await world.admin.peek?.(queue, {
          state: 'ready',
          limit: 3,
          ...(after === undefined ? {} : { after }),
        })
        assert.ok(page !== undefined && page.items.length <= 3)
        ids.push(...page.items.map(item => item.messageId))
        after = page.next
        pages++
      } while (after !== undefined && pages < 10)
      assert.deepEqual(ids, ['1', '2', '3', '4', '5', '6', '7'])
      const all = await peekAll(world, queue)
      assert.equal(all.length, 8)
      assert.equal(all.find(item => item.messageId === 'later')?.state, 'scheduled')
      assert.equal(all[1]?.headers['n'], '2')
      assert.ok(Buffer.from(all[1]?.body ?? []).length > 0)
      const inbox = await world.receive(queue)
      await inbox.take(7)
      assert.ok(
        inbox.attempts.every(attempt => attempt === 1),
        'peeking counted as a delivery',
      )
    },
  },
  {
    name: 'purge removes what is ready, leaves what is locked and scheduled, and says how many',
    source: 'broker 8 (B65)',
    needs: all(admin('purge', 'queue'), delays),
    run: async world => {
      const queue = await world.queue()
      const { opened, open } = gate()
      await world.sendMany(queue, 5)
      await world.send(world.message(queue, { id: 'later', deliverAt: Date.now() + 600_000 }))
      const inbox = await world.receive(queue, () => opened.then(() => ({ as: 'ack' as const })), { maxInFlight: 2 })
      await inbox.take(2)
      assert.equal(await world.admin.purge?.(queue), 3)
      await world.figuresBecome(queue, { ready: 0, locked: 2, scheduled: 1 })
      open()
      await world.figuresBecome(queue, { locked: 0, scheduled: 1 })
      assert.equal(inbox.count, 2)
    },
  },
  {
    name: 'redrive moves dead letters to the end of their queue: same id, headers, key, body; attempt 1, redrives 1',
    source: 'broker 4, bus 4.12 (B66)',
    needs: all(admin('redrive', 'peek', 'queue'), deadLetters),
    run: async world => {
      const queue = await world.queue()
      await bury(world, queue, 3, 'k')
      const [first] = await peekAll(world, queue, 'dead')
      assert.equal(await world.admin.redrive?.(queue, { ids: [first?.id as string] }), 1)
      await world.figuresBecome(queue, { dead: 2, ready: 1 })
      assert.equal(await world.admin.redrive?.(queue), 2)
      await world.figuresBecome(queue, { dead: 0, ready: 3 })
      const inbox = await world.receive(queue, () => ({ as: 'ack' }), { maxInFlight: 1 })
      const received = await inbox.take(3)
      assert.equal(inbox.ids[0], first?.messageId)
      assert.deepEqual([...inbox.ids].toSorted(), ['1', '2', '3'])
      for (const { delivery } of received) {
        assert.equal(delivery.attempt, 1)
        assert.equal(delivery.attributes['redrives'], '1')
        assert.equal(delivery.headers['tenant'], 'a')
        assert.equal(delivery.key, 'k')
        assert.equal(new TextDecoder().decode(delivery.body), `{"id":"${delivery.id}"}`)
        assert.equal(delivery.deadLetter, undefined)
      }
    },
  },
  {
    name: 'redrive goes to another queue when told so',
    source: 'broker 4 (B66)',
    needs: all(admin('redrive', 'queue'), deadLetters),
    run: async world => {
      const [queue, other] = [await world.queue(), await world.queue()]
      await bury(world, queue, 2)
      assert.equal(await world.admin.redrive?.(queue, { to: other, limit: 1 }), 1)
      const inbox = await world.receive(other)
      await inbox.take(1)
      assert.equal(inbox.received[0]?.delivery.queue, other)
      await world.figuresBecome(queue, { dead: 1, ready: 0 })
    },
  },
  {
    name: 'deleteDead removes the dead letters named, or all',
    source: 'broker 1',
    needs: all(admin('deleteDead', 'peek', 'queue'), deadLetters),
    run: async world => {
      const queue = await world.queue()
      await bury(world, queue, 3)
      const [first] = await peekAll(world, queue, 'dead')
      assert.equal(await world.admin.deleteDead?.(queue, { ids: [first?.id as string, 'unknown'] }), 1)
      await world.figuresBecome(queue, { dead: 2 })
      assert.ok(!(await peekAll(world, queue, 'dead')).some(item => item.messageId === first?.messageId))
      assert.equal(await world.admin.deleteDead?.(queue), 2)
      await world.figuresBecome(queue, { dead: 0 })
    },
  },
  {
    name: 'alter changes an option on purpose, at once, for what waits already',
    source: 'broker 3 (B60, B68)',
    needs: all(admin('alter'), deadLetters),
    run: async world => {
      const queue = await world.queue({ maxDeliveries: 5 })
      await world.send(world.message(queue))
      await world.admin.alter?.(queue, { maxDeliveries: 2 })
      const inbox = await world.receive(queue, () => ({ as: 'retry' }))
      const dead = await world.receive(`${queue}.dead`)
      await dead.one()
      assert.deepEqual(inbox.attempts, [1, 2])
    },
  },
  {
    name: 'bind and unbind change what arrives from then on; what is queued stays',
    source: 'broker 1 (B53)',
    needs: admin('bind', 'unbind', 'bindings'),
    run: async world => {
      const queue = await world.queue()
      const topic = await world.topic([])
      await world.admin.bind?.(topic, queue)
      const bindings = (await world.admin.bindings?.(topic)) ?? []
      assert.deepEqual(
        bindings.map(binding => binding.queue),
        [queue],
      )
      await world.send(world.published(topic, { id: 'bound' }))
      await world.admin.unbind?.(topic, queue)
      await world.send(world.published(topic, { id: 'unbound' }))
      const inbox = await world.receive(queue)
      await inbox.take(1)
      await world.quiet()
      assert.deepEqual(inbox.ids, ['bound'])
    },
  },
  {
    name: 'maxMessages is exact under concurrent senders; one more fits after one ack',
    source: 'broker 8 (B61)',
    needs: admin('queue'),
    run: async world => {
      const queue = await world.queue({ maxMessages: 10 })
      const sends = await Promise.allSettled(
        Array.from({ length: 25 }, (_, n) =>
          (n % 2 === 0 ? world.producer : world.consumer).send([world.message(queue, { id: `m${n}` })]),
        ),
      )
      const refused = sends.filter(send => send.status === 'rejected')
      assert.equal(refused.length, 15)
      for (const { reason } of refused) assert.equal((reason as { code?: string }).code, 'BUZZER_QUEUE_FULL')
      await world.figuresBecome(queue, { ready: 10 })
      const inbox = await world.receive(queue, () => ({ as: 'ack' }), { maxInFlight: 1 })
      await inbox.take(1)
      await inbox.receiver.stop()
      const { ready } = await world.figures(queue)
      await world.send(world.message(queue))
      await world.figuresBecome(queue, { ready: ready + 1 })
    },
  },
  {
    name: 'in a full queue retries, releases, dead letters and redrives still find room',
    source: 'broker 8 (B62)',
    needs: all(admin('queue', 'redrive'), deadLetters),
    run: async world => {
      const queue = await world.queue({ maxMessages: 2 })
      const runs = new Map<string, number>()
      await world.sendMany(queue, 2)
      const inbox = await world.receive(queue, (delivery): Settlement => {
        const run = (runs.get(delivery.id) ?? 0) + 1
        runs.set(delivery.id, run)
        return run === 1 ? { as: 'retry' } : run === 2 ? { as: 'release' } : { as: 'dead-letter', reason: 'poison' }
      })
      await world.figuresBecome(queue, { dead: 2, ready: 0, locked: 0 })
      await inbox.receiver.stop()
      await world.rejects(
        world.producer.send([world.message(queue)]),
        'BUZZER_QUEUE_FULL',
        'a send to a queue full of dead letters',
      )
      assert.equal(await world.admin.redrive?.(queue), 2)
      await world.figuresBecome(queue, { dead: 0, ready: 2 })
    },
  },
  {
    name: 'a full queue refuses a whole array and a whole fan-out',
    source: 'broker 8',
    needs: admin('queue'),
    run: async world => {
      const [full, free] = [await world.queue({ maxMessages: 1 }), await world.queue()]
      const topic = await world.topic([free, full])
      await world.send(world.message(full))
      const array = [world.message(free), world.message(full)]
      await world.rejects(world.producer.send(array), 'BUZZER_QUEUE_FULL', 'an array for a full queue')
      await world.rejects(
        world.producer.send([world.published(topic)]),
        'BUZZER_QUEUE_FULL',
        'a fan-out to a full queue',
      )
      await world.quiet(20)
      await world.figuresBecome(free, { ready: 0 })
    },
  },
  {
    name: 'a queue with expiresAfterIdleMs lives while it is received from, and is gone with its bindings when idle',
    source: 'broker 8 (B67)',
    needs: all(temporaryQueues, admin('queue')),
    run: async world => {
      const queue = await world.queue({ expiresAfterIdleMs: 150 })
      const topic = await world.topic([queue])
      const exists = async (): Promise<boolean> =>
        world.figures(queue).then(
          () => true,
          (error: unknown) => {
            assert.equal((error as { code?: unknown }).code, 'BUZZER_QUEUE_NOT_FOUND')
            return false
          },
        )
      const inbox = await world.receive(queue)
      await world.quiet(400)
      assert.equal(await exists(), true, 'the queue went although it was received from')
      await inbox.receiver.stop()
      await world.until(async () => !(await exists()), 'the idle queue did not go')
      await world.send(world.published(topic))
      await world.rejects(
        world.producer.send([world.message(queue)]),
        'BUZZER_UNROUTABLE',
        'a send to the queue that is gone',
      )
    },
  },
  {
    name: 'a dead-letter queue can be neither declared nor sent to',
    source: 'broker 3 (B68)',
    needs: deadLetters,
    run: async world => {
      const queue = await world.queue()
      const declaring = world.producer.declare({ queues: [{ name: `${queue}.dead` }], topics: [], bindings: [] })
      await assert.rejects(declaring, 'a declaration of a dead-letter queue was accepted')
      await assert.rejects(
        world.producer.send([world.message(`${queue}.dead`)]),
        'a send to a dead-letter queue was accepted',
      )
    },
  },
]
