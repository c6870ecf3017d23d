import type {
  AnyCommandContract,
  AnyEventContract,
  AnyRequestContract,
  Answer,
  In,
  JsonObject,
  JsonValue,
  Logger,
  MessageHeaders,
} from '../message/index.ts'
import type { StoredRecord } from '../store/index.ts'
import type { ProgressReport } from './message-tracker.ts'
import type { MessageOptions, RequestOptions } from './options.ts'

/** What is known of a message while it is handled. */
export interface MessageInfo {
  readonly id: string
  /** The wire type. */
  readonly name: string
  readonly queue: string
  /** `/<bus>` or `/<bus>/<queue>` of whoever emitted it. */
  readonly source: string
  readonly contentType: string
  /** The user's headers. */
  readonly headers: MessageHeaders
  /** As received. */
  readonly body: Uint8Array
  /** 1, 2, 3, … over all deliveries of this message to this queue. */
  readonly attempt: number
  readonly deferrals: number
  readonly redrives: number
  readonly sentAt: Date
  readonly expiresAt?: Date | undefined
  readonly key?: string | undefined
  readonly correlationId?: string | undefined
  readonly causationId?: string | undefined
  readonly conversationId: string
}

/** Records that commit with the acknowledgement. */
export interface ContextRecords {
  get<T = JsonValue>(collection: string, id: string): Promise<StoredRecord<T> | undefined>
  /** Default expectation: the version last read through this `tx`, else `any`. */
  put(collection: string, id: string, value: JsonValue, expected?: number | 'absent' | 'any'): void
  delete(collection: string, id: string, expected?: number | 'any'): void
}

/** What can be emitted, on the bus or from a handler. */
export interface Emitter<Tx> {
  /** Resolves to the message id. */
  publish<C extends AnyEventContract>(contract: C, message: In<C>, options?: MessageOptions<Tx>): Promise<string>
  /** Resolves to the message id. */
  send<C extends AnyCommandContract>(
    contract: C,
    message: In<C>,
    options?: MessageOptions<Tx> & { readonly to?: string },
  ): Promise<string>
  request<C extends AnyRequestContract>(contract: C, message: In<C>, options?: RequestOptions): Promise<Answer<C>>
  /** `true` when the message will never be delivered. In a handler: `true` at once, meaning "requested". */
  cancelScheduled(messageId: string): Promise<boolean>
}

/**
 * What a handler is given beside the message. It lives as long as its attempt: afterwards every emitting method rejects
 * with `BUZZER_CONTEXT_CLOSED`. Emissions leave, in the order of the calls, if the attempt succeeds, else never;
 * `request` and `progress` go out at once. Source: spec bus 4.3.
 */
export interface HandlerContext<Tx = never> extends MessageInfo, Emitter<Tx> {
  /** Reason: `BUZZER_HANDLER_TIMEOUT`, `BUZZER_STOPPING`, `BUZZER_LOCK_LOST` or `BUZZER_OPERATION_CANCELLED`. */
  readonly signal: AbortSignal
  /** This message, same id, bytes and headers, to another queue. */
  forward(queue: string): Promise<string>
  /** The handler succeeds, and the same message comes back after `delayMs`. Void if the handler throws after all. */
  defer(delayMs: number): void
  /** Throws `DeadLetterError`. */
  deadLetter(reason: string, detail?: JsonObject): never
  /** To the operation this message belongs to, at once; without one nothing happens. Never rejects. */
  progress(progress: ProgressReport): Promise<void>
  readonly tx: ContextRecords
  /** Makes this message's inbox record, and what is emitted from now on, part of the caller's transaction. */
  enlist(tx: Tx): Promise<void>
  readonly log: Logger
}

/** One message of a batch. */
export interface BatchItem<M = unknown> {
  readonly message: M
  readonly id: string
  readonly headers: MessageHeaders
  readonly key: string | undefined
  readonly attempt: number
  readonly sentAt: Date
  readonly correlationId: string | undefined
  readonly conversationId: string
  readonly body: Uint8Array
}

/** The context of a batch handler: what concerns the batch as a whole. */
export type BatchContext<Tx = never> = Pick<
  HandlerContext<Tx>,
  'queue' | 'signal' | 'publish' | 'send' | 'request' | 'cancelScheduled' | 'tx' | 'log'
>
