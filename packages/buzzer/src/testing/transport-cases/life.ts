import assert from 'node:assert/strict'
import { gate, type TransportCase } from '../conformance/transport-world.ts'
import { atomicSettling } from './needs.ts'

export const life: readonly TransportCase[] = [
  {
    name: 'connect is idempotent while open',
    source: 'bus 2, broker 1',
    run: async world => {
      await world.settles(world.consumer.connect(world.context()), 'a second connect')
      const queue = await world.queue()
      const inbox = await world.receive(queue)
      await world.send(world.message(queue))
      await inbox.one()
    },
  },
  {
    name: 'close is idempotent, and a closed transport refuses send, declare and receive with BUZZER_NOT_RUNNING',
    source: 'bus 2, broker 2 (B8)',
    run: async world => {
      const queue = await world.queue()
      const client = await world.client()
      await world.settles(client.close(), 'close')
      await world.settles(client.close(), 'a second close')
      await world.rejects(client.send([world.message(queue)]), 'BUZZER_NOT_RUNNING', 'send after close')
      const nothing = { queues: [], topics: [], bindings: [] }
      await world.rejects(client.declare(nothing), 'BUZZER_NOT_RUNNING', 'declare after close')
      const receiving = client.receive(queue, async () => ({ as: 'ack' }), { maxInFlight: 1, orderBy: 'none' })
      await world.rejects(receiving, 'BUZZER_NOT_RUNNING', 'receive after close')
      const inbox = await world.receive(queue)
      await world.quiet()
      assert.deepEqual(inbox.ids, [], 'a refused send must store nothing')
    },
  },
  {
    name: 'what was sent before close, awaited or not, is stored',
    source: 'broker 2',
    run: async world => {
      const queue = await world.queue()
      const client = await world.client()
      const sending = [1, 2, 3].map(n => client.send([world.message(queue, { id: String(n) })]))
      await world.settles(client.close(), 'close')
      await world.settles(Promise.all(sending), 'the sends before close')
      const inbox = await world.receive(queue, () => ({ as: 'ack' }), { maxInFlight: 1 })
      await inbox.take(3)
      assert.deepEqual(inbox.ids, ['1', '2', '3'])
    },
  },
  {
    name: 'receiving from an unknown queue rejects with BUZZER_QUEUE_NOT_FOUND',
    source: 'broker 1',
    run: async world => {
      const receiving = world.consumer.receive(world.name(), async () => ({ as: 'ack' }), {
        maxInFlight: 1,
        orderBy: 'none',
      })
      await world.rejects(receiving, 'BUZZER_QUEUE_NOT_FOUND', 'receive from a queue nobody declared')
    },
  },
  {
    name: 'a transport closed under a running handler loses the lock: its signal aborts, the message goes to another client',
    source: 'bus 2 (lost lock), broker 4',
    run: async world => {
      const queue = await world.queue()
      const doomed = await world.client()
      const { opened, open } = gate()
      const first = await world.receive(queue, () => opened.then(() => ({ as: 'ack' as const })), { through: doomed })
      await world.send(world.message(queue, { id: 'a' }))
      const delivery = await first.one()
      assert.equal(delivery.signal.aborted, false, 'the signal of an open delivery is not aborted')
      void doomed.close()
      await world.until(() => delivery.signal.aborted, 'delivery.signal did not abort when its transport was closed')
      assert.equal((delivery.signal.reason as { code?: string }).code, 'BUZZER_LOCK_LOST')
      const second = await world.receive(queue)
      assert.equal((await second.one()).id, 'a')
      open()
      await world.quiet()
      assert.equal(second.count, 1)
    },
  },
  {
    name: 'the settlement of a lost lock changes nothing: no output of it appears, the message is not acknowledged by it',
    source: 'bus 2, broker 4',
    needs: atomicSettling,
    run: async world => {
      const [queue, output] = [await world.queue(), await world.queue()]
      const doomed = await world.client()
      const { opened, open } = gate()
      const late = { as: 'ack' as const, send: [world.message(output)] }
      const first = await world.receive(queue, () => opened.then(() => late), { through: doomed })
      await world.send(world.message(queue, { id: 'a' }))
      const delivery = await first.one()
      void doomed.close()
      await world.until(() => delivery.signal.aborted, 'the lock was not lost')
      open()
      await world.quiet()
      const outputs = await world.receive(output)
      const second = await world.receive(queue)
      await second.one()
      await world.quiet()
      assert.equal(outputs.count, 0, 'an output of a settlement without lock appeared')
    },
  },
]
