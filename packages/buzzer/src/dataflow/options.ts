import type { Clock } from '../channels/index.ts'

/** What every block can be told. Options are read once, at construction. */
export interface BlockOptions {
  /** For `stats()`, errors and diagnostics. Default: kind and running number, such as `transform-3`. */
  name?: string
  /** Items the block may own: not yet started, in work, held for their order, not yet taken. Integer ≥ 1 or `Infinity`. Default 1,024. */
  capacity?: number
  /** Ends the block with `signal.reason`. */
  signal?: AbortSignal
  /**
   * What becomes of an item that every link refuses by its `where`. `'fault'`: the block fails with `UnmatchedItemError`;
   * `'drop'`: it is discarded and counted; `'wait'`: it stays at the head until a new link or a receiver takes it.
   * Default `'fault'`.
   */
  unmatched?: 'fault' | 'drop' | 'wait'
  /** For everything with a time in it. Default: the process's timers. */
  clock?: Clock
}

/** What follows an error of the function: end the block, leave the item out, or call again, at once or later. */
export type ErrorAction = 'fault' | 'skip' | 'retry' | { retryAfterMs: number }

/** Options of the blocks that call a function. */
export interface FunctionOptions<I> extends BlockOptions {
  /** Functions at once; a promise counts until it settles. Integer ≥ 1 or `Infinity`. Default 1. */
  parallel?: number
  /** Outputs leave in input order, whatever settles first. Default true. */
  ordered?: boolean
  /** Items of one key run one at a time, in order; items of other keys overtake. Default: no keys. */
  key?: (item: I) => unknown
  /** Asked when the function throws or rejects; `attempt` starts at 1. If it throws itself, that error ends the block. Default `'fault'`. */
  onError?: ErrorAction | ((error: unknown, item: I, attempt: number) => ErrorAction | Promise<ErrorAction>)
  /** At most `limit` starts, retries included, in any window of `perMs` milliseconds. Default: no limit. */
  rate?: { limit: number; perMs: number }
}

/** Options of the blocks that make groups. */
export interface GroupOptions extends BlockOptions {
  /** false: take items only when a group is complete, all of them in one step. Default true. */
  greedy?: boolean
  /** Complete after so many groups. Default: no limit. */
  maxGroups?: number
}

/** Options of `BatchBlock`. */
export interface BatchOptions<T> extends GroupOptions {
  /** Cut a short batch so long after its first item. Default: wait for the full size. */
  maxWaitMs?: number
  /** The weight of an item, ≥ 0. Called once per item, at once. Needs `maxWeight`. */
  weigh?: (item: T) => number
  /** A batch never weighs more, unless it is one item. Needs `weigh`. */
  maxWeight?: number
}

/** What a running function is given beside the item. */
export interface RunContext {
  /** Aborted when the block fails or is aborted. */
  readonly signal: AbortSignal
}

export const defaultCapacity = 1_024

export function checkCount(name: string, value: number, least = 1): number {
  if (value === Number.POSITIVE_INFINITY || (Number.isInteger(value) && value >= least)) return value
  throw new RangeError(`\`${name}\` must be an integer ≥ ${least} or Infinity, not ${String(value)}`)
}

export function checkInteger(name: string, value: number, least = 1): number {
  if (Number.isSafeInteger(value) && value >= least) return value
  throw new RangeError(`\`${name}\` must be an integer ≥ ${least}, not ${String(value)}`)
}

export function checkMs(name: string, value: number): number {
  if (Number.isFinite(value) && value >= 0) return value
  throw new RangeError(`\`${name}\` must be a finite number of milliseconds ≥ 0, not ${String(value)}`)
}

export function checkPositive(name: string, value: number): number {
  if (value > 0) return value
  throw new RangeError(`\`${name}\` must be a number > 0, not ${String(value)}`)
}

export function checkFunction<F>(name: string, value: F): F {
  if (typeof value === 'function') return value
  throw new TypeError(`\`${name}\` must be a function, not ${value === null ? 'null' : typeof value}`)
}

/** For options a kind of block cannot honour: nothing is silently ignored. */
export function refuseOptions(kind: string, options: object, names: readonly string[]): void {
  for (const name of names) {
    if ((options as Record<string, unknown>)[name] !== undefined)
      throw new TypeError(`a ${kind} block cannot honour the option \`${name}\``)
  }
}

export function checkOneOf<V extends string>(name: string, value: V, allowed: readonly V[]): V {
  if (allowed.includes(value)) return value
  throw new TypeError(`\`${name}\` must be one of ${allowed.map(each => `'${each}'`).join(', ')}, not ${value}`)
}

/** What `capacity` is when asked for nothing: the default, or as much as one group needs. */
export function capacityFor(options: BlockOptions, groupSize = 1): number {
  if (options.capacity === undefined) return Math.max(defaultCapacity, groupSize)
  const capacity = checkCount('capacity', options.capacity)
  if (capacity < groupSize)
    throw new RangeError(`\`capacity\` must hold one group: ${String(capacity)} is below the size ${String(groupSize)}`)
  return capacity
}
