import assert from 'node:assert/strict'
import type { BuzzerError } from '../../message/index.ts'
import type { StateChange } from '../../store/index.ts'
import type { Settlement, Transport } from '../../transport/index.ts'
import { gate, type TransportCase, type TransportWorld } from '../conformance/transport-world.ts'
import {
  all,
  atomicSettling,
  callerTransactions,
  cancelling,
  counting,
  deadLetters,
  delays,
  ownStore,
} from './needs.ts'

const joined = all(atomicSettling, ownStore)

function put(world: TransportWorld, id: string, expected: number | 'absent' | 'any' = 'absent'): StateChange {
  return { op: 'put', collection: 'conformance', id, value: { from: world.options.name }, expected }
}

async function version(world: TransportWorld, id: string): Promise<number | undefined> {
  const store = world.producer.store as NonNullable<Transport['store']>
  return (await store.get('conformance', id))?.version
}

/** Opens the transport's own store, which some connect by themselves and others not. */
async function openStore(world: TransportWorld): Promise<void> {
  const { bus, instanceId, clock, logger } = world.context()
  await world.producer.store?.connect({ bus, instanceId, clock, logger })
}

export const transactions: readonly TransportCase[] = [
  {
    name: 'the messages of an ack leave with it, in order, as if sent alone: to a queue, to a topic, delayed; none before it',
    source: 'bus 2, broker 4 (B73)',
    needs: all(atomicSettling, delays),
    run: async world => {
      const [queue, output] = [await world.queue(), await world.queue()]
      const topic = await world.topic([output])
      const { opened, open } = gate()
      const deliverAt = Date.now() + 300
      const inbox = await world.receive(queue, async () => {
        await opened
        const send = [
          world.message(output, { id: 'first' }),
          world.published(topic, { id: 'second' }),
          world.message(output, { id: 'delayed', deliverAt }),
        ]
        return { as: 'ack', send }
      })
      const outputs = await world.receive(output, () => ({ as: 'ack' }), { maxInFlight: 1 })
      await world.send(world.message(queue))
      await inbox.one()
      await world.quiet(50)
      assert.equal(outputs.count, 0, 'an output left before the acknowledgement')
      open()
      await outputs.take(3)
      assert.deepEqual(outputs.ids, ['first', 'second', 'delayed'])
      assert.ok((outputs.received[2]?.at ?? 0) >= deliverAt, 'the delayed output was early')
      await world.quiet()
      assert.equal(inbox.count, 1, 'the acknowledged message came back')
    },
  },
  {
    name: 'an ack whose message is unroutable is refused whole: onRefused is asked, its answer followed, no output left',
    source: 'bus 2, broker 4 (B29)',
    needs: all(atomicSettling, counting),
    run: async world => {
      const [queue, output] = [await world.queue(), await world.queue()]
      const refusals: string[] = []
      const inbox = await world.receive(queue, (delivery): Settlement => {
        if (delivery.attempt === 3) return { as: 'ack', send: [world.message(output, { id: 'good' })] }
        return {
          as: 'ack',
          send: [world.message(output, { id: 'bad' }), world.message(world.name())],
          onRefused: (error: BuzzerError) => {
            refusals.push(error.code)
            const answer = { as: 'retry' as const, delayMs: 20 }
            // The first answer comes at once, the second takes its time.
            return delivery.attempt === 1 ? answer : world.quiet(10).then(() => answer)
          },
        }
      })
      const outputs = await world.receive(output)
      await world.send(world.message(queue))
      await outputs.take(1)
      await world.quiet()
      assert.deepEqual(refusals, ['BUZZER_UNROUTABLE', 'BUZZER_UNROUTABLE'])
      assert.deepEqual(inbox.attempts, [1, 2, 3])
      assert.deepEqual(outputs.ids, ['good'], 'a part of a refused settlement was applied')
    },
  },
  {
    name: 'a refused ack without onRefused is a counted retry without delay',
    source: 'bus 2, broker 4',
    needs: all(atomicSettling, counting),
    run: async world => {
      const queue = await world.queue()
      const inbox = await world.receive(queue, delivery =>
        delivery.attempt < 3 ? { as: 'ack', send: [world.message(world.name())] } : { as: 'ack' },
      )
      await world.send(world.message(queue))
      await inbox.take(3)
      await world.quiet()
      assert.deepEqual(inbox.attempts, [1, 2, 3])
    },
  },
  {
    name: 'records and messages of an ack commit together; with a stale version neither does, and onRefused sees BUZZER_CONFLICT',
    source: 'bus 2, broker 4 (B72)',
    needs: joined,
    run: async world => {
      await openStore(world)
      const [queue, output, id] = [await world.queue(), await world.queue(), world.name('record')]
      const codes: string[] = []
      let runs = 0
      await world.receive(queue, (): Settlement => {
        runs++
        return {
          as: 'ack',
          send: [world.message(output, { id: `run-${runs}` })],
          state: [put(world, id, runs === 1 ? 7 : 'absent')],
          onRefused: error => {
            codes.push(error.code)
            return { as: 'retry' }
          },
        }
      })
      const outputs = await world.receive(output)
      await world.send(world.message(queue))
      await outputs.take(1)
      await world.quiet()
      assert.deepEqual(codes, ['BUZZER_CONFLICT'])
      assert.deepEqual(outputs.ids, ['run-2'])
      assert.equal(await version(world, id), 1)
    },
  },
  {
    name: 'records of a send commit with its messages; with a stale version neither exists',
    source: 'DESIGN 4.2, bus 2',
    needs: joined,
    run: async world => {
      await openStore(world)
      const [queue, id] = [await world.queue(), world.name('record')]
      const inbox = await world.receive(queue)
      await world.settles(
        world.producer.send([world.message(queue, { id: 'good' })], { state: [put(world, id)] }),
        'a send with state',
      )
      assert.equal(await version(world, id), 1)
      const stale = { state: [put(world, `${id}-2`), put(world, id, 'absent')] }
      const error = await world.rejects(
        world.producer.send([world.message(queue, { id: 'bad' })], stale),
        'BUZZER_CONFLICT',
        'a send with a stale version',
      )
      assert.ok(error.message.includes(id), error.message)
      const unroutable = { state: [put(world, `${id}-3`)] }
      await world.rejects(
        world.producer.send([world.message(world.name())], unroutable),
        'BUZZER_UNROUTABLE',
        'an unroutable send with state',
      )
      await inbox.take(1)
      await world.quiet()
      assert.deepEqual(inbox.ids, ['good'])
      assert.deepEqual([await version(world, `${id}-2`), await version(world, `${id}-3`)], [undefined, undefined])
    },
  },
  {
    name: 'a schedule named in cancel ends with the ack, and not with a refused one',
    source: 'bus 2, broker 4 (B71)',
    needs: all(atomicSettling, cancelling),
    run: async world => {
      const [queue, output] = [await world.queue(), await world.queue()]
      const outputs = await world.receive(output)
      const [cancelled, kept] = [world.name('id'), world.name('id')]
      // Late enough for both answers to be settled before it.
      const deliverAt = Date.now() + Math.max(250, world.lateMs / 3)
      await world.send(
        world.message(output, { id: cancelled, deliverAt }),
        world.message(output, { id: kept, deliverAt }),
      )
      const inbox = await world.receive(
        queue,
        (delivery): Settlement =>
          delivery.id === 'refused'
            ? {
                as: 'ack',
                cancel: [kept],
                send: [world.message(world.name())],
                onRefused: () => ({ as: 'ack' }),
              }
            : { as: 'ack', cancel: [cancelled] },
      )
      await world.send(world.message(queue, { id: 'refused' }), world.message(queue, { id: 'good' }))
      await inbox.take(2)
      await outputs.take(1)
      await world.quiet()
      assert.deepEqual(outputs.ids, [kept])
    },
  },
  {
    name: 'the settlements of a group are one step: nothing leaves before the last has come, then everything',
    source: 'bus 2, broker 4 (B28)',
    needs: atomicSettling,
    run: async world => {
      const [queue, output] = [await world.queue(), await world.queue()]
      const gates = new Map(['1', '2', '3'].map(id => [id, gate()]))
      const inbox = await world.receive(queue, async delivery => {
        await gates.get(delivery.id)?.opened
        const send = [world.message(output, { id: `of-${delivery.id}` })]
        return { as: 'ack', send, group: { id: `${queue}-group`, size: 3 } }
      })
      const outputs = await world.receive(output)
      await world.sendMany(queue, 3)
      await inbox.take(3)
      gates.get('1')?.open()
      gates.get('2')?.open()
      await world.quiet()
      assert.equal(outputs.count, 0, 'a part of an incomplete group was applied')
      gates.get('3')?.open()
      await outputs.take(3)
      await world.quiet()
      assert.equal(inbox.count, 3)
      assert.deepEqual([...outputs.ids].toSorted(), ['of-1', 'of-2', 'of-3'])
    },
  },
  {
    name: 'a group that never becomes complete is never applied: its messages come back when their client goes',
    source: 'broker 4 (B28)',
    needs: atomicSettling,
    run: async world => {
      const [queue, output] = [await world.queue(), await world.queue()]
      const doomed = await world.client()
      const held = await world.receive(
        queue,
        delivery =>
          delivery.id === '3'
            ? new Promise<Settlement>(() => {})
            : { as: 'ack', send: [world.message(output)], group: { id: `${queue}-group`, size: 3 } },
        { through: doomed },
      )
      const outputs = await world.receive(output)
      await world.sendMany(queue, 3)
      await held.take(3)
      await world.quiet(50)
      await world.settles(doomed.close(), 'close')
      const inbox = await world.receive(queue)
      await inbox.take(3)
      await world.quiet()
      assert.deepEqual([...inbox.ids].toSorted(), ['1', '2', '3'])
      assert.equal(outputs.count, 0)
    },
  },
  {
    name: 'a group of which one part is refused is refused whole, and each part is asked what to do',
    source: 'bus 2',
    needs: all(atomicSettling, counting),
    run: async world => {
      const [queue, output] = [await world.queue(), await world.queue()]
      const asked: string[] = []
      const inbox = await world.receive(queue, (delivery): Settlement => {
        if (delivery.attempt > 1) return { as: 'ack' }
        const target = delivery.id === '2' ? world.name() : output
        return {
          as: 'ack',
          send: [world.message(target)],
          group: { id: `${queue}-group`, size: 2 },
          onRefused: () => {
            asked.push(delivery.id)
            return { as: 'retry' }
          },
        }
      })
      const outputs = await world.receive(output)
      await world.sendMany(queue, 2)
      await inbox.take(4)
      await world.quiet()
      assert.deepEqual(asked.toSorted(), ['1', '2'])
      assert.equal(outputs.count, 0)
    },
  },
  {
    name: 'the messages of a dead-lettering leave with it',
    source: 'bus 2, broker 4',
    needs: all(atomicSettling, deadLetters),
    run: async world => {
      const [queue, faults] = [await world.queue(), await world.queue()]
      await world.receive(queue, () => ({
        as: 'dead-letter',
        reason: 'poison',
        send: [world.message(faults, { id: 'fault' })],
      }))
      const inbox = await world.receive(faults)
      await world.send(world.message(queue, { id: 'a' }))
      assert.equal((await inbox.one()).id, 'fault')
      const dead = await world.receive(`${queue}.dead`)
      assert.equal((await dead.one()).id, 'a')
    },
  },
  {
    name: 'records ride on a retry and on a dead-lettering too',
    source: 'bus 4.9',
    needs: all(joined, deadLetters),
    run: async world => {
      await openStore(world)
      const [queue, id] = [await world.queue(), world.name('record')]
      await world.receive(
        queue,
        (delivery): Settlement =>
          delivery.attempt === 1
            ? { as: 'retry', state: [put(world, `${id}-retry`)] }
            : { as: 'dead-letter', reason: 'poison', state: [put(world, `${id}-dead`)] },
      )
      await world.send(world.message(queue))
      const dead = await world.receive(`${queue}.dead`)
      await dead.one()
      assert.deepEqual([await version(world, `${id}-retry`), await version(world, `${id}-dead`)], [1, 1])
    },
  },
  {
    name: "a caller's transaction: nothing leaves before it commits, then all in the order of the calls; rolled back it never existed",
    source: 'bus 4.10 (X4)',
    needs: all(callerTransactions, ownStore),
    run: async world => {
      await openStore(world)
      const [queue, id] = [await world.queue(), world.name('record')]
      const inbox = await world.receive(queue, () => ({ as: 'ack' }), { maxInFlight: 1 })
      const transaction = world.options.transaction as NonNullable<typeof world.options.transaction>
      const send = (messageId: string, tx: unknown): Promise<void> =>
        world.producer.send([world.message(queue, { id: messageId })], { tx: tx as never })
      await transaction(async tx => {
        await send('1', tx)
        await world.producer.store?.commit([put(world, id)], { tx: tx as never })
        await send('2', tx)
        await world.quiet(50)
        assert.equal(inbox.count, 0, 'a message left before the commit')
        assert.equal(await version(world, id), undefined, 'a record was visible before the commit')
      })
      await inbox.take(2)
      assert.deepEqual(inbox.ids, ['1', '2'])
      assert.equal(await version(world, id), 1)
      const failure = new Error('rolled back on purpose')
      const rolledBack = transaction(async tx => {
        await send('3', tx)
        await world.producer.store?.commit([put(world, `${id}-2`)], { tx: tx as never })
        throw failure
      })
      await assert.rejects(rolledBack, failure)
      await world.quiet()
      assert.equal(inbox.count, 2, 'a message of a rolled back transaction arrived')
      assert.equal(await version(world, `${id}-2`), undefined)
    },
  },
]
