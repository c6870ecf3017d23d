import type { Clock } from './clock.ts'

/** What a write to a full channel does. `wait`: it waits. The others make room, see `onDrop`. */
export type FullMode = 'wait' | 'drop-newest' | 'drop-oldest' | 'drop-write'

/** Of every member that may wait. */
export interface WaitOptions {
  /** Looked at first, then listened to while the call waits: an abort rejects with `signal.reason` and takes nothing. */
  signal?: AbortSignal | undefined
}

export interface ChannelOptions<T> {
  /** For stats, diagnostics and error messages. Default: kind and running number. */
  name?: string | undefined
  /** For everything with a time in it. Default: the process's timers. */
  clock?: Clock | undefined
  /**
   * Called once per item that a drop mode gave up, on the writer's stack, after the buffer was changed; it may use the
   * channel again. Not called for items lost by completion or abort. What it throws escapes from `tryWrite` and rejects
   * `write`, although the write took effect.
   */
  onDrop?: ((item: T) => void) | undefined
}

export interface BoundedOptions<T> extends ChannelOptions<T> {
  /** Items held, integer ≥ 0; 0 is a rendezvous channel. With `weigh`: the total weight. */
  capacity: number
  /** Default `wait`. */
  fullMode?: FullMode | undefined
  /**
   * The weight of an item, ≥ 0; called once per item. An item fits when the buffer is empty or the sum stays within
   * `capacity`. Default: every item weighs 1. A rendezvous channel holds nothing and never asks.
   */
  weigh?: ((item: T) => number) | undefined
}

export interface PrioritizedOptions<T> extends ChannelOptions<T> {
  /** Negative: `a` is read before `b`. Equal items are read in the order of acceptance. */
  compare: (a: T, b: T) => number
  /** Items held, integer ≥ 0. Default: unbounded. */
  capacity?: number | undefined
  /** Default `wait`. `drop-last` drops whichever would be read last, the incoming item included. */
  fullMode?: 'wait' | 'drop-last' | undefined
}

export interface RendezvousOptions<T> extends ChannelOptions<T> {
  /** Default `wait`. `drop-write` drops the item unless a reader is blocked. */
  fullMode?: 'wait' | 'drop-write' | undefined
}

export interface BatchOptions extends WaitOptions {
  /** Items per batch at most, integer ≥ 1. */
  max: number
  /** How long a batch may be filled, counted from its first item, in ms ≥ 0. Default 0: take what is there, at least one. */
  maxWaitMs?: number | undefined
  /** Default: the channel's clock. */
  clock?: Clock | undefined
}

export interface ConsumeOptions extends WaitOptions {
  /** Handlers at once, integer ≥ 1 or `Infinity`. Default 1. */
  concurrency?: number | undefined
}

/** A snapshot; the totals never go back. `written` = `taken` + `dropped` + `count`. */
export interface ChannelStats {
  readonly name: string
  /** Items buffered. */
  readonly count: number
  /** Their weight; without `weigh` the same as `count`. */
  readonly weight: number
  /** Items accepted, those a drop mode gave up included. */
  readonly written: number
  readonly taken: number
  /** Items given up by a drop mode or by `abort`. */
  readonly dropped: number
  /** Callers blocked in `read`, iteration, `batches` and `consume`. */
  readonly pendingReads: number
  /** Callers blocked in `write`. */
  readonly pendingWrites: number
  /** Callers of `waitToRead`. */
  readonly waitingToRead: number
  /** Callers of `waitToWrite`. */
  readonly waitingToWrite: number
}

function shown(value: unknown): string {
  return typeof value === 'string' ? `"${value}"` : String(value)
}

function requireNumber(option: string, value: unknown): asserts value is number {
  if (typeof value !== 'number') throw new TypeError(`${option} must be a number, not ${shown(value)}`)
}

/** An integer ≥ `least`. Throws `RangeError`, or `TypeError` for what is no number. */
export function requireInteger(option: string, value: unknown, least: number, hint = ''): number {
  requireNumber(option, value)
  if (Number.isInteger(value) && value >= least) return value
  throw new RangeError(`${option} must be an integer ≥ ${least}, not ${value}${hint}`)
}

/** An integer ≥ 1, or `Infinity`. */
export function requireCount(option: string, value: unknown): number {
  if (value === Infinity) return value
  requireNumber(option, value)
  if (Number.isInteger(value) && value >= 1) return value
  throw new RangeError(`${option} must be an integer ≥ 1 or Infinity, not ${value}`)
}

/** Milliseconds ≥ 0; `Infinity` is allowed. */
export function requireMs(option: string, value: unknown): number {
  requireNumber(option, value)
  if (value >= 0) return value
  throw new RangeError(`${option} must be ≥ 0 ms, not ${value}`)
}

export function requireCapacity(value: unknown): number {
  return requireInteger('capacity', value, 0, value === Infinity ? ': use Channel.unbounded()' : '')
}

export function requireOneOf<V extends string>(option: string, value: unknown, allowed: readonly V[]): V {
  if (allowed.includes(value as V)) return value as V
  throw new TypeError(`${option} must be one of ${allowed.map(shown).join(', ')}, not ${shown(value)}`)
}

export function requireFunction(option: string, value: unknown): void {
  if (typeof value !== 'function') throw new TypeError(`${option} must be a function, not ${shown(value)}`)
}

/** The checks that all kinds share. */
export function checkChannelOptions<T>(options: ChannelOptions<T>): void {
  if (options.onDrop !== undefined) requireFunction('onDrop', options.onDrop)
  if (options.clock !== undefined) requireFunction('clock.setTimeout', Reflect.get(options.clock, 'setTimeout'))
}
