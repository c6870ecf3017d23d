import assert from 'node:assert/strict'
import type { Settlement } from '../../transport/index.ts'
import type { TransportCase } from '../conformance/transport-world.ts'
import { admin, all, cancelling, counting, deadLetters, deduplication, delays, keyOrder, restart } from './needs.ts'

export const persistence: readonly TransportCase[] = [
  {
    name: 'after a restart every accepted message is there, byte for byte, and no acknowledged one',
    source: 'bus 2, broker 4 (B3, B13)',
    needs: restart,
    run: async world => {
      const queue = await world.queue()
      const first = await world.receive(queue, () => ({ as: 'ack' }), { maxInFlight: 1 })
      await world.sendMany(queue, 3)
      await first.take(3)
      await first.receiver.stop()
      const body = Uint8Array.from({ length: 1_000 }, (_, at) => at % 256)
      await world.sendMany(queue, 5, n => ({ id: `kept-${n}`, body, headers: { n: String(n) } }))
      await world.restart()
      const inbox = await world.receive(queue, () => ({ as: 'ack' }), { maxInFlight: 1 })
      const received = await inbox.take(5)
      await world.quiet()
      assert.deepEqual(inbox.ids, ['kept-1', 'kept-2', 'kept-3', 'kept-4', 'kept-5'])
      for (const [at, { delivery }] of received.entries()) {
        assert.ok(Buffer.from(delivery.body).equals(Buffer.from(body)))
        assert.equal(delivery.headers['n'], String(at + 1))
      }
    },
  },
  {
    name: 'delivery counts survive a restart',
    source: 'broker 4',
    needs: all(restart, counting),
    run: async world => {
      const queue = await world.queue()
      const first = await world.receive(queue, delivery =>
        delivery.attempt < 3 ? { as: 'retry' } : { as: 'retry', delayMs: 300 },
      )
      await world.send(world.message(queue))
      await first.take(3)
      await world.quiet(50)
      await world.restart()
      const inbox = await world.receive(queue)
      const delivery = await inbox.one()
      assert.ok(delivery.attempt === 4 || delivery.attempt === 5, `attempt ${delivery.attempt} after 3 deliveries`)
    },
  },
  {
    name: 'a message open at the restart comes back, counted at most once',
    source: 'broker 4',
    needs: all(restart, counting),
    run: async world => {
      const queue = await world.queue()
      const first = await world.receive(queue, () => new Promise<Settlement>(() => {}))
      await world.send(world.message(queue, { id: 'a' }))
      await first.take(1)
      await world.restart()
      const inbox = await world.receive(queue)
      const delivery = await inbox.one()
      assert.equal(delivery.id, 'a')
      assert.ok(delivery.attempt <= 2)
    },
  },
  {
    name: 'schedules survive a restart; one that fell due meanwhile comes once; a cancelled one never',
    source: 'broker 6 (B39)',
    needs: all(restart, delays, cancelling),
    run: async world => {
      const queue = await world.queue()
      const topic = await world.topic([queue])
      const [cancelled, due, published] = [world.name('id'), world.name('id'), world.name('id')]
      // How long a restart takes is the broker's affair; what is due later must still be so after it.
      const before = Date.now()
      await world.restart()
      const restartMs = Date.now() - before
      const soon = Date.now() + 20
      const later = Date.now() + 1_000 + 4 * restartMs
      await world.send(
        world.message(queue, { id: due, deliverAt: soon }),
        world.message(queue, { id: cancelled, deliverAt: later }),
        world.published(topic, { id: published, deliverAt: later }),
      )
      await world.restart()
      assert.equal(await world.admin.cancelScheduled?.(cancelled), true)
      const inbox = await world.receive(queue)
      await inbox.take(1)
      // On a slow machine the second is further away than patience reaches.
      await world.quiet(Math.max(0, later - Date.now()))
      await inbox.take(2)
      await world.quiet()
      assert.deepEqual(inbox.ids, [due, published])
      assert.ok((inbox.received[1]?.at ?? 0) >= later)
    },
  },
  {
    name: 'dead letters survive a restart with reason and detail',
    source: 'broker 4',
    needs: all(restart, deadLetters, admin('queue')),
    run: async world => {
      const queue = await world.queue()
      await world.receive(queue, () => ({ as: 'dead-letter', reason: 'poison', detail: { n: 1 } }))
      await world.send(world.message(queue, { id: 'a' }))
      await world.figuresBecome(queue, { dead: 1 })
      await world.restart()
      const inbox = await world.receive(`${queue}.dead`)
      const dead = await inbox.one()
      assert.deepEqual([dead.id, dead.deadLetter?.reason, dead.deadLetter?.detail], ['a', 'poison', { n: 1 }])
    },
  },
  {
    name: 'deduplication windows survive a restart',
    source: 'broker 6',
    needs: all(restart, deduplication),
    run: async world => {
      const queue = await world.queue({ deduplicationWindowMs: 600_000 })
      await world.send(world.message(queue, { id: 'first', deduplicationKey: 'k' }))
      await world.restart()
      await world.send(world.message(queue, { id: 'second', deduplicationKey: 'k' }))
      const inbox = await world.receive(queue)
      await inbox.take(1)
      await world.quiet()
      assert.deepEqual(inbox.ids, ['first'])
    },
  },
  {
    name: 'the order of a key survives a restart',
    source: 'broker 5',
    needs: all(restart, keyOrder),
    run: async world => {
      const queue = await world.queue({ orderBy: 'key' })
      await world.receive(queue, () => ({ as: 'retry', delayMs: 200 }), { orderBy: 'key' })
      await world.sendMany(queue, 4, () => ({ key: 'k' }))
      await world.quiet(50)
      await world.restart()
      const inbox = await world.receive(queue, () => ({ as: 'ack' }), { orderBy: 'key' })
      await inbox.take(4)
      assert.deepEqual(inbox.ids, ['1', '2', '3', '4'])
    },
  },
  {
    name: 'topology survives a restart: a publish reaches the queues bound before',
    source: 'broker 3',
    needs: restart,
    run: async world => {
      const queue = await world.queue()
      const topic = await world.topic([queue])
      await world.restart()
      await world.send(world.published(topic, { id: 'a' }))
      const inbox = await world.receive(queue)
      assert.equal((await inbox.one()).id, 'a')
    },
  },
]
