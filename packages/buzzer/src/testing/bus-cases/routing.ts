import assert from 'node:assert/strict'
import { defineCommand, defineEvent, defineRequest } from '../../message/index.ts'
import { type BusCase, gate, once } from '../conformance/bus-world.ts'

interface Order {
  readonly id: string
}

export const routing: readonly BusCase[] = [
  {
    name: 'R1 two queues handle an event → each gets it once, with equal content',
    run: async world => {
      const Placed = defineEvent<Order>(world.name('placed'))
      const seen = world.seen<string>()
      const bus = await world.started(bus => {
        bus.queue(world.name('a')).handle(Placed, order => seen.add(`a:${order.id}`))
        bus.queue(world.name('b')).handle(Placed, order => seen.add(`b:${order.id}`))
      })
      await bus.publish(Placed, { id: '42' })
      assert.deepEqual((await seen.exactly(2)).toSorted(), ['a:42', 'b:42'])
    },
  },
  {
    name: 'R2 two instances on one queue → each message is handled by exactly one',
    run: async world => {
      const Placed = defineEvent<Order>(world.name('placed'))
      const queue = world.name('shared')
      const seen = world.seen<string>()
      const one = await world.started(bus => void bus.queue(queue).handle(Placed, order => seen.add(order.id)))
      await world.started(bus => void bus.queue(queue).handle(Placed, order => seen.add(order.id)))
      await Promise.all(Array.from({ length: 50 }, (_, i) => one.publish(Placed, { id: String(i) })))
      assert.equal(new Set(await seen.exactly(50)).size, 50)
    },
  },
  {
    name: 'R2 perInstance → every instance gets every publish',
    needs: world => (world.capabilities.temporaryQueues === 'none' ? 'no temporary queues' : undefined),
    run: async world => {
      const Placed = defineEvent<Order>(world.name('placed'))
      const queue = world.name('each')
      const seen = world.seen<string>()
      const one = await world.started(
        bus => void bus.queue(queue, { perInstance: true }).handle(Placed, () => seen.add('one')),
      )
      await world.started(bus => void bus.queue(queue, { perInstance: true }).handle(Placed, () => seen.add('two')))
      await one.publish(Placed, { id: '1' })
      assert.deepEqual((await seen.exactly(2)).toSorted(), ['one', 'two'])
    },
  },
  {
    name: 'R3 a derived event over three levels → handlers of all bases get it, one copy per queue, most specific handler',
    run: async world => {
      const Base = defineEvent<Order>(world.name('base'))
      const Middle = defineEvent<Order>(world.name('middle'), { extends: [Base] })
      const Derived = defineEvent<Order & { readonly extra: number }>(world.name('derived'), { extends: [Middle] })
      const seen = world.seen<string>()
      const bus = await world.started(bus => {
        bus.queue(world.name('base')).handle(Base, order => seen.add(`base:${order.id}`))
        bus
          .queue(world.name('both'))
          .handle(Base, () => seen.add('wrong'))
          .handle(Middle, order => seen.add(`middle:${order.id}`))
      })
      await bus.publish(Derived, { id: '7', extra: 1 })
      assert.deepEqual((await seen.exactly(2)).toSorted(), ['base:7', 'middle:7'])
    },
  },
  {
    name: 'R4 send with `to` → only that queue, even when another handles the command',
    run: async world => {
      const Ship = defineCommand<Order>(world.name('ship'))
      const [own, other] = [world.name('own'), world.name('other')]
      const seen = world.seen<string>()
      const bus = await world.started(bus => void bus.queue(own).handle(Ship, () => seen.add('own')))
      const third = await world.bus()
      await third.start()
      await bus.send(Ship, { id: '1' }, { to: other })
      await seen.exactly(0)
      assert.equal((await bus.admin.queues()).find(one => one.name === other)?.ready, 1)
    },
  },
  {
    name: 'R5 a command goes to the contract’s queue, declared by name before any worker has run',
    run: async world => {
      const queue = world.name('worker')
      const Ship = defineCommand<Order>(world.name('ship'), { queue })
      const sender = await world.started(() => {})
      await sender.send(Ship, { id: '1' })
      const seen = world.seen<string>()
      await world.started(
        bus => void bus.queue(queue, { orderBy: 'none', concurrency: 2 }).handle(Ship, one => seen.add(one.id)),
      )
      assert.deepEqual(await seen.exactly(1), ['1'])
    },
  },
  {
    name: 'R5 a command without queue goes to the own handler, else to the one another process bound',
    run: async world => {
      const Ship = defineCommand<Order>(world.name('ship'))
      const seen = world.seen<string>()
      const worker = await world.started(
        bus => void bus.queue(world.name('ship')).handle(Ship, one => seen.add(one.id)),
      )
      const sender = await world.started(() => {})
      await worker.send(Ship, { id: 'own' })
      await sender.send(Ship, { id: 'other' })
      assert.deepEqual((await seen.exactly(2)).toSorted(), ['other', 'own'])
    },
  },
  {
    name: 'R6 match on key and on header → only matching messages run, the rest leaves nothing behind',
    run: async world => {
      const Placed = defineEvent<Order>(world.name('placed'))
      const queue = world.name('gold')
      const seen = world.seen<string>()
      const bus = await world.started(
        bus =>
          void bus
            .queue(queue)
            .handle(Placed, one => seen.add(one.id), { match: { key: 'k', headers: { tier: 'gold' } } }),
      )
      await bus.publish(Placed, { id: 'no-header' }, { key: 'k' })
      await bus.publish(Placed, { id: 'no-key' }, { headers: { tier: 'gold' } })
      await bus.publish(Placed, { id: 'both' }, { key: 'k', headers: { tier: 'gold' } })
      assert.deepEqual(await seen.exactly(1), ['both'])
      await world.drained(bus, queue)
      assert.equal((await bus.admin.deadLetters(queue).list()).items.length, 0)
    },
  },
  {
    name: 'R7 an event nobody handles is accepted; mandatory, or a command, it is BUZZER_UNROUTABLE',
    needs: world => (world.capabilities.mandatory === 'none' ? 'no mandatory sends' : undefined),
    run: async world => {
      const Placed = defineEvent<Order>(world.name('placed'))
      const Ship = defineCommand<Order>(world.name('ship'))
      const bus = await world.started(() => {})
      assert.equal(typeof (await bus.publish(Placed, { id: '1' })), 'string')
      await world.rejects(bus.publish(Placed, { id: '1' }, { mandatory: true }), 'BUZZER_UNROUTABLE')
      await world.rejects(bus.send(Ship, { id: '1' }), 'BUZZER_UNROUTABLE')
    },
  },
  {
    name: 'R8 an aborted signal → the publish rejects BUZZER_ABORTED, and nothing is stored',
    run: async world => {
      const Placed = defineEvent<Order>(world.name('placed'))
      const seen = world.seen<string>()
      const bus = await world.started(bus => void bus.queue(world.name('q')).handle(Placed, one => seen.add(one.id)))
      const error = await world.rejects(
        bus.publish(Placed, { id: '1' }, { signal: AbortSignal.abort() }),
        'BUZZER_ABORTED',
      )
      assert.equal(error.details['outcome'], 'not-stored')
      await seen.exactly(0)
    },
  },
  {
    name: 'R10 priorities 1 and 9 waiting → 9 first, also when sent from a handler',
    needs: world => (world.capabilities.priorities < 2 ? 'no priorities' : undefined),
    run: async world => {
      const Work = defineEvent<Order>(world.name('work'))
      const Go = defineEvent<Order>(world.name('go'))
      const queue = world.name('work')
      const seen = world.seen<string>()
      const bus = await world.started(bus => {
        bus.queue(queue, { concurrency: 1, prefetch: 1, orderBy: 'none' }).handle(Work, one => seen.add(one.id))
        bus.queue(world.name('go')).handle(Go, async (_, ctx) => {
          await ctx.publish(Work, { id: 'low' }, { priority: 1 })
          await ctx.publish(Work, { id: 'high' }, { priority: 9 })
        })
      })
      await bus.queue(queue).pause()
      await bus.publish(Go, { id: '' })
      await world.until(
        async () => (await bus.admin.queues()).find(one => one.name === queue)?.ready === 2,
        'both messages wait',
      )
      await bus.queue(queue).resume()
      assert.deepEqual(await seen.exactly(2), ['high', 'low'])
    },
  },
  {
    name: 'R11 10,000 messages without faults → each is handled once',
    run: async world => {
      const Work = defineEvent<{ readonly n: number }>(world.name('work'))
      const counts = new Map<number, number>()
      const bus = await world.started(
        bus =>
          void bus
            .queue(world.name('work'), { concurrency: 100 })
            .handle(Work, one => void counts.set(one.n, (counts.get(one.n) ?? 0) + 1)),
      )
      for (let from = 0; from < 10_000; from += 1_000) {
        await Promise.all(Array.from({ length: 1_000 }, (_, i) => bus.publish(Work, { n: from + i })))
      }
      await world.until(
        () => counts.size === 10_000,
        () => `${counts.size} of 10,000 were handled`,
      )
      assert.ok([...counts.values()].every(count => count === 1))
    },
  },
  {
    name: 'R12 everything that is wrong is told at once by start()',
    run: async world => {
      const Ship = defineCommand<Order>(world.name('ship'))
      const Ask = defineRequest<Order, Order>(world.name('ask'))
      const bus = await world.bus()
      assert.throws(() => bus.queue('Not A Name'), { code: 'BUZZER_INVALID_NAME' })
      const one = world.name('one')
      bus.queue(one, once).handle(Ship, () => {})
      assert.throws(() => bus.queue(one, once), { code: 'BUZZER_DUPLICATE_QUEUE' })
      assert.throws(() => bus.queue(one).handle(Ship, () => {}), { code: 'BUZZER_DUPLICATE_HANDLER' })
      bus
        .queue(world.name('two'))
        .handle(Ship, () => {})
        .handle(Ask, order => order)
      bus.queue(world.name('three')).handle(Ask, order => order)
      const error = await world.rejects(bus.start(), 'BUZZER_CONFIGURATION')
      assert.equal((error as unknown as { problems: string[] }).problems.length, 2)
    },
  },
  {
    name: 'R13 a command claimed by two processes → the second start is refused and both queues are named',
    run: async world => {
      const Ship = defineCommand<Order>(world.name('ship'))
      const [one, two] = [world.name('one'), world.name('two')]
      await world.started(bus => void bus.queue(one).handle(Ship, () => {}))
      const second = await world.bus()
      second.queue(two).handle(Ship, () => {})
      const error = await world.rejects(second.start(), 'BUZZER_TOPOLOGY_CONFLICT')
      assert.match(error.message, new RegExp(one))
      assert.match(error.message, new RegExp(two))
    },
  },
  {
    name: 'sends of one bus are stored in the order of the calls, awaited or not',
    needs: world => (world.capabilities.ordering === 'none' ? 'no order' : undefined),
    run: async world => {
      const Work = defineCommand<{ readonly n: number }>(world.name('work'))
      const queue = world.name('ordered')
      const seen = world.seen<number>()
      const { opened, open } = gate()
      const worker = await world.started(
        bus =>
          void bus.queue(queue, { orderBy: 'queue' }).handle(Work, async one => {
            await opened
            seen.add(one.n)
          }),
      )
      const sender = await world.started(() => {})
      const sends = Array.from({ length: 50 }, (_, n) => sender.send(Work, { n }, n % 2 === 0 ? { to: queue } : {}))
      await Promise.all(sends)
      open()
      assert.deepEqual(
        await seen.exactly(50),
        Array.from({ length: 50 }, (_, n) => n),
      )
      assert.equal(worker.name, 'suite')
    },
  },
]
