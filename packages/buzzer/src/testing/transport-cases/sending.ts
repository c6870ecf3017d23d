import assert from 'node:assert/strict'
import type { Delivery, OutgoingMessage } from '../../transport/index.ts'
import type { TransportCase, TransportWorld } from '../conformance/transport-world.ts'
import { admin, priorities } from './needs.ts'

function sameContent(world: TransportWorld, delivery: Delivery, message: OutgoingMessage): void {
  assert.equal(delivery.id, message.id)
  assert.deepEqual({ ...delivery.attributes }, { ...message.attributes }, 'attributes')
  assert.deepEqual({ ...delivery.headers }, { ...message.headers }, 'headers')
  assert.equal(delivery.contentType, message.contentType, 'contentType')
  assert.equal(delivery.key, message.key, 'key')
  if (world.capabilities.priorities >= 10) assert.equal(delivery.priority, message.priority, 'priority')
  assert.ok(delivery.body instanceof Uint8Array, 'body is a Uint8Array')
  assert.ok(Buffer.from(delivery.body).equals(Buffer.from(message.body)), 'body')
}

export const sending: readonly TransportCase[] = [
  {
    name: 'attributes, headers, content type, key, priority and body come out as they went in, in any script',
    source: 'bus 2, broker 2 (B3)',
    run: async world => {
      const queue = await world.queue()
      const text = 'Grüße, 你好, שלום, 🚀, \u0000, "quoted", line\nline'
      const base = world.message(queue)
      const message: OutgoingMessage = {
        ...base,
        attributes: { ...base.attributes, subject: text, expirytime: '2199-01-01T00:00:00Z', deferrals: '0' },
        headers: { 'x-text': text, empty: '', 'a-b-c': '1' },
        contentType: 'application/vnd.conformance+json; charset=utf-8',
        key: `key ${text.slice(0, 20)}`,
        priority: 7,
        body: Uint8Array.from({ length: 4_096 }, (_, at) => at % 256),
      }
      const inbox = await world.receive(queue)
      const before = Date.now()
      await world.send(message)
      const delivery = await inbox.one()
      sameContent(world, delivery, message)
      assert.equal(delivery.queue, queue)
      assert.equal(delivery.attempt, 1)
      assert.ok(
        Math.abs(delivery.enqueuedAt - before) < 60_000,
        `enqueuedAt ${delivery.enqueuedAt} is not the time of the send`,
      )
    },
  },
  {
    name: 'an empty body, no content type and no key come out as they are',
    source: 'broker 2 (B3)',
    run: async world => {
      const queue = await world.queue()
      const { contentType: _, ...message } = world.message(queue, { body: new Uint8Array(0) })
      const inbox = await world.receive(queue)
      await world.send(message)
      const delivery = await inbox.one()
      sameContent(world, delivery, message)
    },
  },
  {
    name: 'the largest message goes through; one byte over the limit rejects with both sizes and stores nothing',
    source: 'broker 1, 2 (B2)',
    run: async world => {
      const queue = await world.queue()
      const limit = world.capabilities.maxMessageBytes
      const inbox = await world.receive(queue)
      // Attributes and headers count, and how much a broker adds for itself is its own affair.
      const fitting = world.message(queue, { body: new Uint8Array(Math.min(limit - 2_048, 64 * 1024 * 1024)).fill(7) })
      await world.send(fitting)
      sameContent(world, await inbox.one(), fitting)
      if (limit > 64 * 1024 * 1024) return
      const tooLarge = [world.message(queue), world.message(queue, { body: new Uint8Array(limit + 1) })]
      const error = await world.rejects(
        world.producer.send(tooLarge),
        'BUZZER_MESSAGE_TOO_LARGE',
        'a body over the limit',
      )
      assert.ok(error.message.includes(String(limit)), error.message)
      await world.quiet()
      assert.equal(inbox.count, 1, 'something of the refused array was stored')
    },
  },
  {
    name: 'an id that is no id, or a body that is no bytes, is refused before anything is stored',
    source: 'broker 15 (B4)',
    run: async world => {
      const queue = await world.queue()
      const good = world.message(queue)
      for (const wrong of [
        { id: 'x'.repeat(129) },
        { id: '' },
        { id: 'a b' },
        { body: 'text' as unknown as Uint8Array },
      ]) {
        await assert.rejects(
          world.producer.send([good, { ...good, ...wrong }]),
          `${JSON.stringify(wrong)} was accepted`,
        )
      }
      const inbox = await world.receive(queue)
      await world.quiet()
      assert.equal(inbox.count, 0)
    },
  },
  {
    name: 'a message is delivered once and no other is lost: 500 sent one by one arrive, each once',
    source: 'bus 2, promise 4',
    run: async world => {
      const queue = await world.queue()
      const inbox = await world.receive(queue)
      await Promise.all(
        Array.from({ length: 500 }, (_, n) => world.producer.send([world.message(queue, { id: `m${n}` })])),
      )
      await inbox.take(500)
      await world.quiet()
      assert.equal(inbox.count, 500)
      assert.equal(new Set(inbox.ids).size, 500)
      assert.ok(inbox.attempts.every(attempt => attempt === 1))
    },
  },
  {
    name: 'messages of one array keep their order, and sends keep the order of the calls, awaited or not',
    source: 'bus 2, broker 2',
    run: async world => {
      const queue = await world.queue({ orderBy: 'none' })
      const sends = Array.from({ length: 20 }, (_, n) =>
        world.producer.send([
          world.message(queue, { id: `${n}-a` }),
          world.message(queue, { id: `${n}-b` }),
          world.message(queue, { id: `${n}-c` }),
        ]),
      )
      await world.settles(Promise.all(sends), 'the sends')
      const inbox = await world.receive(queue, () => ({ as: 'ack' }), { maxInFlight: 1 })
      await inbox.take(60)
      assert.deepEqual(inbox.ids, Array.from({ length: 20 }, (_, n) => [`${n}-a`, `${n}-b`, `${n}-c`]).flat())
    },
  },
  {
    name: 'a resolved send is stored: another client sees it at once',
    source: 'bus 2, promise 1 (B1)',
    needs: admin('queue'),
    run: async world => {
      const queue = await world.queue()
      const observer = await world.client()
      for (let n = 1; n <= 20; n++) {
        await world.send(world.message(queue))
        const { ready } = await (observer.admin as NonNullable<typeof observer.admin>).queue(queue)
        assert.equal(ready, n, 'send resolved before the message was stored')
      }
    },
  },
  {
    name: 'a send to an unknown queue rejects with BUZZER_UNROUTABLE and stores nothing of its array; after a declare it works',
    source: 'broker 2 (B5)',
    run: async world => {
      const [queue, unknown] = [await world.queue(), world.name()]
      const array = [world.message(queue, { id: 'a' }), world.message(unknown, { id: 'b' })]
      await world.rejects(world.producer.send(array), 'BUZZER_UNROUTABLE', 'a send to a queue nobody declared')
      const inbox = await world.receive(queue)
      await world.quiet()
      assert.equal(inbox.count, 0, 'a part of the refused array was stored')
      await world.producer.declare({ queues: [{ name: unknown }], topics: [], bindings: [] })
      await world.send(...array)
      assert.equal((await inbox.one()).id, 'a')
    },
  },
  {
    name: 'a send whose signal is aborted rejects with BUZZER_ABORTED and stores nothing',
    source: 'broker 2 (B7)',
    run: async world => {
      const queue = await world.queue()
      const sending = world.producer.send([world.message(queue)], { signal: AbortSignal.abort(new Error('enough')) })
      const error = await world.rejects(sending, 'BUZZER_ABORTED', 'a send with an aborted signal')
      assert.equal(error.details['outcome'], 'not-stored')
      const inbox = await world.receive(queue)
      await world.quiet()
      assert.equal(inbox.count, 0)
    },
  },
  {
    name: 'equal ids without deduplication key are two messages',
    source: 'broker 6 (B47)',
    run: async world => {
      const queue = await world.queue()
      const inbox = await world.receive(queue)
      await world.send(world.message(queue, { id: 'same' }))
      await world.send(world.message(queue, { id: 'same' }))
      await inbox.take(2)
      assert.deepEqual(inbox.ids, ['same', 'same'])
    },
  },
  {
    name: 'of waiting messages the highest priority comes first; equal ones in order of acceptance',
    source: 'broker 5, bus 6 (R10)',
    needs: priorities,
    run: async world => {
      const queue = await world.queue()
      const given = [1, 4, 9, 0, 4, 9]
      await world.send(...given.map((priority, at) => world.message(queue, { id: `${priority}-${at}`, priority })))
      const inbox = await world.receive(queue, () => ({ as: 'ack' }), { maxInFlight: 1 })
      await inbox.take(6)
      assert.deepEqual(inbox.ids, ['9-2', '9-5', '4-1', '4-4', '1-0', '0-3'])
    },
  },
]
