import type { JsonObject } from '../../../message/index.ts'
import type {
  Consumer,
  DeadLetterInfo,
  Delivery,
  OnDelivery,
  OpenLock,
  Receiver,
  ReceiveOptions,
  Settlement,
} from '../../index.ts'
import type { Entry } from './entry.ts'
import type { MemoryQueue } from './queue.ts'

/** What receivers need of the broker. */
export interface DeliveryHost {
  /** A receiver has room again, or was resumed. */
  creditFreed(queue: MemoryQueue): void
  settle(open: OpenDelivery, settlement: Settlement): void
  /** `onDelivery` rejected, or answered something that is no settlement. */
  failed(open: OpenDelivery, error: unknown): void
  /** A receiver takes no more and has nothing open. */
  ended(receiver: MemoryReceiver): void
}

/** A delivery and its lock: whoever settles must still be the entry's `open`. */
export class OpenDelivery implements OpenLock {
  readonly entry: Entry
  readonly receiver: MemoryReceiver
  /** Its place among the open ones of its receiver; -1: it is none of them any more. */
  slot: number
  /** Made when somebody looks at the delivery's signal: a signal costs more than all the rest of a delivery. */
  lock: AbortController | undefined
  #isAnswered = false

  constructor(entry: Entry, receiver: MemoryReceiver, slot: number) {
    this.entry = entry
    this.receiver = receiver
    this.slot = slot
  }

  settle(settlement: Settlement): void {
    if (this.#isAnswered) return
    this.#isAnswered = true
    this.receiver.host.settle(this, settlement)
  }
}

/** One receiver of one transport on one queue. */
export class MemoryReceiver implements Receiver {
  readonly queue: MemoryQueue
  readonly host: DeliveryHost
  readonly #consumer: Consumer
  readonly #maxInFlight: number
  /** In no order: one is added and removed for each message, so by place, not by hash. */
  readonly #open: OpenDelivery[] = []
  readonly #whenQuiet: (() => void)[] = []
  #state: 'running' | 'paused' | 'stopped' = 'running'

  constructor(queue: MemoryQueue, host: DeliveryHost, consumer: Consumer, options: ReceiveOptions) {
    this.queue = queue
    this.host = host
    this.#consumer = consumer
    this.#maxInFlight = options.maxInFlight
  }

  get hasCredit(): boolean {
    return this.#state === 'running' && this.#open.length < this.#maxInFlight
  }

  get isRunning(): boolean {
    return this.#state === 'running'
  }

  get inFlight(): number {
    return this.#open.length
  }

  *openEntries(): Generator<Entry> {
    for (const open of this.#open) if (open.entry.open === open) yield open.entry
  }

  openDeliveries(): readonly OpenDelivery[] {
    return [...this.#open]
  }

  deliver(entry: Entry): void {
    const open = new OpenDelivery(entry, this, this.#open.length)
    entry.open = open
    this.#open.push(open)
    try {
      this.#consumer(new MemoryDelivery(open, this.queue.name), open)
    } catch (error) {
      this.host.failed(open, error)
    }
  }

  /** The delivery is settled, or its lock is gone. */
  forget(open: OpenDelivery): void {
    if (open.slot < 0) return
    const last = this.#open.pop() as OpenDelivery
    if (last !== open) {
      this.#open[open.slot] = last
      last.slot = open.slot
    }
    open.slot = -1
    if (this.#state === 'running') this.host.creditFreed(this.queue)
    if (this.#open.length === 0) for (const resolve of this.#whenQuiet.splice(0)) resolve()
  }

  pause(): Promise<void> {
    if (this.#state === 'running') this.#state = 'paused'
    return Promise.resolve()
  }

  resume(): Promise<void> {
    if (this.#state === 'paused') {
      this.#state = 'running'
      this.host.creditFreed(this.queue)
    }
    return Promise.resolve()
  }

  stop(): Promise<void> {
    this.end()
    if (this.#open.length === 0) return Promise.resolve()
    return new Promise(resolve => this.#whenQuiet.push(resolve))
  }

  /** Takes no more; what runs may still settle. */
  end(): void {
    if (this.#state === 'stopped') return
    this.#state = 'stopped'
    if (this.#open.length === 0) this.#detach()
    else this.#whenQuiet.push(() => this.#detach())
  }

  #detach(): void {
    const at = this.queue.receivers.indexOf(this)
    if (at >= 0) this.queue.receivers.splice(at, 1)
    this.host.ended(this)
  }
}

/** Answers by the promise of `onDelivery`. */
export function consumerOf(onDelivery: OnDelivery, host: DeliveryHost): Consumer {
  return (delivery, lock) => {
    // The contract promises a promise; JavaScript does not.
    Promise.resolve(onDelivery(delivery)).then(
      settlement => lock.settle(settlement),
      (error: unknown) => host.failed(lock as OpenDelivery, error),
    )
  }
}

class MemoryDelivery implements Delivery {
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
  declare readonly deadLetter?: DeadLetterInfo & { readonly detail?: JsonObject }

  constructor(open: OpenDelivery, queue: string) {
    const { entry } = open
    const { message } = entry
    this.#open = open
    this.id = message.id
    this.attributes = message.attributes
    this.headers = message.headers
    this.body = message.body
    this.priority = message.priority
    this.queue = queue
    this.attempt = entry.attempt
    this.enqueuedAt = entry.enqueuedAt
    const optional = this as { -readonly [K in keyof MemoryDelivery]: MemoryDelivery[K] }
    if (message.contentType !== undefined) optional.contentType = message.contentType
    if (message.key !== undefined) optional.key = message.key
    if (message.deliverAt !== undefined) optional.deliverAt = message.deliverAt
    if (message.expiresAt !== undefined) optional.expiresAt = message.expiresAt
    if (entry.deadLetter !== undefined) optional.deadLetter = entry.deadLetter
  }

  get signal(): AbortSignal {
    this.#open.lock ??= new AbortController()
    return this.#open.lock.signal
  }
}
