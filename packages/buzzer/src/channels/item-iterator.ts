import { type Empty, empty } from './empty.ts'
import type { Outcome } from './errors.ts'
import { type ItemSource, type Loop, Receiver } from './item-source.ts'

/** A `next()` that waits. */
export class BlockedNext<T> extends Receiver<T> {
  readonly loop: Loop
  readonly #source: ItemSource<T>
  readonly #resolve: (result: IteratorResult<T>) => void
  readonly #reject: (error: unknown) => void

  constructor(
    loop: Loop,
    source: ItemSource<T>,
    signal: AbortSignal | undefined,
    resolve: (result: IteratorResult<T>) => void,
    reject: (error: unknown) => void,
  ) {
    super(signal)
    this.loop = loop
    this.#source = source
    this.#resolve = resolve
    this.#reject = reject
  }

  deliver(item: T): void {
    this.leave()
    this.#source.turn.tell(this.#resolve, { value: item, done: false })
  }

  finish(): void {
    this.#resolve({ value: undefined, done: true })
  }

  ended(outcome: Outcome): void {
    const first = this.loop.finish()
    if (first && outcome.error !== undefined) this.#reject(outcome.error)
    else this.finish()
  }

  broken(error: unknown): void {
    this.ended({ error })
  }

  aborted(reason: unknown): void {
    this.ended({ error: reason })
  }
}

/**
 * The loop over a reader. Written by hand: an async generator is slower by half, takes one `next()` at a time, and
 * cannot give up a waiting one.
 */
export class ItemIterator<T> implements AsyncIterableIterator<T, undefined>, Loop {
  readonly #source: ItemSource<T>
  readonly #signal: AbortSignal | undefined
  #done = false

  constructor(source: ItemSource<T>, signal: AbortSignal | undefined) {
    this.#source = source
    this.#signal = signal
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#done) return Promise.resolve({ value: undefined, done: true })
    const signal = this.#signal
    if (signal?.aborted) {
      this.#done = true
      return Promise.reject(signal.reason)
    }
    let item: T | Empty
    try {
      item = this.#source.take()
    } catch (error) {
      this.#done = true
      return Promise.reject(error)
    }
    if (item !== empty) return this.#source.turn.promise({ value: item, done: false })
    const source = this.#source
    return new Promise((resolve, reject) => {
      if (signal === undefined) source.awaitNext(this, resolve, reject)
      else source.await(new BlockedNext(this, source, signal, resolve, reject))
    })
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.finish()
    let receiver = this.#source.receivers.head
    while (receiver !== undefined) {
      const next = receiver.next as Receiver<T> | undefined
      if (receiver instanceof BlockedNext && receiver.loop === this) {
        receiver.leave()
        receiver.finish()
      }
      receiver = next
    }
    return Promise.resolve({ value: undefined, done: true })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  finish(): boolean {
    const first = !this.#done
    this.#done = true
    return first
  }
}
