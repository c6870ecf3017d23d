import { BuzzerError, type JsonObject } from 'buzzer'
import type { DeadLetterInfo, Delivery } from 'buzzer/transport'
import type { Held } from './lease.ts'
import type { LocalReceiver } from './local-receiver.ts'

/**
 * One handing of one message to one receiver:
 *
 *   open ──its handler answers──▶ settling ──in the server──▶ over
 *     └────────── lease lost, or the transport closed ──────────▶ over (the signal aborts; what comes later is dropped)
 */
export class OpenDelivery {
  readonly held: Held
  readonly queue: string
  readonly receiver: LocalReceiver
  state: 'open' | 'settling' | 'over' = 'open'
  /** The lease was known to hold from here on, on our monotonic clock. */
  leasedAt: number
  #lock: AbortController | undefined

  constructor(held: Held, queue: string, receiver: LocalReceiver) {
    this.held = held
    this.queue = queue
    this.receiver = receiver
    this.leasedAt = held.leasedAt
  }

  get signal(): AbortSignal {
    this.#lock ??= new AbortController()
    return this.#lock.signal
  }

  /** The lease is gone; whoever looks at the signal learns it. */
  lose(why: string): void {
    const { id } = this.held.message
    const error = new BuzzerError(
      'BUZZER_LOCK_LOST',
      `message ${id} of queue ${this.queue} is no longer ours: ${why}`,
      {
        details: { messageId: id, queue: this.queue },
      },
    )
    this.#lock ??= new AbortController()
    this.#lock.abort(error)
  }
}

/** What `onDelivery` is given. */
export class PostgresDelivery implements Delivery {
  readonly id: string
  readonly attributes: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
  readonly priority: number
  readonly queue: string
  readonly attempt: number
  readonly enqueuedAt: number
  readonly #open: OpenDelivery
  declare readonly contentType?: string
  declare readonly key?: string
  declare readonly deliverAt?: number
  declare readonly expiresAt?: number
  declare readonly deadLetter?: DeadLetterInfo

  constructor(open: OpenDelivery) {
    const { message, attempt, enqueuedAt, dead } = open.held
    this.#open = open
    this.id = message.id
    this.attributes = message.attributes
    this.headers = message.headers
    this.body = message.body
    this.priority = message.priority
    this.queue = open.queue
    this.attempt = attempt
    this.enqueuedAt = enqueuedAt
    const optional = this as { -readonly [K in keyof PostgresDelivery]: PostgresDelivery[K] }
    if (message.contentType !== undefined) optional.contentType = message.contentType
    if (message.key !== undefined) optional.key = message.key
    if (message.deliverAt !== undefined) optional.deliverAt = message.deliverAt
    if (message.expiresAt !== undefined) optional.expiresAt = message.expiresAt
    if (dead !== undefined) optional.deadLetter = deadLetterInfo(dead)
  }

  /** What a delivery of this package was made of. */
  static heldBy(delivery: Delivery): Held {
    return (delivery as PostgresDelivery).#open.held
  }

  get signal(): AbortSignal {
    return this.#open.signal
  }
}

export function deadLetterInfo(dead: {
  readonly reason: string
  readonly detail: string | undefined
  readonly deadAt: number
}): DeadLetterInfo {
  const { reason, detail, deadAt } = dead
  return { reason, deadAt, ...(detail === undefined ? {} : { detail: JSON.parse(detail) as JsonObject }) }
}
