import { BlockedRead } from './blocked-read.ts'
import { BlockedWrite } from './blocked-write.ts'
import type { Clock } from './clock.ts'
import { type Empty, empty, emptyAsItem } from './empty.ts'
import { closedError, defaultAbortReason, type Outcome } from './errors.ts'
import { Completion } from './completion.ts'
import { Hints } from './hints.ts'
import { BlockedNext } from './item-iterator.ts'
import type { ItemSource, Loop, Receiver } from './item-source.ts'
import { publish } from './observation.ts'
import type { ChannelStats, FullMode } from './options.ts'
import { Ring, type Store, type TwoEndedStore } from './ring.ts'
import { Turn } from './turn.ts'
import { WaiterLine } from './waiter.ts'

export interface CorePlan<T> {
  readonly name: string
  readonly clock: Clock
  readonly store: Store<T>
  /** Items, or weight with `weigh`. `Infinity`: unbounded; 0: rendezvous. */
  readonly capacity: number
  readonly fullMode: FullMode | 'drop-last'
  readonly onDrop: ((item: T) => void) | undefined
  readonly weigh: ((item: T) => number) | undefined
  /** Called once, at the first attempt to read that finds nothing. */
  readonly onDemand: (() => void) | undefined
}

/** Try calls are so cheap that this many of them weigh as one item told by a promise. */
const tryCallsPerItem = 8

/**
 * The state of a channel in one thread.
 *
 *   open ── complete, abort ──▶ closed ── last item taken, or none left ──▶ ended
 *
 * Always true between calls (spec channels 2.1): items buffered ⇒ no blocked and no waiting reader; the first blocked
 * writer's item does not fit; room and nobody blocked ⇒ no waiting writer; completion settled ⇔ closed and empty.
 */
export class ChannelCore<T> implements ItemSource<T> {
  readonly name: string
  readonly clock: Clock
  readonly turn: Turn = new Turn()
  readonly writeTurn: Turn = new Turn()
  readonly #receivers: WaiterLine<Receiver<T>> = new WaiterLine<Receiver<T>>()
  /** The only one in line, if it is there without a signal: see `#blockAlone`. */
  #alone: ((result: never) => void) | undefined = undefined
  #aloneReject: ((error: unknown) => void) | undefined = undefined
  #aloneLoop: Loop | undefined = undefined
  readonly #writers: WaiterLine<BlockedWrite<T>> = new WaiterLine<BlockedWrite<T>>()
  readonly #readHints: Hints = new Hints()
  readonly #writeHints: Hints = new Hints()
  readonly #store: Store<T>
  readonly #capacity: number
  readonly #fullMode: FullMode | 'drop-last'
  readonly #onDrop: ((item: T) => void) | undefined
  readonly #weigh: ((item: T) => number) | undefined
  /** Beside the store, in its order; only with `weigh`. */
  readonly #weights: Ring<number> | undefined
  #weight = 0
  #onDemand: (() => void) | undefined
  #outcome: Outcome | undefined = undefined
  readonly #completion: Completion = new Completion()
  #written = 0
  #taken = 0
  #dropped = 0
  #takenAtHint = 0
  #writtenAtHint = 0

  constructor(plan: CorePlan<T>) {
    this.name = plan.name
    this.clock = plan.clock
    this.#store = plan.store
    this.#capacity = plan.capacity
    this.#fullMode = plan.fullMode
    this.#onDrop = plan.onDrop
    this.#weigh = plan.capacity === 0 ? undefined : plan.weigh
    this.#weights = this.#weigh && new Ring<number>()
    this.#onDemand = plan.onDemand
  }

  get count(): number {
    return this.#store.size
  }

  get closed(): boolean {
    return this.#outcome !== undefined
  }

  /** How it ended; `undefined` until it is closed and drained. */
  get end(): Outcome | undefined {
    return this.#completion.settled ? this.#outcome : undefined
  }

  // ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

  take(): T | Empty {
    if (this.#store.size === 0) return this.#takeFromWriter()
    const item = this.#store.shift()
    this.#taken++
    if (this.#weights !== undefined) this.#weight -= this.#weights.shift()
    if (this.#writers.head !== undefined) this.#admit()
    else if (this.#writeHints.size !== 0) this.#hintRoom()
    if (this.#outcome !== undefined && this.#store.size === 0) this.#settle()
    return item
  }

  /** Of a rendezvous; in any other channel nobody is blocked in `write` while the buffer is empty. */
  #takeFromWriter(): T | Empty {
    const writer = this.#writers.head
    if (writer === undefined) {
      this.#demand()
      return empty
    }
    this.#written++
    this.#taken++
    writer.accepted(this.writeTurn)
    if (this.#writers.size === 0) this.#noneBlocked()
    return writer.item
  }

  peek(): T | Empty {
    if (this.#store.size > 0) return this.#store.peek()
    const writer = this.#writers.head
    if (writer === undefined) this.#demand()
    return writer === undefined ? empty : writer.item
  }

  await(receiver: Receiver<T>): void {
    if (this.#completion.settled) return receiver.ended(this.#outcome as Outcome)
    this.receivers.enter(receiver)
    this.#receiverCame()
  }

  awaitRead(resolve: (item: T) => void, reject: (error: unknown) => void): void {
    if (this.#mayBlockAlone()) this.#blockAlone(resolve, reject, undefined)
    else this.await(new BlockedRead(this, undefined, resolve, reject))
  }

  awaitNext(loop: Loop, resolve: (result: IteratorResult<T>) => void, reject: (error: unknown) => void): void {
    if (this.#mayBlockAlone()) this.#blockAlone(resolve, reject, loop)
    else this.await(new BlockedNext(loop, this, undefined, resolve, reject))
  }

  #mayBlockAlone(): boolean {
    return this.#alone === undefined && this.#receivers.head === undefined && !this.#completion.settled
  }

  /**
   * Two loops that await each other block on every item. Then one reader is in line, mostly, and it needs no place in
   * it: without the object awaited items pass a third faster. Whoever asks for the line finds it there, see `receivers`.
   */
  #blockAlone(resolve: (result: never) => void, reject: (error: unknown) => void, loop: Loop | undefined): void {
    this.#alone = resolve
    this.#aloneReject = reject
    this.#aloneLoop = loop
    this.#receiverCame()
  }

  get receivers(): WaiterLine<Receiver<T>> {
    if (this.#alone !== undefined) {
      const resolve = this.#alone as (result: unknown) => void
      const reject = this.#aloneReject as (error: unknown) => void
      const loop = this.#aloneLoop
      this.#alone = this.#aloneReject = this.#aloneLoop = undefined
      this.#receivers.enter(
        loop === undefined
          ? new BlockedRead(this, undefined, resolve, reject)
          : new BlockedNext(loop, this, undefined, resolve, reject),
      )
    }
    return this.#receivers
  }

  #receiverCame(): void {
    this.#demand()
    // Only a rendezvous has writers waiting for a reader; elsewhere there is room, so none waits.
    if (this.#writeHints.size !== 0) this.#hintRoom()
  }

  waitToRead(signal: AbortSignal | undefined): Promise<boolean> {
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (this.#store.size > 0 || this.#writers.head !== undefined) return this.turn.promise(true, this.#triedReads())
    if (this.#completion.settled) return this.#answerEnd()
    const waiting = this.#readHints.wait(signal)
    this.#demand()
    return waiting
  }

  #demand(): void {
    const onDemand = this.#onDemand
    if (onDemand === undefined) return
    this.#onDemand = undefined
    onDemand()
  }

  #triedReads(): number {
    const items = this.#taken - this.#takenAtHint
    this.#takenAtHint = this.#taken
    return 1 + items / tryCallsPerItem
  }

  // ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

  tryWrite(item: T): boolean {
    if ((item as T | Empty) === empty) throw emptyAsItem()
    if (this.#outcome !== undefined) return false
    if (this.#weigh !== undefined) return this.#acceptWeighed(item, this.#weightOf(item))
    if (this.#alone !== undefined) return this.#handOverAlone(item, this.#alone)
    if (this.#receivers.head !== undefined) return this.#handOver(item, this.#receivers.head)
    if (this.#store.size >= this.#capacity) return this.#full(item, 1)
    return this.#keep(item)
  }

  /** The maybe-promise form of `write`. */
  offer(item: T, signal: AbortSignal | undefined): Promise<void> | undefined {
    if (signal?.aborted) return Promise.reject(signal.reason)
    let weight = 1
    try {
      if (this.#weigh === undefined || this.#outcome !== undefined) {
        if (this.tryWrite(item)) return undefined
      } else {
        if ((item as T | Empty) === empty) throw emptyAsItem()
        weight = this.#weightOf(item)
        if (this.#acceptWeighed(item, weight)) return undefined
      }
    } catch (error) {
      return Promise.reject(error)
    }
    if (this.#outcome !== undefined) return Promise.reject(closedError(this.#outcome, this.name))
    const blocked = new BlockedWrite(item, weight, signal, this.#writerGone)
    this.#writers.enter(blocked)
    if (this.#writers.size === 1) publish('full', () => this.stats())
    if (this.#readHints.size !== 0) this.#hintItem()
    return blocked.promise
  }

  waitToWrite(signal: AbortSignal | undefined): Promise<boolean> {
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (this.#outcome !== undefined) return this.#answerEnd()
    if (this.#wouldTake()) return this.writeTurn.promise(true, this.#triedWrites())
    return this.#writeHints.wait(signal)
  }

  /** Whether a write would be taken now: room, a drop mode or a blocked reader. */
  get ready(): boolean {
    return this.#outcome === undefined && this.#wouldTake()
  }

  #wouldTake(): boolean {
    if (this.#fullMode !== 'wait' || this.#alone !== undefined || this.#receivers.head !== undefined) return true
    return this.#writers.head === undefined && this.#hasRoom()
  }

  #hasRoom(): boolean {
    const used = this.#weights === undefined ? this.#store.size : this.#weight
    return used < this.#capacity || (this.#store.size === 0 && this.#capacity > 0)
  }

  #triedWrites(): number {
    const items = this.#written - this.#writtenAtHint
    this.#writtenAtHint = this.#written
    return 1 + items / tryCallsPerItem
  }

  #weightOf(item: T): number {
    const weight = (this.#weigh as (item: T) => number)(item)
    if (weight >= 0) return weight
    throw new RangeError(`weigh must answer a number ≥ 0, not ${String(weight)} (channel "${this.name}")`)
  }

  #acceptWeighed(item: T, weight: number): boolean {
    // Asked again: `weigh` is the user's and may have closed the channel.
    if (this.#outcome !== undefined) return false
    if (this.receivers.head !== undefined) return this.#handOver(item, this.receivers.head)
    if (this.#writers.head !== undefined || !this.#fits(weight)) return this.#full(item, weight)
    this.#addWeight(weight)
    return this.#keep(item)
  }

  #fits(weight: number): boolean {
    return this.#store.size === 0 || this.#weight + weight <= this.#capacity
  }

  #addWeight(weight: number): void {
    this.#weight += weight
    this.#weights?.push(weight)
  }

  #handOver(item: T, receiver: Receiver<T>): true {
    this.#written++
    this.#taken++
    receiver.deliver(item)
    return true
  }

  #handOverAlone(item: T, resolve: (result: never) => void): true {
    const loop = this.#aloneLoop
    this.#alone = this.#aloneReject = this.#aloneLoop = undefined
    this.#written++
    this.#taken++
    if (loop === undefined) this.turn.tell(resolve as (item: T) => void, item)
    else this.turn.tell(resolve as (result: IteratorResult<T>) => void, { value: item, done: false })
    return true
  }

  #keep(item: T): true {
    this.#store.push(item)
    this.#written++
    if (this.#readHints.size !== 0) this.#hintItem()
    return true
  }

  /** Room was made by a read: blocked writers come in, in their order, as far as they fit. */
  #admit(): void {
    for (let writer = this.#writers.head; writer !== undefined; writer = this.#writers.head) {
      if (this.#weights === undefined ? this.#store.size >= this.#capacity : !this.#fits(writer.weight)) return
      if (this.#weights !== undefined) this.#addWeight(writer.weight)
      this.#store.push(writer.item)
      this.#written++
      writer.accepted(this.writeTurn)
    }
    this.#noneBlocked()
  }

  /** A blocked writer gave up. If it was a heavy one, those behind it may fit. */
  readonly #writerGone = (): void => {
    if (this.#writers.head === undefined) this.#noneBlocked()
    else if (this.#weights !== undefined) this.#admit()
  }

  #noneBlocked(): void {
    publish('room', () => this.stats())
    if (this.#writeHints.size !== 0) this.#hintRoom()
  }

  #hintItem(): void {
    this.#readHints.wake(this.turn, this.#triedReads())
  }

  #hintRoom(): void {
    if (this.#wouldTake()) this.#writeHints.wake(this.writeTurn, this.#triedWrites())
  }

  /** The item does not fit. Whether the write counts as done all the same. */
  #full(item: T, weight: number): boolean {
    if (this.#fullMode === 'wait') return false
    const dropped = this.#makeRoom(item, weight)
    this.#written++
    this.#dropped += dropped.length
    publish('drop', () => this.stats())
    if (this.#onDrop !== undefined) this.#tellDropped(dropped, this.#onDrop)
    return true
  }

  #makeRoom(item: T, weight: number): T[] {
    const store = this.#store as TwoEndedStore<T>
    if (this.#fullMode === 'drop-write' || this.#capacity === 0) return [item]
    if (this.#fullMode === 'drop-last') {
      store.push(item)
      return [store.pop()]
    }
    const dropped: T[] = []
    const oldest = this.#fullMode === 'drop-oldest'
    do {
      dropped.push(oldest ? store.shift() : store.pop())
      if (this.#weights !== undefined) this.#weight -= oldest ? this.#weights.shift() : this.#weights.pop()
    } while (this.#weights !== undefined && !this.#fits(weight))
    store.push(item)
    if (this.#weights !== undefined) this.#addWeight(weight)
    return dropped
  }

  /** Every dropped item is told of, whatever the first call throws. */
  #tellDropped(dropped: readonly T[], onDrop: (item: T) => void): void {
    let failure: Outcome | undefined
    for (const item of dropped) {
      try {
        onDrop(item)
      } catch (error) {
        failure ??= { error }
      }
    }
    if (failure !== undefined) throw failure.error
  }

  // ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

  close(error: unknown): boolean {
    if (this.#outcome !== undefined) return false
    this.#outcome = { error }
    this.#onDemand = undefined
    // Whoever is woken from here on finds the completion settled.
    if (this.#store.size === 0) this.#settle()
    for (let writer = this.#writers.head; writer !== undefined; writer = this.#writers.head) {
      writer.leave()
      writer.reject(closedError(this.#outcome, this.name))
    }
    this.#writeHints.end(error)
    for (let receiver = this.receivers.head; receiver !== undefined; receiver = this.receivers.head) {
      receiver.leave()
      receiver.ended(this.#outcome)
    }
    if (this.#completion.settled) this.#readHints.end(error)
    return true
  }

  abort(reason: unknown): T[] {
    if (this.#completion.settled) return []
    const items = this.#store.drain()
    this.#dropped += items.length
    this.#weights?.drain()
    this.#weight = 0
    if (!this.close(reason)) this.#settle()
    return items
  }

  abortReason(reason: unknown): unknown {
    return reason === undefined ? defaultAbortReason(this.name) : reason
  }

  #settle(): void {
    const error = this.#outcome?.error
    this.#completion.settle(error)
    publish('complete', () => this.stats(), error)
  }

  #answerEnd(): Promise<boolean> {
    const error = this.#outcome?.error
    return error === undefined ? Promise.resolve(false) : Promise.reject(error)
  }

  get completion(): Promise<void> {
    return this.#completion.promise
  }

  closedError(): unknown {
    return closedError(this.#outcome ?? { error: undefined }, this.name)
  }

  stats(): ChannelStats {
    return {
      name: this.name,
      count: this.#store.size,
      weight: this.#weights === undefined ? this.#store.size : this.#weight,
      written: this.#written,
      taken: this.#taken,
      dropped: this.#dropped,
      pendingReads: this.#receivers.size + (this.#alone === undefined ? 0 : 1),
      pendingWrites: this.#writers.size,
      waitingToRead: this.#readHints.size,
      waitingToWrite: this.#writeHints.size,
    }
  }
}
