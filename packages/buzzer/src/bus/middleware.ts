import type { AnyContract } from '../message/index.ts'
import type { HandlerContext } from './context.ts'
import type { MessageOptions } from './options.ts'

/**
 * Around each handler run, inside retry and outbox: bus before queue, in order of registration. For a batch the message
 * is the array. What it throws fails the attempt; what it returns is the handler's result.
 */
export type Middleware = (
  message: unknown,
  ctx: HandlerContext<unknown>,
  next: () => Promise<unknown>,
) => Promise<unknown>

/** A message about to be emitted. `headers` and `options` may be changed. */
export interface OutgoingDraft {
  readonly contract: AnyContract
  readonly message: unknown
  headers: Record<string, string>
  options: MessageOptions<unknown>
}

/** Around each emission, at the call. What it throws fails the send. Not called for answers, faults and `sendRaw`. */
export type OutgoingMiddleware = (draft: OutgoingDraft, next: () => Promise<void>) => Promise<void>

/** Runs `middleware` around `handler`, each at most once. */
export function throughMiddleware(
  middleware: readonly Middleware[],
  message: unknown,
  ctx: HandlerContext<unknown>,
  handler: () => unknown,
): Promise<unknown> {
  const step = async (index: number): Promise<unknown> => {
    const one = middleware[index]
    return one === undefined ? await handler() : await one(message, ctx, () => step(index + 1))
  }
  return step(0)
}
