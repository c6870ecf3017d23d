import type { MessageHeaders } from '../message/index.ts'
import type { Store } from '../store/index.ts'
import type { Admin } from './admin/admin.ts'
import type { Emitter } from './context.ts'
import type { Health } from './health.ts'
import type { Middleware, OutgoingMiddleware } from './middleware.ts'
import type { QueueOptions } from './options.ts'
import type { Queue } from './queue-interface.ts'

/** A room built on the bus that lives with it: started after the queues, stopped before them, last attached first. */
export interface BusPart {
  readonly name: string
  start?(): Promise<void>
  stop(deadline: AbortSignal): Promise<void>
}

/** Bytes to be put on a queue or topic untouched. */
export interface RawMessage {
  readonly body: Uint8Array
  readonly type?: string
  readonly contentType?: string
  readonly id?: string
  readonly key?: string
  readonly headers?: MessageHeaders
}

/**
 * Queues, handlers and sends over one transport. Source: spec bus 4. Sends are stored in the order of the calls, awaited or
 * not (asynchronous schemas and outgoing middleware excepted). A stopped bus is spent, like its transport.
 */
export interface Bus<Tx = never> extends Emitter<Tx>, AsyncDisposable {
  readonly name: string
  readonly instanceId: string
  readonly admin: Admin
  readonly store: Store<Tx> | undefined
  /**
   * Defines a queue; again without options it returns the same one.
   * @throws BUZZER_DUPLICATE_QUEUE, BUZZER_INVALID_NAME, BUZZER_INVALID_OPTION
   */
  queue(name: string, options?: QueueOptions): Queue<Tx>
  /** Around the handlers of all queues; before `start()`. */
  use(middleware: Middleware): this
  /** Around all emissions of publish, send and request. */
  useOutgoing(middleware: OutgoingMiddleware): this
  /**
   * Checks everything (`BUZZER_CONFIGURATION` lists all problems), connects, declares, and starts to handle. A broker that is
   * away is waited for until `signal` aborts. A second call returns the first one's promise.
   */
  start(options?: { readonly signal?: AbortSignal }): Promise<void>
  /** Drains and closes. Default `timeoutMs` 30,000. Idempotent; no handler's failure makes it reject. */
  stop(options?: { readonly timeoutMs?: number }): Promise<void>
  health(): Promise<Health>
  /** Before the start the part starts with the bus; afterwards it starts at once. */
  attach(part: BusPart): void
  /** Puts bytes on a queue or topic as they are: bridges, imports, tests. Resolves to the id. */
  sendRaw(to: { readonly queue: string } | { readonly topic: string }, raw: RawMessage): Promise<string>
}
