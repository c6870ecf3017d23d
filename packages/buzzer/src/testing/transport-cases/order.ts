import assert from 'node:assert/strict'
import type { Settlement } from '../../transport/index.ts'
import { gate, type Inbox, type TransportCase } from '../conformance/transport-world.ts'
import { all, counting, deadLetters, keyOrder, queueOrder, ttl } from './needs.ts'

function idsOfKey(inbox: Inbox, key: string): readonly string[] {
  return inbox.received.filter(({ delivery }) => delivery.key === key).map(({ delivery }) => delivery.id)
}

export const order: readonly TransportCase[] = [
  {
    name: "orderBy 'key': of one key one delivery at a time, in order of acceptance, over two clients; keys run in parallel",
    source: 'bus 2, broker 5 (B30)',
    needs: keyOrder,
    run: async world => {
      const queue = await world.queue({ orderBy: 'key' })
      const other = await world.client()
      const open = new Map<string, number>()
      const log: string[] = []
      let overlaps = 0
      let mostKeys = 0
      const handle = async (delivery: { id: string; key?: string }): Promise<Settlement> => {
        const key = delivery.key as string
        log.push(delivery.id)
        open.set(key, (open.get(key) ?? 0) + 1)
        if ((open.get(key) ?? 0) > 1) overlaps++
        mostKeys = Math.max(mostKeys, [...open.values()].filter(count => count > 0).length)
        await world.quiet(3)
        open.set(key, (open.get(key) ?? 1) - 1)
        return { as: 'ack' }
      }
      const options = { maxInFlight: 8, orderBy: 'key' } as const
      const a = await world.receive(queue, handle, options)
      const b = await world.receive(queue, handle, { ...options, through: other })
      await world.sendMany(queue, 45, n => ({ id: `${n % 3}:${n}`, key: String(n % 3) }))
      await world.until(
        () => a.count + b.count >= 45,
        () => `${a.count + b.count} of 45 came`,
      )
      await world.quiet()
      assert.equal(overlaps, 0, 'two deliveries of one key were open at once')
      assert.ok(mostKeys >= 2, 'different keys never ran at the same time')
      for (const key of ['0', '1', '2']) {
        const numbers = log.filter(id => id.startsWith(`${key}:`)).map(id => Number(id.slice(2)))
        assert.deepEqual(
          numbers,
          numbers.toSorted((x, y) => x - y),
          `key ${key} was overtaken`,
        )
        assert.equal(numbers.length, 15)
      }
    },
  },
  {
    name: "orderBy 'key': a retry, delayed or not, keeps its place; its key waits for it, other keys do not",
    source: 'bus 2, broker 5',
    needs: keyOrder,
    run: async world => {
      const queue = await world.queue({ orderBy: 'key' })
      let failures = 0
      const inbox = await world.receive(
        queue,
        delivery => {
          if (delivery.id !== 'a1' || failures === 2) return { as: 'ack' }
          failures++
          return failures === 1 ? { as: 'retry' } : { as: 'retry', delayMs: 80 }
        },
        { orderBy: 'key' },
      )
      await world.send(...['a1', 'a2', 'b1', 'a3', 'b2'].map(id => world.message(queue, { id, key: id.slice(0, 1) })))
      await inbox.take(7)
      assert.deepEqual(idsOfKey(inbox, 'a'), ['a1', 'a1', 'a1', 'a2', 'a3'])
      assert.deepEqual(idsOfKey(inbox, 'b'), ['b1', 'b2'])
      const lastA1 = inbox.ids.lastIndexOf('a1')
      assert.ok(inbox.ids.indexOf('b2') < lastA1, 'key b waited for key a')
    },
  },
  {
    name: "orderBy 'key': a released head is first again",
    source: 'broker 5 (B33)',
    needs: keyOrder,
    run: async world => {
      const queue = await world.queue({ orderBy: 'key' })
      let releases = 0
      const inbox = await world.receive(
        queue,
        delivery => (delivery.id === '1' && releases++ < 2 ? { as: 'release' } : { as: 'ack' }),
        { orderBy: 'key' },
      )
      await world.sendMany(queue, 3, () => ({ key: 'k' }))
      await inbox.take(5)
      assert.deepEqual(inbox.ids, ['1', '1', '1', '2', '3'])
    },
  },
  {
    name: "orderBy 'key': what a client that goes away had open comes first again",
    source: 'bus 2, broker 5',
    needs: keyOrder,
    run: async world => {
      const queue = await world.queue({ orderBy: 'key' })
      const doomed = await world.client()
      const held = await world.receive(queue, () => new Promise<Settlement>(() => {}), {
        through: doomed,
        orderBy: 'key',
      })
      await world.sendMany(queue, 4, () => ({ key: 'k' }))
      await held.take(1)
      const inbox = await world.receive(queue, () => ({ as: 'ack' }), { orderBy: 'key' })
      await world.quiet()
      assert.deepEqual([held.count, inbox.count], [1, 0], 'the key did not wait for its open head')
      await world.settles(doomed.close(), 'close')
      await inbox.take(4)
      assert.deepEqual(inbox.ids, ['1', '2', '3', '4'])
    },
  },
  {
    name: "orderBy 'key': when the head is dead-lettered the key goes on",
    source: 'broker 5 (B34)',
    needs: all(keyOrder, deadLetters),
    run: async world => {
      const queue = await world.queue({ orderBy: 'key' })
      const inbox = await world.receive(
        queue,
        delivery => (delivery.id === '1' ? { as: 'dead-letter', reason: 'poison' } : { as: 'ack' }),
        { orderBy: 'key' },
      )
      await world.sendMany(queue, 3, () => ({ key: 'k' }))
      await inbox.take(3)
      assert.deepEqual(inbox.ids, ['1', '2', '3'])
    },
  },
  {
    name: "orderBy 'key': when the head expires while it waits for a retry the key goes on",
    source: 'broker 5, 6 (B34, B41)',
    needs: all(keyOrder, ttl, counting),
    run: async world => {
      const queue = await world.queue({ orderBy: 'key' })
      const inbox = await world.receive(
        queue,
        delivery => (delivery.id === '1' ? { as: 'retry', delayMs: 600_000 } : { as: 'ack' }),
        { orderBy: 'key' },
      )
      const expiresAt = Date.now() + Math.max(150, world.lateMs / 5)
      await world.sendMany(queue, 2, n => ({ key: 'k', ...(n === 1 ? { expiresAt } : {}) }))
      await inbox.take(2)
      assert.deepEqual(inbox.ids, ['1', '2'])
      assert.ok((inbox.received[1]?.at ?? 0) >= expiresAt, 'the second did not wait for the first')
    },
  },
  {
    name: "orderBy 'key': messages without a key do not wait for each other",
    source: 'bus 2, broker 5 (B35)',
    needs: keyOrder,
    run: async world => {
      const queue = await world.queue({ orderBy: 'key' })
      const { opened, open } = gate()
      const inbox = await world.receive(queue, () => opened.then(() => ({ as: 'ack' as const })), { orderBy: 'key' })
      await world.sendMany(queue, 5)
      await inbox.take(5)
      assert.equal(inbox.mostRunning, 5)
      open()
    },
  },
  {
    name: "orderBy 'key': thousands of messages of one key do not hide the keys behind them",
    source: 'broker 5 (B32)',
    needs: keyOrder,
    run: async world => {
      const queue = await world.queue({ orderBy: 'key' })
      const { opened, open } = gate()
      await world.sendMany(queue, 3_000, () => ({ key: 'busy' }))
      await world.send(world.message(queue, { id: 'other', key: 'other' }))
      const inbox = await world.receive(
        queue,
        delivery => (delivery.key === 'busy' ? opened.then(() => ({ as: 'release' as const })) : { as: 'ack' }),
        { orderBy: 'key', maxInFlight: 4 },
      )
      await inbox.take(2)
      assert.deepEqual([...inbox.ids].toSorted(), ['1', 'other'])
      await inbox.receiver.pause()
      open()
    },
  },
  {
    name: "orderBy 'queue': one delivery at a time in order of acceptance, over two receivers; a retry keeps its place",
    source: 'bus 2, broker 5 (B31)',
    needs: queueOrder,
    run: async world => {
      const queue = await world.queue({ orderBy: 'queue' })
      const other = await world.client()
      const log: string[] = []
      let open = 0
      let mostOpen = 0
      let hasFailed = false
      const handle = async (delivery: { id: string }): Promise<Settlement> => {
        log.push(delivery.id)
        mostOpen = Math.max(mostOpen, ++open)
        await world.quiet(2)
        open--
        if (delivery.id !== '4' || hasFailed) return { as: 'ack' }
        hasFailed = true
        return { as: 'retry', delayMs: 50 }
      }
      const options = { maxInFlight: 4, orderBy: 'queue' } as const
      await world.receive(queue, handle, options)
      await world.receive(queue, handle, { ...options, through: other })
      await world.sendMany(queue, 12, n => ({ key: String(n % 2), priority: n % 10 }))
      await world.until(
        () => log.length >= 13,
        () => `${log.length} of 13 came`,
      )
      assert.equal(mostOpen, 1, 'two deliveries were open at once')
      assert.deepEqual(log, ['1', '2', '3', '4', '4', '5', '6', '7', '8', '9', '10', '11', '12'])
    },
  },
]
