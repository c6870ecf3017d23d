import { randomUUID } from 'node:crypto'
import { AbortedError, BuzzerError, silentLogger, systemClock } from 'buzzer'
import type { Store } from 'buzzer/store'
import type { Transport, TransportAdmin, TransportContext } from 'buzzer/transport'
import { postgresAdmin } from './admin/postgres-admin.ts'
import { SharedDatabase } from './connection/shared-database.ts'
import { logOver, type PostgresLog } from './log/log.ts'
import { checkOptions, type PostgresOptions } from './options.ts'
import { QueueBroker } from './queues/queue-broker.ts'
import { Session } from './queues/session.ts'
import { checkTx, rowsOf, type Tx } from './sql-handle.ts'
import { Records } from './store/records.ts'
import { storeOver } from './store/store.ts'

/** A transport whose store and event log are in the same database, and commit with it. */
export interface PostgresTransport extends Transport<Tx> {
  readonly store: Store<Tx>
  /** Open with the transport. A program that only reads and appends may connect and close it by itself. */
  readonly log: PostgresLog
  readonly admin: Required<TransportAdmin>
}

const oldestVersion = 14
const sweepMs = 30_000

/**
 * Queues, records and event logs in PostgreSQL (14 or later): nothing to run beside the database that is there anyway, and
 * one transaction for a business row, the message about it, and what a handler has done.
 *
 * - `send` with `tx`, your own transaction, delivers if it commits: no outbox table, no relay.
 * - Sends and settlements made at the same time share a transaction. Unordered queues keep messages in chunks, many to a row.
 * - What is in hand is leased, for `leaseMs` and renewed; a process that dies loses its leases to others. Leases outlive a
 *   lost connection.
 * - Delays, priorities, key order over processes, deduplication, time to live, dead letters: all native.
 * - No transaction is open while a handler runs.
 *
 * Rejections: `BUZZER_DISCONNECTED`, `BUZZER_DATABASE_FAILED`, `BUZZER_DISK_FULL`, `BUZZER_QUEUE_FULL`, `BUZZER_UNROUTABLE`
 * and those of the contract. Source: spec transports 3, ADR 10.
 * @throws BUZZER_INVALID_OPTION
 */
export function postgres(options: PostgresOptions = {}): PostgresTransport {
  const checked = checkOptions(options)
  const shared = new SharedDatabase(checked.database)
  const records = new Records(checked.database.schema, checked.maxValueBytes)
  const store = storeOver(shared, records, { pollMs: checked.pollMs, sweepMs })
  const log = logOver(shared)
  let state: 'new' | 'open' | 'closed' = 'new'
  let opening: Promise<QueueBroker> | undefined
  let broker: QueueBroker | undefined
  let closing: Promise<void> | undefined
  let connection: Disposable | undefined

  const open = (): QueueBroker => {
    if (state === 'open' && broker !== undefined) return broker
    throw new BuzzerError(
      'BUZZER_NOT_RUNNING',
      state === 'closed'
        ? 'the PostgreSQL transport is closed; make a new one'
        : 'the PostgreSQL transport is not connected',
    )
  }

  async function begin(given: TransportContext): Promise<QueueBroker> {
    // From JavaScript, and in small programs, `connect({})` does.
    const defaults: TransportContext = {
      bus: '',
      instanceId: '',
      clock: systemClock,
      logger: silentLogger,
      onState() {},
    }
    const context: TransportContext = { ...defaults, ...given }
    const { clock, logger } = context
    const opened = await shared.open(context)
    try {
      await checkServer(shared)
      const session = new Session({
        database: shared.database,
        records,
        client: randomUUID(),
        prefix: checked.prefix,
        clock,
        logger,
        chunkLimits: checked.chunkLimits,
        leaseMs: checked.leaseMs,
        maxMessageBytes: checked.maxMessageBytes,
      })
      const begun = new QueueBroker({
        session,
        notifications: shared.notifications,
        pollMs: checked.pollMs,
        declare: checked.database.declare,
        onReceiverEnded(error) {
          logger.error({ error }, error.message)
          // The connection is as it was; the error is news all the same.
          context.onState('connected', error)
        },
      })
      await begun.start()
      await store.connect(context)
      await log.connect(context)
      connection = opened
      context.onState('connected')
      return begun
    } catch (error) {
      await store.close()
      opened[Symbol.dispose]()
      throw error
    }
  }

  async function end(): Promise<void> {
    const begun = await opening?.catch(() => undefined)
    await begun?.close()
    if (begun !== undefined) await Promise.all([store.close(), log.close()])
    connection?.[Symbol.dispose]()
  }

  return {
    name: 'postgres',
    capabilities: Object.freeze({
      delayMaxMs: Number.POSITIVE_INFINITY,
      deadLetter: 'native',
      ordering: 'key',
      transactions: 'caller',
      redelivery: 'counted',
      deduplication: 'native',
      replay: true,
      maxMessageBytes: checked.maxMessageBytes,
      ttl: 'native',
      priorities: 10,
      mandatory: 'native',
      cancel: 'native',
      temporaryQueues: 'native',
    }),
    store,
    log,
    admin: postgresAdmin(open),
    async connect(context) {
      if (state === 'closed') open()
      opening ??= begin(context)
      const attempt = opening
      try {
        broker = await attempt
      } catch (error) {
        if (opening === attempt) opening = undefined
        throw error
      }
      // Closed while it was starting.
      if ((state as string) === 'closed') open()
      state = 'open'
    },
    async declare(topology) {
      await open().declare(topology)
    },
    async send(messages, { tx, state: changes, signal } = {}) {
      const begun = open()
      if (signal?.aborted === true) throw new AbortedError(signal, 'the send', { outcome: 'not-stored' })
      if (tx === undefined) await begun.send(messages, changes, signal)
      else await begun.sendIn(checkTx(tx), messages, changes)
    },
    async receive(queue, onDelivery, receiveOptions) {
      return open().receive(queue, onDelivery, receiveOptions)
    },
    close() {
      state = 'closed'
      closing ??= end()
      return closing
    },
  }
}

async function checkServer(shared: SharedDatabase): Promise<void> {
  const [row] = await rowsOf<{ version: number }>(
    shared.handle,
    `select current_setting('server_version_num')::integer as version`,
  )
  const version = Math.floor((row?.version ?? 0) / 10_000)
  if (version >= oldestVersion) return
  throw new BuzzerError(
    'BUZZER_UNSUPPORTED',
    `transport postgres needs PostgreSQL ${oldestVersion} or later and found ${version}; update the server, or use the embedded broker`,
    { details: { transport: 'postgres', found: version, needed: oldestVersion } },
  )
}
