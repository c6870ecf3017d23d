import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StateChange } from '../../store/index.ts'
import type { StoreCase } from '../conformance/store-world.ts'

export const records: readonly StoreCase[] = [
  {
    name: 'what was put comes out: any JSON, in any script; an unknown record is undefined',
    source: 'bus 3',
    run: async world => {
      const collection = world.name()
      const value = {
        text: 'Grüße, 你好, 🚀, "quoted", \u0000',
        list: [1, -0.5, 1e21, true, null, []],
        deep: { er: { est: {} } },
      }
      const before = Date.now()
      await world.put(collection, 'a b/ü', value)
      const record = await world.get(collection, 'a b/ü')
      assert.deepEqual(record?.value, value)
      assert.equal(record?.id, 'a b/ü')
      assert.equal(record?.version, 1)
      assert.ok(Math.abs((record?.updatedAt ?? 0) - before) < 60_000)
      for (const plain of [0, '', false, null, [] as const]) {
        await world.put(collection, 'plain', plain)
        assert.deepEqual((await world.get(collection, 'plain'))?.value, plain)
      }
      assert.equal(await world.get(collection, 'unknown'), undefined)
      assert.equal(await world.get(world.name(), 'a'), undefined)
    },
  },
  {
    name: 'nobody shares an object with the store: changing what was given, or got, changes no record',
    source: 'bus 3',
    run: async world => {
      const collection = world.name()
      const value = { n: 1 }
      await world.put(collection, 'a', value)
      value.n = 2
      const got = (await world.get(collection, 'a'))?.value as { n: number }
      assert.equal(got.n, 1)
      got.n = 3
      assert.deepEqual((await world.get(collection, 'a'))?.value, { n: 1 })
    },
  },
  {
    name: 'versions start at 1 and grow by 1; a record put again after its deletion starts at 1',
    source: 'bus 3',
    run: async world => {
      const collection = world.name()
      const versions: (number | undefined)[] = []
      for (let n = 0; n < 3; n++) {
        await world.put(collection, 'a', { n })
        versions.push(await world.version(collection, 'a'))
      }
      await world.store.commit([{ op: 'delete', collection, id: 'a', expected: 3 }])
      versions.push(await world.version(collection, 'a'))
      await world.put(collection, 'a', {}, undefined, { expected: 'absent' })
      versions.push(await world.version(collection, 'a'))
      assert.deepEqual(versions, [1, 2, 3, undefined, 1])
    },
  },
  {
    name: 'a failed expectation rejects with BUZZER_CONFLICT naming collection, id, expected and found, and changes nothing',
    source: 'bus 3',
    run: async world => {
      const collection = world.name()
      await world.put(collection, 'there')
      const put = { op: 'put' as const, collection, value: 'new' }
      const wrong: readonly (StateChange & { readonly found: unknown })[] = [
        { ...put, id: 'there', expected: 'absent', found: 1 },
        { ...put, id: 'there', expected: 2, found: 1 },
        { ...put, id: 'missing', expected: 1, found: 'absent' },
        { op: 'delete', collection, id: 'there', expected: 5, found: 1 },
        { op: 'delete', collection, id: 'missing', expected: 1, found: 'absent' },
      ]
      for (const { found, ...change } of wrong) {
        const error = await world.rejects(world.store.commit([change]), 'BUZZER_CONFLICT', JSON.stringify(change))
        assert.equal(error.details['collection'], collection)
        assert.equal(error.details['id'], change.id)
        assert.equal(error.details['expected'], change.expected)
        assert.equal(error.details['found'], found)
      }
      assert.deepEqual((await world.get(collection, 'there'))?.value, { id: 'there' })
      assert.equal(await world.version(collection, 'there'), 1)
      assert.equal(await world.get(collection, 'missing'), undefined)
    },
  },
  {
    name: "expected 'any' puts over whatever is there, and deletes what may not be there",
    source: 'bus 3',
    run: async world => {
      const collection = world.name()
      await world.store.commit([{ op: 'delete', collection, id: 'a', expected: 'any' }])
      await world.put(collection, 'a', 1)
      await world.put(collection, 'a', 2)
      await world.store.commit([{ op: 'delete', collection, id: 'a', expected: 'any' }])
      assert.equal(await world.get(collection, 'a'), undefined)
    },
  },
  {
    name: 'a commit is all or nothing: a hundred changes and one wrong version leave everything as it was',
    source: 'bus 3, broker 10 (B104)',
    run: async world => {
      const collection = await world.collection(['at'])
      await world.put(collection, 'r50', 'old', { at: 50 })
      const changes = Array.from(
        { length: 100 },
        (_, n): StateChange => ({
          op: 'put',
          collection,
          id: `r${n}`,
          value: 'new',
          expected: 'absent',
          indexes: { at: n },
        }),
      )
      const error = await world.rejects(world.store.commit(changes), 'BUZZER_CONFLICT', 'a commit with a wrong version')
      assert.equal(error.details['id'], 'r50')
      for (const id of ['r0', 'r49', 'r51', 'r99']) assert.equal(await world.get(collection, id), undefined, id)
      assert.equal((await world.get(collection, 'r50'))?.value, 'old')
      const { items } = await world.store.query(collection, { index: 'at' })
      assert.deepEqual(
        items.map(item => item.id),
        ['r50'],
      )
    },
  },
  {
    name: 'later changes of a commit see the earlier ones',
    source: 'bus 3',
    run: async world => {
      const collection = world.name()
      const put = { op: 'put' as const, collection, id: 'a' }
      await world.store.commit([
        { ...put, value: 1, expected: 'absent' },
        { ...put, value: 2, expected: 1 },
        { op: 'delete', collection, id: 'a', expected: 2 },
        { ...put, value: 3, expected: 'absent' },
      ])
      assert.equal((await world.get(collection, 'a'))?.value, 3)
      const twice: readonly StateChange[] = [
        { ...put, id: 'b', value: 1, expected: 'absent' },
        { ...put, id: 'b', value: 2, expected: 'absent' },
      ]
      await world.rejects(world.store.commit(twice), 'BUZZER_CONFLICT', 'two first puts of one record')
      assert.equal(await world.get(collection, 'b'), undefined)
    },
  },
  {
    name: 'of concurrent commits that expect one version exactly one wins',
    source: 'bus 3',
    run: async world => {
      const collection = world.name()
      await world.put(collection, 'a', 0)
      const other = await world.another()
      const commits = Array.from({ length: 10 }, (_, n) =>
        (n % 2 === 0 ? world.store : other).commit([{ op: 'put', collection, id: 'a', value: n + 1, expected: 1 }]),
      )
      const outcomes = await world.settles(Promise.allSettled(commits), 'concurrent commits')
      assert.equal(outcomes.filter(outcome => outcome.status === 'fulfilled').length, 1)
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') assert.equal((outcome.reason as { code?: string }).code, 'BUZZER_CONFLICT')
      }
      assert.equal(await world.version(collection, 'a'), 2)
    },
  },
  {
    name: 'a record whose expiresAt has passed is absent for every call',
    source: 'bus 3',
    run: async world => {
      const collection = await world.collection(['at'], ['at'])
      const expiresAt = Date.now() + 80
      await world.put(collection, 'short', 'x', { at: 1 }, { expiresAt })
      await world.put(collection, 'long', 'y', { at: 2 }, { expiresAt: Date.now() + 600_000 })
      const version = await world.version(collection, 'short')
      // On a busy machine its time may be up before anybody could look.
      if (Date.now() < expiresAt) assert.equal(version, 1)
      await sleep(160)
      assert.equal(await world.get(collection, 'short'), undefined)
      const { items } = await world.store.query(collection, { index: 'at' })
      assert.deepEqual(
        items.map(item => item.id),
        ['long'],
      )
      const claimed = await world.store.claim(collection, { index: 'at', upTo: 9, limit: 9, leaseMs: 1, owner: 'o' })
      assert.deepEqual(
        claimed.map(item => item.id),
        ['long'],
      )
      await world.put(collection, 'other', 'z', { at: 1 })
      await world.put(collection, 'short', 'again', { at: 3 }, { expected: 'absent' })
      assert.equal(await world.version(collection, 'short'), 1)
    },
  },
  {
    name: 'a value above maxValueBytes is refused with both sizes, and nothing of its commit is stored',
    source: 'bus 3',
    needs: world =>
      world.store.capabilities.maxValueBytes > 64 * 1024 * 1024 ? 'maxValueBytes is too large to try' : undefined,
    run: async world => {
      const collection = world.name()
      const limit = world.store.capabilities.maxValueBytes
      const put = { op: 'put' as const, collection, expected: 'any' as const }
      await world.store.commit([{ ...put, id: 'fits', value: 'x'.repeat(limit - 16) }])
      const commit = world.store.commit([
        { ...put, id: 'small', value: 1 },
        { ...put, id: 'large', value: 'x'.repeat(limit + 1) },
      ])
      await assert.rejects(commit, (error: Error) => error.message.includes(String(limit)))
      assert.equal(await world.get(collection, 'small'), undefined)
      const kept = (await world.get(collection, 'fits'))?.value
      assert.ok(typeof kept === 'string' && kept.length === limit - 16)
    },
  },
  {
    name: 'a commit whose signal is aborted rejects with BUZZER_ABORTED and changes nothing',
    source: 'DESIGN 1.3',
    run: async world => {
      const collection = world.name()
      const commit = world.store.commit([{ op: 'put', collection, id: 'a', value: 1, expected: 'any' }], {
        signal: AbortSignal.abort(),
      })
      await world.rejects(commit, 'BUZZER_ABORTED', 'a commit with an aborted signal')
      assert.equal(await world.get(collection, 'a'), undefined)
    },
  },
  {
    name: 'a closed store rejects with BUZZER_NOT_RUNNING; close is idempotent',
    source: 'bus 3',
    run: async world => {
      const other = await world.another()
      await world.settles(other.close(), 'close')
      await world.settles(other.close(), 'a second close')
      await world.rejects(other.get(world.name(), 'a'), 'BUZZER_NOT_RUNNING', 'get after close')
      const commit = other.commit([{ op: 'put', collection: world.name(), id: 'a', value: 1, expected: 'any' }])
      await world.rejects(commit, 'BUZZER_NOT_RUNNING', 'commit after close')
      await world.put(world.name(), 'a')
    },
  },
  {
    name: 'records outlive a restart with their versions and indexes',
    source: 'bus 3',
    needs: world =>
      world.store.capabilities.durability !== 'durable'
        ? "the store does not claim durability 'durable'"
        : world.options.restart === undefined
          ? 'the option restart was not given to the suite'
          : undefined,
    run: async world => {
      const collection = await world.collection(['at'])
      await world.put(collection, 'a', { n: 1 }, { at: 2 })
      await world.put(collection, 'a', { n: 2 }, { at: 1 })
      await world.put(collection, 'b', { n: 3 }, { at: 0 })
      await world.restart()
      await world.store.declare([{ name: collection, indexes: ['at'] }])
      const { items } = await world.store.query(collection, { index: 'at' })
      assert.deepEqual(
        items.map(item => [item.id, item.version, item.value]),
        [
          ['b', 1, { n: 3 }],
          ['a', 2, { n: 2 }],
        ],
      )
    },
  },
  {
    name: "a caller's transaction: a commit in it is visible when it commits, and never when it rolls back",
    source: 'bus 2, 3',
    needs: world =>
      world.store.capabilities.callerTransactions !== 'native'
        ? "the store does not claim callerTransactions 'native'"
        : world.options.transaction === undefined
          ? 'the option transaction was not given to the suite'
          : undefined,
    run: async world => {
      const collection = world.name()
      const transaction = world.options.transaction as NonNullable<typeof world.options.transaction>
      const put = (id: string, expected: number | 'absent', tx: unknown): Promise<void> =>
        world.store.commit([{ op: 'put', collection, id, value: expected, expected }], { tx: tx as never })
      await transaction(async tx => {
        await put('a', 'absent', tx)
        await put('a', 1, tx)
        assert.equal(await world.get(collection, 'a'), undefined, 'visible before the commit')
      })
      assert.equal(await world.version(collection, 'a'), 2)
      const rolledBack = transaction(async tx => {
        await put('b', 'absent', tx)
        throw new Error('rolled back on purpose')
      })
      await assert.rejects(rolledBack, /rolled back on purpose/)
      assert.equal(await world.get(collection, 'b'), undefined)
      const refused = transaction(async tx => {
        await put('c', 'absent', tx)
        await put('a', 'absent', tx)
      })
      await world.rejects(refused, 'BUZZER_CONFLICT', 'a stale version in a transaction')
      assert.equal(await world.get(collection, 'c'), undefined)
    },
  },
  {
    name: 'watch calls soon after each change of its record, by whatever store, and no more once it is disposed',
    source: 'bus 3',
    needs: world => (world.store.watch === undefined ? 'the store has no watch' : undefined),
    run: async world => {
      const collection = world.name()
      const other = await world.another()
      let calls = 0
      const watching = await world.store.watch?.(collection, 'a', () => calls++)
      const put = (id: string): Promise<void> =>
        other.commit([{ op: 'put', collection, id, value: 1, expected: 'any' }])
      await put('a')
      await world.until(() => calls >= 1, 'the watcher was not called for a put')
      const before = calls
      await put('b')
      await sleep(50)
      assert.equal(calls, before, 'the watcher was called for another record')
      await other.commit([{ op: 'delete', collection, id: 'a', expected: 'any' }])
      await world.until(() => calls > before, 'the watcher was not called for a deletion')
      await watching?.[Symbol.asyncDispose]()
      const after = calls
      await put('a')
      await sleep(50)
      assert.equal(calls, after, 'the watcher was called after it was disposed')
    },
  },
]
