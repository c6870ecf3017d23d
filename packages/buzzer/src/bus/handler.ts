import type { AnyContract } from '../message/index.ts'
import type { BusCore } from './bus-core.ts'
import { DeadlineList } from './deadline-list.ts'
import type { BatchHandlerOptions, DeduplicateOptions, HandlerOptions, QueueOptions } from './options.ts'
import { type ResolvedRetry, resolveRetry } from './retry-policy.ts'

/** A handler with its policies, options resolved handler → queue → bus defaults → built in. */
export interface Handler {
  readonly contract: AnyContract
  readonly call: (message: unknown, ctx: never) => unknown
  readonly retry: ResolvedRetry
  readonly timeoutMs: number
  readonly deadlines: DeadlineList
  readonly deduplicate: ResolvedDeduplicate | undefined
  readonly match: HandlerOptions['match']
  readonly batch: ResolvedBatch | undefined
}

export interface ResolvedBatch {
  readonly maxSize: number
  readonly maxWaitMs: number
  readonly groupBy: 'key' | undefined
}

export interface ResolvedDeduplicate {
  readonly windowMs: number
  readonly by: DeduplicateOptions['by']
  readonly at: 'receive' | 'send'
}

/** Handler and wire type the message was read as, with the conversions from an older version on the way. */
export interface Route {
  readonly handler: Handler
  /** What the bytes are validated as. */
  readonly reads: AnyContract
  /** From the oldest version on; empty when the contract itself is read. */
  readonly upcasts: readonly UpcastStep[]
}

export interface UpcastStep {
  readonly convert: (old: never) => unknown
  readonly to: AnyContract
}

const defaultTimeoutMs = 300_000
const defaultWindowMs = 30 * 60_000

function resolveDeduplicate(option: QueueOptions['deduplicate']): ResolvedDeduplicate | undefined {
  if (option === undefined || option === 'none') return undefined
  const given = option === 'id' ? {} : option
  return { windowMs: given.windowMs ?? defaultWindowMs, by: given.by, at: given.at ?? 'receive' }
}

export function resolveHandler(
  core: BusCore,
  contract: AnyContract,
  call: (message: never, ctx: never) => unknown,
  own: BatchHandlerOptions,
  queue: QueueOptions,
  kind: 'single' | 'batch',
): Handler {
  const timeoutMs = own.timeoutMs ?? queue.timeoutMs ?? defaultTimeoutMs
  const batch = { ...queue.batch, ...own }
  return {
    contract,
    call: call as (message: unknown, ctx: never) => unknown,
    retry: resolveRetry(own.retry ?? queue.retry),
    timeoutMs,
    deadlines: new DeadlineList(core.clock, timeoutMs),
    deduplicate: resolveDeduplicate(own.deduplicate ?? queue.deduplicate),
    match: own.match,
    batch:
      kind === 'single'
        ? undefined
        : { maxSize: batch.maxSize ?? 10, maxWaitMs: batch.maxWaitMs ?? 1_000, groupBy: batch.groupBy },
  }
}

/** Every wire type this handler takes by itself: its own, and those it upcasts from, over any number of versions. */
export function routesOf(handler: Handler): readonly Route[] {
  const routes: Route[] = []
  const walk = (reads: AnyContract, upcasts: readonly UpcastStep[]): void => {
    if (routes.some(route => route.reads.type === reads.type)) return
    routes.push({ handler, reads, upcasts })
    for (const upcast of reads.upcasts) {
      walk(upcast.from, [{ convert: upcast.convert, to: reads }, ...upcasts])
    }
  }
  walk(handler.contract, [])
  return routes
}

/** Whether what the handler's `match` names is there and equal. */
export function matches(
  match: HandlerOptions['match'],
  key: string | undefined,
  headers: Readonly<Record<string, string>>,
): boolean {
  if (match === undefined) return true
  if (match.key !== undefined && match.key !== key) return false
  for (const name in match.headers) {
    if (headers[name] !== match.headers[name]) return false
  }
  return true
}
