import type { Delivery, OpenLock } from '../transport/index.ts'
import { BatchCollector } from './batch.ts'
import { type Handler, matches } from './handler.ts'
import { Incoming } from './pipeline/incoming.ts'
import type { QueueView, Startable } from './pipeline/queue-view.ts'

/** The batch handlers of one queue, each with what it has collected. */
export class QueueBatches {
  readonly #queue: QueueView
  readonly #collectors: ReadonlyMap<Handler, BatchCollector>

  constructor(queue: QueueView, handlers: readonly Handler[], onBatch: (batch: Startable) => void) {
    this.#queue = queue
    this.#collectors = new Map(handlers.map(handler => [handler, new BatchCollector(queue, handler, onBatch)]))
  }

  /** Deliveries that wait for their batch. */
  get size(): number {
    let size = 0
    for (const collector of this.#collectors.values()) size += collector.size
    return size
  }

  /** Whether the delivery now waits for a batch; otherwise it is handled alone. */
  collect(delivery: Delivery, lock: OpenLock): boolean {
    const handler = this.#handlerOf(delivery)
    const collector = handler === undefined ? undefined : this.#collectors.get(handler)
    if (collector?.takes(delivery) !== true) return false
    collector.add(delivery, lock)
    return true
  }

  /** Everything that waits goes back. */
  release(): void {
    for (const collector of this.#collectors.values()) collector.release()
  }

  #handlerOf(delivery: Delivery): Handler | undefined {
    try {
      const incoming = new Incoming(delivery, this.#queue.name)
      const handler = this.#queue.routeOf(incoming)?.handler
      return handler !== undefined && matches(handler.match, incoming.key, delivery.headers) ? handler : undefined
    } catch {
      // What makes no sense is buried by its own run.
      return undefined
    }
  }
}
