import { hasCode } from 'buzzer'
import { rowsOf } from '../sql-handle.ts'
import { sqlStateOf } from '../sql-state.ts'
import type { Session } from './session.ts'

const everyMs = 2_000
/** Rings of slots of the table `seen`: seconds to a slot, first slot, slots. See the migration `queues`. */
const rings = [
  { seconds: 900, first: 0, slots: 8 },
  { seconds: 86_400, first: 8, slots: 10 },
] as const

/**
 * What has to be done by somebody and concerns nobody in particular: expiry, leases of the dead, idle queues, old receipts and
 * deduplication keys. Every client asks in turn; the server lets one do it every two seconds.
 */
export class Upkeep {
  readonly #session: Session
  readonly #onTopologyChanged: () => Promise<void>
  #timer: unknown
  #isClosed = false

  constructor(session: Session, onTopologyChanged: () => Promise<void>) {
    this.#session = session
    this.#onTopologyChanged = onTopologyChanged
  }

  start(): void {
    if (this.#isClosed) return
    const { clock, logger } = this.#session
    this.#timer = clock.setTimeout(() => {
      this.run()
        .catch((error: unknown) => {
          const isAway = hasCode(error, 'BUZZER_DISCONNECTED') || hasCode(error, 'BUZZER_NOT_RUNNING')
          if (!isAway && !this.#isClosed) logger.warn({ error }, 'the upkeep of PostgreSQL failed; trying again')
        })
        .finally(() => this.start())
    }, everyMs)
  }

  close(): void {
    this.#isClosed = true
    this.#session.clock.clearTimeout(this.#timer)
  }

  async run(): Promise<void> {
    const { database, sql, options } = this.#session
    const { rows } = await database.run(connection => connection.query(sql.maintain, [options.leaseMs]))
    if ((rows[0] as { is_topology_changed: boolean }).is_topology_changed) await this.#onTopologyChanged()
    await this.#emptySlots()
  }

  /** Empties the slots that come next in their rings: what they hold is older than any window. */
  async #emptySlots(): Promise<void> {
    const { database } = this.#session
    const { quotedSchema } = database
    for (const { seconds, first, slots } of rings) {
      const [row] = await rowsOf<{ slot: number }>(
        database,
        `select (${first} + mod(floor(extract(epoch from clock_timestamp()) / ${seconds})::bigint + 1, ${slots}))::integer as slot`,
      )
      const table = `${quotedSchema}.seen_${row?.slot}`
      const [found] = await rowsOf<{ found: boolean }>(database, `select exists (select from ${table}) as found`)
      if (found?.found !== true) continue
      await database
        .transaction(async handle => {
          await handle.query("set local lock_timeout = '200ms'")
          await handle.query(`truncate ${table}`)
        })
        .catch(async (error: unknown) => {
          // Without the right to truncate, or while somebody holds the table, the slow way.
          if (sqlStateOf(error) !== '42501' && sqlStateOf(error) !== '55P03') throw error
          await database.run(connection => connection.query(`delete from ${table}`))
        })
    }
  }
}
