import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { silentLogger, systemClock } from 'buzzer'
import { service } from 'buzzer-servers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { follow, openLog, readAll, textOf } from '../test/log-world.ts'
import { message } from '../test/messages.ts'
import { ownSchema } from '../test/own-schema.ts'
import { postgres } from './index.ts'

const { url = '' } = await service('postgres')
const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n)

describe.skipIf(url === '')("a caller's transaction", () => {
  const world = ownSchema(url)
  const transport = postgres({ connectionString: url, schema: world.schema, pollMs: 50 })
  const delivered: string[] = []
  let log: Awaited<ReturnType<typeof openLog>>
  const deadline = AbortSignal.timeout(100_000)

  beforeAll(async () => {
    await transport.connect({
      bus: 't',
      instanceId: 't',
      clock: systemClock,
      logger: silentLogger,
      onState: () => undefined,
    })
    await transport.declare({ queues: [{ name: 'billing' }], topics: [], bindings: [] })
    await world.pool.query(`create table ${world.quoted}.business (id text primary key)`)
    log = await openLog({ url, schema: world.schema })
    await log.declare([{ name: 'orders' }])
    await transport.receive(
      'billing',
      async delivery => {
        delivered.push(delivery.id)
        return { as: 'ack' }
      },
      { maxInFlight: 10, orderBy: 'none' },
    )
  })
  afterAll(async () => {
    await transport.close()
    await log.close()
    await world[Symbol.asyncDispose]()
  })

  const rows = async (id: string): Promise<number> =>
    (await world.pool.query(`select 1 from ${world.quoted}.business where id = $1`, [id])).rowCount ?? 0
  const deliveries = (id: string): string[] => delivered.filter(one => one.startsWith(`${id}-`)).toSorted()

  test('RP1: two messages, a record, a log entry and a business row, the process killed after each step: all of it or nothing', async () => {
    const file = fileURLToPath(new URL('../test/transaction-process.ts', import.meta.url))
    const child = spawn(process.execPath, ['--conditions=buzzer-source', file, url, world.schema], {
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: 90_000,
    })
    const closed = once(child, 'close')
    await Promise.race([once(child.stdout, 'data'), closed.then(() => expect.fail('the process ended by itself'))])
    child.kill('SIGKILL')
    await closed
    expect((await follow(log, 'orders', 1)).map(textOf)).toEqual(['order6'])
    while (deliveries('order6').length < 2) {
      deadline.throwIfAborted()
      await sleep(20)
    }
    // What is to be there is there: whatever else had been committed would be, too.
    await sleep(300)
    for (const steps of [1, 2, 3, 4, 5]) {
      const id = `order${steps}`
      expect([steps, await rows(id), await transport.store.get('orders', id), deliveries(id)]).toEqual([
        steps,
        0,
        undefined,
        [],
      ])
    }
    expect([await rows('order6'), deliveries('order6')]).toEqual([1, ['order6-1', 'order6-2']])
    expect((await transport.store.get('orders', 'order6'))?.value).toEqual({ id: 'order6' })
    expect((await readAll(log, 'orders')).map(textOf)).toEqual(['order6'])
  }, 120_000)

  test('RP1: of transactions that commit, roll back, or lose their backend, exactly the committed ones deliver, once', async () => {
    const outcomes = ['commit', 'rollback', 'killed'] as const
    await Promise.all(
      range(30).map(async n => {
        const outcome = outcomes[n % 3]
        const id = `${outcome}${n}`
        const work = world.transaction(async tx => {
          await tx.query(`insert into ${world.quoted}.business (id) values ($1)`, [id])
          await transport.send([message(`${id}-1`, 'billing')], { tx })
          const change = { op: 'put', collection: 'orders', id, value: n, expected: 'absent' } as const
          await transport.store.commit([change], { tx })
          await transport.send([message(`${id}-2`, 'billing'), message(`${id}-3`, 'billing')], { tx })
          if (outcome === 'rollback') throw new Error('rolled back on purpose')
          if (outcome === 'killed') await tx.query('select pg_terminate_backend(pg_backend_pid())')
        })
        if (outcome === 'commit') await work
        else await expect(work).rejects.toThrow()
      }),
    )
    const committed = range(30).filter(n => n % 3 === 0)
    while (committed.some(n => deliveries(`commit${n}`).length < 3)) {
      deadline.throwIfAborted()
      await sleep(20)
    }
    await sleep(300)
    expect(delivered.filter(id => /^(commit|rollback|killed)/.test(id)).toSorted()).toEqual(
      committed.flatMap(n => [`commit${n}-1`, `commit${n}-2`, `commit${n}-3`]).toSorted(),
    )
    for (const n of range(30)) {
      const id = `${outcomes[n % 3]}${n}`
      expect([id, await rows(id), (await transport.store.get('orders', id))?.value]).toEqual(
        n % 3 === 0 ? [id, 1, n] : [id, 0, undefined],
      )
    }
  }, 120_000)

  test.each([
    ['an object without query', {}],
    ['nothing that could be one', 'tx'],
    ['a function', () => undefined],
  ])('%s is refused as a transaction, and nothing is stored', async (_, tx) => {
    const change = { op: 'put', collection: 'orders', id: 'refused', value: 1, expected: 'any' } as const
    for (const call of [
      () => transport.store.commit([change], { tx: tx as never }),
      () => transport.send([message('refused-1', 'billing')], { tx: tx as never }),
      () => log.append([{ stream: 'orders', records: [{ value: null }] }], { tx: tx as never }),
    ]) {
      await expect(call()).rejects.toMatchObject({ code: 'BUZZER_INVALID_OPTION', details: { option: 'tx' } })
    }
    expect(await transport.store.get('orders', 'refused')).toBeUndefined()
  })
})
