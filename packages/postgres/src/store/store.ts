import { AbortedError, BuzzerError } from 'buzzer'
import type { Store, StoreContext } from 'buzzer/store'
import type { SharedDatabase } from '../connection/shared-database.ts'
import { GroupCommit } from '../group-commit.ts'
import { Notices } from '../notices.ts'
import { checkTx, quoteIdentifier, type Tx } from '../sql-handle.ts'
import { sqlStateOf } from '../sql-state.ts'
import type { StateUnit } from './record-plan.ts'
import { RecordQueries } from './record-queries.ts'
import { recordStatements } from './record-statements.ts'
import { RecordSweeper } from './record-sweeper.ts'
import { noticeName, RecordWatchers } from './record-watchers.ts'
import { isRace } from './record-writer.ts'
import type { Records } from './records.ts'

export interface StoreSettings {
  /** How often watched records are looked at without a notification. Milliseconds. */
  readonly pollMs: number
  /** How often expired records are removed. Milliseconds. */
  readonly sweepMs: number
}

/** Of this package's notifications. */
const topic = 'record'

/** What one transaction carries; a larger commit goes alone. */
const maxBatchBytes = 4 * 1024 * 1024
/** One statement carries a commit whole. */
const maxCommitBytes = 128 * 1024 * 1024

/** A transaction that loses its race loses it again only if somebody else is fast again. */
const maxTries = 10

/** Everything of one connected time of a store. */
interface Running {
  readonly notices: Notices
  readonly watchers: RecordWatchers
  readonly sweeper: RecordSweeper
  readonly listening: Disposable | undefined
  readonly committed: Disposable
  readonly connections: Disposable
}

/**
 * The store of a database. Commits made at the same time share a transaction; each is all or nothing by itself,
 * in the order of the calls. Leases, expiry and `updatedAt` go by the server's clock.
 */
export function storeOver(database: SharedDatabase, records: Records, settings: StoreSettings): Store<Tx> {
  const { handle, looks, transaction } = database
  const { schema } = database.options
  const queries = new RecordQueries(schema, records.collections)
  let running: Promise<Running> | undefined

  const commits = new GroupCommit<StateUnit, undefined>({
    what: 'the commit',
    maxItems: 500,
    maxWeight: maxBatchBytes,
    weigh: bytesOf,
    run: units => commitUnits(units),
  })

  const ready = (): Promise<Running> => {
    if (running === undefined) throw new BuzzerError('BUZZER_NOT_RUNNING', 'the PostgreSQL store is closed')
    return running
  }

  async function commitUnits(units: readonly StateUnit[]): Promise<readonly (undefined | Error)[]> {
    try {
      const refusals = await repeated(() => transaction(within => records.apply(within, units)))
      const accepted = units.filter((_, at) => refusals[at] === undefined)
      if (accepted.length > 0) records.committed(accepted.flat())
      return refusals
    } catch (error) {
      // A unit that the database refuses must not take the others of its batch with it.
      if (units.length === 1 || !isOfOneStatement(error)) throw error
      const results: (undefined | Error)[] = []
      for (const unit of units) {
        results.push(
          await commitUnits([unit]).then(
            ([result]) => result,
            (failure: Error) => failure,
          ),
        )
      }
      return results
    }
  }

  async function begin(context: StoreContext): Promise<Running> {
    const connections = await database.open(context)
    const { clock, logger } = context
    const { notifications } = database
    const watchers = new RecordWatchers({
      handle: looks,
      versions: recordStatements(quoteIdentifier(schema)).versions,
      clock,
      logger,
      pollMs: settings.pollMs,
    })
    const listening = notifications?.listen(topic, {
      onPayload: payload => watchers.hint(payload),
      onGap: () => watchers.lookAtAll(),
    })
    const notices = new Notices(async payload => notifications?.notify(topic, payload), clock)
    const committed = records.onCommitted(changes => {
      watchers.changed(changes)
      if (notifications !== undefined) notices.tell(changes.map(({ collection, id }) => noticeName(collection, id)))
    })
    const sweeper = new RecordSweeper({ transaction, records, clock, logger, everyMs: settings.sweepMs })
    sweeper.start()
    return { notices, watchers, sweeper, listening, committed, connections }
  }

  async function end(started: Promise<Running>): Promise<void> {
    const { notices, watchers, sweeper, listening, committed, connections } = await started
    await commits.idle()
    committed[Symbol.dispose]()
    notices.close()
    watchers.close()
    listening?.[Symbol.dispose]()
    await sweeper.close()
    connections[Symbol.dispose]()
  }

  return {
    name: 'postgres',
    capabilities: { callerTransactions: 'native', maxValueBytes: records.maxValueBytes, durability: 'durable' },
    async connect(context) {
      running ??= begin(context)
      const started = running
      try {
        await started
      } catch (error) {
        if (running === started) running = undefined
        throw error
      }
    },
    async close() {
      const started = running
      running = undefined
      if (started !== undefined) await end(started)
    },
    async declare(collections) {
      await ready()
      await repeated(() => records.collections.declare(transaction, collections))
    },
    async get(collection, id, options) {
      await ready()
      heed(options?.signal, 'the read')
      return await queries.get(looks, collection, id)
    },
    async commit(changes, options = {}) {
      const { tx, signal } = options
      const unit = records.prepare(changes)
      checkSize(unit)
      await ready()
      if (tx === undefined) return await commits.commit(unit, signal)
      heed(signal, 'the commit')
      return await records.applyAll(checkTx(tx), unit)
    },
    async query(collection, where, page = {}) {
      await ready()
      return await queries.query(looks, collection, where, page)
    },
    async claim(collection, due) {
      await ready()
      return await queries.claim(handle, collection, due)
    },
    async watch(collection, id, onChange) {
      const { watchers } = await ready()
      return await watchers.watch(collection, id, onChange)
    },
  }
}

/** About: what its rows have beside the values. */
function bytesOf(unit: StateUnit): number {
  return unit.reduce((sum, change) => sum + 200 + (change.op === 'put' ? change.json.length : 0), 0)
}

function checkSize(unit: StateUnit): void {
  const bytes = bytesOf(unit)
  if (bytes <= maxCommitBytes) return
  throw new BuzzerError(
    'BUZZER_MESSAGE_TOO_LARGE',
    `one commit has about ${bytes} bytes; at most ${maxCommitBytes} are stored as one step. Make several commits of it`,
    { details: { bytes, maxBytes: maxCommitBytes } },
  )
}

function heed(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted === true) throw new AbortedError(signal, what, { outcome: 'not-stored' })
}

/** Runs what another transaction was in the way of once more. */
async function repeated<T>(run: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await run()
    } catch (error) {
      if (tries >= maxTries || !isRace(error)) throw error
    }
  }
}

/** Data, constraints, limits of a statement: not the connection, and not the state of the server. */
function isOfOneStatement(error: unknown): boolean {
  if (isRace(error)) return true
  const state = sqlStateOf(error)
  return state !== undefined && ['22', '23', '54'].includes(state.slice(0, 2))
}
