import assert from 'node:assert/strict'
import type { TransportCase } from '../conformance/transport-world.ts'
import { all, cancelling, deduplication as native } from './needs.ts'

const windowMs = 60_000

export const deduplication: readonly TransportCase[] = [
  {
    name: 'of equal deduplication keys within the window one is kept, under concurrent sends too, and every send succeeds',
    source: 'broker 6',
    needs: native,
    run: async world => {
      const queue = await world.queue({ deduplicationWindowMs: windowMs })
      const inbox = await world.receive(queue)
      const sends = Array.from({ length: 10 }, (_, n) =>
        (n % 2 === 0 ? world.producer : world.consumer).send([
          world.message(queue, { id: `m${n}`, deduplicationKey: 'order-42' }),
        ]),
      )
      await world.settles(Promise.all(sends), 'the sends')
      await world.send(world.message(queue, { id: 'other', deduplicationKey: 'order-43' }))
      await inbox.take(2)
      // The first copy is long acknowledged: its key counts from acceptance, whatever became of it.
      await world.send(world.message(queue, { id: 'again', deduplicationKey: 'order-42' }))
      await world.quiet()
      assert.equal(inbox.count, 2, `kept: ${inbox.ids.join(', ')}`)
    },
  },
  {
    name: 'outside the window equal deduplication keys are kept both',
    source: 'broker 6 (B44)',
    needs: native,
    run: async world => {
      const queue = await world.queue({ deduplicationWindowMs: 100 })
      const inbox = await world.receive(queue)
      await world.send(world.message(queue, { deduplicationKey: 'k' }))
      await world.quiet(200)
      await world.send(world.message(queue, { deduplicationKey: 'k' }))
      await inbox.take(2)
    },
  },
  {
    name: 'a publish is judged by each queue for itself: one with a window keeps one, one without keeps both',
    source: 'broker 6 (B45)',
    needs: native,
    run: async world => {
      const [withWindow, without] = [await world.queue({ deduplicationWindowMs: windowMs }), await world.queue()]
      const topic = await world.topic([withWindow, without])
      const inboxes = [await world.receive(withWindow), await world.receive(without)] as const
      await world.send(world.published(topic, { id: 'a', deduplicationKey: 'k' }))
      await world.send(world.published(topic, { id: 'b', deduplicationKey: 'k' }))
      await inboxes[1].take(2)
      await world.quiet()
      assert.deepEqual(
        inboxes.map(inbox => inbox.ids),
        [['a'], ['a', 'b']],
      )
    },
  },
  {
    name: 'a message without deduplication key passes the window and leaves no trace, whatever its id',
    source: 'broker 6 (B47)',
    needs: native,
    run: async world => {
      const queue = await world.queue({ deduplicationWindowMs: windowMs })
      const inbox = await world.receive(queue)
      await world.send(world.message(queue, { id: 'x', deduplicationKey: 'k' }))
      await world.send(world.message(queue, { id: 'x' }))
      await world.send(world.message(queue, { id: 'k' }))
      await world.send(world.message(queue, { id: 'y', deduplicationKey: 'x' }))
      await inbox.take(4)
      await world.quiet()
      assert.deepEqual(inbox.ids, ['x', 'x', 'k', 'y'])
    },
  },
  {
    name: 'cancelling a scheduled message makes its deduplication key free again',
    source: 'broker 6',
    needs: all(native, cancelling),
    run: async world => {
      const queue = await world.queue({ deduplicationWindowMs: windowMs })
      const inbox = await world.receive(queue)
      const id = world.name('id')
      await world.send(world.message(queue, { id, deduplicationKey: 'k', deliverAt: Date.now() + 60_000 }))
      await world.send(world.message(queue, { id: 'dropped', deduplicationKey: 'k' }))
      assert.equal(await world.admin.cancelScheduled?.(id), true)
      await world.send(world.message(queue, { id: 'kept', deduplicationKey: 'k' }))
      await inbox.take(1)
      await world.quiet()
      assert.deepEqual(inbox.ids, ['kept'])
    },
  },
]
