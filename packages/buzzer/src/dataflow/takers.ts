import { Channel, type Empty, type WaitOptions } from '../channels/index.ts'
import type { Life } from './life.ts'
import { Caller, Line } from './line.ts'
import { tell } from './turn.ts'

/** Somebody who waits for one item. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- `O` keeps lines of different items apart
abstract class Taker<O, V> extends Caller<V> {
  abstract give(item: O): void
  abstract end(life: Life): void
}

class ReceiveCall<O> extends Taker<O, O> {
  override give(item: O): void {
    this.resolve(item)
  }

  override end(life: Life): void {
    this.reject(life.closedError())
  }
}

class NextCall<O> extends Taker<O, IteratorResult<O, undefined>> {
  readonly #iterator: ItemIterator<O>

  constructor(iterator: ItemIterator<O>, signal: AbortSignal | undefined) {
    super(signal)
    this.#iterator = iterator
  }

  override give(item: O): void {
    this.#iterator.pending.delete(this)
    this.resolve({ done: false, value: item })
  }

  override end(life: Life): void {
    this.#iterator.pending.delete(this)
    if (life.failed && this.#iterator.finish()) this.reject(life.error)
    else this.close()
  }

  override handleEvent(): void {
    this.#iterator.pending.delete(this)
    if (this.#iterator.finish()) super.handleEvent()
    else this.close()
  }

  close(): void {
    this.#iterator.finish()
    this.leave()
    this.resolve({ done: true, value: undefined })
  }
}

/** What iteration takes its items from. */
export interface Takeable<O> {
  readonly life: Life
  readonly takers: Takers<O>
  /** The next item, unless others wait for it. */
  takeNow(): O | Empty
}

/**
 * Iterates what a block gives. `break` and `return()` end the loop, not the block, and lose nothing; several calls of
 * `next()` may wait at once. Hand-written, because an async generator is half as fast.
 */
export class ItemIterator<O> implements AsyncIterableIterator<O> {
  /** Calls of `next()` that wait, in order. */
  readonly pending: Set<NextCall<O>> = new Set()
  readonly #source: Takeable<O>
  readonly #signal: AbortSignal | undefined
  #finished = false

  constructor(source: Takeable<O>, options: WaitOptions | undefined) {
    this.#source = source
    this.#signal = options?.signal
  }

  /** True for the first call. */
  finish(): boolean {
    if (this.#finished) return false
    this.#finished = true
    return true
  }

  next(): Promise<IteratorResult<O, undefined>> {
    if (this.#finished) return Promise.resolve({ done: true, value: undefined })
    if (this.#signal?.aborted) {
      this.finish()
      return Promise.reject(this.#signal.reason)
    }
    const item = this.#source.takeNow()
    if (item !== Channel.empty) return tell({ done: false, value: item })
    const { life } = this.#source
    if (life.ended) {
      this.finish()
      return life.failed ? Promise.reject(life.error) : Promise.resolve({ done: true, value: undefined })
    }
    const call = new NextCall(this, this.#signal)
    this.pending.add(call)
    this.#source.takers.add(call)
    return call.promise
  }

  return(): Promise<IteratorResult<O, undefined>> {
    this.finish()
    for (const call of this.pending) call.close()
    this.pending.clear()
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<O> {
    return this
  }
}

/** Those who wait at the giving side of a block: for an item, or for a hint that one is there. */
export class Takers<O> {
  readonly #life: Life
  readonly #line: Line<Taker<O, unknown>> = new Line()
  readonly #hints: Line<Caller<boolean>> = new Line()

  constructor(life: Life) {
    this.#life = life
  }

  get waiting(): boolean {
    return this.#line.head !== undefined
  }

  add(taker: ReceiveCall<O> | NextCall<O>): void {
    this.#line.enter(taker as unknown as Taker<O, unknown>)
  }

  /** The promise of an item to come. */
  receive(signal: AbortSignal | undefined): Promise<O> {
    const call = new ReceiveCall<O>(signal)
    this.add(call)
    return call.promise
  }

  /** Gives `item` to the first in line. Only while `waiting`. */
  give(item: O): void {
    const taker = this.#line.head as Taker<O, unknown>
    taker.leave()
    taker.give(item)
  }

  hint(signal: AbortSignal | undefined): Promise<boolean> {
    return this.hinted(signal).promise
  }

  /** As `hint`, for those who want to leave by themselves. */
  hinted(signal: AbortSignal | undefined): Caller<boolean> {
    const hint = new Caller<boolean>(signal)
    this.#hints.enter(hint)
    return hint
  }

  /** Wakes those who wait for a hint. True: there were some. */
  wake(): boolean {
    if (this.#hints.head === undefined) return false
    for (let hint = this.#hints.head as Caller<boolean> | undefined; hint !== undefined; hint = this.#hints.head) {
      hint.leave()
      hint.resolve(true)
    }
    return true
  }

  end(): void {
    for (let taker = this.#line.head; taker !== undefined; taker = this.#line.head) {
      taker.leave()
      taker.end(this.#life)
    }
    for (let hint = this.#hints.head; hint !== undefined; hint = this.#hints.head) {
      hint.leave()
      if (this.#life.failed) hint.reject(this.#life.error)
      else hint.resolve(false)
    }
  }
}
