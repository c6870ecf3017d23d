import { setTimeout as sleep } from 'node:timers/promises'
import type { StateChange, Store } from 'buzzer/store'
import { service } from 'buzzer-servers'
import { afterAll, describe, expect, test } from 'vitest'
import { ownSchema } from '../../test/own-schema.ts'
import type { Tx } from '../sql-handle.ts'
import { openStore, put } from '../../test/store-world.ts'

const { url = '' } = await service('postgres')
const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n)

describe.skipIf(url === '')('records in PostgreSQL', () => {
  const world = ownSchema(url, { max: 20 })
  const open = (more = {}) => openStore({ connectionString: url, schema: world.schema, ...more })
  afterAll(() => world[Symbol.asyncDispose]())

  test('values come back with the order of their keys, their numbers and every character, for jsonb would change all three', async () => {
    const store = await open()
    const text =
      '{"b":1,"a":{"2":2,"10":[1.0e-7,1e21,0.1,123456789012345680000,-0.5]},"":"\\u0000\\ud800 \\u2028","aa":null}'
    await store.commit([put('json', 'a', { value: JSON.parse(text) })])
    const record = await store.get('json', 'a')
    expect(JSON.stringify(record?.value)).toBe(JSON.stringify(JSON.parse(text)))
    await store.commit([put('json', 'b', { value: { b: 1 } })])
    const { rows } = await world.pool.query(`select value->>'b' as b from ${world.quoted}.record where id = 'b'`)
    expect(rows).toEqual([{ b: '1' }])
    await store.close()
  })

  test('names, ids and index values at their limits are stored and found; beyond, with NUL or half a character they are refused', async () => {
    const store = await open()
    // Incompressible, so that the limits hold for what an index entry really has.
    const noise = (bytes: number): string =>
      range(bytes)
        .map(n => String.fromCharCode(33 + ((n * 7919 + ((n * n) % 61)) % 90)))
        .join('')
    const [collection, id, index, value] = [noise(255), noise(1_024), noise(127), noise(1_024)]
    await store.declare([{ name: collection, indexes: [index], unique: [index] }])
    await store.commit([put(collection, id, { indexes: { [index]: value } })])
    expect((await store.query(collection, { index, equals: value })).items.map(item => item.id)).toEqual([id])
    const refused: readonly (StateChange & { readonly why: string })[] = [
      { ...put(`${collection}x`, 'a'), why: '256' },
      { ...put('c', `${id}x`), why: '1025' },
      { ...put('c', 'ü'.repeat(513)), why: '1026' },
      { ...put('c', 'a', { indexes: { [index]: `${value}x` } }), why: '1025' },
      { ...put('c', 'a\0b'), why: 'NUL' },
      { ...put('c', 'a\ud800'), why: 'half a character' },
      { ...put('c', 'a', { indexes: { at: '\0' } }), why: 'NUL' },
      { ...put('c', 'a', { indexes: { at: Number.NaN } }), why: 'NaN' },
      { ...put('c', 'a', { indexes: { at: Number.POSITIVE_INFINITY } }), why: 'Infinity' },
      { ...put('c', 'a', { value: undefined as never }), why: 'undefined' },
      { ...put('c', 'a', { expiresAt: Number.NaN }), why: 'expiresAt' },
      { op: 'delete', collection: 'c', id: '\ud800', expected: 'any', why: 'half a character' },
    ]
    for (const { why, ...change } of refused) {
      await expect(store.commit([put('c', 'good'), change])).rejects.toMatchObject({
        code: 'BUZZER_INVALID_OPTION',
        message: expect.stringContaining(why),
      })
    }
    expect(await store.get('c', 'good')).toBeUndefined()
    expect(await store.get('c', '\0')).toBeUndefined()
    await store.close()
  })

  test('a record that expires at the end of time, or never, is there; one that expired before it came is not', async () => {
    const store = await open()
    for (const expiresAt of [Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY, 1e300, Date.UTC(9999, 0)]) {
      await store.commit([put('expiry', 'late', { expiresAt })])
      expect((await store.get('expiry', 'late'))?.id).toBe('late')
    }
    for (const expiresAt of [0, -1e300, Number.NEGATIVE_INFINITY, Date.now() - 1]) {
      await store.commit([put('expiry', 'gone', { expiresAt })])
      expect(await store.get('expiry', 'gone')).toBeUndefined()
    }
    await store.close()
  })

  test('five hundred commits at once share a few transactions; one that is refused, and one whose signal aborts, take nobody with them', async () => {
    const store = await open()
    await store.commit([put('group', '7')])
    const stop = new AbortController()
    const commits = range(500).map(n =>
      store.commit([put('group', String(n), { expected: 'absent' })], n === 400 ? { signal: stop.signal } : {}),
    )
    stop.abort()
    const outcomes = await Promise.allSettled(commits)
    const codes = outcomes.map(outcome => (outcome.status === 'fulfilled' ? 'ok' : (outcome.reason.code as string)))
    expect(codes[7]).toBe('BUZZER_CONFLICT')
    expect(codes[400]).toBe('BUZZER_ABORTED')
    expect(codes.filter(code => code === 'ok').length).toBe(498)
    const { rows } = await world.pool.query(
      `select count(*)::integer as records, count(distinct xmin::text)::integer as transactions
       from ${world.quoted}.record where collection = 'group'`,
    )
    expect(rows[0].records).toBe(499)
    expect(rows[0].transactions).toBeLessThan(25)
    await store.close()
  })

  test('puts that expect nothing never fail for others that are faster: each adds one to the version', async () => {
    const stores = await Promise.all(range(4).map(() => open()))
    await Promise.all(
      range(80).map(n => (stores[n % 4] as Store<Tx>).commit([put('busy', 'one', { value: n, indexes: { n } })])),
    )
    expect((await stores[0]?.get('busy', 'one'))?.version).toBe(80)
    const { rows } = await world.pool.query(
      `select (select count(*) from ${world.quoted}.record_index where collection = 'busy')::integer as indexed`,
    )
    expect(rows).toEqual([{ indexed: 1 }])
    await Promise.all(stores.map(store => store.close()))
  })

  test('commits of the same records in opposite orders end, all of them', async () => {
    const [one, two] = await Promise.all([open(), open()])
    for (const round of range(10)) {
      const ids = range(40).map(n => `${round}-${n}`)
      const forward = ids.map(id => put('cross', id))
      await Promise.all([
        one.commit(forward),
        two.commit(forward.toReversed()),
        one.commit(forward),
        two.commit(forward),
      ])
      expect((await one.get('cross', ids[0] as string))?.version).toBe(4)
      expect((await one.get('cross', ids[39] as string))?.version).toBe(4)
    }
    await Promise.all([one.close(), two.close()])
  })

  test('in transactions of callers a record that another one has just put is a conflict, and the transaction of the caller lives', async () => {
    const store = await open()
    const { promise: isCommitted, resolve: commit } = Promise.withResolvers<void>()
    const { promise: hasPut, resolve: done } = Promise.withResolvers<void>()
    const first = world.transaction(async tx => {
      await store.commit([put('race', 'a', { expected: 'absent', value: 'first' })], { tx })
      done()
      await isCommitted
    })
    await hasPut
    const second = world.transaction(async tx => {
      const late = store.commit([put('race', 'a', { expected: 'absent', value: 'second' })], { tx })
      setTimeout(commit, 50)
      await expect(late).rejects.toMatchObject({
        code: 'BUZZER_CONFLICT',
        details: { collection: 'race', id: 'a', expected: 'absent', found: 1 },
      })
      await store.commit([put('race', 'b', { value: 'beside' })], { tx })
      // Nothing was expected: it comes after the first.
      await store.commit([put('race', 'a', { value: 'third' })], { tx })
    })
    await Promise.all([first, second])
    expect([(await store.get('race', 'a'))?.value, (await store.get('race', 'a'))?.version]).toEqual(['third', 2])
    expect((await store.get('race', 'b'))?.value).toBe('beside')
    await store.close()
  })

  test('of many that want one unique value at once exactly one gets it; the others are told who holds it', async () => {
    const stores = await Promise.all(range(4).map(() => open()))
    await stores[0]?.declare([{ name: 'numbers', indexes: ['number'], unique: ['number'] }])
    for (const round of range(5)) {
      const outcomes = await Promise.allSettled(
        range(12).map(n =>
          (stores[n % 4] as Store<Tx>).commit([put('numbers', `${round}-${n}`, { indexes: { number: round } })]),
        ),
      )
      const { items } = await (stores[1] as (typeof stores)[0]).query('numbers', { index: 'number', equals: round })
      expect(items.length).toBe(1)
      const refusals = outcomes.flatMap(outcome => (outcome.status === 'rejected' ? [outcome.reason] : []))
      expect(refusals.length).toBe(11)
      for (const refusal of refusals) {
        expect(refusal).toMatchObject({
          code: 'BUZZER_CONFLICT',
          details: { collection: 'numbers', index: 'number', value: round, found: items[0]?.id },
        })
      }
    }
    await Promise.all(stores.map(store => store.close()))
  })

  test('an index that becomes unique binds processes that have not heard of it; with a value twice it does not become so', async () => {
    const [one, two] = await Promise.all([open(), open()])
    await one.declare([{ name: 'later', indexes: ['n'] }])
    await two.commit([put('later', 'a', { indexes: { n: 1 } }), put('later', 'b', { indexes: { n: 1 } })])
    const twice = one.declare([{ name: 'later', indexes: ['n'], unique: ['n'] }])
    await expect(twice).rejects.toMatchObject({ code: 'BUZZER_CONFLICT', details: { index: 'n', value: 1 } })
    await two.commit([put('later', 'b', { indexes: { n: 2 } })])
    await one.declare([{ name: 'later', indexes: ['n'], unique: ['n'] }])
    const taken = two.commit([put('later', 'c', { indexes: { n: 2 } })])
    await expect(taken).rejects.toMatchObject({ code: 'BUZZER_CONFLICT', details: { id: 'c', index: 'n', found: 'b' } })
    await Promise.all([one.close(), two.close()])
  })

  test('a unique value of a record whose time is up is free', async () => {
    const store = await open()
    await store.declare([{ name: 'freed', indexes: ['n'], unique: ['n'] }])
    await store.commit([put('freed', 'old', { indexes: { n: 1 }, expiresAt: Date.now() + 2_000 })])
    await expect(store.commit([put('freed', 'new', { indexes: { n: 1 } })])).rejects.toMatchObject({
      code: 'BUZZER_CONFLICT',
    })
    while ((await store.get('freed', 'old')) !== undefined) await sleep(20)
    await store.commit([put('freed', 'new', { indexes: { n: 1 } })])
    expect((await store.query('freed', { index: 'n' })).items.map(item => item.id)).toEqual(['new'])
    await store.close()
  })

  test('what has expired is swept from the tables, with its index values', async () => {
    const store = await open({ sweepMs: 50 })
    const expiresAt = Date.now() + 200
    await store.commit(range(700).map(n => put('swept', String(n), { expiresAt, indexes: { n } })))
    await store.commit([put('swept', 'kept', { indexes: { n: -1 } })])
    const deadline = AbortSignal.timeout(20_000)
    for (;;) {
      deadline.throwIfAborted()
      const { rows } = await world.pool.query(
        `select (select count(*) from ${world.quoted}.record where collection = 'swept')::integer as records,
           (select count(*) from ${world.quoted}.record_index where collection = 'swept')::integer as indexed`,
      )
      if (rows[0].records === 1 && rows[0].indexed === 1) break
      await sleep(50)
    }
    await store.close()
  })

  test('a claim that waited for a record that was put off meanwhile does not get it', async () => {
    const store = await open()
    await store.declare([{ name: 'due', indexes: ['at'] }])
    await store.commit([put('due', 'a', { indexes: { at: 1 } }), put('due', 'b', { indexes: { at: 2 } })])
    const client = await world.pool.connect()
    await client.query('begin')
    await store.commit([put('due', 'a', { indexes: { at: 1_000 } })], { tx: client })
    const locked = await store.claim('due', { index: 'at', upTo: 10, limit: 5, leaseMs: 10, owner: 'one' })
    expect(locked.map(item => item.id)).toEqual(['b'])
    await client.query('commit')
    client.release()
    await sleep(30)
    const claimed = await store.claim('due', { index: 'at', upTo: 10, limit: 5, leaseMs: 10, owner: 'two' })
    expect(claimed.map(item => item.id)).toEqual(['b'])
    await store.close()
  })

  test('a put ends the lease of a record', async () => {
    const store = await open()
    await store.declare([{ name: 'leased', indexes: ['at'] }])
    await store.commit([put('leased', 'a', { indexes: { at: 1 } })])
    const due = { index: 'at', upTo: 10, limit: 5, leaseMs: 60_000 }
    expect((await store.claim('leased', { ...due, owner: 'one' })).length).toBe(1)
    expect((await store.claim('leased', { ...due, owner: 'two' })).length).toBe(0)
    await store.commit([put('leased', 'a', { indexes: { at: 2 } })])
    expect((await store.claim('leased', { ...due, owner: 'two' })).length).toBe(1)
    await store.close()
  })

  test('a watcher hears of a change in a transaction of a caller, and of expiry, by the poll; of hundreds of changes as one', async () => {
    const [store, other] = await Promise.all([open({ pollMs: 50 }), open()])
    let calls = 0
    await using _ = (await store.watch?.('watched', 'a', () => calls++)) as AsyncDisposable
    const deadline = AbortSignal.timeout(20_000)
    const calledSince = async (before: number): Promise<void> => {
      while (calls === before) {
        deadline.throwIfAborted()
        await sleep(10)
      }
    }
    await world.transaction(tx => other.commit([put('watched', 'a')], { tx }))
    await calledSince(0)
    const before = calls
    await other.commit([put('watched', 'a', { expiresAt: Date.now() + 1_000 })])
    await calledSince(before)
    const afterPut = calls
    while ((await store.get('watched', 'a')) !== undefined) await sleep(20)
    await calledSince(afterPut)
    const quiet = calls
    for (const n of range(300)) await other.commit([put('watched', 'b', { value: n })])
    expect(calls).toBe(quiet)
    await Promise.all([store.close(), other.close()])
  })
})
