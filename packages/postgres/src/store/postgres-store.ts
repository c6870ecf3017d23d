import type { Store } from 'buzzer/store'
import type { ClientConfig } from 'pg'
import type { PoolLike } from '../connection/pg-connection.ts'
import { SharedDatabase } from '../connection/shared-database.ts'
import type { MigrateMode } from '../migrations/index.ts'
import { quoteIdentifier, type Tx } from '../sql-handle.ts'
import { checkWhole } from './whole-number.ts'
import { invalid } from './record-change.ts'
import { Records } from './records.ts'
import { storeOver } from './store.ts'

/** Give `connectionString`, `config` or `pool`; without any of them `pg` takes the environment (`PGHOST` …). */
export interface PostgresStoreOptions {
  readonly connectionString?: string
  /** For `pg.Client`: host, port, user, password, database, ssl … Wins over `connectionString`. */
  readonly config?: ClientConfig
  /** A pool of yours. Connections are taken from it and given back; it is never closed. */
  readonly pool?: PoolLike
  /** Where the tables are. Default `buzzer`. */
  readonly schema?: string
  /** Connections at most, beside one that listens. Default 4. */
  readonly maxConnections?: number
  /** Whether watchers are woken by LISTEN and NOTIFY. Default true; without they look every `pollMs`. */
  readonly notify?: boolean
  /** How often watched records are looked at although nothing was heard. Default 1,000. */
  readonly pollMs?: number
  /** How often expired records are removed; absent they are at once. Default 30,000. */
  readonly sweepMs?: number
  /** Largest value, as JSON. Default 16 MiB. */
  readonly maxValueBytes?: number
  /**
   * `create` brings the schema up to date, `verify` rejects with the SQL that is missing, `none` trusts. Default `create`.
   * Collections and their indexes are rows of data: they are noted whatever this says.
   */
  readonly declare?: MigrateMode
  /** A statement that takes longer fails. Default 30,000. */
  readonly statementTimeoutMs?: number
  /** `transaction`: connections go through a pooler in transaction mode, so nothing is kept on them. Default `none`. */
  readonly pooler?: 'none' | 'transaction'
}

/**
 * A store on PostgreSQL by itself, for a bus whose transport is another broker: operations, inbox, outbox and schedules are
 * kept here, and a commit with `tx` joins your own transaction. The store of `postgres(…)` is the same on the connections
 * of the transport.
 * @throws BUZZER_INVALID_OPTION
 */
export function postgresStore(options: PostgresStoreOptions = {}): Store<Tx> {
  const { schema = 'buzzer', connectionString, config = {}, declare = 'create', pooler = 'none', pool } = options
  quoteIdentifier(schema)
  checkWord('declare', declare, ['create', 'verify', 'none'])
  checkWord('pooler', pooler, ['none', 'transaction'])
  if (pool !== undefined && typeof pool.connect !== 'function') {
    throw invalid('pool: what was given has no connect(); give a pg.Pool', { option: 'pool' })
  }
  const database = new SharedDatabase({
    config: connectionString === undefined ? config : { connectionString, ...config },
    pool,
    schema,
    maxConnections: checkWhole('maxConnections', options.maxConnections ?? 4, 1, 1_000),
    statementTimeoutMs: checkWhole('statementTimeoutMs', options.statementTimeoutMs ?? 30_000, 1, 2 ** 31 - 1),
    pooler,
    declare,
    notify: options.notify ?? true,
  })
  const records = new Records(
    schema,
    checkWhole('maxValueBytes', options.maxValueBytes ?? 16 * 1024 * 1024, 1, 256 * 1024 * 1024),
  )
  return storeOver(database, records, {
    pollMs: checkWhole('pollMs', options.pollMs ?? 1_000, 1, 2 ** 31 - 1),
    sweepMs: checkWhole('sweepMs', options.sweepMs ?? 30_000, 1, 2 ** 31 - 1),
  })
}

function checkWord(option: string, value: string, words: readonly string[]): void {
  if (words.includes(value)) return
  throw invalid(`${option}: ${value} is not possible; it is one of ${words.join(', ')}`, { option, value })
}
