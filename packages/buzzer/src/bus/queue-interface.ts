import type {
  AnswerOf,
  AnyCommandContract,
  AnyContract,
  AnyEventContract,
  Out,
  SeveralRequestContract,
} from '../message/index.ts'
import type { BatchContext, BatchItem, HandlerContext } from './context.ts'
import type { Middleware } from './middleware.ts'
import type { BatchHandlerOptions, HandlerOptions, RateLimit } from './options.ts'

type Awaitable<T> = T | Promise<T>

type AnswersOf<C> = C extends SeveralRequestContract<never, unknown, infer R> ? R : never

/**
 * Nothing has this type. It stands beside the answer so that TypeScript reads the `as` of a returned object as a name and
 * not as any text: it does not look into the conditional type of the answer for that.
 */
interface KeepsLiterals<C> {
  readonly as: keyof AnswersOf<C> & string
  readonly '~never': never
}

/** A queue of the bus and its handlers. Source: spec bus 4.2. */
export interface Queue<Tx = never> {
  readonly name: string
  /**
   * Handles a contract; each contract once per queue. What the handler returns is the answer of a request, or the result
   * of the operation a command belongs to. @throws BUZZER_DUPLICATE_HANDLER, BUZZER_QUEUE_STARTED, BUZZER_INVALID_OPTION
   */
  handle<C extends AnyContract>(
    contract: C,
    handler: (message: Out<C>, ctx: HandlerContext<Tx>) => Awaitable<AnswerOf<NoInfer<C>> | KeepsLiterals<NoInfer<C>>>,
    options?: HandlerOptions,
  ): this
  /** Handles messages of a contract together. Outputs leave and all items are acknowledged in one step. */
  handleBatch<C extends AnyEventContract | AnyCommandContract>(
    contract: C,
    handler: (batch: readonly BatchItem<Out<C>>[], ctx: BatchContext<Tx>) => Awaitable<void>,
    options?: BatchHandlerOptions,
  ): this
  use(middleware: Middleware): this
  /** For queues defined after `bus.start()`. Idempotent. */
  start(): Promise<void>
  /** When it resolves no handler starts any more, and messages wait in the broker. */
  pause(): Promise<void>
  resume(): Promise<void>
  /** Waits for running handlers; after `timeoutMs` (default 30,000) their signals abort, 5 s later they are abandoned. */
  stop(options?: { readonly timeoutMs?: number }): Promise<void>
  /** Takes effect at once. */
  update(change: { readonly concurrency?: number; readonly rateLimit?: RateLimit | 'none' }): void
}
