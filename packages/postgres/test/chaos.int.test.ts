import { setTimeout as sleep } from 'node:timers/promises'
import { startProxy } from 'buzzer-servers'
import pg from 'pg'
import { afterAll, describe, expect, test } from 'vitest'
import { ChaosRun } from './chaos-run.ts'
import { privatePostgres } from './private-postgres.ts'

const { server } = await privatePostgres()
const url = server?.url ?? ''
let runs = 0
/** Cases run one after the other, each in a schema of its own. */
const schema = (): string => `chaos${++runs}`
const timeoutMs = 120_000

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(2)
}

describe.skipIf(server === undefined)('chaos on a PostgreSQL of its own', () => {
  afterAll(() => server?.[Symbol.asyncDispose]())

  test(
    'RP11 server stopped -m immediate mid-stream with 10,000 in flight → no confirmed message lost, no send pending for ever',
    async () => {
      await using run = new ChaosRun({ connectionString: url, schema: schema() })
      const [producer, consumer, other] = [await run.client('p1'), await run.client('c1'), await run.client('c2')]
      const [plain, keyed] = [await run.queue('plain'), await run.queue('keyed', 'key')]
      await run.consume(consumer, plain, 5_000)
      await run.consume(other, plain, 5_000)
      await run.consume(consumer, keyed, 500)
      await run.consume(other, keyed, 500)
      const producing = Promise.all([
        run.produce(producer, 12_000, 9_000, () => run.message(plain)),
        run.produce(producer, 2_000, 1_000, n => run.message(keyed, { key: `k${n % 50}` })),
      ])
      await until(() => run.handled > 1_000)
      run.cut()
      await server?.stopAtOnce()
      await server?.start()
      await producing
      expect(run.confirmed).toBe(14_000)
      expect(await run.judge()).toEqual([])
    },
    timeoutMs,
  )

  test(
    'pg_terminate_backend of every connection, five times in full flow → everything handled, nothing twice but by redelivery',
    async () => {
      const name = schema()
      await using run = new ChaosRun({ connectionString: url, schema: name })
      const [producer, consumer] = [await run.client('p1'), await run.client('c1')]
      const [plain, keyed] = [await run.queue('plain'), await run.queue('keyed', 'key')]
      await run.consume(consumer, plain, 200)
      await run.consume(consumer, keyed, 100)
      const producing = Promise.all([
        run.produce(producer, 4_000, 100, () => run.message(plain)),
        run.produce(producer, 1_000, 50, n => run.message(keyed, { key: `k${n % 20}` })),
      ])
      const killer = new pg.Client({ connectionString: url })
      await killer.connect()
      for (let kill = 0; kill < 5; kill++) {
        const before = run.handled
        await until(() => run.handled >= Math.min(before + 200, 4_900))
        run.cut()
        await killer.query(
          `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'buzzer:%'`,
        )
      }
      await killer.end()
      await producing
      expect(run.confirmed).toBe(5_000)
      expect(await run.judge()).toEqual([])
    },
    timeoutMs,
  )

  test(
    'links cut and reset by a proxy, and cut between a commit and its answer → each send stored once',
    async () => {
      await using proxy = await startProxy(server?.port ?? 0)
      const name = schema()
      const through = url.replace(/:\d+\//, `:${proxy.port}/`)
      await using run = new ChaosRun({ connectionString: through, schema: name })
      const direct = { connectionString: url }
      const producer = await run.client('p1')
      const consumer = await run.client('c1', direct)
      const [plain, keyed] = [await run.queue('plain'), await run.queue('keyed', 'key')]
      await run.consume(consumer, plain, 100)
      await run.consume(consumer, keyed, 50)
      const producing = Promise.all([
        run.produce(producer, 3_000, 60, () => run.message(plain)),
        run.produce(producer, 600, 20, n => run.message(keyed, { key: `k${n % 10}` })),
      ])
      // The server has done what it was asked, and its answer never arrives.
      let answers = 0
      let cuts = 0
      proxy.cutWhen('to-client', bytes => {
        if (!bytes.includes('stored') || ++answers % 4 !== 0 || cuts >= 8) return 'pass'
        cuts++
        run.cut('p1')
        return 'cut-before'
      })
      await until(() => cuts >= 5 || run.confirmed >= 3_500)
      proxy.pass()
      run.cut('p1')
      proxy.cut()
      const before = run.confirmed
      await until(() => run.confirmed >= Math.min(before + 100, 3_600))
      run.cut('p1')
      proxy.reset()
      await producing
      expect(cuts).toBeGreaterThanOrEqual(5)
      expect(run.confirmed).toBe(3_600)
      expect(await run.judge()).toEqual([])
    },
    timeoutMs,
  )

  test(
    'a half-open link → found by the statement limit, no promise pending, sends stored once',
    async () => {
      await using proxy = await startProxy(server?.port ?? 0)
      const through = url.replace(/:\d+\//, `:${proxy.port}/`)
      await using run = new ChaosRun({ connectionString: through, schema: schema(), statementTimeoutMs: 1_000 })
      const producer = await run.client('p1')
      const consumer = await run.client('c1', { connectionString: url })
      const plain = await run.queue('plain')
      await run.consume(consumer, plain, 100)
      const producing = run.produce(producer, 1_500, 30, () => run.message(plain))
      await until(() => run.confirmed > 200)
      run.cut('p1')
      proxy.swallow('to-client')
      await until(() => proxy.swallowedBytes > 0)
      const began = performance.now()
      await sleep(500)
      proxy.pass()
      await producing
      expect(performance.now() - began).toBeLessThan(60_000)
      expect(run.confirmed).toBe(1_500)
      expect(await run.judge()).toEqual([])
    },
    timeoutMs,
  )
})
