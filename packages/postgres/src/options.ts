import { BuzzerError } from 'buzzer'
import type { ClientConfig } from 'pg'
import type { PoolLike } from './connection/pg-connection.ts'
import type { SharedDatabaseOptions } from './connection/shared-database.ts'
import type { MigrateMode } from './migrations/index.ts'
import type { ChunkLimits } from './queues/manifest.ts'
import { quoteIdentifier } from './sql-handle.ts'
import { checkWhole } from './store/whole-number.ts'

/** Give `connectionString`, `config` or `pool`; without any of them `pg` takes the environment (`PGHOST` …). */
export interface PostgresOptions {
  /** `postgres://user:password@host:5432/database`. */
  readonly connectionString?: string
  /** For `pg.Client`: host, port, user, password, database, ssl … Wins over `connectionString`. */
  readonly config?: ClientConfig
  /** A pool of yours, by structure `pg.Pool`. Connections are taken from it and given back; it is never closed. */
  readonly pool?: PoolLike
  /** Where the tables are; two schemas of one database do not meet. At most 63 bytes. Default `buzzer`. */
  readonly schema?: string
  /** Put before every queue and topic name, so that several systems share a schema. Default: nothing. */
  readonly prefix?: string
  /**
   * `create` makes schema, queues, topics and bindings exist; `verify` changes nothing and rejects with all that is missing,
   * the SQL of the schema included; `none` trusts. Default `create`.
   */
  readonly declare?: MigrateMode
  /** Connections at most, beside one that listens. 2 or more. Default 4. */
  readonly maxConnections?: number
  /** Whether clients wake each other by LISTEN and NOTIFY. Polling goes on beside it. Default true. */
  readonly notify?: boolean
  /** How often a queue is looked at although nothing was heard; with notifications that come it slows down to 5 s. Default 1,000. */
  readonly pollMs?: number
  /** How long what a client has in hand is its own without renewal, which comes at a third of it. At least 1,000. Default 30,000. */
  readonly leaseMs?: number
  /** What messages that came together share a row: at most so many (1,000 at most) and so many bytes. Default 1,000 and 1 MiB. */
  readonly batch?: Partial<ChunkLimits>
  /** Attributes, headers and body of one message. At most 64 MiB, the default. */
  readonly maxMessageBytes?: number
  /** A statement that takes longer fails, and is sent again where that is safe. Default 30,000. */
  readonly statementTimeoutMs?: number
  /**
   * `transaction`: connections go through a pooler in transaction mode, so nothing is kept on them: no named prepared
   * statements, no session settings. Default `none`.
   */
  readonly pooler?: 'none' | 'transaction'
  /** Largest value of a record in the store, as JSON. Default 16 MiB. */
  readonly maxValueBytes?: number
}

/** Options with their defaults, checked. */
export interface CheckedOptions {
  readonly database: SharedDatabaseOptions
  readonly prefix: string
  readonly pollMs: number
  readonly leaseMs: number
  readonly chunkLimits: ChunkLimits
  readonly maxMessageBytes: number
  readonly maxValueBytes: number
}

const mebibyte = 1024 * 1024

/** @throws BUZZER_INVALID_OPTION */
export function checkOptions(options: PostgresOptions): CheckedOptions {
  const {
    connectionString,
    config = {},
    pool,
    schema = 'buzzer',
    prefix = '',
    declare = 'create',
    pooler = 'none',
  } = options
  quoteIdentifier(schema)
  if (typeof prefix !== 'string' || prefix.includes('\0') || !prefix.isWellFormed())
    throw invalid('prefix', prefix, 'a text without NUL')
  if (!['create', 'verify', 'none'].includes(declare)) throw invalid('declare', declare, "'create', 'verify' or 'none'")
  if (!['none', 'transaction'].includes(pooler)) throw invalid('pooler', pooler, "'none' or 'transaction'")
  if (pool !== undefined && typeof pool.connect !== 'function') throw invalid('pool', pool, 'a pool with connect()')
  return {
    database: {
      config: connectionString === undefined ? config : { connectionString, ...config },
      pool,
      schema,
      maxConnections: checkWhole('maxConnections', options.maxConnections ?? 4, 2, 1_000),
      statementTimeoutMs: checkWhole('statementTimeoutMs', options.statementTimeoutMs ?? 30_000, 100, 2 ** 31 - 1),
      pooler,
      declare,
      notify: options.notify ?? true,
    },
    prefix,
    pollMs: checkWhole('pollMs', options.pollMs ?? 1_000, 1, 3_600_000),
    leaseMs: checkWhole('leaseMs', options.leaseMs ?? 30_000, 1_000, 2 ** 31 - 1),
    chunkLimits: {
      maxMessages: checkWhole('batch.maxMessages', options.batch?.maxMessages ?? 1_000, 1, 1_000),
      maxBytes: checkWhole('batch.maxBytes', options.batch?.maxBytes ?? mebibyte, 1, 64 * mebibyte),
    },
    maxMessageBytes: checkWhole('maxMessageBytes', options.maxMessageBytes ?? 64 * mebibyte, 1, 64 * mebibyte),
    maxValueBytes: checkWhole('maxValueBytes', options.maxValueBytes ?? 16 * mebibyte, 1, 256 * mebibyte),
  }
}

function invalid(option: string, value: unknown, wanted: string): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', `option ${option} of postgres() is ${String(value)}, not ${wanted}`, {
    details: { option, value },
  })
}
