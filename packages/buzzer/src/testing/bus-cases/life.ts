import assert from 'node:assert/strict'
import { defineCommand, defineEvent } from '../../message/index.ts'
import { type BusCase, gate, once } from '../conformance/bus-world.ts'

interface Work {
  readonly n: number
}

export const life: readonly BusCase[] = [
  {
    name: 'L1 second start and second stop are harmless; sends before and after are BUZZER_NOT_RUNNING; start after stop is refused',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const bus = await world.bus()
      await world.rejects(bus.publish(Do, { n: 1 }), 'BUZZER_NOT_RUNNING')
      const start = bus.start()
      assert.equal(bus.start(), start)
      await start
      const stop = bus.stop()
      assert.equal(bus.stop(), stop)
      await stop
      await world.rejects(bus.publish(Do, { n: 1 }), 'BUZZER_NOT_RUNNING')
      await world.rejects(bus.start(), 'BUZZER_NOT_RUNNING')
      assert.equal((await bus.health()).status, 'unhealthy')
    },
  },
  {
    name: 'L1 stop during start ends both; a new bus on the same broker goes on where the old one stopped',
    run: async world => {
      const Do = defineCommand<Work>(world.name('do'), { queue: world.name('q') })
      const early = await world.bus()
      const starting = early.start().catch(() => {})
      await early.stop()
      await starting
      const first = await world.started(() => {})
      await first.send(Do, { n: 1 })
      await first.stop()
      const seen = world.seen<number>()
      await world.started(bus => void bus.queue(Do.queue ?? '').handle(Do, one => seen.add(one.n)))
      assert.deepEqual(await seen.exactly(1), [1])
    },
  },
  {
    name: 'stop drains: what runs finishes with a working context and is acknowledged, what has not begun stays in the broker',
    run: async world => {
      const Do = defineCommand<Work>(world.name('do'))
      const Out = defineCommand<Work>(world.name('out'), { queue: world.name('out') })
      const queue = world.name('q')
      const started = world.seen<number>()
      const { opened, open } = gate()
      const bus = await world.started(bus => {
        bus.queue(queue, { concurrency: 1, prefetch: 4 }).handle(Do, async (one, ctx) => {
          started.add(one.n)
          await opened
          await ctx.send(Out, { n: one.n })
        })
      })
      for (let n = 0; n < 3; n++) await bus.send(Do, { n })
      await started.atLeast(1)
      const stopping = bus.stop()
      await world.rejects(bus.send(Do, { n: 9 }), 'BUZZER_NOT_RUNNING')
      await world.quiet()
      open()
      await stopping
      assert.deepEqual(started.all, [0])
      const seen = world.seen<string>()
      await world.started(bus => {
        bus.queue(queue).handle(Do, (one, ctx) => seen.add(`do ${one.n} ${ctx.attempt}`))
        bus.queue(Out.queue ?? '').handle(Out, one => seen.add(`out ${one.n}`))
      })
      assert.deepEqual((await seen.exactly(3)).toSorted(), ['do 1 1', 'do 2 1', 'out 0'])
    },
  },
  {
    name: 'L4 a handler that fails after its signal aborted at the stop → released: no attempt spent, no dead letter',
    run: async world => {
      const Do = defineCommand<Work>(world.name('do'))
      const queue = world.name('q')
      const started = world.seen<number>()
      const reasons: unknown[] = []
      const bus = await world.started(bus => {
        bus.queue(queue, once).handle(Do, (one, ctx) => {
          started.add(one.n)
          return new Promise((_, reject) => {
            ctx.signal.addEventListener('abort', () => {
              reasons.push((ctx.signal.reason as { code?: string }).code)
              reject(new Error('interrupted'))
            })
          })
        })
      })
      await bus.send(Do, { n: 1 })
      await started.atLeast(1)
      await bus.stop({ timeoutMs: 50 })
      assert.deepEqual(reasons, ['BUZZER_STOPPING'])
      const seen = world.seen<number>()
      const next = await world.started(bus => void bus.queue(queue).handle(Do, (_, ctx) => seen.add(ctx.attempt)))
      assert.deepEqual(await seen.exactly(1), [1])
      assert.equal((await next.admin.deadLetters(queue).list()).items.length, 0)
    },
  },
  {
    name: 'L5 a queue defined after the start works once started; handle after its start is refused',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const seen = world.seen<number>()
      const bus = await world.started(() => {})
      const queue = bus.queue(world.name('q')).handle(Do, one => seen.add(one.n))
      await queue.start()
      await bus.publish(Do, { n: 1 })
      assert.deepEqual(await seen.exactly(1), [1])
      assert.throws(() => queue.handle(defineEvent<Work>(world.name('other')), () => {}), {
        code: 'BUZZER_QUEUE_STARTED',
      })
      assert.equal(bus.queue(queue.name), queue)
    },
  },
  {
    name: 'L3 health is healthy while everything runs and names what does not',
    run: async world => {
      const queue = world.name('q')
      const bus = await world.started(
        bus => void bus.queue(queue).handle(defineEvent<Work>(world.name('do')), () => {}),
      )
      assert.equal((await bus.health()).status, 'healthy')
      await bus.queue(queue).stop()
      const health = await bus.health()
      assert.equal(health.status, 'degraded')
      assert.equal(health.queues[0]?.state, 'stopped')
    },
  },
  {
    name: 'attached parts start after the queues and stop first, last attached first, while the bus still works',
    run: async world => {
      const Do = defineCommand<Work>(world.name('do'), { queue: world.name('q') })
      const bus = await world.bus()
      const told: string[] = []
      for (const name of ['one', 'two']) {
        bus.attach({
          name,
          start: async () => void told.push(`start ${name}`),
          stop: async () => {
            await bus.send(Do, { n: 1 })
            told.push(`stop ${name}`)
          },
        })
      }
      await bus.start()
      await bus.stop()
      assert.deepEqual(told, ['start one', 'start two', 'stop two', 'stop one'])
    },
  },
]
