import { type Empty, empty, emptyAsItem } from './empty.ts'
import { closedError } from './errors.ts'
import type { WaitOptions } from './options.ts'
import { Turn } from './turn.ts'
import { writeAll } from './write-all.ts'

/** The maybe-promise form of `write`: `undefined` when the channel has the item already. */
type Offer<T> = (item: T, signal: AbortSignal | undefined) => Promise<void> | undefined

let bind: <T>(writer: ChannelWriter<T>, offer: Offer<T>) => void

/**
 * The writing side of a channel. Any number of callers may use it at once; blocked `write` calls are accepted first
 * come, first served. No code of the reading side ever runs inside a call on the writer.
 *
 * A writer of your own needs `tryWrite` and `waitToWrite` only; everything else is built on them.
 * Source: spec channels 2.
 */
export abstract class ChannelWriter<T> implements Disposable {
  readonly #turn: Turn = new Turn()
  #offer: Offer<T> = (item, signal) => this.#tryOrWait(item, signal)

  static {
    bind = (writer, offer) => {
      writer.#offer = offer
    }
  }

  /** Whether the channel took the item: `false` when it is full (mode `wait`) or closed. Never waits. */
  abstract tryWrite(item: T): boolean

  /**
   * `true`: try now (a hint). `false`: closed. Rejects with the raw completion error, or with `signal.reason`. With
   * `weigh` it tells of room, not of room for a given item: `write` waits for the right amount.
   */
  abstract waitToWrite(options?: WaitOptions): Promise<boolean>

  /**
   * Resolves when the channel has the item. Rejects with `BUZZER_CHANNEL_CLOSED` (`cause`: the completion error; an
   * AbortError is not wrapped), or with `signal.reason`; then the item was not stored and will not be.
   */
  write(item: T, options?: WaitOptions): Promise<void> {
    return this.#offer(item, options?.signal) ?? this.#turn.shared(accepted)
  }

  /**
   * Writes all of it in order and answers how many. Stops at the first rejection, closes the source's iterator and
   * rejects. Does not complete the channel.
   */
  writeAll(items: Iterable<T> | AsyncIterable<T>, options?: WaitOptions): Promise<number> {
    return writeAll(items, this.#offer, options?.signal)
  }

  /**
   * No more items. Any `error` but `undefined` is a failure, told to readers after the items that are there. Blocked
   * writes are rejected and their items never delivered. Throws `BUZZER_CHANNEL_CLOSED` when closed already.
   */
  complete(error?: unknown): void {
    if (!this.tryComplete(error)) throw closedError({ error: undefined })
  }

  /** As `complete`: `true` for the first call, `false` for every other. */
  tryComplete(_error?: unknown): boolean {
    return false
  }

  /**
   * As `complete(reason)`, but the buffer is emptied and returned, in order. Also after `complete`, as long as items
   * are left. Default reason: an AbortError.
   */
  abort(_reason?: unknown): T[] {
    return []
  }

  get closed(): boolean {
    return false
  }

  /** `tryComplete()`: what is buffered stays readable. */
  [Symbol.dispose](): void {
    this.tryComplete()
  }

  #tryOrWait(item: T, signal: AbortSignal | undefined): Promise<void> | undefined {
    if (signal?.aborted) return Promise.reject(signal.reason)
    try {
      if ((item as T | Empty) === empty) throw emptyAsItem()
      return this.tryWrite(item) ? undefined : this.#waitAndTry(item, signal)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async #waitAndTry(item: T, signal: AbortSignal | undefined): Promise<void> {
    const options = signal === undefined ? undefined : { signal }
    do {
      let open: boolean
      try {
        open = await this.waitToWrite(options)
      } catch (error) {
        throw signal?.aborted && error === signal.reason ? error : closedError({ error })
      }
      if (!open) throw closedError({ error: undefined })
      signal?.throwIfAborted()
    } while (!this.tryWrite(item))
  }
}

/** A write that is accepted at once allocates nothing. */
export const accepted: Promise<void> = Promise.resolve()

/** Gives a writer of this room a write of its own instead of the loop of try and wait. */
export function bindOffer<T>(writer: ChannelWriter<T>, offer: Offer<T>): void {
  bind(writer, offer)
}
