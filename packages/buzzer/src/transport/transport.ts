import type { BuzzerError, Clock, JsonObject, Logger } from '../message/index.ts'
import type { StateChange, Store } from '../store/index.ts'
import type { TransportAdmin } from './admin.ts'
import type { Capabilities } from './capabilities.ts'
import type { DirectPath } from './direct-path.ts'
import type { EventLog } from './event-log.ts'
import type { Topology } from './topology.ts'

/**
 * What carries messages: a broker behind five methods. Source: DESIGN 4.2, spec bus 2.
 *
 * - All methods may be called concurrently. `connect` and `close` are idempotent; a closed transport is spent.
 * - `Tx` is what the transport takes as the caller's own transaction; `never` when it takes none.
 * - Every promise settles: nothing stays pending for ever over a lost connection or a close.
 */
export interface Transport<Tx = never> {
  readonly name: string
  /** Known for certain once `connect` has resolved. */
  readonly capabilities: Capabilities
  /** Rejects with a retryable error when the broker is away, with another one when trying again is senseless. */
  connect(context: TransportContext): Promise<void>
  /** Makes queues, topics and bindings exist; one idempotent step. A conflict names both values: `BUZZER_TOPOLOGY_CONFLICT`. */
  declare(topology: Topology): Promise<void>
  /**
   * Resolves only when every message is durably accepted, in the order of the calls, awaited or not.
   * Accepts all or none where the broker can; otherwise the rejection carries `details.results` per message:
   * `'stored'`, `'not-stored'` or `'unknown'`, in their order.
   */
  send(messages: readonly OutgoingMessage[], options?: SendOptions<Tx>): Promise<void>
  /** Begins to deliver. Rejects with `BUZZER_QUEUE_NOT_FOUND` for an unknown queue. */
  receive(queue: string, onDelivery: OnDelivery, options: ReceiveOptions): Promise<Receiver>
  /** Finishes what was sent before the call (at most 30 s), then closes. Never rejects for lost work: its promises do. */
  close(): Promise<void>
  /** What `bus.health()` shows of it: the class of durability, where the broker lives, which version it has. Never waits. */
  facts?(): Readonly<Record<string, string | number>>
  /** Sends and deliveries told by calls, for brokers in this process. Ask for it by `directPathOf`. */
  readonly direct?: DirectPath<Tx>
  /** Inspect, peek, purge, redrive: as far as the broker can. */
  readonly admin?: TransportAdmin
  /** Records that commit in one step with this transport's settlements (`state`) and sends (`SendOptions.state`). */
  readonly store?: Store<Tx>
  /** Streams that are read again, kept beside the queues. A log is not a queue: it takes no part in `declare` and `receive`. */
  readonly log?: EventLog<Tx>
}

export interface TransportContext {
  /** Name of the bus, for connection names and diagnostics. */
  readonly bus: string
  readonly instanceId: string
  readonly clock: Clock
  readonly logger: Logger
  /**
   * Told of each change of the connection. `lost`: given up, or refused for good. A receiver that ended because its queue
   * was deleted is told as `connected` with a `BUZZER_QUEUE_NOT_FOUND` that names it in `details.queue`; who received
   * declares and receives again.
   */
  onState(state: ConnectionState, error?: Error): void
}

export type ConnectionState = 'connected' | 'reconnecting' | 'lost'

/** One message on its way out. Attributes, headers and body arrive byte for byte. */
export interface OutgoingMessage {
  /** 1–128 visible ASCII characters. */
  readonly id: string
  /** One queue, or a topic: each queue bound to the topic or to one of its bases gets ONE copy. */
  readonly to: Destination
  /** Every CloudEvents attribute by its name, `datacontenttype` excepted. */
  readonly attributes: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>
  readonly contentType?: string
  readonly body: Uint8Array
  readonly key?: string
  /** 0–9, higher is served first. */
  readonly priority: number
  /** Not delivered before. Epoch milliseconds; in the past means now. */
  readonly deliverAt?: number
  /** Not delivered from then on. Epoch milliseconds. */
  readonly expiresAt?: number
  /** Reject the send with `BUZZER_UNROUTABLE` when no queue takes it. A message to a queue is always so. */
  readonly mandatory: boolean
  /** Judged by the queue's `deduplicationWindowMs`. First sends only: deferred and redriven copies carry none. */
  readonly deduplicationKey?: string
}

export type Destination = { readonly queue: string } | { readonly topic: string; readonly bases: readonly string[] }

export interface SendOptions<Tx = never> {
  /** The caller's transaction; the messages exist only if it commits. */
  readonly tx?: Tx
  /** Committed with the messages in one step. Needs `transactions` of at least `settle-and-send`. */
  readonly state?: readonly StateChange[]
  /** `BUZZER_ABORTED` at once; `details.outcome` is `not-stored` or `unknown`. */
  readonly signal?: AbortSignal
}

/** One handing of one message to one receiver; open until settled or its lock is lost. */
export interface Delivery extends Omit<OutgoingMessage, 'to' | 'mandatory' | 'deduplicationKey'> {
  readonly queue: string
  /** Deliveries of this message to this queue, from 1. A retry, a lost lock and a dead process add one; a release none. */
  readonly attempt: number
  /** When the queue accepted it. Epoch milliseconds. */
  readonly enqueuedAt: number
  /** Aborts with `BUZZER_LOCK_LOST`; the settlement is then ignored. */
  readonly signal: AbortSignal
  /** Present on deliveries from a dead-letter queue. */
  readonly deadLetter?: DeadLetterInfo
}

export interface DeadLetterInfo {
  readonly reason: string
  readonly detail?: JsonObject
  /** Epoch milliseconds. */
  readonly deadAt: number
}

/** Called once per delivery. A rejection is a `retry` without delay, counted, and an error report. */
export type OnDelivery = (delivery: Delivery) => Promise<Settlement>

/** Answers a refused step with another settlement, which may be refused and asked about again. */
export type OnRefused = (error: BuzzerError) => Settlement | Promise<Settlement>

export type Settlement =
  | {
      readonly as: 'ack'
      readonly send?: readonly OutgoingMessage[]
      readonly state?: readonly StateChange[]
      /** Message ids whose schedules end with this step. */
      readonly cancel?: readonly string[]
      /** All `size` settlements of one `id` are one step; applied when the last has come. */
      readonly group?: { readonly id: string; readonly size: number }
      /** Asked when the broker refuses the step; nothing of it was applied. Default: a retry without delay. */
      readonly onRefused?: OnRefused
    }
  | {
      readonly as: 'retry'
      readonly delayMs?: number
      readonly state?: readonly StateChange[]
      /** As for `ack`: a stale version in `state` must be answerable. */
      readonly onRefused?: OnRefused
    }
  | {
      readonly as: 'dead-letter'
      readonly reason: string
      readonly detail?: JsonObject
      readonly send?: readonly OutgoingMessage[]
      readonly state?: readonly StateChange[]
      /** As for `ack`: a fault event that no queue can take must not keep the message from the dead letters. */
      readonly onRefused?: OnRefused
    }
  | { readonly as: 'release' }

export interface ReceiveOptions {
  /** Open deliveries at most; all of them are used when there is work. */
  readonly maxInFlight: number
  readonly orderBy: OrderBy
}

export type OrderBy = 'none' | 'queue' | 'key'

/** All methods are idempotent. */
export interface Receiver {
  /** Resolves when no further `onDelivery` call will start. What was fetched is released; what runs, runs on. */
  pause(): Promise<void>
  resume(): Promise<void>
  /** As `pause`, and waits until what runs is settled. */
  stop(): Promise<void>
}
