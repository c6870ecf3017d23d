import type { BuzzerError, Codec } from '../../message/index.ts'
import type { Delivery } from '../../transport/index.ts'
import type { BusCore } from '../bus-core.ts'
import type { Route } from '../handler.ts'
import type { Middleware } from '../middleware.ts'
import type { ResolvedRetry } from '../retry-policy.ts'
import type { Incoming } from './incoming.ts'

export type DeliveryEnd = 'handled' | 'dead-letter' | 'expired' | 'discarded' | 'duplicate' | 'deferred'

/** Something that waits for a slot of its queue: a delivery, or a batch of them. */
export interface Startable {
  /** In whose name the slot is held. Default: itself. */
  readonly holder?: Startable
  /** Kept by the queue while it holds the slot. */
  place?: number
  /** A slot is free: it is held from here to `QueueView.ended`. */
  start(): void
  /** Never started: everything goes back to the broker, uncounted. */
  release(): void
  /** Aborts what runs. */
  stop(reason: BuzzerError): void
  /** The queue takes no more: what only waits goes back. */
  drain?(): void
  /** Gives back what does not end, whatever still runs. */
  abandon(): void
}

/** What a delivery asks of its queue. */
export interface QueueView {
  readonly core: BusCore
  /** As this bus names it. */
  readonly name: string
  /** `/<bus>/<queue>`. */
  readonly source: string
  readonly codecs: ReadonlyMap<string, Codec>
  /** Bus before queue. */
  readonly middleware: readonly Middleware[]
  /** The policy of messages that no handler takes. */
  readonly retry: ResolvedRetry
  readonly onUnknownMessage: 'dead-letter' | 'discard'
  readonly deadLetterTtlMs: number | undefined
  readonly onExpired: 'discard' | 'dead-letter'
  /** Whether messages of the queue, or of one key, must not pass each other. */
  readonly ordered: boolean
  /** Whether further handler runs may start. */
  readonly open: boolean
  enqueue(startable: Startable): void
  routeOf(incoming: Incoming): Route | undefined
  /** Whether a redelivered message may have been handled before its acknowledgement was lost. */
  asksInbox(delivery: Delivery): boolean
  /** Calls `run` when the rate limit allows another handler start. */
  admit(run: () => void): void
  /** A settled delivery needs its slot back. */
  again(run: Startable, then: () => void): void
  /** A delivery ended in a retry or dead letter. */
  judged(error: unknown): void
  /** Frees the slot. */
  ended(run: Startable, end: DeliveryEnd | undefined): void
}
