import type { Clock } from './clock.ts'
import type { Empty } from './empty.ts'
import type { Outcome } from './errors.ts'
import type { Turn } from './turn.ts'
import { Waiter, type WaiterLine } from './waiter.ts'

/** A caller that is owed an item: it gets the next one that comes, in the order of the line. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- what it receives is what it is
export abstract class Receiver<T> extends Waiter {
  /** Gives it an item for good. A receiver that is satisfied leaves the line. */
  abstract deliver(item: T): void
  /** Nothing will come any more; it is out of the line already. */
  abstract ended(outcome: Outcome): void
  /** The source broke down while being asked (a custom reader's `tryRead` threw). */
  abstract broken(error: unknown): void
}

/** The loop that a waiting `next()` belongs to. */
export interface Loop {
  /** From now on every `next()` is done. Whether this call made it so. */
  finish(): boolean
}

/** What reading members are built on: a channel's core, or a custom reader that is polled by hints. */
export interface ItemSource<T> {
  /** For error messages, where there is one. */
  readonly name: string | undefined
  readonly turn: Turn
  readonly clock: Clock
  /** Those who are owed an item, the next to be served first. */
  readonly receivers: WaiterLine<Receiver<T>>
  /** The next item, unless there is none or others are in line for it. */
  take(): T | Empty
  /** Puts the receiver into line; one that comes after the end is told at once. */
  await(receiver: Receiver<T>): void
  /** The same for a `next()` without a signal, given by its promise's functions. */
  awaitNext(loop: Loop, resolve: (result: IteratorResult<T>) => void, reject: (error: unknown) => void): void
}
