import assert from 'node:assert/strict'
import { memoryBlobs } from '../../bus/index.ts'
import { defineCommand, defineEvent } from '../../message/index.ts'
import { type BusCase, once } from '../conformance/bus-world.ts'

interface Work {
  readonly n: number
}

export const middleware: readonly BusCase[] = [
  {
    name: 'M1 middleware: bus before queue, in order, once per attempt; an error in one fails the attempt',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const queue = world.name('q')
      const told = world.seen<string>()
      const bus = await world.started(bus => {
        bus.use(async (_, ctx, next) => {
          told.add(`bus ${ctx.attempt}`)
          return next()
        })
        bus
          .queue(queue, { retry: { immediate: 1, delayedMs: [] } })
          .use(async (_, ctx, next) => {
            told.add('queue')
            if (ctx.attempt === 1) throw new Error('not yet')
            return next()
          })
          .handle(Do, () => told.add('handler'))
      })
      await bus.publish(Do, { n: 1 })
      assert.deepEqual(await told.exactly(5), ['bus 1', 'queue', 'bus 2', 'queue', 'handler'])
    },
  },
  {
    name: 'M1 outgoing middleware adds a header on bus and context; one that throws fails the send',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const Out = defineEvent<Work>(world.name('out'))
      const seen = world.seen<string | undefined>()
      const bus = await world.started(bus => {
        bus.useOutgoing(async (draft, next) => {
          if ((draft.message as Work).n < 0) throw new Error('refused')
          draft.headers['tenant'] = `t${(draft.message as Work).n}`
          await next()
        })
        bus.queue(world.name('q')).handle(Do, async (_, ctx) => {
          seen.add(ctx.headers['tenant'])
          await ctx.publish(Out, { n: 2 })
        })
        bus.queue(world.name('out')).handle(Out, (_, ctx) => seen.add(ctx.headers['tenant']))
      })
      await bus.publish(Do, { n: 1 })
      assert.deepEqual(await seen.exactly(2), ['t1', 't2'])
      await assert.rejects(bus.publish(Do, { n: -1 }), /refused/)
    },
  },
  {
    name: 'M2 without a telemetry SDK the trace goes on through handlers',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const Out = defineCommand<Work>(world.name('out'))
      const [queue, out] = [world.name('q'), world.name('out')]
      const bus = await world.started(bus => {
        bus.queue(queue).handle(Do, (_, ctx) => ctx.send(Out, { n: 2 }).then(() => {}))
        bus.queue(out, once).handle(Out, () => {
          throw new Error('to be looked at')
        })
      })
      const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
      await bus.publish(Do, { n: 1 }, { headers: { traceparent, tracestate: 'a=b' } })
      const [letter] = await world.deadLetters(bus, out, 1)
      assert.deepEqual([letter?.attributes['traceparent'], letter?.attributes['tracestate']], [traceparent, 'a=b'])
    },
  },
  {
    name: 'M3 a body above the threshold lies outside, one below inside; a missing blob → claim-missing',
    run: async world => {
      const Do = defineCommand<{ readonly text: string }>(world.name('do'))
      const queue = world.name('q')
      const blobs = memoryBlobs()
      const kept = new Set<string>()
      const seen = world.seen<{ length: number; outside: boolean }>()
      const watched = {
        ...blobs,
        put: (...given: Parameters<typeof blobs.put>) => (kept.add(given[0]), blobs.put(...given)),
      }
      const bus = await world.started(
        bus => {
          bus.queue(queue).handle(Do, (one, ctx) => {
            seen.add({ length: one.text.length, outside: ctx.body.length === 0 })
          })
        },
        { claimCheck: { blobs: watched, thresholdBytes: 1_000 } },
      )
      await bus.send(Do, { text: 'x'.repeat(10) })
      await seen.atLeast(1)
      await bus.send(Do, { text: 'x'.repeat(2_000) })
      assert.deepEqual(await seen.exactly(2), [
        { length: 10, outside: false },
        { length: 2_000, outside: true },
      ])
      assert.equal(kept.size, 1)
      await bus.queue(queue).pause()
      const id = await bus.send(Do, { text: 'y'.repeat(2_000) })
      await blobs.delete(id)
      await bus.queue(queue).resume()
      const [letter] = await world.deadLetters(bus, queue, 1)
      assert.deepEqual([letter?.reason, letter?.error?.code], ['claim-missing', 'BUZZER_CLAIM_MISSING'])
    },
  },
]
