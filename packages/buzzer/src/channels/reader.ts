import { BatchIterator } from './batch-iterator.ts'
import { BlockedRead } from './blocked-read.ts'
import { Consumption } from './consumption.ts'
import { type Empty, empty } from './empty.ts'
import { ItemIterator } from './item-iterator.ts'
import type { ItemSource } from './item-source.ts'
import {
  type BatchOptions,
  type ConsumeOptions,
  requireCount,
  requireFunction,
  requireInteger,
  requireMs,
  type WaitOptions,
} from './options.ts'
import { PolledSource } from './polled-source.ts'

let bind: <T>(reader: ChannelReader<T>, source: ItemSource<T>) => void

/**
 * The reading side of a channel. Any number of callers may use it at once.
 *
 * *Blocked* callers (`read`, a waiting `next()`, `consume`, `batches`) are owed an item each and are served first come,
 * first served. *Waiting* callers (`waitToRead`) get a hint that reserves nothing.
 *
 * A reader of your own needs `tryRead` and `waitToRead` only; everything else is built on them.
 * Source: spec channels 2.
 */
export abstract class ChannelReader<T> implements AsyncIterable<T> {
  #source: ItemSource<T> | undefined = undefined

  static {
    bind = (reader, source) => {
      reader.#source = source
    }
  }

  /** Takes the next item, or answers `Channel.empty`. Never waits. */
  abstract tryRead(): T | Empty

  /**
   * `true`: try now (a hint: somebody else may be faster). `false`: the channel has ended. Rejects with the raw
   * completion error, or with `signal.reason`.
   */
  abstract waitToRead(options?: WaitOptions): Promise<boolean>

  /** The item that `tryRead` would take, left in place. */
  tryPeek(): T | Empty {
    return empty
  }

  /**
   * Takes the next item, waiting for it if need be. Rejects with `BUZZER_CHANNEL_CLOSED` once the channel has ended
   * (`cause`: the completion error; an AbortError is not wrapped), or with `signal.reason`, in which case nothing was
   * taken. An item that is a promise is followed, as promises do: use the try members for such.
   */
  read(options?: WaitOptions): Promise<T> {
    const signal = options?.signal
    if (signal?.aborted) return Promise.reject(signal.reason)
    const source = this.#items()
    let item: T | Empty
    try {
      item = source.take()
    } catch (error) {
      return Promise.reject(error)
    }
    if (item !== empty) return source.turn.promise(item)
    return new Promise((resolve, reject) => source.await(new BlockedRead(source, signal, resolve, reject)))
  }

  /**
   * A loop over the items until the channel ends; rejects with the raw completion error. Several loops compete: each
   * item goes to one of them. Leaving the loop closes nothing. After an abort the next step rejects with the reason,
   * and the items stay in the channel.
   */
  readAll(options?: WaitOptions): AsyncIterableIterator<T> {
    return new ItemIterator(this.#items(), options?.signal)
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    return new ItemIterator(this.#items(), undefined)
  }

  /**
   * A loop over arrays of 1 to `max` items. With `maxWaitMs` a batch is filled for so long after its first item. Items
   * already taken are delivered before an end, an error or an abort is told.
   */
  batches(options: BatchOptions): AsyncIterableIterator<T[]> {
    const source = this.#items()
    return new BatchIterator(source, {
      max: requireInteger('max', options.max, 1),
      maxWaitMs: requireMs('maxWaitMs', options.maxWaitMs ?? 0),
      clock: options.clock ?? source.clock,
      signal: options.signal,
    })
  }

  /** Takes what is there, at most `max` (an integer ≥ 1; default: no limit). Never waits. */
  takeAvailable(max: number = Infinity): T[] {
    requireCount('max', max)
    const items: T[] = []
    for (let item: T | Empty; items.length < max && (item = this.tryRead()) !== empty; ) items.push(item)
    return items
  }

  /**
   * Calls `handler` for each item until the channel ends: the fastest way to read. A handler's promise is waited for,
   * `concurrency` of them at once. A failing handler stops it: nothing further is taken, the others finish, then it
   * rejects with that error, as it does with the channel's own error or `signal.reason`. The channel stays open.
   * Handlers run in the caller's `AsyncLocalStorage` context, never inside a call on the writer.
   */
  consume(handler: (item: T) => unknown, options?: ConsumeOptions): Promise<void> {
    requireFunction('handler', handler)
    const concurrency = requireCount('concurrency', options?.concurrency ?? 1)
    const signal = options?.signal
    if (signal?.aborted) return Promise.reject(signal.reason)
    return new Consumption(this.#items(), handler, concurrency, signal).done
  }

  /**
   * Settles when the channel is closed and drained: rejects with the completion error if there is one. Always the same
   * promise, and never an unhandled rejection. A custom reader that does not override it never settles.
   */
  get completion(): Promise<void> {
    this.#never ??= new Promise(() => {})
    return this.#never
  }
  #never: Promise<void> | undefined = undefined

  /** Items buffered. A custom reader that does not override it throws `TypeError`. */
  get count(): number {
    throw new TypeError(`${this.constructor.name} does not count its items`)
  }

  /** Closed for writing; items may be left. */
  get closed(): boolean {
    return false
  }

  #items(): ItemSource<T> {
    this.#source ??= new PolledSource(this)
    return this.#source
  }
}

/** Gives a reader of this room its items at first hand; without it they are polled through try and wait. */
export function bindSource<T>(reader: ChannelReader<T>, source: ItemSource<T>): void {
  bind(reader, source)
}
