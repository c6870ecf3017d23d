import type { BuzzerError } from 'buzzer'
import type { StateChange } from 'buzzer/store'
import type { SqlHandle } from '../sql-handle.ts'
import { Collections } from './collections.ts'
import { prepareChange, type RecordChange } from './record-change.ts'
import type { StateUnit } from './record-plan.ts'
import { RecordWriter } from './record-writer.ts'

/**
 * The records of one schema, for all that commits them: the store, and the sends and settlements of the transport, which
 * take them into transactions of their own.
 *
 * ```ts
 * const unit = records.prepare(changes)                      // at the call
 * const refusals = await records.apply(handle, [unit, …])    // in the transaction; a rejection must roll it back
 * records.committed(unit)                                    // after COMMIT: wakes watchers
 * ```
 */
export class Records {
  readonly collections: Collections
  readonly maxValueBytes: number
  readonly #writer: RecordWriter
  readonly #committed = new Set<(changes: StateUnit) => void>()

  constructor(schema: string, maxValueBytes: number) {
    this.collections = new Collections(schema)
    this.maxValueBytes = maxValueBytes
    this.#writer = new RecordWriter(schema, this.collections)
  }

  /**
   * Takes changes over, as text: the caller may change its objects afterwards.
   * @throws BUZZER_INVALID_OPTION, BUZZER_MESSAGE_TOO_LARGE
   */
  prepare(changes: readonly StateChange[]): readonly RecordChange[] {
    return changes.map(change => prepareChange(change, this.maxValueBytes))
  }

  /**
   * Judges units (each all or nothing, each seeing those before it) and writes those that hold, on the transaction of
   * `handle`. Answers by unit its BUZZER_CONFLICT (`details`: collection, id, expected, found), or `undefined`.
   *
   * Rejects when the transaction is spent: roll back; where `isRace(error)`, run the whole transaction again.
   * Locks records in the order of their keys: lock what else a transaction needs before.
   */
  apply(handle: SqlHandle, units: readonly StateUnit[]): Promise<readonly (BuzzerError | undefined)[]> {
    return this.#writer.apply(handle, units)
  }

  /** `apply` for one unit; rejects with its BUZZER_CONFLICT, having written nothing. */
  async applyAll(handle: SqlHandle, changes: StateUnit): Promise<void> {
    const [refusal] = await this.apply(handle, [changes])
    if (refusal !== undefined) throw refusal
  }

  /** Removes up to `limit` records whose time is up; answers how many. */
  sweep(handle: SqlHandle, limit: number): Promise<number> {
    return this.#writer.sweep(handle, limit)
  }

  /** To be called after each COMMIT that carried changes. Never throws. */
  committed(changes: StateUnit): void {
    for (const listener of this.#committed) listener(changes)
  }

  onCommitted(listener: (changes: StateUnit) => void): Disposable {
    this.#committed.add(listener)
    return { [Symbol.dispose]: () => void this.#committed.delete(listener) }
  }
}
