import assert from 'node:assert/strict'
import type { Bus } from '../../bus/index.ts'
import { type CommandContract, defineCommand } from '../../message/index.ts'
import { type BusCase, type BusWorld, once } from '../conformance/bus-world.ts'

interface Work {
  readonly n: number
}

interface Broken {
  readonly bus: Bus<unknown>
  readonly queue: string
  readonly contract: CommandContract<Work>
  readonly handled: number[]
  fixed: boolean
}

/** A queue whose handler fails until it is fixed, with that many dead letters. */
async function broken(world: BusWorld, count: number): Promise<Broken> {
  const contract = defineCommand<Work>(world.name('do'))
  const queue = world.name('q')
  const handled: number[] = []
  const state = { fixed: false }
  const bus = await world.started(bus => {
    bus.queue(queue, { ...once, concurrency: 8 }).handle(contract, (one, ctx) => {
      if (!state.fixed) throw one.n % 2 === 0 ? new Error(`even ${one.n}`) : new RangeError(`odd ${one.n}`)
      handled.push(one.n)
      assert.equal(ctx.attempt, 1)
    })
  })
  await Promise.all(Array.from({ length: count }, (_, n) => bus.send(contract, { n })))
  await world.deadLetters(bus, queue, count)
  return {
    bus,
    queue,
    contract,
    handled,
    get fixed() {
      return state.fixed
    },
    set fixed(value) {
      state.fixed = value
    },
  }
}

const noStore: BusCase['needs'] = world => (world.hasStore ? undefined : 'no store')

export const deadLetters: readonly BusCase[] = [
  {
    name: 'D1 a bus that has none of the queues is told of them, with their dead letters, and can redrive',
    needs: noStore,
    run: async world => {
      const all = await broken(world, 3)
      const operator = await world.started(() => {})
      const found = (await operator.admin.queues()).find(({ name }) => name === all.queue)
      assert.equal(found?.dead, 3)
      assert.equal((await operator.admin.deadLetters(all.queue).list()).items.length, 3)
      all.fixed = true
      await operator.admin.deadLetters(all.queue).redrive('all')
      await world.until(
        () => all.handled.length === 3,
        () => `${all.handled.length} of 3 redriven were handled`,
      )
    },
  },
  {
    name: 'D1 list pages through 250, newest first, each once',
    run: async world => {
      const { bus, queue } = await broken(world, 250)
      const ids: string[] = []
      const times: number[] = []
      let after: string | undefined
      do {
        const page = await bus.admin.deadLetters(queue).list({ limit: 60, ...(after === undefined ? {} : { after }) })
        for (const letter of page.items) {
          ids.push(letter.id)
          times.push(letter.deadAt.getTime())
        }
        after = page.next
      } while (after !== undefined)
      assert.equal(new Set(ids).size, 250)
      assert.deepEqual(
        times,
        times.toSorted((a, b) => b - a),
      )
    },
  },
  {
    name: 'D1 search by type, reason, error, text, time; groups are largest first',
    run: async world => {
      const { bus, queue, contract } = await broken(world, 5)
      const letters = bus.admin.deadLetters(queue)
      const count = async (filter: Parameters<typeof letters.search>[0]): Promise<number> =>
        (await letters.search(filter)).items.length
      assert.equal(await count({ type: contract.type, reason: 'retries-exhausted' }), 5)
      assert.equal(await count({ type: 'another' }), 0)
      assert.equal(await count({ error: 'RANGEERROR' }), 2)
      assert.equal(await count({ text: '"N":4' }), 1)
      assert.equal(await count({ deadAfter: new Date(Date.now() + 1_000) }), 0)
      assert.equal(await count({ deadBefore: new Date(Date.now() + 1_000), error: 'even' }), 3)
      const groups = await letters.groups()
      assert.deepEqual(
        groups.map(group => [group.count, group.error?.name]),
        [
          [3, 'Error'],
          [2, 'RangeError'],
        ],
      )
      assert.equal((await letters.get(groups[0]?.sampleId ?? ''))?.fingerprint, groups[0]?.fingerprint)
    },
  },
  {
    name: 'D2 redrive one, by filter, all: attempt 1, redrives + 1, same id and bytes, gone from the dead letters',
    run: async world => {
      const state = await broken(world, 6)
      const { bus, queue, handled } = state
      const letters = bus.admin.deadLetters(queue)
      const [one] = (await letters.search({ text: '"n":3}' })).items
      assert.ok(one)
      assert.deepEqual(await letters.redrive([one.id]), { redriven: 1, failures: [] })
      await world.until(
        async () => (await letters.search({ messageId: one.messageId })).items[0]?.redrives === 1,
        'it is back',
      )
      const again = (await world.deadLetters(bus, queue, 6)).find(letter => letter.messageId === one.messageId)
      assert.deepEqual([again?.redrives, again?.attempts, Buffer.from(again?.body ?? []).toString()], [1, 1, '{"n":3}'])
      state.fixed = true
      assert.equal((await letters.redrive({ error: 'even' })).redriven, 3)
      await world.until(() => handled.length === 3, 'three are handled')
      assert.equal((await letters.redrive('all')).redriven, 3)
      await world.until(() => handled.length === 6, 'six are handled')
      assert.deepEqual(handled.toSorted(), [0, 1, 2, 3, 4, 5])
      assert.equal((await letters.list()).items.length, 0)
    },
  },
  {
    name: 'D2 redrive to another queue, and with perSecond kept',
    run: async world => {
      const { bus, queue, contract } = await broken(world, 4)
      const other = world.name('other')
      const seen = world.seen<number>()
      await world
        .started(bus => {
          bus.queue(other, { rawContract: contract }).handle(contract, () => seen.add(performance.now()))
        })
        .catch(() => {})
      const startedAt = performance.now()
      const result = await bus.admin.deadLetters(queue).redrive('all', { perSecond: 20 })
      assert.equal(result.redriven, 4)
      assert.ok(performance.now() - startedAt >= 148)
      await world.deadLetters(bus, queue, 4)
      await world.rejects(
        bus.admin.deadLetters(queue).redrive('all', { to: world.name('unknown') }),
        'BUZZER_QUEUE_NOT_FOUND',
      )
    },
  },
  {
    name: 'D2 an edited letter keeps the original beside it and is redriven under a new id',
    needs: noStore,
    run: async world => {
      const state = await broken(world, 1)
      const { bus, queue, handled } = state
      const letters = bus.admin.deadLetters(queue)
      const [one] = (await letters.list()).items
      assert.ok(one)
      const edited = await letters.edit(one.id, { data: { n: 99 }, by: 'ann' })
      assert.deepEqual(
        [Buffer.from(edited.body).toString(), Buffer.from(edited.edited?.body ?? []).toString()],
        ['{"n":0}', '{"n":99}'],
      )
      assert.equal((await letters.search({ edited: true })).items.length, 1)
      await letters.redrive('all')
      const again = (await world.deadLetters(bus, queue, 1))[0]
      assert.notEqual(again?.messageId, one.messageId)
      assert.deepEqual([again?.attributes['originalid'], again?.causationId], [one.messageId, one.messageId])
      state.fixed = true
      await letters.redrive('all')
      await world.until(() => handled.length === 1, 'it is handled')
      assert.deepEqual(handled, [99])
    },
  },
  {
    name: 'D3 delete by filter; the audit tells who, when and what, newest first',
    needs: noStore,
    run: async world => {
      const { bus, queue } = await broken(world, 4)
      const letters = bus.admin.deadLetters(queue)
      assert.equal(await letters.delete({ error: 'odd' }, { by: 'ann' }), 2)
      assert.equal((await letters.list()).items.length, 2)
      const [first] = (await letters.list()).items
      await letters.redrive([first?.id ?? ''], { by: 'bob' })
      const audit = (await letters.audit()).items
      assert.deepEqual(
        audit.map(entry => [entry.action, entry.by, entry.ids.length]),
        [
          ['redrive', 'bob', 1],
          ['delete', 'ann', 2],
        ],
      )
    },
  },
]
