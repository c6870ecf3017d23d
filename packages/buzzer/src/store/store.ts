import type { Clock, JsonValue, Logger } from '../message/index.ts'
import type { Scalar, StateChange } from './state-change.ts'

/**
 * Versioned records: operations, inbox, outbox, schedules, sagas. Source: spec bus 3, DESIGN 6.
 * All methods may be called concurrently; `connect` and `close` are idempotent.
 * A record whose `expiresAt` has passed is absent for every call.
 */
export interface Store<Tx = never> {
  readonly name: string
  readonly capabilities: StoreCapabilities
  connect(context: StoreContext): Promise<void>
  close(): Promise<void>
  /** Collections that are queried must be declared with their indexes; idempotent. Names beginning with `buzzer.` are ours. */
  declare(collections: readonly CollectionDeclaration[]): Promise<void>
  get<T = JsonValue>(
    collection: string,
    id: string,
    options?: { signal?: AbortSignal },
  ): Promise<StoredRecord<T> | undefined>
  /** All or nothing. Rejects with `BUZZER_CONFLICT` naming collection, id, expected and found of the first that fails. */
  commit(changes: readonly StateChange[], options?: { tx?: Tx; signal?: AbortSignal }): Promise<void>
  /** Records by one declared index, in its order (ties by id). */
  query<T = JsonValue>(collection: string, where: IndexQuery, page?: PageRequest): Promise<Page<StoredRecord<T>>>
  /** Leases due records to `owner` and skips those leased to others. A lease that runs out frees the record. */
  claim<T = JsonValue>(collection: string, due: ClaimRequest): Promise<readonly StoredRecord<T>[]>
  /** Calls `onChange` soon after each change of that record, by whatever process. Absent: poll. */
  watch?(collection: string, id: string, onChange: () => void): Promise<AsyncDisposable>
}

export interface StoreCapabilities {
  readonly callerTransactions: 'native' | 'none'
  readonly maxValueBytes: number
  /** Whether records outlive the process. */
  readonly durability: 'durable' | 'volatile'
}

export interface StoreContext {
  readonly bus: string
  readonly instanceId: string
  readonly clock: Clock
  readonly logger: Logger
}

export interface CollectionDeclaration {
  readonly name: string
  readonly indexes: readonly string[]
  /** Indexes in which a value may stand once; a second is `BUZZER_CONFLICT`. */
  readonly unique?: readonly string[]
}

export interface StoredRecord<T = JsonValue> {
  readonly id: string
  readonly value: T
  /** 1 at the first commit, +1 with each further one. */
  readonly version: number
  /** Epoch milliseconds. */
  readonly updatedAt: number
}

/** `equals`, or a range: `from` included, `to` excluded. Default order `asc`. */
export interface IndexQuery {
  readonly index: string
  readonly equals?: Scalar
  readonly from?: Scalar
  readonly to?: Scalar
  readonly order?: 'asc' | 'desc'
}

/** Default limit 50, at most 1,000. `after` is the `next` of the page before. */
export interface PageRequest {
  readonly limit?: number
  readonly after?: string
}

export interface Page<T> {
  readonly items: readonly T[]
  readonly next?: string
}

export interface ClaimRequest {
  readonly index: string
  /** Records whose index value is at most this. */
  readonly upTo: Scalar
  readonly limit: number
  readonly leaseMs: number
  readonly owner: string
}
