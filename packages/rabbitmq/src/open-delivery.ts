import { BuzzerError } from 'buzzer'
import type { Delivery, OutgoingMessage } from 'buzzer/transport'
import type { Received } from './wire-message.ts'

/** Does what a settlement says; implemented by the kinds of receivers. */
export interface Settler {
  ack(delivery: OpenDelivery): void
  /** Counted. */
  retry(delivery: OpenDelivery, delayMs: number): void
  /** Uncounted where the server can. */
  release(delivery: OpenDelivery): void
}

/** A delivery and its lock, from its arrival until it is settled or its channel is gone. */
export class OpenDelivery implements Delivery {
  readonly id: string
  readonly attributes: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
  readonly priority: number
  readonly queue: string
  readonly enqueuedAt: number
  declare readonly contentType?: string
  declare readonly key?: string
  declare readonly deliverAt?: number
  declare readonly expiresAt?: number
  readonly attempt: number
  /** The tag of its channel. */
  readonly tag: number
  /** False once it is settled or lost: what comes later is ignored. */
  isOpen = true
  readonly #settler: Settler
  #lock: AbortController | undefined
  #lostBecause: string | undefined

  constructor(received: Received, queue: string, tag: number, settler: Settler, retries = 0) {
    this.id = received.id
    this.attributes = received.attributes
    this.headers = received.headers
    this.body = received.body
    this.priority = received.priority
    this.queue = queue
    this.enqueuedAt = received.enqueuedAt
    this.attempt = received.attemptsBefore + retries + 1
    this.tag = tag
    this.#settler = settler
    const optional = this as { -readonly [K in keyof OpenDelivery]: OpenDelivery[K] }
    if (received.contentType !== undefined) optional.contentType = received.contentType
    if (received.key !== undefined) optional.key = received.key
    if (received.deliverAt !== undefined) optional.deliverAt = received.deliverAt
    if (received.expiresAt !== undefined) optional.expiresAt = received.expiresAt
  }

  /** Made when somebody looks: a signal costs more than all the rest of a delivery. */
  get signal(): AbortSignal {
    if (this.#lock === undefined) {
      this.#lock = new AbortController()
      if (this.#lostBecause !== undefined) this.#lock.abort(this.#lockLost(this.#lostBecause))
    }
    return this.#lock.signal
  }

  ack(): void {
    if (this.isOpen) this.#settler.ack(this)
  }

  retry(delayMs: number): void {
    if (this.isOpen) this.#settler.retry(this, delayMs)
  }

  release(): void {
    if (this.isOpen) this.#settler.release(this)
  }

  /** The server has given it to somebody else, or will. */
  lose(why: string): void {
    if (!this.isOpen) return
    this.isOpen = false
    this.#lostBecause = why
    this.#lock?.abort(this.#lockLost(why))
  }

  #lockLost(why: string): BuzzerError {
    return new BuzzerError(
      'BUZZER_LOCK_LOST',
      `the lock of message ${this.id} is lost: ${why}; the server delivers it again`,
      {
        details: { messageId: this.id, queue: this.queue },
      },
    )
  }

  /** The same message, to come back to its queue when the time has come. */
  copyAt(deliverAt: number): OutgoingMessage {
    return {
      id: this.id,
      to: { queue: this.queue },
      attributes: this.attributes,
      headers: this.headers,
      body: this.body,
      priority: this.priority,
      mandatory: true,
      deliverAt,
      ...(this.contentType === undefined ? {} : { contentType: this.contentType }),
      ...(this.key === undefined ? {} : { key: this.key }),
      ...(this.expiresAt === undefined ? {} : { expiresAt: this.expiresAt }),
    }
  }
}
