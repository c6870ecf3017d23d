import { setTimeout as sleep } from 'node:timers/promises'
import { silentLogger, systemClock } from 'buzzer'
import { service } from 'buzzer-servers'
import pg from 'pg'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { postgres } from '../src/index.ts'
import { ownSchema } from './own-schema.ts'

const { url = '' } = await service('postgres')

interface PlanNode {
  readonly 'Rows Removed by Join Filter'?: number
  readonly 'Rows Removed by Filter'?: number
  readonly 'Actual Loops'?: number
  readonly Plans?: readonly PlanNode[]
}

/** Rows that were read and thrown away in one run of a plan. */
function wasteOf(node: PlanNode): number {
  const own = (node['Rows Removed by Join Filter'] ?? 0) + (node['Rows Removed by Filter'] ?? 0)
  return (node.Plans ?? []).reduce((sum, child) => sum + wasteOf(child), own * (node['Actual Loops'] ?? 1))
}

describe.skipIf(url === '')('the plans of the queue functions', () => {
  const world = ownSchema(url)
  afterAll(() => world[Symbol.asyncDispose]())

  /** Connections that tell us the plan of every statement in every function. */
  function observed(): { readonly pool: pg.Pool; readonly waste: Map<string, number> } {
    const waste = new Map<string, number>()
    const settings = {
      session_preload_libraries: 'auto_explain',
      'auto_explain.log_min_duration': '0',
      'auto_explain.log_nested_statements': 'on',
      'auto_explain.log_analyze': 'on',
      'auto_explain.log_timing': 'off',
      'auto_explain.log_format': 'json',
      client_min_messages: 'log',
    }
    const options = Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`)
    const pool = new pg.Pool({ connectionString: url, max: 4, options: options.join(' ') })
    pool.on('connect', client => {
      client.on('notice', ({ message = '' }) => {
        const at = message.indexOf('{')
        if (!message.includes('plan:') || at < 0) return
        const { 'Query Text': text, Plan: plan } = JSON.parse(message.slice(at)) as {
          'Query Text': string
          Plan: PlanNode
        }
        waste.set(text, (waste.get(text) ?? 0) + wasteOf(plan))
      })
    })
    onTestFinished(() => pool.end())
    return { pool, waste }
  }

  test('made when the tables were empty, they do for thousands: what is read grows with the messages, not with their square', async context => {
    const { pool, waste } = observed()
    try {
      await pool.query('select 1')
    } catch (error) {
      // The module comes with PostgreSQL's contrib packages, and only a superuser may load it.
      context.skip(`auto_explain cannot be loaded here: ${(error as Error).message}`)
    }
    const maker = postgres({ connectionString: url, schema: world.schema })
    const connection = { bus: 'plans', instanceId: 'x', clock: systemClock, logger: silentLogger, onState() {} }
    await maker.connect(connection)
    await maker.declare({ queues: [{ name: 'keyed', orderBy: 'key', maxDeliveries: 3 }], topics: [], bindings: [] })
    await maker.close()
    // An empty table that was vacuumed looks the smallest to the planner; nothing tells it of the growth.
    for (const table of ['single', 'lane', 'chunk']) {
      await world.pool.query(`alter table ${world.quoted}.${table} set (autovacuum_enabled = off)`)
      await world.pool.query(`vacuum analyze ${world.quoted}.${table}`)
    }

    const transport = postgres({ pool, schema: world.schema })
    await transport.connect(connection)
    onTestFinished(() => transport.close())
    const ended = new Map<string, number>()
    await transport.receive(
      'keyed',
      async ({ id, attempt }) => {
        const [n = 0] = id.split('.').map(Number)
        ended.set(id, attempt)
        if (n % 10 === 1 && attempt === 1) return { as: 'retry' }
        if (n % 10 === 2 && attempt === 1) return { as: 'retry', delayMs: 1 }
        if (n % 10 === 3) return { as: 'dead-letter', reason: 'poison' }
        if (n % 10 === 4) return { as: 'retry' }
        return { as: 'ack' }
      },
      { maxInFlight: 2_000, orderBy: 'key' },
    )
    const run = async (round: string, keys: number, each: number): Promise<void> => {
      const body = new Uint8Array(10)
      const messages = Array.from({ length: keys * each }, (_, at) => ({
        id: `${at}.${round}`,
        key: `key-${at % keys}`,
        to: { queue: 'keyed' },
        attributes: {},
        headers: {},
        body,
        priority: 4,
        mandatory: false,
      }))
      await transport.send(messages)
      const isOver = async (): Promise<boolean> => {
        const { ready, locked, scheduled } = await transport.admin.queue('keyed')
        return ready + locked + scheduled === 0
      }
      while (!(await isOver())) await sleep(20)
    }
    // Every connection makes its plans now.
    await run('small', 20, 2)
    waste.clear()
    const [keys, each] = [1_500, 4]
    await run('large', keys, each)
    expect(ended.size).toBe(40 + keys * each)
    const worst = [...waste].toSorted(([, a], [, b]) => b - a)[0] ?? ['', 0]
    // Of the square, 2,250,000 rows for each of four rounds of heads, and of what is lined up behind them, nothing.
    expect(worst[1], worst[0]).toBeLessThan(40 * keys * each)
  }, 120_000)
})
