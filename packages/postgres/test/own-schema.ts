import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { quoteIdentifier, type RunTransaction, type SqlHandle } from '../src/sql-handle.ts'

/** A schema of this run on a server that others may use too; gone when disposed of. */
export interface OwnSchema extends AsyncDisposable {
  readonly url: string
  readonly schema: string
  /** The schema's name as SQL takes it. */
  readonly quoted: string
  /** For what a test looks up or does behind the product's back. */
  readonly pool: pg.Pool
  readonly transaction: RunTransaction
}

export function ownSchema(url: string, options: { name?: string; max?: number } = {}): OwnSchema {
  const schema = options.name ?? `buzzer_test_${randomBytes(6).toString('hex')}`
  const quoted = quoteIdentifier(schema)
  const pool = new pg.Pool({ connectionString: url, max: options.max ?? 10 })
  // A killed backend is what some tests want; without a listener it would end the process.
  pool.on('error', () => undefined)
  return {
    url,
    schema,
    quoted,
    pool,
    transaction: work => inTransaction(pool, work),
    async [Symbol.asyncDispose]() {
      await pool.query(`drop schema if exists ${quoted} cascade`)
      await pool.end()
    },
  }
}

async function inTransaction<T>(pool: pg.Pool, work: (handle: SqlHandle) => Promise<T>): Promise<T> {
  const client = await pool.connect()
  let failure: Error | undefined
  const broken = (error: Error): void => void (failure = error)
  client.on('error', broken)
  try {
    await client.query('begin')
    const result = await work(client)
    await client.query('commit')
    return result
  } catch (error) {
    await client.query('rollback').catch((rollback: Error) => (failure = rollback))
    throw error
  } finally {
    client.off('error', broken)
    client.release(failure)
  }
}
