import { BuzzerError, type BuzzerErrorOptions } from '../../message/index.ts'
import type { DeadLetterInfo, Delivery, OpenLock, Settlement } from '../../transport/index.ts'
import type { WireDelivery } from '../protocol/index.ts'

/** What an `onDelivery` of the embedded broker may answer: the contract's settlements, and setting the message aside. */
export type EmbeddedSettlement = Settlement | { readonly as: 'park' }

/** One open delivery at its client: what the handler sees, and whether its lock still holds. */
export class HeldDelivery implements Delivery {
  readonly queue: string
  readonly id: string
  readonly attributes: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
  readonly priority: number
  readonly attempt: number
  readonly enqueuedAt: number
  declare readonly contentType?: string
  declare readonly key?: string
  declare readonly deliverAt?: number
  declare readonly expiresAt?: number
  declare readonly deadLetter?: DeadLetterInfo
  #controller: AbortController | undefined
  #lost: BuzzerError | undefined

  constructor(queue: string, wire: WireDelivery) {
    const { message } = wire
    this.queue = queue
    this.id = message.id
    this.attributes = message.attributes
    this.headers = message.headers
    this.body = message.body
    this.priority = message.priority
    this.attempt = wire.attempt
    this.enqueuedAt = wire.enqueuedAt
    const self = this as { -readonly [K in keyof Delivery]: Delivery[K] }
    if (message.contentType !== undefined) self.contentType = message.contentType
    if (message.key !== undefined) self.key = message.key
    if (message.deliverAt !== undefined) self.deliverAt = message.deliverAt
    if (message.expiresAt !== undefined) self.expiresAt = message.expiresAt
    if (wire.deadLetter !== undefined) self.deadLetter = wire.deadLetter
  }

  /** Made when first asked for: most handlers never ask, and a controller costs more than the rest of a delivery. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#lost !== undefined) this.#controller.abort(this.#lost)
    }
    return this.#controller.signal
  }

  /** Tells the handler that its settlement will be ignored. */
  lose(why: string, options: BuzzerErrorOptions): void {
    this.#lost = new BuzzerError('BUZZER_LOCK_LOST', `the lock of message ${this.id} is lost: ${why}`, options)
    this.#controller?.abort(this.#lost)
  }
}

/** The lock of an open delivery, as the session keeps it; whoever handles the delivery settles it. */
export class Lock implements OpenLock {
  /** The engine's name for it; another after a takeover. */
  token: number
  readonly sequence: number
  /** Its place in the `LockTable`. */
  slot = -1
  readonly delivery: HeldDelivery
  readonly receiver: LockOwner
  /**
   * `fetched`: no handler has begun. `running`: with the handler. `settling`: its settlement has no answer yet.
   * `over`: settled, released or lost.
   */
  stage: 'fetched' | 'running' | 'settling' | 'over' = 'fetched'

  constructor(receiver: LockOwner, wire: WireDelivery) {
    this.token = wire.token
    this.sequence = wire.sequence
    this.delivery = new HeldDelivery(receiver.queue, wire)
    this.receiver = receiver
  }

  settle(settlement: EmbeddedSettlement): void {
    if (this.stage !== 'settling') this.receiver.settle(this, settlement)
  }
}

export interface LockOwner {
  readonly receiverId: number
  readonly queue: string
  settle(lock: Lock, settlement: EmbeddedSettlement): void
  /** Its handling is defective. */
  failed(lock: Lock, error: unknown): void
  /** One of its locks is over. */
  ended(lock: Lock): void
}
