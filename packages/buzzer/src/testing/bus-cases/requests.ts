import assert from 'node:assert/strict'
import { defineRequest, type StandardSchema } from '../../message/index.ts'
import { type BusCase, gate, once } from '../conformance/bus-world.ts'

const noRequests: BusCase['needs'] = world =>
  world.capabilities.temporaryQueues === 'none' ? 'no temporary queues, so no requests' : undefined

function anything<T>(): StandardSchema<T, T> {
  return { '~standard': { version: 1, vendor: 'suite', validate: value => ({ value: value as T }) } }
}

export const requests: readonly BusCase[] = [
  {
    name: 'Q1 a responder gives a typed answer, to another bus too; several kinds of answer are told apart by `as`',
    needs: noRequests,
    run: async world => {
      const Double = defineRequest<number, number>(world.name('double'))
      const Find = defineRequest(world.name('find'), {
        request: anything<string>(),
        responses: { found: anything<{ price: number }>(), missing: anything<string>() },
      })
      await world.started(bus => {
        bus
          .queue(world.name('q'))
          .handle(Double, n => n * 2)
          .handle(Find, id => (id === 'a' ? { as: 'found', value: { price: 3 } } : { as: 'missing', value: id }))
      })
      const asker = await world.started(() => {})
      assert.equal(await asker.request(Double, 21), 42)
      assert.deepEqual(await asker.request(Find, 'a'), { as: 'found', value: { price: 3 } })
      assert.deepEqual(await asker.request(Find, 'b'), { as: 'missing', value: 'b' })
    },
  },
  {
    name: 'Q2 nobody answers → timeout at the set time, and the request is gone from the queue',
    needs: noRequests,
    run: async world => {
      const queue = world.name('nobody')
      const Ask = defineRequest<number, number>(world.name('ask'), { queue })
      const asker = await world.started(() => {})
      const startedAt = performance.now()
      await world.rejects(asker.request(Ask, 1, { timeoutMs: 80 }), 'BUZZER_REQUEST_TIMEOUT')
      assert.ok(performance.now() - startedAt >= 79)
      await world.drained(asker, queue)
    },
  },
  {
    name: 'Q3 the responder throws → RequestFaultError with the remote message; immediate runs apply, no dead letter',
    needs: noRequests,
    run: async world => {
      const Ask = defineRequest<number, number>(world.name('ask'))
      const queue = world.name('q')
      let runs = 0
      const bus = await world.started(bus => {
        bus.queue(queue, { retry: { immediate: 2, delayedMs: [60_000] } }).handle(Ask, () => {
          runs++
          throw new Error('no such thing')
        })
      })
      const error = await world.rejects(bus.request(Ask, 1), 'BUZZER_REQUEST_FAULT')
      assert.match(error.message, /no such thing/)
      assert.equal(runs, 3)
      await world.drained(bus, queue)
      assert.equal((await bus.admin.deadLetters(queue).list()).items.length, 0)
    },
  },
  {
    name: 'Q3 an undecodable or unhandled request is answered with a fault too',
    needs: noRequests,
    run: async world => {
      const queue = world.name('q')
      const Ask = defineRequest<number, number>(world.name('ask'), { queue })
      const Other = defineRequest<number, number>(world.name('other'))
      const bus = await world.started(bus => void bus.queue(queue, once).handle(Other, n => n))
      const error = await world.rejects(bus.request(Ask, 1), 'BUZZER_REQUEST_FAULT')
      assert.match(error.message, /no-handler/)
    },
  },
  {
    name: 'Q4 abort before and during → BUZZER_ABORTED; no route → BUZZER_UNROUTABLE at once; a late answer is dropped',
    needs: noRequests,
    run: async world => {
      const Slow = defineRequest<number, number>(world.name('slow'))
      const Nowhere = defineRequest<number, number>(world.name('nowhere'))
      const { opened, open } = gate()
      const bus = await world.started(
        bus =>
          void bus.queue(world.name('q')).handle(Slow, async n => {
            await opened
            return n
          }),
      )
      await world.rejects(bus.request(Slow, 1, { signal: AbortSignal.abort() }), 'BUZZER_ABORTED')
      const controller = new AbortController()
      const during = world.rejects(bus.request(Slow, 2, { signal: controller.signal }), 'BUZZER_ABORTED')
      await world.quiet()
      controller.abort()
      await during
      if (world.capabilities.mandatory === 'native') await world.rejects(bus.request(Nowhere, 1), 'BUZZER_UNROUTABLE')
      open()
      assert.equal(await bus.request(Slow, 3), 3)
    },
  },
  {
    name: 'Q4 stopping the bus rejects what waits with BUZZER_NOT_RUNNING',
    needs: noRequests,
    run: async world => {
      const Ask = defineRequest<number, number>(world.name('ask'), { queue: world.name('nobody') })
      const bus = await world.started(() => {})
      const waiting = world.rejects(bus.request(Ask, 1), 'BUZZER_NOT_RUNNING')
      await world.quiet()
      await bus.stop()
      await waiting
    },
  },
]
