import { service, startPostgres } from 'buzzer-servers'
import pg from 'pg'
import { afterAll, describe, expect, test } from 'vitest'
import { ownSchema } from '../../test/own-schema.ts'
import { openStore, put } from '../../test/store-world.ts'

const { url = '' } = await service('postgres')

describe.skipIf(url === '')('RP13: what a server refuses, as the store tells it', () => {
  const world = ownSchema(url)
  afterAll(() => world[Symbol.asyncDispose]())
  const refusal = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => expect.fail('nothing was refused'),
      (error: unknown) => error,
    )

  test('no server there is retryable; a wrong database, a wrong role and a missing right are not', async () => {
    const at = (change: (to: URL) => void): string => {
      const to = new URL(url)
      change(to)
      return to.href
    }
    const nowhere = await refusal(openStore({ connectionString: 'postgres://postgres@127.0.0.1:1/postgres' }))
    expect(nowhere).toMatchObject({ code: 'BUZZER_DISCONNECTED', retryable: true })
    for (const connectionString of [
      at(to => (to.pathname = '/no_such_database')),
      at(to => (to.username = 'no_such_role')),
    ]) {
      expect(await refusal(openStore({ connectionString, schema: world.schema }))).toMatchObject({
        code: 'BUZZER_DATABASE_FAILED',
        retryable: false,
      })
    }
    const role = `${world.schema}_none`
    await world.pool.query(`create role "${role}" login`)
    try {
      const connectionString = at(to => (to.username = role))
      expect(await refusal(openStore({ connectionString, schema: `${world.schema}_x` }))).toMatchObject({
        code: 'BUZZER_DATABASE_FAILED',
        retryable: false,
        details: { sqlState: '42501' },
      })
    } finally {
      await world.pool.query(`drop role "${role}"`)
    }
  })

  test('a statement over its time limit is told as such, and leaves nothing; the next one is served', async () => {
    const store = await openStore({ connectionString: url, schema: world.schema, statementTimeoutMs: 300 })
    await store.commit([put('slow', 'a')])
    const client = await world.pool.connect()
    await client.query('begin')
    await client.query(`select 1 from ${world.quoted}.record where collection = 'slow' for update`)
    const late = await refusal(store.commit([put('slow', 'b'), put('slow', 'a')]))
    expect(late).toMatchObject({ code: 'BUZZER_DATABASE_FAILED', retryable: true, details: { sqlState: '57014' } })
    await client.query('rollback')
    client.release()
    await store.commit([put('slow', 'a')])
    expect([(await store.get('slow', 'a'))?.version, await store.get('slow', 'b')]).toEqual([2, undefined])
    await store.close()
  })

  test('a database that is read-only, as a standby is, refuses commits with a retryable error and answers reads', async () => {
    const config: pg.ClientConfig = { connectionString: url, options: '-c default_transaction_read_only=on' }
    const writer = await openStore({ connectionString: url, schema: world.schema })
    await writer.commit([put('standby', 'a')])
    const store = await openStore({ config, schema: world.schema })
    expect(await refusal(store.commit([put('standby', 'b')]))).toMatchObject({
      code: 'BUZZER_DATABASE_FAILED',
      retryable: true,
      details: { sqlState: '25006' },
    })
    expect((await store.get('standby', 'a'))?.id).toBe('a')
    await Promise.all([writer.close(), store.close()])
  })

  test('a role whose transactions are serializable by default makes no difference to connections of ours; to those of a pool it is said', async () => {
    const role = `${world.schema}_strict`
    await world.pool.query(
      `create role "${role}" login superuser; alter role "${role}" set default_transaction_isolation = 'serializable'`,
    )
    const asRole = new URL(url)
    asRole.username = role
    try {
      const stores = await Promise.all(
        [1, 2].map(() => openStore({ connectionString: asRole.href, schema: world.schema })),
      )
      await Promise.all(
        Array.from({ length: 40 }, (_, n) => stores[n % 2]?.commit([put('strict', 'a')]) ?? Promise.reject()),
      )
      expect((await stores[0]?.get('strict', 'a'))?.version).toBe(40)
      await Promise.all(stores.map(store => store.close()))
      const pool = new pg.Pool({ connectionString: asRole.href, max: 2 })
      expect(await refusal(openStore({ pool, schema: world.schema }))).toMatchObject({
        code: 'BUZZER_UNSUPPORTED',
        details: { found: 'serializable', needed: 'read committed' },
      })
      await pool.end()
    } finally {
      await world.pool.query(`drop owned by "${role}"; drop role "${role}"`)
    }
  })

  test('a server without a free connection is retryable, and a store that has one goes on with it', async () => {
    await using server = await startPostgres({ max_connections: '6', superuser_reserved_connections: '0' })
    const store = await openStore({ connectionString: server.url, maxConnections: 4, notify: false })
    const others: pg.Client[] = []
    for (;;) {
      const client = new pg.Client({ connectionString: server.url })
      client.on('error', () => undefined)
      try {
        await client.connect()
        others.push(client)
      } catch {
        break
      }
    }
    expect(others.length).toBeGreaterThan(2)
    expect(await refusal(openStore({ connectionString: server.url }))).toMatchObject({
      code: 'BUZZER_DISCONNECTED',
      retryable: true,
      details: { sqlState: '53300' },
    })
    // More at once than it has connections, and it gets no further one.
    await Promise.all([
      ...Array.from({ length: 20 }, (_, n) => store.commit([put('full', String(n))])),
      ...Array.from({ length: 20 }, (_, n) => store.get('full', String(n))),
    ])
    expect((await store.get('full', '19'))?.version).toBe(1)
    await Promise.all(others.map(client => client.end()))
    await store.close()
  }, 60_000)

  test('a server that is stopped at once and comes back: reads wait for it, a commit under way says that its outcome is unknown or is stored', async () => {
    await using server = await startPostgres()
    const store = await openStore({ connectionString: server.url })
    await store.commit([put('back', 'a')])
    const outcomes: Promise<string>[] = []
    let isDown = false
    const writing = (async () => {
      for (let n = 0; !isDown; n++) {
        outcomes.push(
          store.commit([put('back', `n${n}`, { expected: 'absent' })]).then(
            () => `n${n}`,
            (error: { code: string; retryable: boolean; details: { outcome?: string } }) => {
              expect(error).toMatchObject({ code: 'BUZZER_DISCONNECTED', retryable: true })
              expect(['unknown', 'not-stored']).toContain(error.details.outcome)
              return ''
            },
          ),
        )
        if (n % 10 === 0) await new Promise(resolve => setTimeout(resolve, 1))
      }
    })()
    await new Promise(resolve => setTimeout(resolve, 300))
    await server.stopAtOnce()
    isDown = true
    await writing
    const reading = store.get('back', 'a')
    await server.start()
    expect((await reading)?.id).toBe('a')
    const stored = (await Promise.all(outcomes)).filter(id => id !== '')
    expect(stored.length).toBeGreaterThan(0)
    for (const id of stored) expect([id, (await store.get('back', id))?.version]).toEqual([id, 1])
    await store.close()
  }, 90_000)
})
