import type { ChannelReader, ChannelWriter, Empty, WaitOptions } from '../channels/index.ts'

/** Whatever can be linked to. Implemented by this room only: reach anything else with `asReader`, `asWriter`, `pipeline.from`. */
export interface Inlet<I> {
  readonly name: string
  /**
   * Gives the item now or not at all: false when full, closed, non-greedy, or when others wait for room already.
   * (A property, not a method, so that a source of wider items cannot be linked here without a type guard.)
   */
  readonly post: (item: I) => boolean
  /**
   * Resolves when the block has the item. Callers and links that wait for room stand in one line, first come first served.
   * Rejects with `BlockClosedError` (`BUZZER_BLOCK_CLOSED`) when the block is or becomes closed, or with `signal.reason`.
   */
  send(item: I, options?: WaitOptions): Promise<void>
  /** No more items: later posts are false, sends that still wait are rejected; what was accepted is finished. Returns `completion`. */
  complete(): Promise<void>
  /** Ends the block with this error, dropping what it holds. After `completion` has settled it does nothing. */
  fault(error: unknown): void
}

/** What every block shows of its life. */
export interface Block extends AsyncDisposable {
  readonly name: string
  /** Settles when the block has ended: rejects with the first error, as it is. Always the same promise; never an unhandled rejection. */
  readonly completion: Promise<void>
  /** Every error collected. The first one is that of `completion`. */
  readonly faults: readonly Fault[]
  complete(): Promise<void>
  fault(error: unknown): void
  /** A snapshot; the totals never go back. */
  stats(): BlockStats
  /** Faults with an AbortError, then waits for running functions. Never rejects. */
  [Symbol.asyncDispose](): Promise<void>
}

/** An error, with the block in which it arose and the item it came of. */
export interface Fault {
  readonly error: unknown
  readonly block: string
  readonly item?: unknown
}

/** A snapshot of a block. */
export interface BlockStats {
  readonly name: string
  /** Items not yet started. */
  readonly inputCount: number
  /** Functions and iterators at work, those that wait for a retry included. */
  readonly running: number
  /** Outputs ready to leave. */
  readonly outputCount: number
  /** Items taken in. */
  readonly accepted: number
  /** Outputs that left; for a block without outputs, items finished. */
  readonly delivered: number
  /** Items left out by `onError`. */
  readonly skipped: number
  readonly retried: number
  /** Items and outputs dropped by failure, by `unmatched: 'drop'`, or because no group could take them any more. */
  readonly discarded: number
  /** Calls of `send` that wait for room. */
  readonly waitingSends: number
  /** Outgoing links. */
  readonly links: number
}

/** A block that takes items. */
export interface Target<I> extends Block, Inlet<I> {
  /** Items not yet started; a batch block's unfinished batch; 0 for a buffer. */
  readonly inputCount: number
  /** The block as the writing half of a channel. */
  asWriter(): ChannelWriter<I>
}

/** A block that gives items. */
export interface Source<O> extends Block, AsyncIterable<O> {
  /**
   * From now on offers every item to `target`, after the links that exist. Links are asked in their order; the first that
   * accepts gets the item. Throws `TypeError` for anything that is no block of this room.
   */
  link<P extends O>(target: Inlet<P>, options: LinkOptions<O> & { where: (item: O) => item is P }): Link
  link(target: Inlet<O>, options?: LinkOptions<O>): Link
  /** The head, if it is there and `where` likes it, else `Channel.empty`. */
  tryReceive(where?: (item: O) => boolean): O | Empty
  /** Waits for an item, first come first served. Rejects with `BlockClosedError` once the block has ended, or with `signal.reason`. */
  receive(options?: WaitOptions): Promise<O>
  /** true: try now (a hint, no reservation); false: ended. Rejects with the block's error. */
  waitToReceive(options?: WaitOptions): Promise<boolean>
  /** As `tryReceive` in a loop. Default: no limit. */
  takeAvailable(max?: number): O[]
  /** Items until the block ends; several loops compete for them. Rethrows the block's error. */
  receiveAll(options?: WaitOptions): AsyncIterableIterator<O>
  /** Outputs ready to leave; results still held for their order are not counted. */
  readonly outputCount: number
  /** The block as the reading half of a channel. */
  asReader(): ChannelReader<O>
}

/** A block that takes and gives. */
export interface Propagator<I, O> extends Target<I>, Source<O> {
  readonly completion: Promise<void>
}

export interface LinkOptions<O> {
  /** false: ask the next link. Called at most once per item and link. Default: takes everything. */
  where?: (item: O) => boolean
  /**
   * `'both'`: the source's end ends the target, and the target's failure faults the source; `'forward'`: only the first;
   * `'none'`: neither. Default `'both'`.
   */
  propagate?: 'both' | 'forward' | 'none'
  /** Unlink after so many accepted items. Default: no limit. */
  max?: number
  /** Asked before the links that exist. Default false. */
  prepend?: boolean
}

/** A way from a source to a target. */
export interface Link extends Disposable {
  readonly active: boolean
  /** Takes effect at once, also for an item that waited on this link. */
  unlink(): void
}
