import { BuzzerError, type Clock, type Logger } from '../message/index.ts'
import { operationsCollection } from './operation-record.ts'
import type { OperationRecords, StoredOperation } from './operation-records.ts'

/** Where the store cannot notify. Source: spec http 2.12. */
const pollMs = 500

/** `undefined`: the record is gone. */
export type OnRecord = (stored: StoredOperation | undefined) => void

interface Watched {
  readonly listeners: Set<OnRecord>
  /** The store's own subscription; absent while polled. */
  subscription?: AsyncDisposable
  ready: Promise<void>
  reading: boolean
  /** A change was told of while a read was under way: read again. */
  stale: boolean
  /** The newest store version passed on. */
  seen: number
}

/**
 * Tells listeners of changes to records, whatever process made them. However many listen to one operation, there is one
 * subscription (or one poll) and one read per change.
 */
export class RecordWatch {
  readonly #records: OperationRecords
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #watched = new Map<string, Watched>()
  #pollTimer: unknown
  #closed = false

  constructor(records: OperationRecords, clock: Clock, logger: Logger) {
    this.#records = records
    this.#clock = clock
    this.#logger = logger
  }

  /** Operations that somebody listens to. */
  get size(): number {
    return this.#watched.size
  }

  /**
   * Every change committed after this resolves reaches `listener`, possibly several as one. What was before must be read:
   * the caller reads after subscribing, so nothing falls between.
   */
  async subscribe(id: string, listener: OnRecord): Promise<Disposable> {
    if (this.#closed) throw new BuzzerError('BUZZER_NOT_RUNNING', 'operations are closed')
    const watched = this.#watched.get(id) ?? this.#begin(id)
    watched.listeners.add(listener)
    await watched.ready
    return {
      [Symbol.dispose]: () => {
        watched.listeners.delete(listener)
        if (watched.listeners.size === 0 && this.#watched.get(id) === watched) this.#end(id, watched)
      },
    }
  }

  /** This process has just committed `stored`: nobody here has to wait for the store to say so. */
  tell(id: string, stored: StoredOperation): void {
    const watched = this.#watched.get(id)
    if (watched !== undefined) this.#pass(watched, stored)
  }

  /** This process may have changed the record: where the store only polls, look now. */
  touch(id: string): void {
    const watched = this.#watched.get(id)
    if (watched !== undefined && watched.subscription === undefined) this.#changed(id, watched)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#clock.clearTimeout(this.#pollTimer)
    for (const [id, watched] of this.#watched) this.#end(id, watched)
  }

  #begin(id: string): Watched {
    const watched: Watched = { listeners: new Set(), ready: Promise.resolve(), reading: false, stale: false, seen: 0 }
    this.#watched.set(id, watched)
    watched.ready = this.#open(id, watched)
    return watched
  }

  async #open(id: string, watched: Watched): Promise<void> {
    const { store } = this.#records
    if (store.watch !== undefined) {
      try {
        const subscription = await store.watch(operationsCollection, id, () => this.#changed(id, watched))
        if (this.#watched.get(id) === watched) watched.subscription = subscription
        else await subscription[Symbol.asyncDispose]()
        return
      } catch (error) {
        this.#logger.warn({ error, operation: id }, 'the store could not watch an operation; it is polled')
      }
    }
    this.#poll()
  }

  #end(id: string, watched: Watched): void {
    this.#watched.delete(id)
    watched.subscription?.[Symbol.asyncDispose]().then(undefined, (error: unknown) => {
      this.#logger.debug({ error, operation: id }, 'ending a watch failed')
    })
  }

  #poll(): void {
    if (this.#pollTimer !== undefined || this.#closed) return
    this.#pollTimer = this.#clock.setTimeout(() => {
      this.#pollTimer = undefined
      let polled = false
      for (const [id, watched] of this.#watched) {
        if (watched.subscription !== undefined) continue
        polled = true
        this.#changed(id, watched)
      }
      if (polled) this.#poll()
    }, pollMs)
  }

  #changed(id: string, watched: Watched): void {
    watched.stale = true
    if (!watched.reading) void this.#read(id, watched)
  }

  async #read(id: string, watched: Watched): Promise<void> {
    watched.reading = true
    try {
      while (watched.stale && watched.listeners.size > 0) {
        watched.stale = false
        let stored: StoredOperation | undefined
        try {
          stored = await this.#records.get(id)
        } catch (error) {
          // The store is away for a moment. Without another try a waiter could miss the end of its operation.
          this.#logger.debug({ error, operation: id }, 'reading a watched operation failed; it is read again')
          this.#clock.setTimeout(() => this.#changed(id, watched), pollMs)
          return
        }
        this.#pass(watched, stored)
      }
    } finally {
      watched.reading = false
    }
  }

  /** Versions only grow, so what was read before something newer was told is dropped. */
  #pass(watched: Watched, stored: StoredOperation | undefined): void {
    if (stored !== undefined) {
      if (stored.storeVersion <= watched.seen) return
      watched.seen = stored.storeVersion
    }
    for (const listener of watched.listeners) listener(stored)
  }
}
