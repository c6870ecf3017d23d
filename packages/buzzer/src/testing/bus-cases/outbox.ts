import assert from 'node:assert/strict'
import { portOf } from '../../bus/index.ts'
import { defineCommand, defineEvent } from '../../message/index.ts'
import { type BusCase, gate, once } from '../conformance/bus-world.ts'

interface Work {
  readonly n: number
}

const noStore: BusCase['needs'] = world => (world.hasStore ? undefined : 'no store')

export const outbox: readonly BusCase[] = [
  {
    name: 'X1 success → outputs in the order of the calls, after the handler’s end; failure → none of them',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const Out = defineCommand<Work>(world.name('out'))
      const seen = world.seen<number>()
      let ended = false
      const bus = await world.started(bus => {
        bus.queue(world.name('q'), { retry: { immediate: 1, delayedMs: [] } }).handle(Do, async (_, ctx) => {
          const from = ctx.attempt * 100
          void ctx.send(Out, { n: from })
          for (let n = 1; n < 10; n++) await ctx.send(Out, { n: from + n })
          if (ctx.attempt === 1) throw new Error('first run')
          await new Promise(resolve => setTimeout(resolve, 20))
          ended = true
        })
        bus
          .queue(world.name('out'), { orderBy: world.capabilities.ordering === 'none' ? 'none' : 'queue' })
          .handle(Out, one => {
            assert.ok(ended)
            seen.add(one.n)
          })
      })
      await bus.publish(Do, { n: 1 })
      assert.deepEqual(
        await seen.exactly(10),
        Array.from({ length: 10 }, (_, n) => 200 + n),
      )
    },
  },
  {
    name: 'X3 headers, key, priority, delay and TTL survive the outbox',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const Out = defineEvent<Work>(world.name('out'))
      const seen = world.seen<{ tenant: string | undefined; key: string | undefined; at: number; expires: boolean }>()
      let startedAt = 0
      const bus = await world.started(bus => {
        bus.queue(world.name('q')).handle(Do, async (_, ctx) => {
          startedAt = performance.now()
          await ctx.publish(Out, { n: 1 }, { headers: { tenant: 'a' }, key: 'k', delayMs: 60, ttlMs: 60_000 })
        })
        bus.queue(world.name('out')).handle(Out, (_, ctx) => {
          seen.add({
            tenant: ctx.headers['tenant'],
            key: ctx.key,
            at: performance.now(),
            expires: ctx.expiresAt !== undefined,
          })
        })
      })
      await bus.publish(Do, { n: 1 })
      const [first] = await seen.exactly(1)
      assert.deepEqual([first?.tenant, first?.key, first?.expires], ['a', 'k', true])
      assert.ok((first?.at ?? 0) - startedAt >= 59)
    },
  },
  {
    name: 'X4 { tx }: commit → delivered once, in order; rollback → never',
    needs: world =>
      world.capabilities.transactions === 'caller' && world.options.transaction !== undefined
        ? undefined
        : 'no transactions of the caller',
    run: async world => {
      const Do = defineCommand<Work>(world.name('do'))
      const seen = world.seen<number>()
      const bus = await world.started(bus => {
        bus.queue(world.name('q'), { orderBy: 'queue' }).handle(Do, one => seen.add(one.n))
      })
      const transaction = world.options.transaction
      assert.ok(transaction)
      await transaction(async tx => {
        for (let n = 0; n < 5; n++) await bus.send(Do, { n }, { tx })
        await world.quiet()
        assert.equal(seen.all.length, 0)
      })
      await transaction(async tx => {
        await bus.send(Do, { n: 99 }, { tx })
        throw new Error('rolled back')
      }).catch(() => {})
      assert.deepEqual(await seen.exactly(5), [0, 1, 2, 3, 4])
    },
  },
  {
    name: 'X4 enlist: rolled back → neither effect nor message; redelivered after the commit → not run twice',
    needs: world =>
      world.capabilities.transactions === 'caller' && world.options.transaction !== undefined
        ? undefined
        : 'no transactions of the caller',
    run: async world => {
      const Do = defineCommand<Work>(world.name('do'))
      const Out = defineEvent<Work>(world.name('out'))
      const seen = world.seen<number>()
      const transaction = world.options.transaction
      assert.ok(transaction)
      let commits = 0
      const bus = await world.started(bus => {
        bus.queue(world.name('q'), { retry: { immediate: 3, delayedMs: [] } }).handle(Do, async (one, ctx) => {
          await transaction(async tx => {
            await ctx.enlist(tx)
            await ctx.publish(Out, { n: ctx.attempt })
            if (ctx.attempt === 1) throw new Error('rolled back')
          })
          commits++
          // The transaction is committed; what fails now must not repeat it.
          if (ctx.attempt === 2) throw new Error('after the commit')
          assert.equal(one.n, 1)
        })
        bus.queue(world.name('out')).handle(Out, one => seen.add(one.n))
      })
      await bus.send(Do, { n: 1 })
      assert.deepEqual(await seen.exactly(1), [2])
      assert.equal(commits, 1)
    },
  },
  {
    name: 'X6 ctx.tx commits with the acknowledgement; a stale version fails the attempt and nothing leaves',
    needs: noStore,
    run: async world => {
      const Do = defineCommand<Work>(world.name('do'))
      const Out = defineEvent<Work>(world.name('out'))
      const collection = world.name('records')
      const seen = world.seen<number>()
      const bus = await world.started(bus => {
        bus.queue(world.name('q'), { retry: { immediate: 2, delayedMs: [] } }).handle(Do, async (one, ctx) => {
          const found = await ctx.tx.get<{ sum: number }>(collection, 'a')
          if (ctx.attempt === 1 && one.n === 2) {
            // Somebody else is faster.
            await bus.store?.commit([{ op: 'put', collection, id: 'a', value: { sum: 100 }, expected: 'any' }])
          }
          ctx.tx.put(collection, 'a', { sum: (found?.value.sum ?? 0) + one.n })
          await ctx.publish(Out, { n: ctx.attempt })
        })
        bus.queue(world.name('out')).handle(Out, one => seen.add(one.n))
      })
      await bus.send(Do, { n: 1 })
      await seen.atLeast(1)
      await bus.send(Do, { n: 2 })
      assert.deepEqual(await seen.exactly(2), [1, 2])
      assert.deepEqual((await bus.store?.get<{ sum: number }>(collection, 'a'))?.value, { sum: 102 })
    },
  },
  {
    name: 'X7 deduplicate: handled within the window → not run again; after a failure, in another queue, after the window → run',
    needs: noStore,
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const [one, two, by] = [world.name('one'), world.name('two'), world.name('by')]
      const seen = world.seen<string>()
      let failed = false
      const bus = await world.started(bus => {
        bus.queue(one, { ...once, deduplicate: { windowMs: 400 } }).handle(Do, work => {
          if (work.n === 9 && !failed) {
            failed = true
            throw new Error('first copy')
          }
          seen.add(`one ${work.n}`)
        })
        bus.queue(two, { deduplicate: 'id' }).handle(Do, work => seen.add(`two ${work.n}`))
        bus
          .queue(by, { deduplicate: { by: message => String((message as Work).n) } })
          .handle(Do, work => seen.add(`by ${work.n}`))
      })
      const messageId = world.name('m')
      for (let i = 0; i < 3; i++) await bus.publish(Do, { n: 1 }, { messageId })
      assert.deepEqual((await seen.exactly(3)).toSorted(), ['by 1', 'one 1', 'two 1'])
      await bus.publish(Do, { n: 1 })
      assert.deepEqual(
        (await seen.exactly(5)).toSorted().filter(text => text.startsWith('by')),
        ['by 1'],
      )
      await new Promise(resolve => setTimeout(resolve, 450))
      await bus.publish(Do, { n: 1 }, { messageId })
      assert.equal((await seen.exactly(6)).filter(text => text === 'one 1').length, 3)
      const again = world.name('m')
      await bus.publish(Do, { n: 9 }, { messageId: again })
      await world.deadLetters(bus, one, 1)
      await bus.publish(Do, { n: 9 }, { messageId: again })
      await world.until(() => seen.all.includes('one 9'), 'the second copy runs after a failure')
    },
  },
  {
    name: 'X7 while the first copy is running, a second waits for its outcome',
    needs: noStore,
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const seen = world.seen<number>()
      const { opened, open } = gate()
      const configure = (queue: string) => (bus: Parameters<Parameters<typeof world.started>[0]>[0]) => {
        bus.queue(queue, { deduplicate: 'id' }).handle(Do, async work => {
          seen.add(work.n)
          await opened
        })
      }
      const queue = world.name('q')
      const bus = await world.started(configure(queue))
      await world.started(configure(queue))
      const messageId = world.name('m')
      for (let i = 0; i < 4; i++) await bus.publish(Do, { n: 1 }, { messageId })
      await seen.exactly(1)
      open()
      await world.drained(bus, queue)
      await seen.exactly(1)
    },
  },
  {
    name: 'deduplicate at the send → a second copy with the same id is not even stored',
    needs: world => (world.capabilities.deduplication === 'none' ? 'no deduplication at the broker' : undefined),
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const seen = world.seen<number>()
      const bus = await world.started(bus => {
        bus.queue(world.name('q'), { deduplicate: { at: 'send', windowMs: 60_000 } }).handle(Do, one => seen.add(one.n))
      })
      const messageId = world.name('m')
      for (let n = 0; n < 3; n++) await bus.publish(Do, { n }, { messageId })
      await bus.publish(Do, { n: 7 })
      assert.deepEqual(await seen.exactly(2), [0, 7])
    },
  },
  {
    name: 'an emission that was not awaited belongs to the attempt: its failure fails it; a caught one does not',
    run: async world => {
      const Do = defineEvent<{ readonly how: string }>(world.name('do'))
      const Out = defineEvent<Work>(world.name('out'))
      const queue = world.name('q')
      const seen = world.seen<number>()
      const bus = await world.started(bus => {
        bus.queue(queue, once).handle(Do, async ({ how }, ctx) => {
          if (how === 'forgotten') void ctx.publish(Out, 10n as never)
          if (how === 'caught') await ctx.publish(Out, 10n as never).catch(() => {})
          void ctx.publish(Out, { n: how.length })
        })
        bus.queue(world.name('out')).handle(Out, one => seen.add(one.n))
      })
      await bus.publish(Do, { how: 'forgotten' })
      await bus.publish(Do, { how: 'caught' })
      assert.deepEqual(await seen.exactly(1), [6])
      const [letter] = await world.deadLetters(bus, queue, 1)
      assert.equal(letter?.error?.code, 'BUZZER_INVALID_MESSAGE')
    },
  },
  {
    name: 'a context used after its attempt → BUZZER_CONTEXT_CLOSED, and nothing leaves',
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const Out = defineEvent<Work>(world.name('out'))
      const codes = world.seen<unknown>()
      const seen = world.seen<Work>()
      const bus = await world.started(bus => {
        bus.queue(world.name('q')).handle(Do, (_, ctx) => {
          setTimeout(() => {
            void ctx.publish(Out, { n: 1 }).catch((error: unknown) => codes.add((error as { code?: string }).code))
          }, 20)
        })
        bus.queue(world.name('out')).handle(Out, one => seen.add(one))
      })
      await bus.publish(Do, { n: 1 })
      assert.deepEqual(await codes.exactly(1), ['BUZZER_CONTEXT_CLOSED'])
      await seen.exactly(0)
    },
  },
  {
    name: 'an output no queue can take makes it a failed attempt, judged by the table; nothing of the step happened',
    needs: world => (world.capabilities.transactions === 'none' ? 'no transactions' : undefined),
    run: async world => {
      const Do = defineEvent<Work>(world.name('do'))
      const Out = defineEvent<Work>(world.name('out'))
      const Nowhere = defineCommand<Work>(world.name('nowhere'))
      const queue = world.name('q')
      const [seen, runs] = [world.seen<number>(), world.seen<number>()]
      const bus = await world.started(bus => {
        bus.queue(queue, { retry: { immediate: 2, delayedMs: [] } }).handle(Do, async (_, ctx) => {
          runs.add(ctx.attempt)
          await ctx.publish(Out, { n: ctx.attempt })
          await ctx.send(Nowhere, { n: 1 })
        })
        bus.queue(world.name('out')).handle(Out, one => seen.add(one.n))
      })
      await bus.publish(Do, { n: 1 })
      const [letter] = await world.deadLetters(bus, queue, 1)
      assert.deepEqual([letter?.error?.code, letter?.reason], ['BUZZER_UNROUTABLE', 'not-retryable'])
      await runs.exactly(1)
      await seen.exactly(0)
    },
  },
  {
    name: 'the seam for trackers: turns ride on the settlement, a conflict asks again and never runs the handler twice',
    needs: noStore,
    run: async world => {
      const Do = defineCommand<Work>(world.name('do'))
      const queue = world.name('q')
      const collection = world.name('turns')
      const turns = world.seen<string>()
      let runs = 0
      const bus = await world.bus()
      const port = portOf(bus)
      let version: number | 'absent' = 'absent'
      port.track({
        name: 'suite',
        concerns: message => message.type === Do.type,
        starting: async message => {
          if (message.headers['skip'] === 'yes') return 'skip'
          return {}
        },
        turn: async (_, turn) => {
          turns.add(turn.as === 'succeeded' ? `succeeded ${JSON.stringify(turn.result)}` : turn.as)
          if (turn.as !== 'succeeded') return []
          const expected: number | 'absent' = version
          // The first answer is stale by the time it is settled.
          if (version === 'absent') {
            await bus.store?.commit([{ op: 'put', collection, id: 'a', value: 1, expected: 'any' }])
            version = 1
          }
          return [{ op: 'put', collection, id: 'a', value: 2, expected }]
        },
        settled() {},
        redriven: async () => {},
        progress: async () => {},
      })
      bus.queue(queue, { retry: { immediate: 1, delayedMs: [] } }).handle(Do, (_, ctx) => {
        runs++
        if (ctx.attempt === 1) throw new Error('once')
        return { answer: 42 }
      })
      await bus.start()
      await bus.send(Do, { n: 1 }, { headers: { skip: 'yes' } })
      await bus.send(Do, { n: 1 })
      assert.deepEqual(await turns.exactly(3), [
        'immediate-retry',
        'succeeded {"answer":42}',
        'succeeded {"answer":42}',
      ])
      await world.drained(bus, queue)
      assert.equal(runs, 2)
      assert.equal((await bus.store?.get(collection, 'a'))?.value, 2)
    },
  },
]
