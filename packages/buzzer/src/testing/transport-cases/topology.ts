import assert from 'node:assert/strict'
import type { TransportCase } from '../conformance/transport-world.ts'
import { keyOrder, mandatory } from './needs.ts'

const none = { queues: [], topics: [], bindings: [] }

export const topology: readonly TransportCase[] = [
  {
    name: 'the same declaration twice, and by two clients at once, makes one queue and no error',
    source: 'broker 3 (B57)',
    run: async world => {
      const [name, topic] = [world.name(), world.name('topic')]
      const declaration = {
        queues: [{ name, maxDeliveries: 1_000_000 }],
        topics: [{ name: topic, bases: [] }],
        bindings: [{ topic, queue: name, exclusive: false }],
      }
      await world.settles(
        Promise.all([world.producer.declare(declaration), world.consumer.declare(declaration)]),
        'declare by two clients at once',
      )
      await world.consumer.declare(declaration)
      const inbox = await world.receive(name)
      await world.send(world.published(topic))
      await inbox.one()
      await world.quiet()
      assert.equal(inbox.count, 1)
    },
  },
  {
    name: 'a declaration by name alone, before or after the full one, never conflicts and keeps the full options',
    source: 'broker 3 (B58)',
    needs: keyOrder,
    run: async world => {
      const name = world.name()
      await world.producer.declare({ ...none, queues: [{ name }] })
      await world.consumer.declare({ ...none, queues: [{ name, orderBy: 'key' }] })
      await world.producer.declare({ ...none, queues: [{ name }] })
      await world.sendMany(name, 6, () => ({ key: 'k' }))
      const inbox = await world.receive(
        name,
        async () => {
          await world.quiet(5)
          return { as: 'ack' }
        },
        { orderBy: 'key' },
      )
      await inbox.take(6)
      assert.equal(inbox.mostRunning, 1, 'the option orderBy was lost')
      assert.deepEqual(inbox.ids, ['1', '2', '3', '4', '5', '6'])
    },
  },
  {
    name: 'an option given twice with different values conflicts: the error names both, and nothing of the call is made',
    source: 'broker 3 (B59)',
    needs: keyOrder,
    run: async world => {
      const [name, other] = [await world.queue({ orderBy: 'key' }), world.name()]
      const error = await world.rejects(
        world.producer.declare({ ...none, queues: [{ name: other }, { name, orderBy: 'queue' }] }),
        'BUZZER_TOPOLOGY_CONFLICT',
        'a second orderBy',
      )
      for (const word of [name, 'orderBy', 'key', 'queue']) assert.ok(error.message.includes(word), error.message)
      await world.rejects(
        world.producer.send([world.message(other)]),
        'BUZZER_UNROUTABLE',
        'a send to a queue of the refused declaration',
      )
    },
  },
  {
    name: 'two exclusive bindings of one topic to different queues conflict, both queues named',
    source: 'bus 2',
    run: async world => {
      const [a, b, topic] = [await world.queue(), await world.queue(), world.name('topic')]
      const bind = (queue: string) => ({
        ...none,
        topics: [{ name: topic, bases: [] }],
        bindings: [{ topic, queue, exclusive: true }],
      })
      await world.consumer.declare(bind(a))
      await world.consumer.declare(bind(a))
      const error = await world.rejects(world.producer.declare(bind(b)), 'BUZZER_TOPOLOGY_CONFLICT', 'a second queue')
      assert.ok(error.message.includes(a) && error.message.includes(b), error.message)
    },
  },
  {
    name: 'each queue bound to a topic gets one copy, equal in content',
    source: 'bus 2, broker 3 (B48)',
    run: async world => {
      const queues = [await world.queue(), await world.queue(), await world.queue()]
      const topic = await world.topic(queues)
      const message = world.published(topic, { headers: { tenant: 'a' }, key: 'k' })
      const inboxes = await Promise.all(queues.map(queue => world.receive(queue)))
      await world.send(message)
      for (const inbox of inboxes) {
        const delivery = await inbox.one()
        assert.equal(delivery.id, message.id)
        assert.deepEqual({ ...delivery.headers }, message.headers)
        assert.deepEqual(Buffer.from(delivery.body), Buffer.from(message.body))
      }
      await world.quiet()
      assert.deepEqual(
        inboxes.map(inbox => inbox.count),
        [1, 1, 1],
      )
    },
  },
  {
    name: 'a queue bound to the topic and to its bases, and twice, still gets one copy; a queue bound to a base alone gets it too',
    source: 'bus 2, broker 3',
    run: async world => {
      const [both, base, other] = [await world.queue(), await world.queue(), await world.queue()]
      const [topic, baseTopic, far] = [world.name('topic'), world.name('base'), world.name('far')]
      await world.consumer.declare({
        queues: [],
        topics: [
          { name: topic, bases: [baseTopic, far] },
          { name: baseTopic, bases: [far] },
          { name: far, bases: [] },
        ],
        bindings: [
          { topic, queue: both, exclusive: false },
          { topic: baseTopic, queue: both, exclusive: false },
          { topic, queue: both, exclusive: false },
          { topic: far, queue: base, exclusive: false },
        ],
      })
      const inboxes = [await world.receive(both), await world.receive(base), await world.receive(other)] as const
      await world.send(world.published(topic, { id: 'a' }, [baseTopic, far]))
      await inboxes[0].one()
      await inboxes[1].one()
      await world.quiet()
      assert.deepEqual(
        inboxes.map(inbox => inbox.ids),
        [['a'], ['a'], []],
      )
    },
  },
  {
    name: 'a topic nobody is bound to takes a message and delivers it to nobody; a queue bound later gets nothing earlier',
    source: 'broker 2, 3 (B6, B49)',
    run: async world => {
      const topic = world.name('topic')
      await world.send(world.published(topic, { id: 'early' }))
      const queue = await world.queue()
      await world.consumer.declare({
        queues: [],
        topics: [{ name: topic, bases: [] }],
        bindings: [{ topic, queue, exclusive: false }],
      })
      const inbox = await world.receive(queue)
      await world.send(world.published(topic, { id: 'late' }))
      await inbox.one()
      await world.quiet()
      assert.deepEqual(inbox.ids, ['late'])
    },
  },
  {
    name: 'a mandatory message that no queue takes rejects with BUZZER_UNROUTABLE; of its array nothing is stored, or what details.results says',
    source: 'broker 2 (B6)',
    needs: mandatory,
    run: async world => {
      const [topic, queue] = [world.name('topic'), await world.queue()]
      const array = [world.message(queue), world.published(topic, { mandatory: true })]
      const sending = world.producer.send(array)
      const { details } = await world.rejects(sending, 'BUZZER_UNROUTABLE', 'a mandatory message without a queue')
      const inbox = await world.receive(queue)
      const { results } = details
      if (results !== undefined) {
        // A broker that cannot take all or none owes the truth about each.
        assert.deepEqual(results, ['stored', 'not-stored'])
        await inbox.take(1)
      }
      await world.quiet()
      assert.equal(inbox.count, results === undefined ? 0 : 1, 'a part of the refused array was stored unsaid')
    },
  },
  {
    name: 'a match lets through what has exactly these headers and this key, and nothing else',
    source: 'bus 2, broker 3 (B51)',
    run: async world => {
      const [queue, topic] = [await world.queue(), world.name('topic')]
      await world.consumer.declare({
        queues: [],
        topics: [{ name: topic, bases: [] }],
        bindings: [{ topic, queue, exclusive: false, match: { key: 'k', headers: { region: 'eu', tier: '1' } } }],
      })
      const headers = { region: 'eu', tier: '1' }
      const inbox = await world.receive(queue)
      await world.send(
        world.published(topic, { id: 'case', key: 'K', headers }),
        world.published(topic, { id: 'no-key', headers }),
        world.published(topic, { id: 'one-header', key: 'k', headers: { region: 'eu' } }),
        world.published(topic, { id: 'other-value', key: 'k', headers: { region: 'EU', tier: '1' } }),
        world.published(topic, { id: 'fits', key: 'k', headers: { ...headers, more: 'x' } }),
      )
      await inbox.one()
      await world.quiet()
      assert.deepEqual(inbox.ids, ['fits'])
    },
  },
]
