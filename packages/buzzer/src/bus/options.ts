import type { AnyContract, Clock, Codec, Logger, MessageHeaders } from '../message/index.ts'
import type { Store } from '../store/index.ts'
import type { OrderBy, Transport } from '../transport/index.ts'
import type { BlobStore } from './claim-check.ts'
import type { MessageInfo } from './context.ts'
import type { Meter, Tracer } from './telemetry.ts'

/** Options of `createBus`. Source: spec bus 4.1. */
export interface BusOptions<A = never, B = never> {
  /** Lower-case name of the bus: part of every message's `source`. */
  readonly name: string
  readonly transport: Transport<A>
  /** For deduplication, delays, outbox, edits. Default: the transport's own store, else none. */
  readonly store?: Store<B>
  /** Names this process among those of the same bus. Default: a fresh short id. */
  readonly instanceId?: string
  /** Options of every queue that does not give its own. */
  readonly defaults?: QueueOptions
  /** Where schemas are asked. Default `both`. */
  readonly validate?: 'both' | 'send' | 'receive' | 'none'
  /** Further codecs that received messages may use. */
  readonly codecs?: readonly Codec[]
  /** `structured`: the body is a whole CloudEvent in JSON. Default `binary`. */
  readonly cloudEvents?: 'binary' | 'structured'
  /** Headers that an emitted message takes over from the one being handled. Default: none. */
  readonly propagateHeaders?: readonly string[]
  /** Whether a dead letter publishes a fault event. Default `publish`. */
  readonly faults?: 'publish' | 'none'
  /** A send without confirmation rejects after that long, reconnects included. Default 30,000. */
  readonly sendTimeoutMs?: number
  readonly outbox?: OutboxOptions
  readonly claimCheck?: ClaimCheckOptions
  /** Structural OpenTelemetry types. Default: none. */
  readonly telemetry?: { readonly tracer?: Tracer; readonly meter?: Meter }
  /** Default: warnings and errors to stderr. */
  readonly logger?: Logger
  /** Default: the system's. */
  readonly clock?: Clock
  /** 0 ≤ x < 1, for jitter. Default `Math.random`. */
  readonly random?: () => number
}

/** The relay of stored outbox rows. */
export interface OutboxOptions {
  /** Tries before a row is parked. Default 20. */
  readonly maxAttempts?: number
  /** Wait after the first failure, doubling up to 60,000. Default 200. */
  readonly backoffMs?: number
  /** How often rows left by others are looked for. Default 1,000. */
  readonly pollMs?: number
  /** How long a claimed row belongs to one instance. Default 30,000. */
  readonly leaseMs?: number
}

/** Large bodies travel beside the message. Source: spec bus 4.13. */
export interface ClaimCheckOptions {
  readonly blobs: BlobStore
  /** Bodies above this many bytes leave the message. Default 262,144. */
  readonly thresholdBytes?: number
  /** How long a blob is kept at least. Default 7 days. */
  readonly retentionMs?: number
}

/** What happens to a message whose handler failed. Source: spec bus 4.4. */
export interface RetryPolicy {
  /** Further runs inside one delivery. Default 3. */
  readonly immediate?: number
  /** Wait before each further delivery. Default [10_000, 60_000, 300_000]. */
  readonly delayedMs?: readonly number[]
  /** 0–1: each wait is multiplied by 1 + jitter × random(0..1). Default 0.2. */
  readonly jitter?: number
  /** Crashes included. Default: the larger of 5 and the number of rounds. */
  readonly maxDeliveries?: number
  /** Sees every retryable failure. If it throws, that is logged and counts as `default`. */
  decide?(error: unknown, attempt: number): 'default' | 'dead-letter' | { readonly delayMs: number }
}

export interface RateLimit {
  /** Handler starts at most in any window of `perMs`, in this process. */
  readonly max: number
  readonly perMs: number
}

/** Source: spec bus 4.7. */
export interface CircuitBreakerOptions {
  /** 0–1. Default 0.5. */
  readonly failureRate?: number
  /** Deliveries before the rate counts. Default 20. */
  readonly minimum?: number
  /** Default 60,000. */
  readonly windowMs?: number
  /** Waits before each try, the last repeating. Default [1_000, 5_000, 15_000, 30_000, 60_000]. */
  readonly resetMs?: readonly number[]
  /** Messages let through to try. Default 1. */
  readonly probes?: number
  /** Whether an error counts. Default: every retryable one. */
  counts?(error: unknown): boolean
}

/** Source: spec bus 4.10. */
export interface DeduplicateOptions {
  /** Default 30 minutes. */
  readonly windowMs?: number
  /** Default: the message id. Not with `at: 'send'`, where the broker judges ids. */
  readonly by?: (message: unknown, ctx: MessageInfo) => string
  /** `receive`: what was handled is not handled again. `send`: a second copy is not even stored. Default `receive`. */
  readonly at?: 'receive' | 'send'
}

export interface BatchOptions {
  /** Default 10. */
  readonly maxSize?: number
  /** Counted from the first message of the batch. Default 1,000. */
  readonly maxWaitMs?: number
  /** One key per batch. Default: no grouping. */
  readonly groupBy?: 'key'
}

/** Source: spec bus 4.2. */
export interface QueueOptions {
  /** Handler calls at once in this process. Default 16; with `orderBy: 'queue'` always 1. */
  readonly concurrency?: number
  /** Deliveries held, running ones included. Default 2 × concurrency. */
  readonly prefetch?: number
  /** Default `none`. */
  readonly orderBy?: OrderBy
  readonly retry?: RetryPolicy | 'none'
  /** Of one attempt. Default 300,000. */
  readonly timeoutMs?: number
  /** Defaults of `handleBatch`. */
  readonly batch?: BatchOptions
  /** Default: none. */
  readonly rateLimit?: RateLimit
  /** Default `none`. */
  readonly circuitBreaker?: 'none' | CircuitBreakerOptions
  /** Default `none`. `id` is short for all defaults of the long form. */
  readonly deduplicate?: 'none' | 'id' | DeduplicateOptions
  /** A message that no handler of the queue takes. Default `dead-letter`. */
  readonly onUnknownMessage?: 'dead-letter' | 'discard'
  /** Default `discard`: the sender said it is worthless. */
  readonly onExpired?: 'discard' | 'dead-letter'
  /** Default and ceiling of a message's time to live here. Default: none. */
  readonly ttlMs?: number
  /** Dead letters older than this are deleted. Default: never. */
  readonly deadLetterTtlMs?: number
  /** Everything in the queue counts. Default: none. */
  readonly maxMessages?: number
  readonly maxBytes?: number
  /** What a foreign message without `type` is read as. */
  readonly rawContract?: AnyContract
  /** One queue per bus instance, gone with the instance: every instance gets every event. */
  readonly perInstance?: true
}

/** Options of one handler; what it leaves out is the queue's. */
export type HandlerOptions = Pick<QueueOptions, 'retry' | 'timeoutMs' | 'deduplicate'> & {
  /** Only messages with exactly these; others are acknowledged unseen. */
  readonly match?: { readonly key?: string; readonly headers?: Readonly<Record<string, string>> }
}

export type BatchHandlerOptions = HandlerOptions & BatchOptions

/** Options of publish and send. Source: spec bus 4.1. */
export interface MessageOptions<Tx = never> {
  /** ≥ 0. At most one of `delayMs` and `deliverAt`. */
  readonly delayMs?: number
  /** In the past means now. */
  readonly deliverAt?: Date
  /** > 0, from the send, or from when it is due. */
  readonly ttlMs?: number
  readonly key?: string
  readonly correlationId?: string
  /** Starts another conversation. */
  readonly newConversation?: true
  readonly headers?: MessageHeaders
  /** 1–128 visible ASCII characters. Default: a UUIDv7. */
  readonly messageId?: string
  /** 0–9, higher is served first. Default 4. */
  readonly priority?: number
  /** Events: reject with `BUZZER_UNROUTABLE` when no queue would get it. */
  readonly mandatory?: true
  /** The caller's own transaction: the message exists only if it commits. */
  readonly tx?: Tx
  readonly signal?: AbortSignal
}

/** Options of a request. Source: spec bus 4.11. */
export interface RequestOptions {
  readonly to?: string
  /** Also the request's time to live. Default 30,000. */
  readonly timeoutMs?: number
  readonly key?: string
  readonly headers?: MessageHeaders
  readonly correlationId?: string
  readonly priority?: number
  readonly signal?: AbortSignal
}
