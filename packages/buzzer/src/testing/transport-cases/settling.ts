import assert from 'node:assert/strict'
import { BuzzerError } from '../../message/index.ts'
import type { Delivery, Settlement } from '../../transport/index.ts'
import { gate, type TransportCase, type TransportWorld } from '../conformance/transport-world.ts'
import { admin, all, counting, deadLetters } from './needs.ts'

/** Answers the n-th delivery of a message with the n-th settlement, and acknowledges from then on. */
function script(...settlements: readonly Settlement[]): (delivery: Delivery) => Settlement {
  const seen = new Map<string, number>()
  return delivery => {
    const nth = seen.get(delivery.id) ?? 0
    seen.set(delivery.id, nth + 1)
    return settlements[nth] ?? { as: 'ack' }
  }
}

async function deadLetterOf(world: TransportWorld, queue: string): Promise<Delivery> {
  const inbox = await world.receive(`${queue}.dead`)
  return inbox.one()
}

export const settling: readonly TransportCase[] = [
  {
    name: 'an acknowledged message never comes back',
    source: 'broker 4 (B13)',
    run: async world => {
      const queue = await world.queue()
      const inbox = await world.receive(queue)
      await world.sendMany(queue, 10)
      await inbox.take(10)
      await world.quiet()
      await inbox.receiver.stop()
      const later = await world.receive(queue)
      await world.quiet()
      assert.equal(inbox.count, 10)
      assert.equal(later.count, 0)
    },
  },
  {
    name: 'nothing is acknowledged before its handler is done: a message in the hands of a client that goes away comes back',
    source: 'bus 2, promise 2',
    run: async world => {
      const queue = await world.queue()
      const doomed = await world.client()
      const held = await world.receive(queue, () => new Promise<Settlement>(() => {}), { through: doomed })
      await world.sendMany(queue, 3)
      await held.take(3)
      await world.settles(doomed.close(), 'close')
      const inbox = await world.receive(queue)
      await inbox.take(3)
      assert.deepEqual([...inbox.ids].toSorted(), ['1', '2', '3'])
    },
  },
  {
    name: 'a retry brings the message back with attempt + 1, everything else unchanged',
    source: 'bus 2, broker 4 (B14)',
    needs: counting,
    run: async world => {
      const queue = await world.queue()
      const message = world.message(queue, { headers: { tenant: 'a' }, key: 'k', priority: 6 })
      const inbox = await world.receive(queue, script({ as: 'retry' }, { as: 'retry', delayMs: 0 }))
      await world.send(message)
      const received = await inbox.take(3)
      assert.deepEqual(inbox.attempts, [1, 2, 3])
      for (const { delivery } of received) {
        assert.equal(delivery.id, message.id)
        assert.deepEqual({ ...delivery.headers }, message.headers)
        assert.deepEqual({ ...delivery.attributes }, { ...message.attributes })
        assert.equal(delivery.key, 'k')
        if (world.capabilities.priorities >= 10) assert.equal(delivery.priority, 6)
        assert.ok(Buffer.from(delivery.body).equals(Buffer.from(message.body)))
      }
      await world.quiet()
      assert.equal(inbox.count, 3)
    },
  },
  {
    name: 'a retry with a delay is not early, and no other message waits for it in an unordered queue',
    source: 'broker 6 (B38)',
    run: async world => {
      const queue = await world.queue()
      const inbox = await world.receive(queue, delivery =>
        delivery.id === 'slow' && delivery.attempt < 3
          ? { as: 'retry', delayMs: delivery.attempt * 60 }
          : { as: 'ack' },
      )
      await world.send(world.message(queue, { id: 'slow' }))
      await inbox.take(1)
      await world.send(world.message(queue, { id: 'quick' }))
      await inbox.take(4)
      assert.equal(inbox.ids[1], 'quick', 'another message waited for the retry')
      const at = inbox.received.filter(({ delivery }) => delivery.id === 'slow').map(one => one.at)
      assert.ok(
        (at[1] ?? 0) - (at[0] ?? 0) >= 59,
        `the first retry came after ${(at[1] ?? 0) - (at[0] ?? 0)} ms, not 60`,
      )
      assert.ok((at[2] ?? 0) - (at[1] ?? 0) >= 119, `the second came after ${(at[2] ?? 0) - (at[1] ?? 0)} ms, not 120`)
      assert.ok((at[2] ?? 0) - (at[0] ?? 0) < 180 + 2 * world.lateMs, 'the retries came far too late')
    },
  },
  {
    name: 'a release brings the message back uncounted',
    source: 'bus 2, broker 4',
    needs: counting,
    run: async world => {
      const queue = await world.queue()
      const inbox = await world.receive(queue, script({ as: 'release' }, { as: 'release' }, { as: 'retry' }))
      await world.send(world.message(queue))
      await inbox.take(4)
      assert.deepEqual(inbox.attempts, [1, 1, 1, 2])
    },
  },
  {
    name: 'an onDelivery that rejects is a counted retry without delay, and its neighbours flow',
    source: 'bus 2, broker 4 (B16)',
    needs: counting,
    run: async world => {
      const queue = await world.queue()
      const inbox = await world.receive(queue, delivery => {
        if (delivery.id === '2' && delivery.attempt < 4) throw new Error('a defect')
        return { as: 'ack' }
      })
      await world.sendMany(queue, 3)
      await inbox.take(6)
      await world.quiet()
      const attempts = inbox.received.filter(one => one.delivery.id === '2').map(one => one.delivery.attempt)
      assert.deepEqual(attempts, [1, 2, 3, 4])
      assert.equal(inbox.count, 6)
    },
  },
  {
    name: 'redelivery passes through the event loop: the loop turns between two deliveries of a message that is always retried',
    source: 'bus 2',
    run: async world => {
      const queue = await world.queue()
      let turns = 0
      let lastTurn = -1
      let withoutTurn = 0
      let isOver = false
      const turn = (): void => {
        turns++
        if (!isOver) setImmediate(turn)
      }
      setImmediate(turn)
      const inbox = await world.receive(queue, delivery => {
        if (turns === lastTurn) withoutTurn++
        lastTurn = turns
        return delivery.attempt < 30 ? { as: 'retry' } : { as: 'ack' }
      })
      try {
        await world.send(world.message(queue))
        await inbox.take(world.capabilities.redelivery === 'uncounted' ? 1 : 30)
      } finally {
        isOver = true
      }
      // Who comes first within one turn is chance; 30 redeliveries without the loop would make it 29.
      assert.ok(withoutTurn <= 5, `${withoutTurn} of 29 redeliveries came without a turn of the event loop`)
    },
  },
  {
    name: 'maxInFlight n: n deliveries are open when there is work, never n + 1, in each of two receivers',
    source: 'broker 4 (B12)',
    run: async world => {
      const queue = await world.queue()
      const { opened, open } = gate()
      const settle = (): Promise<Settlement> => opened.then(() => ({ as: 'ack' as const }))
      const inboxes = [
        await world.receive(queue, settle, { maxInFlight: 3 }),
        await world.receive(queue, settle, { maxInFlight: 2, through: world.producer }),
      ] as const
      await world.sendMany(queue, 12)
      await inboxes[0].take(3)
      await inboxes[1].take(2)
      await world.quiet()
      assert.deepEqual(
        inboxes.map(inbox => inbox.count),
        [3, 2],
      )
      open()
      await world.until(() => inboxes[0].count + inboxes[1].count >= 12, 'the rest did not come')
      assert.deepEqual(
        inboxes.map(inbox => inbox.mostRunning <= (inbox === inboxes[0] ? 3 : 2)),
        [true, true],
        'more deliveries were open than allowed',
      )
    },
  },
  {
    name: 'two receivers on one queue both work, and no message is open at both',
    source: 'broker 4 (B18)',
    run: async world => {
      const queue = await world.queue()
      const other = await world.client()
      const handle = async (): Promise<Settlement> => {
        await world.quiet(2)
        return { as: 'ack' }
      }
      const a = await world.receive(queue, handle, { maxInFlight: 4 })
      const b = await world.receive(queue, handle, { maxInFlight: 4, through: other })
      await world.sendMany(queue, 100)
      await world.until(
        () => a.count + b.count >= 100,
        () => `${a.count} + ${b.count} of 100 came`,
      )
      await world.quiet()
      assert.equal(a.count + b.count, 100, 'a message was delivered twice')
      assert.equal(new Set([...a.ids, ...b.ids]).size, 100)
      assert.ok(a.count > 0 && b.count > 0, `one receiver did everything: ${a.count} and ${b.count}`)
    },
  },
  {
    name: 'hundreds of open deliveries are settled in any order',
    source: 'broker 4 (B17)',
    run: async world => {
      const queue = await world.queue()
      const waiting: (() => void)[] = []
      const settle = (): Promise<Settlement> => new Promise(resolve => waiting.push(() => resolve({ as: 'ack' })))
      const inbox = await world.receive(queue, settle, { maxInFlight: 300 })
      await world.sendMany(queue, 300)
      await inbox.take(300)
      for (let at = 0; at < 300; at++) waiting[(at * 7) % 300]?.()
      await world.settles(inbox.receiver.stop(), 'stop')
      const later = await world.receive(queue)
      await world.quiet()
      assert.equal(later.count, 0)
    },
  },
  {
    name: 'pause: once it has resolved no delivery starts, what runs finishes, what waits stays uncounted; resume goes on',
    source: 'bus 2, broker 4',
    run: async world => {
      const queue = await world.queue()
      const { opened, open } = gate()
      const settle = (): Promise<Settlement> => opened.then(() => ({ as: 'ack' as const }))
      const inbox = await world.receive(queue, settle, { maxInFlight: 2 })
      await world.sendMany(queue, 6)
      await inbox.take(2)
      await world.settles(inbox.receiver.pause(), 'pause')
      await world.settles(inbox.receiver.pause(), 'a second pause')
      open()
      await world.quiet()
      assert.equal(inbox.count, 2, 'a delivery started after pause had resolved')
      await world.settles(inbox.receiver.resume(), 'resume')
      await inbox.take(6)
      await world.quiet()
      assert.deepEqual([...inbox.ids].toSorted(), ['1', '2', '3', '4', '5', '6'])
      assert.ok(
        inbox.attempts.every(attempt => attempt === 1),
        'what was fetched and not begun must come back uncounted',
      )
    },
  },
  {
    name: 'stop waits for what runs, delivers nothing more, and leaves the rest uncounted to the next receiver',
    source: 'bus 2, broker 4',
    run: async world => {
      const queue = await world.queue()
      const { opened, open } = gate()
      const settle = (): Promise<Settlement> => opened.then(() => ({ as: 'ack' as const }))
      const inbox = await world.receive(queue, settle, { maxInFlight: 2 })
      await world.sendMany(queue, 5)
      await inbox.take(2)
      let isStopped = false
      const stopping = inbox.receiver.stop().then(() => {
        isStopped = true
      })
      await world.quiet(50)
      assert.equal(isStopped, false, 'stop resolved while handlers ran')
      open()
      await world.settles(stopping, 'stop')
      await world.settles(inbox.receiver.stop(), 'a second stop')
      assert.equal(inbox.count, 2)
      const next = await world.receive(queue)
      await next.take(3)
      await world.quiet()
      assert.deepEqual([...next.ids].toSorted(), ['3', '4', '5'])
      assert.deepEqual(next.attempts, [1, 1, 1])
    },
  },
  {
    name: 'a dead letter keeps everything and adds reason and detail, readable by receiving <queue>.dead',
    source: 'broker 3, 4 (B15)',
    needs: deadLetters,
    run: async world => {
      const queue = await world.queue()
      const message = world.message(queue, { headers: { tenant: 'a' }, key: 'k' })
      const detail = { error: { name: 'TypeError', message: 'no' }, n: 1 }
      await world.receive(queue, () => ({ as: 'dead-letter', reason: 'poison', detail }))
      await world.send(message)
      const dead = await deadLetterOf(world, queue)
      assert.equal(dead.id, message.id)
      assert.deepEqual({ ...dead.attributes }, { ...message.attributes })
      assert.deepEqual({ ...dead.headers }, message.headers)
      assert.equal(dead.key, 'k')
      assert.ok(Buffer.from(dead.body).equals(Buffer.from(message.body)))
      assert.equal(dead.deadLetter?.reason, 'poison')
      assert.deepEqual(dead.deadLetter?.detail, detail)
      assert.ok(Math.abs((dead.deadLetter?.deadAt ?? 0) - Date.now()) < 60_000)
    },
  },
  {
    name: 'a dead letter can be peeked with reason, detail, time and attempts',
    source: 'broker 4, 8 (B15)',
    needs: all(deadLetters, admin('peek')),
    run: async world => {
      const queue = await world.queue()
      await world.receive(queue, script({ as: 'retry' }, { as: 'dead-letter', reason: 'poison', detail: { n: 1 } }))
      await world.send(world.message(queue, { id: 'a' }))
      await world.figuresBecome(queue, { dead: 1, ready: 0, locked: 0 })
      const { items } = (await world.admin.peek?.(queue, { state: 'dead' })) ?? { items: [] }
      assert.equal(items.length, 1)
      assert.equal(items[0]?.messageId, 'a')
      assert.equal(items[0]?.attempt, 2)
      assert.equal(items[0]?.deadLetter?.reason, 'poison')
      assert.deepEqual(items[0]?.deadLetter?.detail, { n: 1 })
    },
  },
  {
    name: 'a message is delivered exactly maxDeliveries times, then it is dead as max-deliveries-exceeded',
    source: 'broker 4',
    needs: all(deadLetters, counting),
    run: async world => {
      const queue = await world.queue({ maxDeliveries: 3 })
      const inbox = await world.receive(queue, () => ({ as: 'retry' }))
      await world.send(world.message(queue))
      const dead = await deadLetterOf(world, queue)
      assert.deepEqual(inbox.attempts, [1, 2, 3])
      assert.equal(dead.deadLetter?.reason, 'max-deliveries-exceeded')
      assert.ok(
        Object.values(dead.deadLetter?.detail ?? {}).includes('retry'),
        'the detail must say how the last one ended',
      )
    },
  },
  {
    name: 'a dead letter that is dead-lettered again stays where it is, with its first reason',
    source: 'broker 4 (B26)',
    needs: all(deadLetters, admin('peek')),
    run: async world => {
      const queue = await world.queue()
      await world.receive(queue, () => ({ as: 'dead-letter', reason: 'first' }))
      await world.send(world.message(queue, { id: 'a' }))
      const inbox = await world.receive(`${queue}.dead`, () => ({ as: 'dead-letter', reason: 'second' }))
      await inbox.one()
      await world.quiet()
      await world.figuresBecome(queue, { dead: 1, ready: 0 })
      const { items } = (await world.admin.peek?.(queue, { state: 'dead' })) ?? { items: [] }
      assert.equal(items[0]?.deadLetter?.reason, 'first')
    },
  },
  {
    name: 'a queue deleted under a receiver ends it with an error, and aborts what it holds',
    source: 'broker 4 (B24)',
    needs: admin('deleteQueue'),
    run: async world => {
      const queue = await world.queue()
      const errors: (Error | undefined)[] = []
      const client = await world.options.create()
      await client.connect({ ...world.context(), onState: (_, error) => void errors.push(error) })
      try {
        const held = await world.receive(queue, () => new Promise<Settlement>(() => {}), { through: client })
        await world.send(world.message(queue))
        const delivery = await held.one()
        await world.admin.deleteQueue?.(queue)
        await world.until(
          () => errors.some(error => error instanceof BuzzerError && error.details['queue'] === queue),
          'onState was not told of the deleted queue',
        )
        await world.until(() => delivery.signal.aborted, 'the open delivery did not lose its lock')
        await world.rejects(
          world.producer.send([world.message(queue)]),
          'BUZZER_UNROUTABLE',
          'a send to a deleted queue',
        )
      } finally {
        await client.close()
      }
    },
  },
]
