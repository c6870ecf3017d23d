import assert from 'node:assert/strict'
import { gate, type TransportCase } from '../conformance/transport-world.ts'
import { admin, all, cancelling, deadLetters, delays, ttl } from './needs.ts'

export const time: readonly TransportCase[] = [
  {
    name: 'a delayed message is not early, and hardly late; one for the past comes at once',
    source: 'bus 2, broker 6 (B37)',
    needs: delays,
    run: async world => {
      const queue = await world.queue()
      await world.prepareDelays(queue)
      const inbox = await world.receive(queue)
      const deliverAt = Date.now() + Math.max(120, world.lateMs / 8)
      await world.send(
        world.message(queue, { id: 'later', deliverAt }),
        world.message(queue, { id: 'past', deliverAt: 1 }),
      )
      await inbox.take(2)
      assert.deepEqual(inbox.ids, ['past', 'later'])
      const late = (inbox.received[1]?.at ?? 0) - deliverAt
      assert.ok(late >= 0, `${-late} ms early`)
      assert.ok(late <= world.lateMs, `${late} ms late`)
    },
  },
  {
    name: 'messages fall due in order of their times, not of their sends',
    source: 'broker 5, 6 (B36)',
    needs: delays,
    run: async world => {
      const queue = await world.queue()
      await world.prepareDelays(queue)
      const inbox = await world.receive(queue, () => ({ as: 'ack' }), { maxInFlight: 1 })
      const now = Date.now()
      // Wider apart where sends take longer: what is due before it is sent comes in the order of the sends.
      const stepMs = Math.max(40, world.lateMs / 25)
      await world.send(
        ...[4, 2, 3].map(steps =>
          world.message(queue, { id: String(steps), deliverAt: now + steps * stepMs, key: 'k' }),
        ),
      )
      await inbox.take(3)
      assert.deepEqual(inbox.ids, ['2', '3', '4'])
    },
  },
  {
    name: 'a message scheduled to a topic is routed when due: a queue bound meanwhile gets it, one unbound meanwhile does not',
    source: 'bus 2, broker 3 (B54)',
    needs: all(delays, admin('unbind')),
    run: async world => {
      const [early, late] = [await world.queue(), await world.queue()]
      const topic = await world.topic([early])
      const inboxes = [await world.receive(early), await world.receive(late)] as const
      await world.send(world.published(topic, { id: 'a', deliverAt: Date.now() + Math.max(200, world.lateMs / 5) }))
      await world.consumer.declare({
        queues: [],
        topics: [],
        bindings: [{ topic, queue: late, exclusive: false }],
      })
      await world.admin.unbind?.(topic, early)
      await inboxes[1].one()
      await world.quiet()
      assert.deepEqual(
        inboxes.map(inbox => inbox.ids),
        [[], ['a']],
      )
    },
  },
  {
    name: 'cancelScheduled is true once while the message waits, and then it is never delivered; false when due or unknown',
    source: 'broker 6, bus 6 (T2)',
    needs: cancelling,
    run: async world => {
      const queue = await world.queue()
      const topic = await world.topic([queue])
      const inbox = await world.receive(queue)
      // Late enough for every call before it.
      const deliverAt = Date.now() + Math.max(150, world.lateMs / 3)
      const [direct, published, kept] = [world.name('id'), world.name('id'), world.name('id')]
      await world.send(
        world.message(queue, { id: direct, deliverAt }),
        world.published(topic, { id: published, deliverAt }),
        world.message(queue, { id: kept, deliverAt }),
      )
      const cancel = async (id: string): Promise<boolean | undefined> => world.admin.cancelScheduled?.(id)
      assert.equal(await cancel(direct), true)
      assert.equal(await cancel(direct), false)
      assert.equal(await cancel(published), true)
      assert.equal(await cancel(world.name('id')), false)
      await inbox.take(1)
      await world.quiet()
      assert.deepEqual(inbox.ids, [kept])
      assert.equal(await cancel(kept), false)
    },
  },
  {
    name: 'an expired message is never delivered and leaves the counts within a second; its neighbours stay',
    source: 'broker 6 (B40)',
    needs: all(ttl, admin('queue')),
    run: async world => {
      const queue = await world.queue()
      const expiresAt = Date.now() + 100
      await world.sendMany(queue, 5, n => (n % 2 === 0 ? { expiresAt } : {}))
      const before = Date.now()
      await world.figuresBecome(queue, { ready: 3, dead: 0 })
      const tookMs = Date.now() - before
      assert.ok(tookMs < 100 + world.lateMs, `the expired ones left the counts after ${tookMs} ms`)
      assert.ok(Date.now() >= expiresAt, 'a message expired early')
      const inbox = await world.receive(queue)
      await inbox.take(3)
      await world.quiet()
      assert.deepEqual(inbox.ids, ['1', '3', '5'])
    },
  },
  {
    name: "a message's time runs out while it waits for a retry, never while its handler runs",
    source: 'broker 6, bus 6 (T4)',
    needs: ttl,
    run: async world => {
      const [queue, other] = [await world.queue(), await world.queue()]
      const { opened, open } = gate()
      const running = await world.receive(other, () => opened.then(() => ({ as: 'ack' as const })))
      // Long enough for both to be delivered before it is over.
      const lifeMs = Math.max(100, world.lateMs / 5)
      const retried = await world.receive(queue, () => ({ as: 'retry', delayMs: 2 * lifeMs }))
      const expiresAt = Date.now() + lifeMs
      await world.send(world.message(other, { expiresAt }), world.message(queue, { expiresAt }))
      const delivery = await running.one()
      await retried.one()
      await world.quiet(4 * lifeMs)
      assert.equal(delivery.signal.aborted, false, 'the running handler was disturbed')
      open()
      assert.equal(retried.count, 1, 'an expired message was delivered again')
      await world.settles(running.receiver.stop(), 'stop')
    },
  },
  {
    name: "the queue's ttlMs is default and ceiling, counted from when the message became available",
    source: 'broker 3, 6 (B41)',
    needs: all(ttl, admin('queue')),
    run: async world => {
      // Long enough to be seen before it is over.
      const ttlMs = Math.max(120, world.lateMs / 4)
      const queue = await world.queue({ ttlMs })
      const now = Date.now()
      await world.send(
        world.message(queue, { id: 'own', expiresAt: now + 600_000 }),
        world.message(queue, { id: 'none' }),
      )
      await world.quiet(Math.min(40, ttlMs / 3))
      await world.figuresBecome(queue, { ready: 2 })
      await world.figuresBecome(queue, { ready: 0, dead: 0 })
      assert.ok(Date.now() >= now + ttlMs - 1, 'they expired early')
    },
  },
  {
    name: 'deadLetterExpired: an expired message becomes a dead letter with reason expired, which does not expire',
    source: 'broker 3, 6',
    needs: all(ttl, deadLetters),
    run: async world => {
      const queue = await world.queue({ deadLetterExpired: true })
      await world.send(world.message(queue, { id: 'a', expiresAt: Date.now() + 60 }))
      await world.quiet(150)
      const inbox = await world.receive(`${queue}.dead`)
      const dead = await inbox.one()
      assert.equal(dead.id, 'a')
      assert.equal(dead.deadLetter?.reason, 'expired')
    },
  },
]
