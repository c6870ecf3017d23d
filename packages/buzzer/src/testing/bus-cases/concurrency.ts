import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { BatchError } from '../../bus/index.ts'
import { defineEvent } from '../../message/index.ts'
import { type BusCase, gate, once } from '../conformance/bus-world.ts'

interface Work {
  readonly n: number
}

export const concurrency: readonly BusCase[] = [
  {
    name: 'B1 concurrency k → k reached, never exceeded; update takes effect at once',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const queue = world.name('q')
      let running = 0
      let most = 0
      let handled = 0
      const bus = await world.started(bus => {
        bus.queue(queue, { concurrency: 3 }).handle(Do, async () => {
          most = Math.max(most, ++running)
          await sleep(5)
          running--
          handled++
        })
      })
      await Promise.all(Array.from({ length: 30 }, (_, n) => bus.publish(Do, { n })))
      await world.until(() => handled === 30, 'all are handled')
      assert.equal(most, 3)
      bus.queue(queue).update({ concurrency: 8 })
      await Promise.all(Array.from({ length: 40 }, (_, n) => bus.publish(Do, { n })))
      await world.until(() => handled === 70, 'all are handled')
      assert.equal(most, 8)
    },
  },
  {
    name: 'B1 rate limit → no window holds more starts than allowed',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const starts = world.seen<number>()
      const bus = await world.started(bus => {
        bus
          .queue(world.name('q'), { rateLimit: { max: 4, perMs: 200 } })
          .handle(Do, () => starts.add(performance.now()))
      })
      await Promise.all(Array.from({ length: 14 }, (_, n) => bus.publish(Do, { n })))
      const times = await starts.exactly(14)
      for (let i = 4; i < times.length; i++) {
        // A busy machine may hold a handler back for a moment after it was let go, and the fifth not.
        assert.ok((times[i] as number) - (times[i - 4] as number) >= 60, 'a window held five starts')
      }
    },
  },
  {
    name: 'B2 same key never overlaps and keeps its order through retries; other keys run in parallel',
    needs: world => (world.capabilities.ordering === 'key' ? undefined : 'no order by key'),
    run: async world => {
      const Do = defineEvent<Work & { readonly key: string }>(world.name('do'), { key: one => one.key })
      const order = new Map<string, number[]>()
      const open = new Set<string>()
      let overlapped = false
      let parallel = 0
      const failed = new Set<string>()
      const bus = await world.started(bus => {
        bus
          .queue(world.name('q'), { orderBy: 'key', concurrency: 8, retry: { immediate: 0, delayedMs: [5, 5] } })
          .handle(Do, async ({ n, key }) => {
            overlapped ||= open.has(key)
            open.add(key)
            parallel = Math.max(parallel, open.size)
            await sleep(2)
            open.delete(key)
            if (n % 7 === 3 && !failed.has(`${key}${n}`)) {
              failed.add(`${key}${n}`)
              throw new Error('once')
            }
            order.set(key, [...(order.get(key) ?? []), n])
          })
      })
      for (let n = 0; n < 12; n++) for (const key of ['a', 'b', 'c', 'd']) await bus.publish(Do, { n, key })
      await world.until(() => [...order.values()].reduce((sum, one) => sum + one.length, 0) === 48, 'all are handled')
      assert.equal(overlapped, false)
      assert.ok(parallel > 1)
      for (const one of order.values())
        assert.deepEqual(
          one,
          Array.from({ length: 12 }, (_, n) => n),
        )
    },
  },
  {
    name: 'B3 a batch flushes at its size, and at its time with fewer; equal ids appear once',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const queue = world.name('q')
      const batches = world.seen<readonly number[]>()
      const bus = await world.started(bus => {
        bus.queue(queue, { concurrency: 1 }).handleBatch(Do, items => batches.add(items.map(item => item.message.n)), {
          maxSize: 4,
          maxWaitMs: 80,
        })
      })
      await Promise.all(Array.from({ length: 6 }, (_, n) => bus.publish(Do, { n })))
      assert.deepEqual(await batches.exactly(2), [
        [0, 1, 2, 3],
        [4, 5],
      ])
      await bus.publish(Do, { n: 7 }, { messageId: `same-${queue}` })
      await bus.publish(Do, { n: 7 }, { messageId: `same-${queue}` })
      assert.deepEqual((await batches.exactly(3)).at(-1), [7])
      await world.drained(bus, queue)
    },
  },
  {
    name: 'B3 groupBy key → one key per batch; outputs of a batch leave with it',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'), { key: one => (one.n % 2 === 0 ? 'even' : 'odd') })
      const Done = defineEvent<{ readonly all: readonly number[] }>(world.name('done'))
      const seen = world.seen<readonly number[]>()
      const bus = await world.started(bus => {
        bus.queue(world.name('q')).handleBatch(
          Do,
          async (items, ctx) => {
            await ctx.publish(Done, { all: items.map(item => item.message.n) })
          },
          { maxSize: 3, maxWaitMs: 5_000, groupBy: 'key' },
        )
        bus.queue(world.name('done'), { concurrency: 1 }).handle(Done, one => seen.add(one.all))
      })
      for (let n = 0; n < 6; n++) await bus.publish(Do, { n })
      assert.deepEqual((await seen.exactly(2)).toSorted(), [
        [0, 2, 4],
        [1, 3, 5],
      ])
    },
  },
  {
    name: 'B4 a failing batch falls apart: the good items succeed, the poisonous one is dead-lettered alone',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const queue = world.name('q')
      const good = world.seen<number>()
      const bus = await world.started(bus => {
        bus.queue(queue, once).handleBatch(
          Do,
          items => {
            if (items.some(item => item.message.n === 2)) throw new Error('poison')
            for (const item of items) good.add(item.message.n)
          },
          { maxSize: 4, maxWaitMs: 5_000 },
        )
      })
      for (let n = 0; n < 4; n++) await bus.publish(Do, { n })
      assert.deepEqual((await good.exactly(3)).toSorted(), [0, 1, 3])
      const [letter] = await world.deadLetters(bus, queue, 1)
      assert.deepEqual([letter?.data, letter?.attempts], [{ n: 2 }, 1])
    },
  },
  {
    name: 'B4 BatchError for some → only those fail, the rest is acknowledged with the outputs',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const queue = world.name('q')
      const runs = world.seen<readonly number[]>()
      const bus = await world.started(bus => {
        bus.queue(queue, once).handleBatch(
          Do,
          items => {
            runs.add(items.map(item => item.message.n))
            const failed = items.filter(item => item.message.n === 1)
            throw new BatchError(new Map(failed.map(item => [item.id, new Error('this one')])))
          },
          { maxSize: 3, maxWaitMs: 5_000 },
        )
      })
      for (let n = 0; n < 3; n++) await bus.publish(Do, { n })
      const [letter] = await world.deadLetters(bus, queue, 1)
      assert.deepEqual([letter?.data, letter?.error?.message], [{ n: 1 }, 'this one'])
      assert.deepEqual(await runs.exactly(1), [[0, 1, 2]])
      await world.drained(bus, queue)
    },
  },
  {
    name: 'B5 the breaker opens on failures, lets a probe through, waits longer after a failing one, closes after success',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const queue = world.name('q')
      const starts = world.seen<number>()
      let broken = true
      const bus = await world.started(bus => {
        bus
          .queue(queue, {
            retry: { immediate: 0, delayedMs: [1, 1, 1, 1, 1, 1, 1, 1] },
            concurrency: 1,
            circuitBreaker: { minimum: 2, resetMs: [60, 150], windowMs: 10_000 },
          })
          .handle(Do, () => {
            starts.add(performance.now())
            if (broken) throw new Error('down')
          })
      })
      for (let n = 0; n < 6; n++) await bus.publish(Do, { n })
      const times = await starts.atLeast(3)
      const health = async () => (await bus.health()).queues.find(one => one.name === queue)
      assert.ok((times[2] as number) - (times[1] as number) >= 55, 'the probe came too early')
      await world.until(async () => (await health())?.state === 'open', 'open after the failing probe')
      assert.equal((await bus.health()).status, 'degraded')
      broken = false
      await starts.atLeast(4)
      assert.ok((times[3] as number) - (times[2] as number) >= 145, 'the second wait is longer')
      await world.drained(bus, queue)
      assert.equal((await health())?.state, 'running')
      assert.equal((await bus.admin.deadLetters(queue).list()).items.length, 0)
    },
  },
  {
    name: 'pause → no handler starts and messages wait in the broker; resume → they are handled',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const queue = world.name('q')
      const seen = world.seen<number>()
      const { opened, open } = gate()
      const bus = await world.started(bus => {
        bus.queue(queue, { concurrency: 1, prefetch: 4 }).handle(Do, async one => {
          seen.add(one.n)
          await opened
        })
      })
      for (let n = 0; n < 4; n++) await bus.publish(Do, { n })
      await seen.atLeast(1)
      await bus.queue(queue).pause()
      open()
      await seen.exactly(1)
      assert.equal((await bus.health()).queues.find(one => one.name === queue)?.state, 'paused')
      assert.equal((await bus.admin.queues()).find(one => one.name === queue)?.ready, 3)
      await bus.queue(queue).resume()
      assert.equal((await seen.exactly(4)).length, 4)
    },
  },
]
