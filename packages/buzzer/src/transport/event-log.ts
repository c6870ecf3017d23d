import type { TransportContext } from './transport.ts'

/**
 * What keeps streams of records: an append-only log that any number of readers pass over, each at its own pace, from any
 * place, again and again. A queue gives each message to one receiver and forgets it; a log has positions instead of
 * locks. Source: spec streams 2 to 4; ADR 12 says what is left to consumer groups.
 *
 * - A **stream** has partitions, numbered from 0; a **record** has a **position** in its partition. Order is promised
 *   within a partition only.
 * - All methods may be called concurrently. `connect` and `close` are idempotent; a closed log is spent.
 * - `Tx` is what the log takes as the caller's own transaction; `never` when it takes none.
 * - Every promise settles: nothing stays pending for ever over a lost connection or a close.
 */
export interface EventLog<Tx = never> {
  readonly name: string
  /** Known for certain once `connect` has resolved. */
  readonly capabilities: LogCapabilities
  /** Rejects with a retryable error when the log is away, with another one when trying again is senseless. */
  connect(context: TransportContext): Promise<void>
  /**
   * Makes streams exist; one idempotent step. Rejects with `BUZZER_TOPOLOGY_CONFLICT`, naming stream, option and both
   * values, and then changes nothing.
   */
  declare(streams: readonly StreamTopology[]): Promise<void>
  /**
   * Stores all batches, or none of them. Resolves when they are durable in the log's class, with one answer for each.
   *
   * - Each batch lies contiguous in one partition. Calls of one log object are stored in the order of the calls, awaited
   *   or not; the batches of one call in their order. Between log objects there is no order.
   * - A call whose answer was lost is stored once: not twice, not never, as long as the calling process lives.
   * - At most 16 MiB are unconfirmed per log object; beyond that a call waits before anything of it leaves.
   *
   * Rejects with `BUZZER_STREAM_NOT_FOUND`, `BUZZER_INVALID_OPTION`, `BUZZER_MESSAGE_TOO_LARGE` (both sizes),
   * `BUZZER_LOG_CONFLICT`, `BUZZER_PRODUCER_FENCED`, `BUZZER_UNSUPPORTED`, `BUZZER_BROKER_FULL`, `BUZZER_DISK_FULL`,
   * `BUZZER_ABORTED` (`details.outcome`: `not-stored` or `unknown`), `BUZZER_NOT_RUNNING`.
   */
  append(batches: readonly AppendBatch[], options?: AppendOptions<Tx>): Promise<readonly Appended[]>
  /**
   * Durable records of one partition from a place on, in order, none skipped; waits for the first one up to `waitMs`.
   * Never waits for writers, never shows what may still be undone.
   *
   * Rejects with `BUZZER_STREAM_NOT_FOUND`, `BUZZER_LOG_TRIMMED` (`details.first`) for a position below the first kept
   * record, `BUZZER_LOG_POSITION` (`details.end`) for one beyond the end, `BUZZER_FILE_DAMAGED` (`details.position`) for a
   * record whose checksum fails, `BUZZER_ABORTED`, `BUZZER_NOT_RUNNING`.
   */
  read(request: ReadRequest): Promise<ReadResult>
  /**
   * Takes over the producer `name` of a stream: raises its epoch, so that whoever held it before is refused with
   * `BUZZER_PRODUCER_FENCED`. Durable before it resolves. `BUZZER_UNSUPPORTED` without `producers: 'durable'`.
   */
  openProducer(stream: string, name: string): Promise<OpenedProducer>
  /** What streams there are and where they begin and end. `BUZZER_STREAM_NOT_FOUND` for a named one that is not there. */
  describe(request?: { readonly stream?: string }): Promise<LogDescription>
  /** Finishes what was appended before the call (at most 30 s), then closes. Pending reads reject with `BUZZER_NOT_RUNNING`. */
  close(): Promise<void>
  readonly admin?: LogAdmin
}

/** What a log can do by itself: the strongest it keeps. What is absent is refused with `BUZZER_UNSUPPORTED`, never ignored. */
export interface LogCapabilities {
  /** `key`: both kinds of expected position; `partition`: only `{ end }`. */
  readonly expected: 'key' | 'partition' | 'none'
  /** `durable`: named producers. `connection`: only the log's own retries are stored once. */
  readonly producers: 'durable' | 'connection'
  readonly deduplication: 'native' | 'none'
  /** `caller`: `append` takes the caller's transaction. */
  readonly transactions: 'caller' | 'none'
  /** `dense`: from 1 without gaps. */
  readonly positions: 'dense' | 'gaps'
  readonly compaction: 'native' | 'none'
  /** Whether records outlive the process that holds the log. */
  readonly durability: 'durable' | 'volatile'
  /** Key, headers and value of one record together. */
  readonly maxRecordBytes: number
}

/** What a log that says nothing can do. A new capability is added with its weakest value, so no log breaks. */
export const weakestLogCapabilities: LogCapabilities = Object.freeze({
  expected: 'none',
  producers: 'connection',
  deduplication: 'none',
  transactions: 'none',
  positions: 'gaps',
  compaction: 'none',
  durability: 'volatile',
  maxRecordBytes: 64 * 1024,
})

/** A stream that should exist. What is left out means "as it is, or the default" and never conflicts. */
export interface StreamTopology {
  /** As names of contracts: lower-case letters and digits, joined by single `.`, `_` or `-`. */
  readonly name: string
  /** Default 1, at most 10,000. A stream made by name alone has 1; changed by `admin.addPartitions` only. */
  readonly partitions?: number
  /** Keeps the last position of each key, for `expect: { key, last }`. Default false; fixed when the stream is made. */
  readonly keyIndex?: boolean
  /** Window in which a `deduplicationKey` is accepted once. Default 0: off. At most 7 days. */
  readonly deduplicationWindowMs?: number
  readonly retention?: StreamRetention
}

/**
 * What is forgotten: whole chunks, oldest first, never the newest of a partition. A record is kept at least as long as
 * promised and at most one chunk longer. Source: spec streams 9.
 */
export interface StreamRetention {
  /** Default 7 days. `Infinity`: for ever. */
  readonly maxAgeMs?: number
  /** Of each partition; at least that much is kept. Default `Infinity`. */
  readonly maxBytes?: number
}

/** Options of a stream with their defaults. */
export interface StreamOptions {
  readonly partitions: number
  readonly keyIndex: boolean
  readonly deduplicationWindowMs: number
  readonly retention: Required<StreamRetention>
}

/** Records that go to one partition, one behind the other. Source: spec streams 3. */
export interface AppendBatch {
  readonly stream: string
  /**
   * Default: where the key of the records goes (`partitionOf`); of records without key, one partition per batch in turn.
   * Records whose keys go to different partitions belong into several batches of one call.
   */
  readonly partition?: number
  /** At least one. */
  readonly records: readonly AppendRecord[]
  /** A miss stores nothing of the whole call: `BUZZER_LOG_CONFLICT` with `details.expected` and `details.actual`. */
  readonly expect?: ExpectedPosition
  /** Numbers of a named producer: see `openProducer`. */
  readonly producer?: ProducerSequence
  /**
   * 1 to 128 visible ASCII characters. Seen on this stream within its `deduplicationWindowMs`: nothing of the batch is
   * stored, and the answer is the position of the first. Needs a window, else `BUZZER_UNSUPPORTED`.
   */
  readonly deduplicationKey?: string
}

/**
 * `end`: the partition's next position, so that nobody appended meanwhile. `key` and `last`: the position of the last kept
 * record of that key in the partition of the batch, `none` when there is none; needs `keyIndex`. Of concurrent appends with
 * one expectation exactly one wins. Earlier batches of the same call count.
 */
export type ExpectedPosition = { readonly end: number } | { readonly key: string; readonly last: number | 'none' }

export interface ProducerSequence {
  readonly name: string
  /** From `openProducer`. Any other than the present one: `BUZZER_PRODUCER_FENCED`. */
  readonly epoch: number
  /** Strictly rising within the name, from 1, gaps allowed. At or below the last stored one: a duplicate. */
  readonly sequence: number
}

export interface OpenedProducer {
  readonly epoch: number
  /** The last stored sequence; 0 when there is none. Where to go on. */
  readonly lastSequence: number
}

export interface AppendRecord {
  /** Well-formed text; the empty key is a key. */
  readonly key?: string
  /** `null`: a tombstone, told from an empty value. Not to be changed before the append has settled. */
  readonly value: Uint8Array | null
  readonly headers?: readonly LogHeader[]
}

/** Headers are an ordered list: names may repeat, values are bytes. */
export type LogHeader = readonly [name: string, value: Uint8Array]

export interface AppendOptions<Tx = never> {
  /** The caller's transaction; the records exist only if it commits, and get their positions then. */
  readonly tx?: Tx
  readonly signal?: AbortSignal
}

/** What became of one batch. */
export type Appended =
  /** `position` is that of the first record; the others follow in order. `time`: epoch milliseconds, given by the log. */
  | { readonly as: 'stored'; readonly partition: number; readonly position: number; readonly time: number }
  /** Known by its sequence or deduplication key: nothing was stored now. The place is told while it is remembered. */
  | { readonly as: 'duplicate'; readonly partition?: number; readonly position?: number; readonly time?: number }
  /** Part of the caller's transaction; stored when that commits. */
  | { readonly as: 'staged' }

export interface ReadRequest {
  readonly stream: string
  readonly partition: number
  /**
   * A position; `start`: the first kept record; `end`: what comes next; `time`: the first record whose time is at or after
   * that instant (epoch milliseconds), else the end.
   */
  readonly from: number | 'start' | 'end' | { readonly time: number }
  /** Default 1,000, at most 10,000. */
  readonly maxRecords?: number
  /** Default 1 MiB, at most 16 MiB. One record passes whatever its size. */
  readonly maxBytes?: number
  /** How long to wait while there is nothing to read. Default 0. */
  readonly waitMs?: number
  /** Ends the wait: `BUZZER_ABORTED`. */
  readonly signal?: AbortSignal
}

export interface ReadResult {
  /** In order; empty when nothing came in time. Bytes may be views of a larger buffer. */
  readonly records: readonly LogRecord[]
  /** Where to read on. */
  readonly next: number
  /** The first kept record's position; `end` when the partition is empty. */
  readonly first: number
  /** The position that the next record will get. */
  readonly end: number
}

export interface LogRecord {
  readonly position: number
  /** Given by the log when it committed; never decreases within a partition. Epoch milliseconds. */
  readonly time: number
  readonly key?: string
  /** `null`: a tombstone. */
  readonly value: Uint8Array | null
  readonly headers: readonly LogHeader[]
}

export interface LogDescription {
  /** In order of their names. */
  readonly streams: readonly StreamDescription[]
}

export interface StreamDescription {
  readonly name: string
  readonly options: StreamOptions
  /** In order of their numbers. */
  readonly partitions: readonly PartitionDescription[]
}

export interface PartitionDescription {
  readonly partition: number
  /** The first kept record; equal to `end` when there is none. */
  readonly first: number
  /** The position that the next record will get. */
  readonly end: number
  /** Of what is kept, as the log counts it. */
  readonly bytes: number
  /** Times of the first and the last kept record; absent when there is none. Epoch milliseconds. */
  readonly firstTime?: number
  readonly lastTime?: number
}

/** For operators. What a log cannot do is absent. Every call rejects with `BUZZER_STREAM_NOT_FOUND` for an unknown stream. */
export interface LogAdmin {
  /**
   * Forgets records below `before` in whole chunks, never the newest chunk; resolves with the first position kept, which is
   * at most `before`. A `before` beyond the end: `BUZZER_LOG_POSITION`.
   */
  trim(stream: string, partition: number, before: number): Promise<{ readonly first: number }>
  /**
   * Raises the number of partitions to `partitions`; a number at or below the present one is `BUZZER_INVALID_OPTION`. Keys
   * may go elsewhere from then on, which the caller must say that it knows.
   */
  addPartitions?(stream: string, partitions: number, options: { readonly keysMayMove: true }): Promise<void>
  /** Changes retention or window on purpose, for all processes. What is left out stays. */
  alter?(stream: string, options: Pick<StreamTopology, 'deduplicationWindowMs' | 'retention'>): Promise<void>
  /** Deletes a stream with all its records. Pending reads of it reject. */
  deleteStream?(stream: string): Promise<void>
}
