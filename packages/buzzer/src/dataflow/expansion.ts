import type { Call } from './call.ts'
import { Waiter } from './line.ts'
import { Ring } from './ring.ts'

/** What a transform-many function may give: outputs, now or later, or nothing. */
export type Many<O> = Iterable<O> | AsyncIterable<O> | null | undefined | void

type AnyIterator<O> = Iterator<O> | AsyncIterator<O>

/**
 * One item of a transform-many block on its way: the iterator its function gave, and the outputs that came of it.
 *
 *   called ──▶ pulling ◀──▶ paused (as many outputs in the block as `capacity`) ──▶ ended ──outputs taken──▶ gone
 */
export class Expansion<I, O> extends Waiter {
  readonly call: Call<I, Expansion<I, O>>
  /** An array is taken by index: its end is known without another step. */
  array: readonly O[] | undefined = undefined
  taken = 0
  iterator: AnyIterator<O> | undefined = undefined
  asynchronous = false
  /** The iterator's own code is on the stack. */
  onStack = false
  /** The `next()` that is under way. */
  pulling: Promise<unknown> | undefined = undefined
  paused = false
  ended = false
  given = 0
  /** Outputs of this item in the block. */
  inBlock = 0
  /** Outputs that wait for those of earlier items. */
  readonly held: Ring<O> = new Ring()

  constructor(call: Call<I, Expansion<I, O>>) {
    super()
    this.call = call
  }
}

/** The iterator of what a function gave; `undefined`: nothing is to come of it. Throws `TypeError` for anything else. */
export function iteratorOf<O>(many: unknown): { iterator: AnyIterator<O>; asynchronous: boolean } | undefined {
  if (many === null || many === undefined) return undefined
  const { [Symbol.asyncIterator]: asyncOf, [Symbol.iterator]: syncOf } = many as AsyncIterable<O> & Iterable<O>
  if (typeof asyncOf === 'function') return { iterator: asyncOf.call(many), asynchronous: true }
  if (typeof syncOf === 'function') return { iterator: syncOf.call(many), asynchronous: false }
  throw new TypeError(`the function must give an iterable, an async iterable or nothing, not ${typeof many}`)
}
