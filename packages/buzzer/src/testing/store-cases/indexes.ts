import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { IndexQuery, Scalar } from '../../store/index.ts'
import type { StoreCase, StoreWorld } from '../conformance/store-world.ts'

async function ids(world: StoreWorld, collection: string, where: IndexQuery): Promise<readonly string[]> {
  return (await world.store.query(collection, where, { limit: 1_000 })).items.map(item => item.id)
}

async function fill(world: StoreWorld, values: Readonly<Record<string, Scalar>>): Promise<string> {
  const collection = await world.collection(['at'])
  for (const [id, at] of Object.entries(values)) await world.put(collection, id, { id }, { at })
  return collection
}

export const indexes: readonly StoreCase[] = [
  {
    name: 'a query answers in the order of its index: numbers by size and before text, ties by id; desc backwards',
    source: 'bus 3',
    run: async world => {
      const collection = await fill(world, { e: 'b', d: 'a', c: 10, b: 9, a: 10, g: -1.5, f: '10' })
      assert.deepEqual(await ids(world, collection, { index: 'at' }), ['g', 'b', 'a', 'c', 'f', 'd', 'e'])
      assert.deepEqual(await ids(world, collection, { index: 'at', order: 'desc' }), [
        'e',
        'd',
        'f',
        'c',
        'a',
        'b',
        'g',
      ])
    },
  },
  {
    name: 'equals finds exactly; a range has from and not to',
    source: 'bus 3',
    run: async world => {
      const collection = await fill(world, { a: 1, b: 2, c: 2, d: 3, e: '2' })
      assert.deepEqual(await ids(world, collection, { index: 'at', equals: 2 }), ['b', 'c'])
      assert.deepEqual(await ids(world, collection, { index: 'at', equals: '2' }), ['e'])
      assert.deepEqual(await ids(world, collection, { index: 'at', equals: 7 }), [])
      assert.deepEqual(await ids(world, collection, { index: 'at', from: 2, to: 3 }), ['b', 'c'])
      assert.deepEqual(await ids(world, collection, { index: 'at', from: 2, to: 3, order: 'desc' }), ['c', 'b'])
      assert.deepEqual(await ids(world, collection, { index: 'at', to: 2 }), ['a'])
    },
  },
  {
    name: 'pages follow each other by next without loss or repetition, also when the record at the seam is gone',
    source: 'bus 3',
    run: async world => {
      const collection = await world.collection(['at'])
      for (let n = 0; n < 25; n++) await world.put(collection, `r${String(n).padStart(2, '0')}`, n, { at: n >> 1 })
      const all = Array.from({ length: 25 }, (_, n) => `r${String(n).padStart(2, '0')}`)
      for (const order of ['asc', 'desc'] as const) {
        const seen: string[] = []
        let after: string | undefined
        let pages = 0
        do {
          const page = await world.store.query(
            collection,
            { index: 'at', order },
            { limit: 10, ...(after === undefined ? {} : { after }) },
          )
          assert.ok(page.items.length <= 10)
          seen.push(...page.items.map(item => item.id))
          after = page.next
          pages++
        } while (after !== undefined && pages < 10)
        assert.deepEqual(seen, order === 'asc' ? all : all.toReversed())
        assert.equal(pages, 3)
      }
      const first = await world.store.query(collection, { index: 'at' }, { limit: 10 })
      await world.store.commit([{ op: 'delete', collection, id: 'r09', expected: 'any' }])
      const second = await world.store.query(collection, { index: 'at' }, { limit: 10, after: first.next as string })
      assert.equal(second.items[0]?.id, 'r10')
      assert.equal((await world.store.query(collection, { index: 'at', equals: 0 }, {})).next, undefined)
    },
  },
  {
    name: 'a page has 50 records unless told, and at most 1,000',
    source: 'bus 3',
    run: async world => {
      const collection = await world.collection(['at'])
      const changes = Array.from({ length: 60 }, (_, at) => ({
        op: 'put' as const,
        collection,
        id: `r${at}`,
        value: at,
        expected: 'absent' as const,
        indexes: { at },
      }))
      await world.store.commit(changes)
      const page = await world.store.query(collection, { index: 'at' })
      assert.equal(page.items.length, 50)
      assert.ok(page.next !== undefined)
      await world.rejects(
        world.store.query(collection, { index: 'at' }, { limit: 1_001 }),
        'BUZZER_INVALID_OPTION',
        'limit 1,001',
      )
    },
  },
  {
    name: 'an index follows its record: a new value moves it, a value left out and a deletion remove it',
    source: 'bus 3',
    run: async world => {
      const collection = await fill(world, { a: 1, b: 2, c: 3 })
      await world.put(collection, 'a', 'moved', { at: 9 })
      await world.put(collection, 'b', 'without')
      await world.store.commit([{ op: 'delete', collection, id: 'c', expected: 'any' }])
      assert.deepEqual(await ids(world, collection, { index: 'at' }), ['a'])
      assert.deepEqual(await ids(world, collection, { index: 'at', equals: 1 }), [])
      assert.equal((await world.get(collection, 'b'))?.value, 'without')
    },
  },
  {
    name: 'declare is idempotent, and an index declared later finds the records that carry it',
    source: 'bus 3',
    run: async world => {
      const collection = await world.collection(['at'])
      await world.put(collection, 'a', 1, { at: 1, by: 'x' })
      await world.store.declare([{ name: collection, indexes: ['at'] }])
      await world.store.declare([{ name: collection, indexes: ['at', 'by'] }])
      await world.put(collection, 'b', 1, { at: 2, by: 'x' })
      assert.ok((await ids(world, collection, { index: 'by', equals: 'x' })).includes('b'))
      assert.deepEqual(await ids(world, collection, { index: 'at' }), ['a', 'b'])
    },
  },
  {
    name: 'a query by an index nobody declared is refused',
    source: 'bus 3',
    run: async world => {
      const collection = await world.collection(['at'])
      await world.rejects(
        world.store.query(collection, { index: 'by' }),
        'BUZZER_INVALID_OPTION',
        'an undeclared index',
      )
    },
  },
  {
    name: 'a value stands once in a unique index; freed by deletion or change it may stand again',
    source: 'bus 3',
    run: async world => {
      const collection = await world.collection(['number'], ['number'])
      await world.put(collection, 'a', 1, { number: 7 })
      const second = world.put(collection, 'b', 1, { number: 7 })
      await world.rejects(second, 'BUZZER_CONFLICT', 'a second record with a unique value')
      assert.equal(await world.get(collection, 'b'), undefined)
      await world.put(collection, 'a', 2, { number: 7 })
      await world.put(collection, 'c', 1)
      await world.put(collection, 'd', 1)
      await world.store.commit([
        { op: 'put', collection, id: 'a', value: 3, expected: 'any', indexes: { number: 8 } },
        { op: 'put', collection, id: 'b', value: 1, expected: 'absent', indexes: { number: 7 } },
      ])
      assert.equal(await world.version(collection, 'b'), 1)
      const both = world.store.commit([
        { op: 'put', collection, id: 'x', value: 1, expected: 'any', indexes: { number: 1 } },
        { op: 'put', collection, id: 'y', value: 1, expected: 'any', indexes: { number: 1 } },
      ])
      await world.rejects(both, 'BUZZER_CONFLICT', 'one unique value twice in a commit')
    },
  },
  {
    name: 'claim leases what is due, in index order and up to its limit, and skips what others hold',
    source: 'bus 3',
    run: async world => {
      const collection = await fill(world, { a: 1, b: 2, c: 3, d: 4, later: 99 })
      const other = await world.another()
      const due = { index: 'at', upTo: 4, leaseMs: 60_000 }
      const first = await world.store.claim(collection, { ...due, limit: 2, owner: 'one' })
      assert.deepEqual(
        first.map(item => item.id),
        ['a', 'b'],
      )
      assert.deepEqual(first[0]?.value, { id: 'a' })
      assert.equal(first[0]?.version, 1)
      const second = await other.claim(collection, { ...due, limit: 9, owner: 'two' })
      assert.deepEqual(
        second.map(item => item.id),
        ['c', 'd'],
      )
      assert.deepEqual(await world.store.claim(collection, { ...due, limit: 9, owner: 'three' }), [])
      assert.equal(await world.version(collection, 'a'), 1, 'a lease is no change of the record')
    },
  },
  {
    name: 'of owners that claim at once each record goes to one',
    source: 'bus 3',
    run: async world => {
      const collection = await world.collection(['at'])
      for (let n = 0; n < 30; n++) await world.put(collection, `r${n}`, n, { at: n })
      const other = await world.another()
      const claims = await world.settles(
        Promise.all(
          Array.from({ length: 6 }, (_, n) =>
            (n % 2 === 0 ? world.store : other).claim(collection, {
              index: 'at',
              upTo: 100,
              limit: 10,
              leaseMs: 60_000,
              owner: `owner-${n}`,
            }),
          ),
        ),
        'concurrent claims',
      )
      const claimed = claims.flatMap(items => items.map(item => item.id))
      assert.equal(claimed.length, 30)
      assert.equal(new Set(claimed).size, 30)
    },
  },
  {
    name: 'a lease that runs out frees its record',
    source: 'bus 3',
    run: async world => {
      const collection = await fill(world, { a: 1 })
      const due = { index: 'at', upTo: 9, limit: 9 }
      await world.store.claim(collection, { ...due, leaseMs: 120, owner: 'one' })
      assert.deepEqual(await world.store.claim(collection, { ...due, leaseMs: 60_000, owner: 'two' }), [])
      await sleep(200)
      const claimed = await world.store.claim(collection, { ...due, leaseMs: 60_000, owner: 'two' })
      assert.deepEqual(
        claimed.map(item => item.id),
        ['a'],
      )
    },
  },
]
