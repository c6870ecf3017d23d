import { BuzzerError, type Clock, type Logger } from '../../message/index.ts'
import type { Delivery, Receiver } from '../../transport/index.ts'
import type { Request, WireDelivery } from '../protocol/index.ts'
import { Fifo } from './fifo.ts'
import { type EmbeddedSettlement, Lock, type LockOwner } from './held-delivery.ts'
import type { EmbeddedOnDelivery, OpenLocks } from './open-locks.ts'

/** Handlers begin in slices of this length, so that a batch of a thousand never holds up the event loop. */
const sliceMs = 3
const startsBetweenLooks = 16

/** A `Consumer` of the contract's direct path. */
export type EmbeddedConsumer = (delivery: Delivery, lock: Lock) => void

/** Answers by the promise of `onDelivery`. */
export function consumerOf(onDelivery: EmbeddedOnDelivery): EmbeddedConsumer {
  return (delivery, lock) => {
    // The contract promises a promise; JavaScript does not.
    Promise.resolve(onDelivery(delivery)).then(
      settlement => lock.settle(settlement),
      (error: unknown) => lock.receiver.failed(lock, error),
    )
  }
}

export interface QueueReceiverOptions {
  readonly receiverId: number
  readonly queue: string
  readonly maxInFlight: number
  readonly consumer: EmbeddedConsumer
  readonly locks: OpenLocks
  readonly clock: Clock
  readonly logger: Logger
  readonly ask: (request: Request, scope: 'connection' | 'session') => Promise<unknown>
  /** Whether there is a connection to ask anything of. */
  readonly isOpen: () => boolean
  /** Whether the process was stopped for longer than locks last. */
  readonly wasStopped: () => boolean
  /** The same, as far as it was noticed already: cheap enough to be asked before each handler. */
  readonly noticedStop: () => boolean
  /** A new connection refused to go on with it: its queue is gone. */
  readonly onLost: (receiver: QueueReceiver, error: BuzzerError) => void
  /** It is over: stopped and empty, or its queue is gone. */
  readonly onOver: (receiver: QueueReceiver) => void
}

/**
 * Receives from one queue.
 *
 * ```
 * open <── pause, resume ──> paused      stop: any ──> stopping ── all settled ──> over      queue deleted: any ──> over
 * ```
 */
export class QueueReceiver implements Receiver, LockOwner {
  readonly receiverId: number
  readonly queue: string
  readonly #options: QueueReceiverOptions
  readonly #fetched = new Fifo<Lock>()
  #state: 'open' | 'paused' | 'stopping' | 'over' = 'open'
  /** Locks that are not over. */
  #held = 0
  #sliceScheduled = false
  #subscribed = false
  #stopped: PromiseWithResolvers<void> | undefined

  constructor(options: QueueReceiverOptions) {
    this.#options = options
    this.receiverId = options.receiverId
    this.queue = options.queue
  }

  /** Asks for deliveries for the first time. @throws BUZZER_QUEUE_NOT_FOUND */
  async begin(): Promise<void> {
    try {
      // Asked of the session, not of one connection: a takeover in this moment must not lose it.
      await this.#options.ask(this.#subscription, 'session')
      this.#subscribed = true
    } catch (error) {
      this.end()
      throw error
    }
  }

  /** Asks a new connection for deliveries; it knows nothing of the one before. */
  beginAgain(): void {
    if (!this.#subscribed || this.#state === 'stopping' || this.#state === 'over') return
    const { ask, onLost } = this.#options
    ask(this.#subscription, 'connection').catch(error => onLost(this, error as BuzzerError))
    if (this.#state === 'paused') void this.#tell('pause')
  }

  get #subscription(): Request {
    return { call: 'subscribe', receiverId: this.receiverId, queue: this.queue, maxInFlight: this.#options.maxInFlight }
  }

  /** What concerns one connection: without one there is nothing to be told, the next learns it by `beginAgain`. */
  async #tell(call: 'pause' | 'resume' | 'unsubscribe'): Promise<void> {
    const { ask, isOpen, logger } = this.#options
    if (!isOpen()) return
    try {
      await ask({ call, receiverId: this.receiverId }, 'connection')
    } catch (error) {
      logger.debug({ error, queue: this.queue, call }, 'the broker knows nothing of this receiver any more')
    }
  }

  deliver(wire: WireDelivery): void {
    const lock = new Lock(this, wire)
    this.#held++
    this.#options.locks.add(lock)
    if (this.#state !== 'open') return this.#options.locks.settle(lock, { as: 'release' })
    this.#fetched.push(lock)
    if (!this.#sliceScheduled) {
      this.#sliceScheduled = true
      // After the whole frame was read: what it brings is begun in one go.
      queueMicrotask(this.#beginSlice)
    }
  }

  /** A fetched, settled or lost lock of this receiver is over. */
  ended(_lock: Lock): void {
    this.#held--
    if (this.#held === 0 && this.#state === 'stopping') this.#over()
  }

  async pause(): Promise<void> {
    if (this.#state !== 'open') return
    this.#state = 'paused'
    this.#releaseFetched()
    await this.#tell('pause')
  }

  async resume(): Promise<void> {
    if (this.#state !== 'paused') return
    this.#state = 'open'
    await this.#tell('resume')
  }

  async stop(): Promise<void> {
    if (this.#state === 'over') return
    if (this.#stopped === undefined) {
      this.#stopped = Promise.withResolvers()
      this.#state = 'stopping'
      this.#releaseFetched()
      await this.#tell('unsubscribe')
      if (this.#held === 0) this.#over()
    }
    await this.#stopped.promise
  }

  /** Begins nothing more, and waits for nothing: its session closes. */
  discard(): void {
    if (this.#state === 'open') {
      this.#state = 'paused'
      // Told in the frame of the releases: the broker would hand out again what comes back, without end.
      void this.#tell('pause')
    }
    this.#releaseFetched()
  }

  /** It will get nothing more. */
  end(): void {
    if (this.#state === 'over') return
    this.#releaseFetched()
    this.#over()
  }

  #over(): void {
    if (this.#state === 'over') return
    this.#state = 'over'
    this.#options.onOver(this)
    this.#stopped?.resolve()
  }

  #releaseFetched(): void {
    for (let lock = this.#fetched.shift(); lock !== undefined; lock = this.#fetched.shift()) {
      if (lock.stage === 'fetched') this.#options.locks.settle(lock, { as: 'release' })
    }
  }

  readonly #beginSlice = (): void => {
    this.#sliceScheduled = false
    const { clock, wasStopped, noticedStop } = this.#options
    if (wasStopped()) {
      // Others have these messages by now; the engine will say so.
      return this.#releaseFetched()
    }
    const until = clock.monotonic() + sliceMs
    let begun = 0
    for (let lock = this.#fetched.shift(); lock !== undefined; lock = this.#fetched.shift()) {
      if (lock.stage !== 'fetched') continue
      this.#begin(lock)
      // A handler that spins is found out while it does, and the messages behind it go to others.
      if (noticedStop()) return this.#releaseFetched()
      if (++begun % startsBetweenLooks !== 0 || this.#fetched.length === 0) continue
      if (clock.monotonic() >= until) {
        this.#sliceScheduled = true
        setImmediate(this.#beginSlice)
        return
      }
    }
  }

  #begin(lock: Lock): void {
    lock.stage = 'running'
    try {
      this.#options.consumer(lock.delivery, lock)
    } catch (error) {
      this.failed(lock, error)
    }
  }

  settle(lock: Lock, settlement: EmbeddedSettlement): void {
    try {
      this.#options.locks.settle(lock, settlement)
    } catch (error) {
      this.failed(lock, error)
    }
  }

  /** A defect must not spin uncounted: the attempt counts, and somebody reads of it. */
  failed(lock: Lock, error: unknown): void {
    const { logger, locks } = this.#options
    logger.error(
      { queue: this.queue, messageId: lock.delivery.id, error },
      'onDelivery rejected; the message is retried',
    )
    locks.settle(lock, { as: 'retry' })
  }
}

/** What a receiver of a deleted queue is told. */
export function receiverEnded(queue: string, cause: BuzzerError): BuzzerError {
  return new BuzzerError(cause.code, `the receiver of queue ${queue} has ended: ${cause.message}`, {
    cause,
    retryable: false,
    details: { ...cause.details, queue },
  })
}
