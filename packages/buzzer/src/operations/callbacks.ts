import { hasCode } from '../message/index.ts'
import type { StateChange } from '../store/index.ts'
import type { Following } from './following.ts'
import { type OperationRecord, operationsCollection, putRecord } from './operation-record.ts'
import type { Tracking } from './tracking.ts'

/**
 * Hands the end of an operation over to whoever calls back. `change` marks it as handed over; commit it in the same step as
 * what you send, so that each end is handed over once. `BUZZER_CONFLICT`: another process was faster.
 */
export type HandOver = (record: OperationRecord, change: StateChange) => Promise<void>

/** Another process may have ended an operation whose own process is gone: the store is asked that often. */
const pollMs = 2_000
const batch = 100
/** Operations this process follows to their end; what is beyond waits for the poll. */
const maxFollowed = 10_000
const forEver = Number.MAX_SAFE_INTEGER

/** Finds operations that have ended and whose receiver has not been told yet. */
export class Callbacks {
  readonly #tracking: Tracking
  readonly #following: Following
  #handOver: HandOver | undefined
  #timer: unknown
  readonly #followed = new Set<string>()
  #closed = false

  constructor(tracking: Tracking, following: Following) {
    this.#tracking = tracking
    this.#following = following
  }

  handOverTo(handOver: HandOver): void {
    this.#handOver = handOver
  }

  start(): void {
    if (this.#handOver === undefined) return
    this.#tracking.onNoticed.add(this.#onNoticed)
    void this.#poll()
  }

  /** This process has accepted or reopened an operation with a receiver: follow it, so that its end is told without delay. */
  readonly #onNoticed = ({ callback, operation: { id, done } }: OperationRecord): void => {
    if (callback?.state !== 'waiting' || done || this.#closed) return
    if (this.#followed.has(id) || this.#followed.size >= maxFollowed) return
    this.#followed.add(id)
    this.#following
      .until(id, ({ operation }) => operation.done, { timeoutMs: forEver })
      .then(record => (record === undefined ? undefined : this.#tell(id)))
      .catch((error: unknown) => {
        // The poll finds it.
        this.#tracking.logger.debug({ error, operation: id }, 'an operation with a callback is no longer followed')
      })
      .finally(() => {
        this.#followed.delete(id)
      })
  }

  close(): void {
    this.#closed = true
    this.#tracking.onNoticed.delete(this.#onNoticed)
    this.#tracking.clock.clearTimeout(this.#timer)
  }

  async #poll(): Promise<void> {
    const { clock, logger, records } = this.#tracking
    try {
      const ended = await records.store.query<OperationRecord>(
        operationsCollection,
        { index: 'callback', order: 'asc' },
        { limit: batch },
      )
      for (const { id } of ended.items) await this.#tell(id)
    } catch (error) {
      logger.debug({ error }, 'looking for callbacks failed; it is tried again')
    }
    if (this.#closed || records.store.capabilities.durability !== 'durable') return
    this.#timer = clock.setTimeout(() => void this.#poll(), pollMs)
  }

  async #tell(id: string): Promise<void> {
    const stored = await this.#tracking.records.get(id)
    const callback = stored?.record.callback
    if (stored === undefined || this.#closed || callback?.state !== 'waiting' || !stored.record.operation.done) return
    const told: OperationRecord = { ...stored.record, callback: { ...callback, state: 'told' } }
    try {
      await this.#handOver?.(stored.record, putRecord(told, stored.storeVersion))
    } catch (error) {
      if (!hasCode(error, 'BUZZER_CONFLICT')) throw error
    }
  }
}
