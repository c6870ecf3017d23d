import assert from 'node:assert/strict'
import { anyFault, faultOf } from '../../bus/index.ts'
import { BuzzerError, DeadLetterError, defineCommand, defineEvent, RetryLaterError } from '../../message/index.ts'
import { type BusCase, once } from '../conformance/bus-world.ts'

interface Work {
  readonly n: number
}

/** Answers by the message of the error, and throws itself when that is asked for. */
function decide(error: unknown): 'default' | 'dead-letter' | { delayMs: number } {
  const how = (error as Error).message
  if (how === 'throws') throw new Error('decide is broken')
  return how === 'dead-letter' ? 'dead-letter' : how === 'delay' ? { delayMs: 5 } : 'default'
}

export const failure: readonly BusCase[] = [
  {
    name: 'F1 retry none and a handler that throws → one run, one dead letter, one fault',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const queue = world.name('q')
      const faults = world.seen<string>()
      let runs = 0
      const bus = await world.started(bus => {
        bus.queue(queue, once).handle(Do, () => {
          runs++
          throw new Error('broken')
        })
        bus
          .queue(world.name('faults'))
          .handle(faultOf(Do), fault => faults.add(`${fault.reason} ${fault.errors[0]?.message}`))
      })
      await bus.publish(Do, { n: 1 })
      assert.deepEqual(await faults.exactly(1), ['retries-exhausted broken'])
      assert.equal(runs, 1)
      await world.deadLetters(bus, queue, 1)
    },
  },
  {
    name: 'F2 immediate runs: success at the third → three runs, no fault, no dead letter; attempts count up',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const queue = world.name('q')
      const attempts = world.seen<number>()
      const faults = world.seen<unknown>()
      const bus = await world.started(bus => {
        bus.queue(queue, { retry: { immediate: 3 } }).handle(Do, (_, ctx) => {
          attempts.add(ctx.attempt)
          if (ctx.attempt < 3) throw new Error('not yet')
        })
        bus.queue(world.name('faults')).handle(faultOf(Do), fault => faults.add(fault))
      })
      await bus.publish(Do, { n: 1 })
      assert.deepEqual(await attempts.exactly(3), [1, 2, 3])
      await faults.exactly(0)
      await world.drained(bus, queue)
    },
  },
  {
    name: 'F2 a message that always fails runs (immediate + 1) × (rounds) times, its attempts counted through',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const queue = world.name('q')
      const attempts = world.seen<number>()
      const bus = await world.started(bus => {
        bus.queue(queue, { retry: { immediate: 1, delayedMs: [5, 5] } }).handle(Do, (_, ctx) => {
          attempts.add(ctx.attempt)
          throw new Error('always')
        })
      })
      await bus.publish(Do, { n: 1 })
      assert.deepEqual(await attempts.exactly(6), [1, 2, 3, 4, 5, 6])
      assert.equal((await world.deadLetters(bus, queue, 1))[0]?.attempts, 6)
    },
  },
  {
    name: 'F3 a handler’s policy replaces the queue’s, never their product',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const queue = world.name('q')
      let runs = 0
      const bus = await world.started(bus => {
        bus.queue(queue, { retry: { immediate: 5, delayedMs: [1, 1] } }).handle(
          Do,
          () => {
            runs++
            throw new Error('always')
          },
          { retry: { immediate: 1, delayedMs: [] } },
        )
      })
      await bus.publish(Do, { n: 1 })
      await world.deadLetters(bus, queue, 1)
      assert.equal(runs, 2)
    },
  },
  {
    name: 'F4 delayed rounds wait at least as long as stated; jitter only lengthens',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const times = world.seen<number>()
      const bus = await world.started(bus => {
        bus.queue(world.name('q'), { retry: { immediate: 0, delayedMs: [40, 80], jitter: 1 } }).handle(Do, () => {
          times.add(performance.now())
          throw new Error('always')
        })
      })
      await bus.publish(Do, { n: 1 })
      const [first, second, third] = await times.exactly(3)
      // Half of the jitter is drawn: 60 and 120.
      assert.ok((second ?? 0) - (first ?? 0) >= 58, `${(second ?? 0) - (first ?? 0)} ms`)
      assert.ok((third ?? 0) - (second ?? 0) >= 118, `${(third ?? 0) - (second ?? 0)} ms`)
    },
  },
  {
    name: 'F5 RetryLaterError skips the immediate runs and waits as asked; in the last round it is a dead letter',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const queue = world.name('q')
      const seen = world.seen<{ attempt: number; at: number }>()
      const bus = await world.started(bus => {
        bus.queue(queue, { retry: { immediate: 3, delayedMs: [60_000] } }).handle(Do, (_, ctx) => {
          seen.add({ attempt: ctx.attempt, at: performance.now() })
          throw new Error('wrapped', { cause: new RetryLaterError(50) })
        })
      })
      await bus.publish(Do, { n: 1 })
      const [first, second] = await seen.exactly(2)
      assert.deepEqual([first?.attempt, second?.attempt], [1, 5])
      assert.ok((second?.at ?? 0) - (first?.at ?? 0) >= 49)
      assert.equal((await world.deadLetters(bus, queue, 1))[0]?.reason, 'retries-exhausted')
    },
  },
  {
    name: 'F5 decide: dead-letter, its own delay, default; one that throws counts as default',
    run: async world => {
      const Do = defineEvent<{ readonly how: string }>(world.name('do'))
      const queue = world.name('q')
      const runs = new Map<string, number>()
      const bus = await world.started(bus => {
        bus.queue(queue, { retry: { immediate: 1, delayedMs: [10], decide } }).handle(Do, ({ how }) => {
          runs.set(how, (runs.get(how) ?? 0) + 1)
          throw new Error(how)
        })
      })
      for (const how of ['dead-letter', 'delay', 'default', 'throws']) await bus.publish(Do, { how })
      const letters = await world.deadLetters(bus, queue, 4)
      assert.deepEqual(Object.fromEntries(runs), { 'dead-letter': 1, delay: 2, default: 4, throws: 4 })
      assert.equal(letters.find(letter => letter.error?.message === 'dead-letter')?.reason, 'not-retryable')
    },
  },
  {
    name: 'F5 DeadLetterError and errors that are not retryable → dead letter at once, with reason and detail',
    run: async world => {
      const Do = defineEvent<{ readonly how: string }>(world.name('do'))
      const queue = world.name('q')
      let runs = 0
      const bus = await world.started(bus => {
        bus.queue(queue).handle(Do, ({ how }, ctx) => {
          runs++
          if (how === 'ctx') ctx.deadLetter('unpayable', { account: 'x' })
          if (how === 'thrown') throw new Error('outer', { cause: new DeadLetterError('closed') })
          throw new BuzzerError('BUZZER_SOMETHING', 'mine', { retryable: false })
        })
      })
      for (const how of ['ctx', 'thrown', 'other']) await bus.publish(Do, { how })
      const letters = await world.deadLetters(bus, queue, 3)
      assert.deepEqual(letters.map(letter => letter.reason).toSorted(), ['closed', 'not-retryable', 'unpayable'])
      assert.deepEqual(letters.find(letter => letter.reason === 'unpayable')?.detail, { account: 'x' })
      assert.equal(runs, 3)
    },
  },
  {
    name: 'F6 defer → outputs leave, back after the delay with deferrals 1 and attempt 1; void when the handler throws',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const Said = defineEvent<Work>(world.name('said'))
      const seen = world.seen<{ deferrals: number; attempt: number; at: number; id: string }>()
      const said = world.seen<number>()
      const bus = await world.started(bus => {
        bus.queue(world.name('q'), { retry: { immediate: 1, delayedMs: [] } }).handle(Do, async (_, ctx) => {
          seen.add({ deferrals: ctx.deferrals, attempt: ctx.attempt, at: performance.now(), id: ctx.id })
          if (ctx.deferrals > 0) return
          ctx.defer(60)
          await ctx.publish(Said, { n: ctx.attempt })
          if (ctx.attempt === 1) throw new Error('after all')
        })
        bus.queue(world.name('said')).handle(Said, one => said.add(one.n))
      })
      const id = await bus.publish(Do, { n: 1 }, { headers: { tenant: 'a' } })
      const [first, second, third] = await seen.exactly(3)
      assert.deepEqual([first?.attempt, second?.attempt, third?.attempt, third?.deferrals], [1, 2, 1, 1])
      assert.equal(third?.id, id)
      assert.ok((third?.at ?? 0) - (second?.at ?? 0) >= 59)
      assert.deepEqual(await said.exactly(1), [2])
    },
  },
  {
    name: 'F7 a dead letter tells type, error, causes, stack, queue, attempts, time, host, all ids, original bytes',
    run: async world => {
      const Do = defineCommand<Work>(world.name('do'), { correlationId: one => `c-${one.n}`, key: one => `k-${one.n}` })
      const queue = world.name('q')
      const bus = await world.started(bus => {
        bus.queue(queue, once).handle(Do, () => {
          throw new TypeError('order 41 of "x" failed', { cause: new BuzzerError('BUZZER_SEND_FAILED', 'below') })
        })
      })
      const before = Date.now()
      const ids = [await bus.send(Do, { n: 41 }, { headers: { tenant: 'a' } }), await bus.send(Do, { n: 42 })]
      const letters = await world.deadLetters(bus, queue, 2)
      const letter = letters.find(one => one.messageId === ids[0])
      assert.ok(letter)
      assert.deepEqual(
        [
          letter.type,
          letter.queue,
          letter.reason,
          letter.attempts,
          letter.key,
          letter.correlationId,
          letter.conversationId,
        ],
        [Do.type, queue, 'retries-exhausted', 1, 'k-41', 'c-41', ids[0]],
      )
      assert.deepEqual([letter.error?.name, letter.error?.message], ['TypeError', 'order 41 of "x" failed'])
      assert.match(letter.error?.stack ?? '', /failure/)
      assert.equal(letter.error?.causes[0]?.code, 'BUZZER_SEND_FAILED')
      assert.deepEqual([letter.host.bus, letter.host.pid], ['suite', process.pid])
      assert.ok(letter.deadAt.getTime() >= before - 1 && letter.deadAt.getTime() <= Date.now())
      assert.equal(Buffer.from(letter.body).toString(), '{"n":41}')
      assert.deepEqual([letter.data, letter.headers['tenant']], [{ n: 41 }, 'a'])
      assert.match(letter.fingerprint, /^[0-9a-f]{16}$/)
      assert.equal(new Set(letters.map(one => one.fingerprint)).size, 1)
    },
  },
  {
    name: 'F8 a type without handler → no-handler; the queue lives on; discard → acknowledged',
    run: async world => {
      const Known = defineCommand<Work>(world.name('known'))
      const Unknown = defineCommand<Work>(world.name('unknown'))
      const [strict, lax] = [world.name('strict'), world.name('lax')]
      const seen = world.seen<number>()
      const bus = await world.started(bus => {
        bus.queue(strict).handle(Known, one => seen.add(one.n))
        bus.queue(lax, { onUnknownMessage: 'discard' }).handle(defineCommand<Work>(world.name('k')), () => {})
      })
      await bus.send(Unknown, { n: 1 }, { to: strict })
      await bus.send(Unknown, { n: 1 }, { to: lax })
      await bus.send(Known, { n: 2 })
      assert.deepEqual(await seen.exactly(1), [2])
      assert.equal((await world.deadLetters(bus, strict, 1))[0]?.reason, 'no-handler')
      await world.drained(bus, lax)
      assert.equal((await bus.admin.deadLetters(lax).list()).items.length, 0)
    },
  },
  {
    name: 'F9 fault of T, fault of its base and anyFault subscribers → each gets it once; faults none → dead letter only',
    run: async world => {
      const Base = defineEvent<Work>(world.name('base'))
      const Derived = defineEvent<Work>(world.name('derived'), { extends: [Base] })
      const queue = world.name('q')
      const seen = world.seen<string>()
      const bus = await world.started(bus => {
        bus.queue(queue, once).handle(Derived, () => {
          throw new Error('broken')
        })
        bus.queue(world.name('f')).handle(faultOf(Derived), fault => seen.add(`own ${fault.message?.n}`))
        bus.queue(world.name('f')).handle(faultOf(Base), fault => seen.add(`base ${fault.message?.n}`))
        bus.queue(world.name('f')).handle(anyFault, fault => {
          // Other cases of the suite have faults too.
          if (fault.messageType === Derived.type) seen.add(`any ${fault.queue === queue}`)
        })
      })
      const silent = await world.started(() => {}, { faults: 'none' })
      await bus.publish(Derived, { n: 7 })
      assert.deepEqual((await seen.exactly(3)).toSorted(), ['any true', 'base 7', 'own 7'])
      assert.equal(silent.name, 'suite')
    },
  },
  {
    name: 'F9 a fault that fails makes no further fault, and lies in the dead letters of its queue',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const [queue, faulty] = [world.name('q'), world.name('faulty')]
      let runs = 0
      const bus = await world.started(bus => {
        bus.queue(queue, once).handle(Do, () => {
          throw new Error('broken')
        })
        bus.queue(faulty, once).handle(faultOf(Do), () => {
          runs++
          throw new Error('broken too')
        })
      })
      await bus.publish(Do, { n: 1 })
      await world.deadLetters(bus, faulty, 1)
      await world.quiet()
      assert.equal(runs, 1)
    },
  },
  {
    name: 'F10 a fault that no queue can take → dead letter all the same',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const [queue, full] = [world.name('q'), world.name('full')]
      const bus = await world.started(bus => {
        bus.queue(queue, once).handle(Do, () => {
          throw new Error('broken')
        })
        bus.queue(full, { maxMessages: 1 }).handle(faultOf(Do), () => {})
      })
      await bus.queue(full).pause()
      for (let n = 0; n < 3; n++) await bus.publish(Do, { n })
      await world.deadLetters(bus, queue, 3)
      assert.equal((await bus.admin.queues()).find(one => one.name === full)?.ready, 1)
    },
  },
  {
    name: 'F12 timeout → the signal aborts with BUZZER_HANDLER_TIMEOUT and the attempt has failed, settled or not',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const queue = world.name('q')
      const reasons = world.seen<unknown>()
      const bus = await world.started(bus => {
        bus.queue(queue, { retry: 'none', timeoutMs: 40 }).handle(Do, async (_, ctx) => {
          ctx.signal.addEventListener('abort', () => reasons.add((ctx.signal.reason as { code?: string }).code))
          await new Promise(() => {})
        })
      })
      await bus.publish(Do, { n: 1 })
      const [letter] = await world.deadLetters(bus, queue, 1)
      assert.equal(letter?.error?.code, 'BUZZER_HANDLER_TIMEOUT')
      assert.deepEqual(await reasons.exactly(1), ['BUZZER_HANDLER_TIMEOUT'])
    },
  },
  {
    name: 'F12 the handler’s own abort error is an ordinary failure',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const queue = world.name('q')
      const bus = await world.started(bus => {
        bus.queue(queue, once).handle(Do, () => AbortSignal.abort().throwIfAborted())
      })
      await bus.publish(Do, { n: 1 })
      assert.equal((await world.deadLetters(bus, queue, 1))[0]?.error?.name, 'AbortError')
    },
  },
  {
    name: 'anything may be thrown: undefined, text, an object that cannot be shown',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const queue = world.name('q')
      const circular: { self?: unknown } = {}
      circular.self = circular
      const thrown: unknown[] = [undefined, 'text', circular, null]
      const bus = await world.started(bus => {
        bus.queue(queue, once).handle(Do, ({ n }) => {
          throw thrown[n]
        })
      })
      for (let n = 0; n < thrown.length; n++) await bus.publish(Do, { n })
      await world.deadLetters(bus, queue, thrown.length)
    },
  },
]
