import { hasCode } from 'buzzer'
import { leaseTrust } from './lease.ts'
import type { OpenDelivery } from './open-delivery.ts'
import type { Session } from './session.ts'
import { LeaseList } from './settlement-batch.ts'
import type { LostLeases } from './settlement-step.ts'

export interface LeaseKeeperEvents {
  deliveries(): Iterable<OpenDelivery>
  receivers(): readonly { readonly q: number; readonly n: number }[]
  onLost(open: OpenDelivery, why: string): void
}

/**
 * Renews all leases of a client at a third of their time, in one statement, and tells the server that its receivers live.
 * A lease that could not be renewed in time is lost here a tenth earlier than there, so that a handler learns of it before
 * another begins. Leases outlive a lost connection: what was open goes on when it comes back in time.
 */
export class LeaseKeeper {
  readonly #session: Session
  readonly #events: LeaseKeeperEvents
  #renewTimer: unknown
  #watchTimer: unknown
  #isClosed = false

  constructor(session: Session, events: LeaseKeeperEvents) {
    this.#session = session
    this.#events = events
  }

  start(): void {
    this.#armRenewal()
    this.#armWatch()
  }

  close(): void {
    this.#isClosed = true
    this.#session.clock.clearTimeout(this.#renewTimer)
    this.#session.clock.clearTimeout(this.#watchTimer)
  }

  /** Never rejects: what is not renewed runs out. */
  async renewNow(): Promise<void> {
    await this.#renew(this.#events.receivers()).catch((error: unknown) => {
      if (!this.#isClosed && !hasCode(error, 'BUZZER_DISCONNECTED')) {
        this.#session.logger.error({ error }, 'leases cannot be renewed in PostgreSQL; trying again')
      }
    })
  }

  /** Tells the server how many receivers of a queue this client has; none at all is the end of a use of the queue. */
  async announce(queue: number, count: number): Promise<void> {
    const { database, client } = this.#session
    if (count > 0) {
      await database.repeating(() => this.#renew([{ q: queue, n: count }]))
      return
    }
    await database.repeat(connection =>
      connection.query(
        `with gone as (delete from ${database.quotedSchema}.receiver where client = $1::uuid and queue = $2::integer)
        update ${database.quotedSchema}.queue set used_at = clock_timestamp() where id = abs($2::integer) and expires_after_idle_ms is not null`,
        [client, queue],
      ),
    )
  }

  /** The client is gone. */
  async leave(): Promise<void> {
    const { database, client } = this.#session
    await database.run(connection =>
      connection.query(
        `with gone as (delete from ${database.quotedSchema}.receiver where client = $1::uuid returning queue)
        update ${database.quotedSchema}.queue set used_at = clock_timestamp()
        where expires_after_idle_ms is not null and id in (select abs(queue) from gone)`,
        [client],
      ),
    )
  }

  async #renew(receivers: readonly { readonly q: number; readonly n: number }[]): Promise<void> {
    const { database, sql, client, options, clock, time } = this.#session
    const deliveries = [...this.#events.deliveries()]
    const list = new LeaseList(deliveries)
    const leasedAt = clock.monotonic()
    const sentAt = clock.now()
    const { rows } = await database.run(connection =>
      connection.query(sql.renew, [client, JSON.stringify(list.manifest), options.leaseMs, JSON.stringify(receivers)]),
    )
    const answer = JSON.parse((rows[0] as { answer: string }).answer) as {
      readonly lost: LostLeases | null
      readonly topology: number
      readonly now: number
    }
    time.observe(answer.now, sentAt)
    const lost = new Set(list.deliveriesOf(answer.lost))
    for (const open of deliveries) {
      if (!lost.has(open)) open.leasedAt = leasedAt
      // What is being settled meanwhile is gone from the server because we said so.
      else if (open.state === 'open') this.#events.onLost(open, 'its lease was not renewed in time')
    }
    if (answer.topology !== this.#session.knownTopology) await this.#session.readTopology()
  }

  #armRenewal(): void {
    if (this.#isClosed) return
    const { clock, options } = this.#session
    this.#renewTimer = clock.setTimeout(() => void this.renewNow().then(() => this.#armRenewal()), options.leaseMs / 3)
  }

  #armWatch(): void {
    if (this.#isClosed) return
    const { clock, options } = this.#session
    this.#watchTimer = clock.setTimeout(() => {
      const deadline = clock.monotonic() - options.leaseMs * leaseTrust
      for (const open of this.#events.deliveries()) {
        if (open.state === 'open' && open.leasedAt < deadline)
          this.#events.onLost(open, 'its lease could not be renewed')
      }
      this.#armWatch()
    }, options.leaseMs / 10)
  }
}
