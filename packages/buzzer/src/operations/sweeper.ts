import { hasCode } from '../message/index.ts'
import { dueTurns } from './operation-life.ts'
import {
  dueAtMs,
  goneAtMs,
  type OperationRecord,
  operationsCollection,
  putRecord,
  tombstoneOf,
} from './operation-record.ts'
import type { Tracking } from './tracking.ts'

/** How often a store that other processes write to is asked for what is due. Expiry is promised within a second. */
const pollMs = 500
const batch = 100
const maxHints = 10_000

/**
 * Does what time alone does to operations: expiry, `withinMs`, and the tombstone when the retention has passed. Any number
 * of processes may sweep: versions settle who was first. On a store of this process alone it sleeps until the next due time.
 */
export class Sweeper {
  readonly #tracking: Tracking
  readonly #sharedStore: boolean
  /** Times at which something of this process may be due. */
  readonly #hints = new Set<number>()
  #timer: unknown
  #wakeAtMs = Infinity
  #sweeping = false
  #closed = false
  readonly #onNoticed = (record: OperationRecord): void => this.#noticed(record)

  constructor(tracking: Tracking) {
    this.#tracking = tracking
    this.#sharedStore = tracking.records.store.capabilities.durability === 'durable'
  }

  start(): void {
    this.#tracking.onNoticed.add(this.#onNoticed)
    this.#wakeAt(this.#tracking.clock.now())
  }

  /** This process knows of a record that may be due before anything else. */
  #noticed(record: OperationRecord): void {
    const dueAt = dueAtMs(record)
    if (dueAt === undefined) return
    this.#wakeAt(dueAt)
    // While its handler runs, a record is not in the index, so a sweep before its time would not find it again.
    if (!this.#sharedStore && !record.operation.done && this.#hints.size < maxHints) this.#hints.add(dueAt)
  }

  close(): void {
    this.#closed = true
    this.#tracking.onNoticed.delete(this.#onNoticed)
    this.#tracking.clock.clearTimeout(this.#timer)
  }

  #wakeAt(timeMs: number): void {
    if (this.#closed || timeMs >= this.#wakeAtMs) return
    const { clock } = this.#tracking
    clock.clearTimeout(this.#timer)
    this.#wakeAtMs = timeMs
    this.#timer = clock.setTimeout(() => void this.#sweep(), Math.max(0, timeMs - clock.now()))
  }

  async #sweep(): Promise<void> {
    this.#wakeAtMs = Infinity
    if (this.#sweeping || this.#closed) return
    this.#sweeping = true
    const { clock, logger } = this.#tracking
    try {
      while (!this.#closed && (await this.#sweepBatch())) {
        // Everything that was due at once, batch by batch.
      }
    } catch (error) {
      logger.debug({ error }, 'looking for due operations failed; it is tried again')
      this.#wakeAt(clock.now() + pollMs)
    } finally {
      this.#sweeping = false
    }
    if (this.#sharedStore) this.#wakeAt(clock.now() + pollMs)
    for (const hint of this.#hints) {
      if (hint <= clock.now()) this.#hints.delete(hint)
      else this.#wakeAt(hint)
    }
  }

  /** Whether there may be more. */
  async #sweepBatch(): Promise<boolean> {
    const { clock, records } = this.#tracking
    const now = clock.now()
    const due = { index: 'due', to: now + 1, order: 'asc' } as const
    const page = await records.store.query<OperationRecord>(operationsCollection, due, { limit: batch })
    for (const { id, value, version } of page.items) {
      if (value.operation.done) await this.#bury(value, version, now)
      else {
        const stored = await records.take(id, record => dueTurns(record, clock.now()))
        if (stored !== undefined) this.#tracking.changed(id, stored)
      }
    }
    if (page.items.length < batch && !this.#sharedStore) await this.#planNext(now)
    return page.items.length === batch
  }

  async #planNext(nowMs: number): Promise<void> {
    const next = await this.#tracking.records.store.query<OperationRecord>(
      operationsCollection,
      { index: 'due', from: nowMs + 1, order: 'asc' },
      { limit: 1 },
    )
    for (const { value } of next.items) this.#wakeAt(dueAtMs(value) ?? Infinity)
  }

  async #bury(record: OperationRecord, version: number, nowMs: number): Promise<void> {
    if ((goneAtMs(record) ?? Infinity) > nowMs) return
    try {
      await this.#tracking.records.store.commit([putRecord(tombstoneOf(record), version)])
    } catch (error) {
      if (!hasCode(error, 'BUZZER_CONFLICT')) throw error
    }
  }
}
