import { BuzzerError } from '../message/index.ts'
import type { Delivery, OpenLock } from '../transport/index.ts'
import type { Handler } from './handler.ts'
import { BatchRun, type Collected } from './pipeline/batch-run.ts'
import type { QueueView, Startable } from './pipeline/queue-view.ts'

/** Thrown by a batch handler: only the listed items failed, the rest is acknowledged with the outputs. */
export class BatchError extends BuzzerError {
  override readonly name = 'BatchError'
  /** Message id → what went wrong with it. */
  readonly failures: ReadonlyMap<string, unknown>

  constructor(failures: ReadonlyMap<string, unknown>) {
    super('BUZZER_BATCH_FAILED', `${failures.size} items of a batch failed`, { retryable: true })
    this.failures = failures
  }
}

interface Group {
  readonly items: Collected[]
  timer: unknown
}

/** Collects deliveries of one batch handler until there are enough, or the first has waited long enough. */
export class BatchCollector {
  readonly #queue: QueueView
  readonly #handler: Handler
  readonly #onBatch: (batch: Startable) => void
  readonly #groups = new Map<string, Group>()

  constructor(queue: QueueView, handler: Handler, onBatch: (batch: Startable) => void) {
    this.#queue = queue
    this.#handler = handler
    this.#onBatch = onBatch
  }

  get size(): number {
    let size = 0
    for (const group of this.#groups.values()) size += group.items.length
    return size
  }

  /** A redelivered item runs alone, so that one that fails always cannot keep failing its neighbours. */
  takes(delivery: Delivery): boolean {
    return delivery.attempt === 1
  }

  add(delivery: Delivery, lock: OpenLock): void {
    const { maxSize = 10, maxWaitMs = 1_000, groupBy } = this.#handler.batch ?? {}
    const name = groupBy === 'key' ? (delivery.key ?? '') : ''
    let group = this.#groups.get(name)
    if (group === undefined) {
      group = { items: [], timer: undefined }
      this.#groups.set(name, group)
      group.timer = this.#queue.core.clock.setTimeout(() => this.#flush(name), maxWaitMs)
    }
    group.items.push({ delivery, lock })
    if (group.items.length >= maxSize) this.#flush(name)
  }

  /** What is collected goes back to the broker. */
  release(): void {
    for (const [name, group] of this.#groups) {
      this.#queue.core.clock.clearTimeout(group.timer)
      this.#groups.delete(name)
      for (const item of group.items) item.lock.settle({ as: 'release' })
    }
  }

  #flush(name: string): void {
    const group = this.#groups.get(name)
    if (group === undefined) return
    this.#groups.delete(name)
    this.#queue.core.clock.clearTimeout(group.timer)
    this.#onBatch(new BatchRun(this.#queue, this.#handler, group.items))
  }
}
