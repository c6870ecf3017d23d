import { setTimeout as sleep } from 'node:timers/promises'
import { silentLogger, systemClock } from 'buzzer'
import type { Delivery, OutgoingMessage, QueueLimits, Settlement, Transport } from 'buzzer/transport'
import { service, startProxy } from 'buzzer-servers'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { postgres, type PostgresOptions, type PostgresTransport } from '../src/index.ts'
import { ownSchema } from './own-schema.ts'
import { TransactionPooler } from './transaction-pooler.ts'

const { url = '' } = await service('postgres')
let names = 0

function message(queue: string, change: Partial<OutgoingMessage> = {}): OutgoingMessage {
  const id = change.id ?? `m${++names}`
  const body = new TextEncoder().encode(id)
  return { id, to: { queue }, attributes: { id }, headers: {}, body, priority: 4, mandatory: false, ...change }
}

describe.skipIf(url === '')('checklist of spec transports 3.6', () => {
  const world = ownSchema(url)
  afterAll(() => world[Symbol.asyncDispose]())

  async function client(options: PostgresOptions = {}): Promise<PostgresTransport> {
    const transport = postgres({ connectionString: url, schema: world.schema, ...options })
    const errors: unknown[] = []
    await transport.connect({
      bus: 'checklist',
      instanceId: 'x',
      clock: systemClock,
      logger: { ...silentLogger, error: fields => void errors.push(fields) },
      onState() {},
    })
    onTestFinished(() => transport.close())
    return transport
  }

  async function queue(transport: Transport | PostgresTransport, limits: QueueLimits = {}): Promise<string> {
    const name = `q${++names}`
    await transport.declare({ queues: [{ name, maxDeliveries: 1_000_000, ...limits }], topics: [], bindings: [] })
    return name
  }

  async function receive(
    transport: PostgresTransport,
    name: string,
    settle: (delivery: Delivery) => Settlement | Promise<Settlement> = () => ({ as: 'ack' }),
    maxInFlight = 16,
  ): Promise<Delivery[]> {
    const got: Delivery[] = []
    await transport.receive(
      name,
      async delivery => {
        got.push(delivery)
        return settle(delivery)
      },
      { maxInFlight, orderBy: 'none' },
    )
    return got
  }

  async function until(holds: () => boolean | Promise<boolean>, what = 'what was waited for'): Promise<void> {
    const giveUpAt = performance.now() + 20_000
    while (!(await holds())) {
      if (performance.now() > giveUpAt) throw new Error(`${what} did not come about`)
      await sleep(3)
    }
  }

  test('RP1 send in the caller’s transaction: two sends and a business row; a commit delivers each once, a rollback and a crash none', async () => {
    const transport = await client()
    const name = await queue(transport)
    const got = await receive(transport, name)
    await world.pool.query(`create table ${world.quoted}.orders (id text primary key)`)
    const place = async (order: string): Promise<void> =>
      world.transaction(async tx => {
        await transport.send([message(name, { id: `${order}-a` })], { tx })
        await tx.query(`insert into ${world.quoted}.orders values ($1::text)`, [order])
        await transport.send([message(name, { id: `${order}-b` })], { tx })
        if (order === 'rolled-back') throw new Error('enough')
        if (order === 'crashed') await tx.query('select pg_terminate_backend(pg_backend_pid())')
      })
    await place('good')
    await expect(place('rolled-back')).rejects.toThrow('enough')
    await expect(place('crashed')).rejects.toThrow()
    await until(() => got.length >= 2)
    await transport.send([message(name, { id: 'last' })])
    await until(() => got.length >= 3)
    expect(got.map(({ id }) => id)).toEqual(['good-a', 'good-b', 'last'])
    const { rows } = await world.pool.query<{ id: string }>(`select id from ${world.quoted}.orders`)
    expect(rows).toEqual([{ id: 'good' }])
  })

  test('RP1 a full queue refuses a send in the caller’s transaction with BUZZER_QUEUE_FULL, and the transaction with it', async () => {
    const transport = await client()
    const name = await queue(transport, { maxMessages: 1 })
    const sending = world.transaction(async tx => {
      await transport.send([message(name)], { tx })
      await transport.send([message(name)], { tx })
    })
    await expect(sending).rejects.toMatchObject({ code: 'BUZZER_QUEUE_FULL', details: { queue: name, value: 1 } })
    expect(await transport.admin.queue(name)).toMatchObject({ ready: 0 })
  })

  test('one receiver of a busy queue can be paused while another of the same client goes on', async () => {
    const transport = await client()
    const name = await queue(transport)
    const ack = (): Promise<Settlement> => Promise.resolve({ as: 'ack' })
    const paused = await transport.receive(name, ack, { maxInFlight: 4, orderBy: 'none' })
    let isOver = false
    const others = await receive(transport, name)
    const sending = (async () => {
      while (!isOver) await transport.send(Array.from({ length: 50 }, () => message(name)))
    })()
    await until(() => others.length > 100)
    await paused.pause()
    const before = others.length
    await until(() => others.length > before + 100)
    isOver = true
    await sending
  })

  test('RP1 a transaction with one snapshot sends although the topology changed after it began', async () => {
    const transport = await client()
    const other = await client()
    const name = await queue(transport)
    const got = await receive(transport, name)
    await world.transaction(async tx => {
      await tx.query('set transaction isolation level repeatable read')
      await tx.query('select 1')
      await queue(other)
      await transport.send([message(name, { id: 'seen' })], { tx })
    })
    await until(() => got.length === 1)
    expect(got[0]?.id).toBe('seen')
  })

  test('RP2 ack + send + record in one transaction, the link cut before and after every statement → output and record once', async () => {
    const proxy = await startProxy(Number(new URL(url).port || 5432))
    onTestFinished(() => proxy[Symbol.asyncDispose]())
    const through = new URL(url)
    through.port = String(proxy.port)
    const observer = await client()
    const [input, output] = [await queue(observer), await queue(observer)]
    const outputs = await receive(observer, output)
    const worker = await client({ connectionString: through.href, leaseMs: 1_000, notify: false, pollMs: 50 })
    let statements = 0
    let at = 0
    let isArmed = false
    let way: 'cut-before' | 'cut-after' = 'cut-before'
    proxy.cutWhen('to-server', () => {
      if (!isArmed || ++statements !== at) return 'pass'
      isArmed = false
      return way
    })
    const runs: string[] = []
    await worker.receive(
      input,
      async delivery => {
        runs.push(delivery.id)
        return {
          as: 'ack',
          send: [message(output, { id: `of-${delivery.id}` })],
          state: [{ op: 'put', collection: 'rp2', id: delivery.id, value: 1, expected: 'any' }],
        }
      },
      { maxInFlight: 1, orderBy: 'none' },
    )
    let sent = 0
    for (at = 1; at <= 8; at++) {
      for (way of ['cut-before', 'cut-after'] as const) {
        statements = 0
        isArmed = true
        sent++
        await observer.send([message(input, { id: `in${sent}` })])
        await until(() => outputs.length >= sent, `output ${sent}, cut at statement ${at}`)
      }
    }
    isArmed = false
    await observer.send([message(input, { id: `in${++sent}` })])
    await until(() => outputs.length >= sent)
    await until(async () => {
      const { ready, locked } = await observer.admin.queue(input)
      return ready + locked === 0
    })
    expect(outputs.map(({ id }) => id).toSorted()).toEqual(
      Array.from({ length: sent }, (_, n) => `of-in${n + 1}`).toSorted(),
    )
    for (let n = 1; n <= sent; n++) expect((await observer.store.get('rp2', `in${n}`))?.version).toBe(1)
    expect(statements).toBeGreaterThan(0)
  }, 60_000)

  test('RP3 a lease that is not renewed runs out: the signal aborts, another client gets the message, the late ack changes nothing', async () => {
    const proxy = await startProxy(Number(new URL(url).port || 5432))
    onTestFinished(() => proxy[Symbol.asyncDispose]())
    const through = new URL(url)
    through.port = String(proxy.port)
    const observer = await client({ leaseMs: 1_000 })
    const [name, output] = [await queue(observer), await queue(observer)]
    const stopped = await client({ connectionString: through.href, leaseMs: 1_000 })
    const { promise: opened, resolve: open } = Promise.withResolvers<void>()
    const first = await receive(stopped, name, async () => {
      await opened
      return { as: 'ack', send: [message(output)] }
    })
    await observer.send([message(name, { id: 'a' })])
    await until(() => first.length === 1)
    proxy.swallow('to-server', 'to-client')
    const second = await receive(observer, name, () => ({ as: 'retry', delayMs: 600_000 }))
    await until(() => second.length === 1)
    expect(second[0]?.attempt).toBe(2)
    await until(() => first[0]?.signal.aborted === true)
    expect(first[0]?.signal.reason).toMatchObject({ code: 'BUZZER_LOCK_LOST' })
    open()
    proxy.pass()
    proxy.reset()
    await stopped.send([message(output, { id: 'probe' })])
    const outputs = await receive(observer, output)
    await until(() => outputs.length === 1)
    expect(outputs.map(({ id }) => id)).toEqual(['probe'])
    expect(await observer.admin.queue(name)).toMatchObject({ scheduled: 1, ready: 0, locked: 0 })
  })

  test('RP5 50 single sends in flight → far fewer transactions than sends', async () => {
    const own = ownSchema(url)
    onTestFinished(() => own[Symbol.asyncDispose]())
    const transport = await client({ schema: own.schema })
    const name = await queue(transport)
    let next = 0
    await Promise.all(
      Array.from({ length: 50 }, async () => {
        while (next++ < 2_000) await transport.send([message(name)])
      }),
    )
    const { rows } = await own.pool.query<{ steps: number }>(
      `select count(*)::integer as steps from ${own.quoted}.receipt`,
    )
    expect(await transport.admin.queue(name)).toMatchObject({ ready: 2_000 })
    expect(rows[0]?.steps).toBeLessThan(2_000 / 10)
  })

  test('RP6 a chunk of 1,000, a receiver with room for 10, a second receiver starts → both work', async () => {
    const [one, two] = [await client(), await client()]
    const name = await queue(one)
    await one.send(Array.from({ length: 1_000 }, () => message(name)))
    const { rows } = await world.pool.query<{ n: number }>(
      `select n from ${world.quoted}.chunk c join ${world.quoted}.queue q on q.id = c.queue where q.name = $1`,
      [name],
    )
    expect(rows).toEqual([{ n: 1_000 }])
    const slow = async (): Promise<Settlement> => {
      await sleep(5)
      return { as: 'ack' }
    }
    const first = await receive(one, name, slow, 10)
    await until(() => first.length >= 10)
    const second = await receive(two, name, slow, 10)
    await until(() => second.length >= 10)
    expect(first.length).toBeLessThan(990)
    await until(() => first.length + second.length >= 1_000)
    expect(new Set([...first, ...second].map(({ id }) => id)).size).toBe(1_000)
    expect([...first, ...second].every(({ attempt }) => attempt === 1)).toBe(true)
  })

  test('RP7 one message of a chunk retried, one dead-lettered, its client gone → the rest not twice, attempts right', async () => {
    const proxy = await startProxy(Number(new URL(url).port || 5432))
    onTestFinished(() => proxy[Symbol.asyncDispose]())
    const through = new URL(url)
    through.port = String(proxy.port)
    const observer = await client({ leaseMs: 1_000 })
    const name = await queue(observer)
    const doomed = await client({ connectionString: through.href, leaseMs: 1_000 })
    await observer.send(['ack', 'retry', 'dead', 'held1', 'held2'].map(id => message(name, { id })))
    await receive(
      doomed,
      name,
      delivery => {
        if (delivery.id === 'ack') return { as: 'ack' }
        if (delivery.id === 'retry') return { as: 'retry', delayMs: 100 }
        if (delivery.id === 'dead') return { as: 'dead-letter', reason: 'poison' }
        return new Promise<Settlement>(() => {})
      },
      5,
    )
    await until(async () => (await observer.admin.queue(name)).dead === 1)
    proxy.swallow('to-server', 'to-client')
    const rest = await receive(observer, name)
    await until(() => rest.length >= 3)
    expect(rest.map(({ id, attempt }) => `${id} ${attempt}`).toSorted()).toEqual(['held1 2', 'held2 2', 'retry 2'])
    expect(await observer.admin.queue(name)).toMatchObject({ dead: 1, ready: 0 })
    proxy.pass()
    proxy.reset()
  })

  test.each([
    ['notify: false', { notify: false, pollMs: 100 }],
    ['listener cut', { pollMs: 200 }],
  ] as const)('RP8 %s → what another client sends is still delivered', async (kind, options) => {
    const [producer, consumer] = [await client({ notify: false }), await client(options)]
    const name = await queue(producer)
    const got = await receive(consumer, name)
    await sleep(250)
    if (kind === 'listener cut') {
      await world.pool.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'buzzer:checklist' and query like '%pg_notify%'`,
      )
    }
    for (let n = 1; n <= 3; n++) {
      await producer.send([message(name)])
      await until(() => got.length >= n)
    }
    expect(got).toHaveLength(3)
  })

  test('RP8 through a pooler in transaction mode: no statement of ours is prepared by name, LISTEN is found to be deaf, messages come by polling', async () => {
    const pooler = new TransactionPooler(url, 4)
    onTestFinished(() => pooler[Symbol.asyncDispose]())
    const [producer, consumer] = [
      await client({ pool: pooler, pooler: 'transaction', pollMs: 100 }),
      await client({ pool: pooler, pooler: 'transaction', pollMs: 100, notify: false }),
    ]
    const [name, output] = [await queue(producer), await queue(producer)]
    const got = await receive(consumer, name, delivery => ({
      as: 'ack',
      send: [message(output, { id: `of-${delivery.id}` })],
      state: [{ op: 'put', collection: 'rp8', id: delivery.id, value: 1, expected: 'absent' }],
    }))
    const outputs = await receive(producer, output)
    for (let n = 0; n < 30; n++) await producer.send([message(name)])
    await until(() => outputs.length >= 30)
    expect(got).toHaveLength(30)
    expect(pooler.named).toBe(0)
    expect(pooler.statements).toBeGreaterThan(60)
  })

  test('RP10 100,000 scheduled far ahead → a claim looks at no more rows than before', async () => {
    const transport = await client()
    const name = await queue(transport)
    const cost = async (): Promise<number> => {
      await transport.send([message(name)])
      const [row] = (
        await world.pool.query<{ head: string }>(
          `select head from ${world.quoted}.claim(gen_random_uuid(), (select id from ${world.quoted}.queue where name = $1), 1, 2, 1000000, 30000, false, false, 0)`,
          [name],
        )
      ).rows
      return (JSON.parse(row?.head ?? '{}') as { took: number }).took
    }
    const reads = async (): Promise<number> => {
      const { rows } = await world.pool.query<{ reads: string }>(
        `select sum(idx_tup_read) as reads from pg_stat_user_indexes where schemaname = $1 and relname = 'single'`,
        [world.schema],
      )
      return Number(rows[0]?.reads)
    }
    await world.pool.query(
      `insert into ${world.quoted}.single (rank, queue, state, priority, accepted_at, available_at, due_at, record)
      select nextval('${world.quoted}.position'), (select id from ${world.quoted}.queue where name = $1), 1, 4, now(), now() + interval '1 day', now() + interval '1 day', '\\x00000000'
      from generate_series(1, 100000)`,
      [name],
    )
    for (let n = 0; n < 20; n++) await cost()
    // The statistics of this session's work arrive a moment later.
    await sleep(1_100)
    const before = await reads()
    for (let n = 0; n < 50; n++) await cost()
    await sleep(1_100)
    expect((await reads()) - before).toBeLessThan(50 * 40)
  }, 60_000)

  test('RP13 errors have codes and say whether a second try is sensible', async () => {
    const attempt = async (options: PostgresOptions): Promise<unknown> => {
      const transport = postgres(options)
      const context = { bus: 'x', instanceId: 'x', clock: systemClock, logger: silentLogger, onState() {} }
      try {
        await transport.connect(context)
        return 'connected'
      } catch (error) {
        return error
      } finally {
        await transport.close()
      }
    }
    const away = new URL(url)
    away.port = '1'
    expect(await attempt({ connectionString: away.href })).toMatchObject({
      code: 'BUZZER_DISCONNECTED',
      retryable: true,
    })
    const unknown = new URL(url)
    unknown.pathname = '/no_such_database'
    expect(await attempt({ connectionString: unknown.href })).toMatchObject({
      code: 'BUZZER_DATABASE_FAILED',
      retryable: false,
      details: { sqlState: '3D000' },
    })
    const readOnly = await client({
      connectionString: url,
      config: { connectionString: url, options: '-c default_transaction_read_only=on' },
      declare: 'none',
    }).catch((error: unknown) => error)
    expect(readOnly).toMatchObject({ code: 'BUZZER_DATABASE_FAILED', retryable: true, details: { sqlState: '25006' } })
  })

  test('RP13 a statement limit that is reached is repeated where that is safe, and the send is stored once', async () => {
    const transport = await client({ statementTimeoutMs: 300 })
    const name = await queue(transport)
    await transport.send([message(name)])
    const { promise: held, resolve: release } = Promise.withResolvers<void>()
    const holding = world.transaction(async tx => {
      await tx.query(`lock table ${world.quoted}.chunk in access exclusive mode`)
      await held
    })
    const sending = transport.send([message(name)])
    await sleep(800)
    release()
    await Promise.all([holding, sending])
    expect(await transport.admin.queue(name)).toMatchObject({ ready: 2 })
  })

  test('RP14 a client whose clock is an hour behind the server’s → delays and times to live are right, and times come out on its own clock', async () => {
    const hour = 3_600_000
    const behind = { ...systemClock, now: () => Date.now() - hour }
    const transport = postgres({ connectionString: url, schema: world.schema })
    await transport.connect({ bus: 'behind', instanceId: 'x', clock: behind, logger: silentLogger, onState() {} })
    onTestFinished(() => transport.close())
    const name = await queue(transport)
    const got: { id: string; at: number; enqueuedAt: number }[] = []
    await transport.receive(
      name,
      async ({ id, enqueuedAt }) => {
        got.push({ id, at: behind.now(), enqueuedAt })
        return { as: 'ack' }
      },
      { maxInFlight: 4, orderBy: 'none' },
    )
    const sentAt = behind.now()
    await transport.send([
      message(name, { id: 'later', deliverAt: sentAt + 400 }),
      message(name, { id: 'living', expiresAt: sentAt + 60_000 }),
      message(name, { id: 'expired', expiresAt: sentAt - 1_000 }),
    ])
    await until(() => got.length >= 2)
    expect(got.map(({ id }) => id)).toEqual(['living', 'later'])
    expect(got[1]?.at).toBeGreaterThanOrEqual(sentAt + 400)
    for (const { enqueuedAt } of got) expect(Math.abs(enqueuedAt - sentAt)).toBeLessThan(60_000)
  })

  test('a key with deliveries lost twice is handed out alone: the poison is found, its neighbours are handled', async () => {
    const observer = await client({ leaseMs: 1_000 })
    const name = await queue(observer, { maxDeliveries: 5 })
    await observer.send(Array.from({ length: 6 }, (_, n) => message(name, { id: n === 3 ? 'poison' : `good${n}` })))
    const handled: string[] = []
    for (let life = 0; life < 12; life++) {
      const proxy = await startProxy(Number(new URL(url).port || 5432))
      const through = new URL(url)
      through.port = String(proxy.port)
      const doomed = postgres({
        connectionString: through.href,
        schema: world.schema,
        leaseMs: 1_000,
        notify: false,
        pollMs: 20,
      })
      await doomed.connect({ bus: 'doomed', instanceId: 'x', clock: systemClock, logger: silentLogger, onState() {} })
      const { promise: died, resolve: die } = Promise.withResolvers<void>()
      await doomed.receive(
        name,
        async ({ id }) => {
          if (id === 'poison') {
            // As good as dead: nothing that runs here is settled any more.
            proxy.refuse()
            proxy.reset()
            die()
            return new Promise<Settlement>(() => {})
          }
          await sleep(20)
          handled.push(id)
          return { as: 'ack' }
        },
        { maxInFlight: 6, orderBy: 'none' },
      )
      const isOver = async (): Promise<boolean> => {
        const { ready, locked, dead } = await observer.admin.queue(name)
        return ready + locked === 0 && dead === 1
      }
      let over = false
      while (!over && (await Promise.race([died.then(() => 'died'), sleep(50)])) !== 'died') over = await isOver()
      proxy.pass()
      void doomed.close()
      await sleep(0)
      await proxy[Symbol.asyncDispose]()
      if (over) break
      await sleep(1_100)
    }
    const { items } = await observer.admin.peek(name, { state: 'dead' })
    expect(items.map(({ messageId, deadLetter }) => [messageId, deadLetter?.reason])).toEqual([
      ['poison', 'max-deliveries-exceeded'],
    ])
    expect(new Set(handled).size).toBe(5)
  }, 90_000)
})
