import assert from 'node:assert/strict'
import { defineCommand, defineEvent } from '../../message/index.ts'
import { type BusCase, once } from '../conformance/bus-world.ts'

interface Work {
  readonly n: number
}

const noDelay: BusCase['needs'] = world =>
  world.capabilities.delayMaxMs === 0 && !world.hasStore ? 'neither delays nor a store' : undefined

const noCancel: BusCase['needs'] = world =>
  world.capabilities.cancel === 'none' && !world.hasStore
    ? 'neither cancelling nor a store'
    : world.capabilities.delayMaxMs === 0 && !world.hasStore
      ? 'neither delays nor a store'
      : undefined

export const time: readonly BusCase[] = [
  {
    name: 'T1 a delayed send is never early and hardly late; deliverAt in the past means now',
    needs: noDelay,
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const seen = world.seen<{ n: number; at: number }>()
      const bus = await world.started(bus => {
        bus.queue(world.name('q')).handle(Do, one => seen.add({ n: one.n, at: Date.now() }))
      })
      const due = Date.now() + 120
      await bus.publish(Do, { n: 1 }, { deliverAt: new Date(due) })
      await bus.publish(Do, { n: 0 }, { deliverAt: new Date(1_000) })
      const [first, second] = await seen.exactly(2)
      assert.deepEqual([first?.n, second?.n], [0, 1])
      assert.ok((second?.at ?? 0) >= due, `${due - (second?.at ?? 0)} ms early`)
      assert.ok((second?.at ?? 0) < due + 2_000)
    },
  },
  {
    name: 'T2 cancel before due → true, never delivered; again, after it was due, or unknown → false',
    needs: noCancel,
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const seen = world.seen<number>()
      const bus = await world.started(bus => void bus.queue(world.name('q')).handle(Do, one => seen.add(one.n)))
      const id = await bus.publish(Do, { n: 1 }, { delayMs: 600_000 })
      assert.equal(await bus.cancelScheduled(id), true)
      assert.equal(await bus.cancelScheduled(id), false)
      assert.equal(await bus.cancelScheduled('unknown'), false)
      const due = await bus.publish(Do, { n: 2 }, { delayMs: 20 })
      await seen.atLeast(1)
      await world.quiet()
      assert.equal(await bus.cancelScheduled(due), false)
      assert.deepEqual(await seen.exactly(1), [2])
    },
  },
  {
    name: 'T2 cancel from a handler takes effect only if it succeeds',
    needs: noCancel,
    run: async world => {
      const Do = defineCommand<{ readonly id: string; readonly fail: boolean }>(world.name('do'))
      const Later = defineEvent<Work>(world.name('later'))
      const queue = world.name('q')
      const seen = world.seen<number>()
      const bus = await world.started(bus => {
        bus.queue(queue, once).handle(Do, async ({ id, fail }, ctx) => {
          assert.equal(await ctx.cancelScheduled(id), true)
          if (fail) throw new Error('no')
        })
        bus.queue(world.name('later')).handle(Later, one => seen.add(one.n))
      })
      const kept = await bus.publish(Later, { n: 1 }, { delayMs: 600 })
      const cancelled = await bus.publish(Later, { n: 2 }, { delayMs: 600 })
      await bus.send(Do, { id: kept, fail: true })
      await bus.send(Do, { id: cancelled, fail: false })
      assert.deepEqual(await seen.exactly(1), [1])
      await world.quiet()
      assert.equal(seen.all.length, 1)
    },
  },
  {
    name: 'T2 where nothing can take a schedule back, cancelling is BUZZER_UNSUPPORTED, outside and inside of a handler',
    needs: world =>
      world.capabilities.cancel === 'native' || world.hasStore ? 'the broker or the store can take it back' : undefined,
    run: async world => {
      const Do = defineCommand<Work>(world.name('do'))
      const queue = world.name('q')
      const bus = await world.started(bus => {
        bus.queue(queue, once).handle(Do, async (_, ctx) => void (await ctx.cancelScheduled('any')))
      })
      await world.rejects(bus.cancelScheduled('any'), 'BUZZER_UNSUPPORTED')
      await bus.send(Do, { n: 1 })
      const [letter] = await world.deadLetters(bus, queue, 1)
      assert.equal(letter?.error?.code, 'BUZZER_UNSUPPORTED')
    },
  },
  {
    name: 'T3 a queue bound between scheduling and due gets the event; schedules are listed',
    needs: noDelay,
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const seen = world.seen<number>()
      const sender = await world.started(() => {})
      const id = await sender.publish(Do, { n: 1 }, { delayMs: 1_000 + world.startMs })
      const listed = (await sender.admin.schedules({ limit: 1_000 })).items.find(one => one.messageId === id)
      assert.ok(listed === undefined || listed.type === Do.type)
      await world.started(bus => void bus.queue(world.name('q')).handle(Do, one => seen.add(one.n)))
      assert.deepEqual(await seen.exactly(1), [1])
    },
  },
  {
    name: 'T4 a TTL that passes while waiting → discarded, or dead-lettered by option; a running handler is not disturbed',
    needs: world =>
      world.capabilities.deadLetter === 'none' && world.capabilities.ttl === 'native'
        ? 'the broker drops what expires and has no dead letters'
        : undefined,
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const [lax, strict] = [world.name('lax'), world.name('strict')]
      const seen = world.seen<string>()
      // Long enough for a busy machine to begin with it in time.
      const ttlMs = 500 + world.startMs
      let expiresAt = 0
      const bus = await world.started(bus => {
        bus.queue(lax).handle(Do, one => seen.add(`lax ${one.n}`))
        bus.queue(strict, { onExpired: 'dead-letter' }).handle(Do, async one => {
          await new Promise(resolve => setTimeout(resolve, expiresAt + 20 - performance.now()))
          seen.add(`strict ${one.n}`)
        })
      })
      await bus.queue(lax).pause()
      await bus.queue(strict).pause()
      await bus.publish(Do, { n: 1 }, { ttlMs: 40 })
      await new Promise(resolve => setTimeout(resolve, 80))
      await bus.queue(lax).resume()
      await bus.queue(strict).resume()
      assert.equal((await world.deadLetters(bus, strict, 1))[0]?.reason, 'expired')
      expiresAt = performance.now() + ttlMs
      await bus.publish(Do, { n: 2 }, { ttlMs })
      assert.deepEqual((await seen.exactly(2)).toSorted(), ['lax 2', 'strict 2'])
    },
  },
]
