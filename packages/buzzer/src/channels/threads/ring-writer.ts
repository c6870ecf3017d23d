import { BlockedWrite } from '../blocked-write.ts'
import { emptyAsItem, type Empty, empty } from '../empty.ts'
import { ChannelClosedError, closedError, defaultAbortReason } from '../errors.ts'
import { Hints } from '../hints.ts'
import type { WaitOptions } from '../options.ts'
import { Turn } from '../turn.ts'
import { WaiterLine } from '../waiter.ts'
import { bindOffer, ChannelWriter } from '../writer.ts'
import type { RingCodec } from './codec.ts'
import { KeepAlive } from './keep-alive.ts'
import type { RingEnd } from './ring-end.ts'
import { ends, SharedRing } from './shared-ring.ts'

type Prepared = Uint8Array | string

const smallestFootprint = SharedRing.footprint(0)

/** The writing side of a worker channel. Full means: no room for the encoded item. */
export class RingWriter<T> extends ChannelWriter<T> {
  readonly #ring: SharedRing
  readonly #codec: RingCodec<T>
  readonly #end: RingEnd
  /** Empties the ring; answers what was in it if this thread reads too. */
  readonly #drop: () => T[]
  readonly #line = new WaiterLine<BlockedWrite<Prepared>>()
  readonly #hints = new Hints()
  readonly #turn = new Turn()
  readonly #keepAlive = new KeepAlive()
  #claimed = false
  #sleeping = false
  /** Written by this thread alone. */
  #tail = 0
  /** The reader's head as last seen: until the room behind it is used up, nothing shared has to be looked at. */
  #seenHead = 0
  /** What the last refused try call would have needed; hints tell of that much room. */
  #wanted: number = smallestFootprint

  constructor(ring: SharedRing, codec: RingCodec<T>, end: RingEnd, drop: () => T[]) {
    super()
    this.#ring = ring
    this.#codec = codec
    this.#end = end
    this.#drop = drop
    const rest = (): void => {
      if (this.#line.size === 0 && this.#hints.size === 0) this.#keepAlive.release()
    }
    this.#line.onLeave = rest
    this.#hints.onEmpty = rest
    bindOffer(this, (item, signal) => this.#offer(item, signal))
  }

  override tryWrite(item: T): boolean {
    if (!this.#claimed) this.#claim()
    if ((item as T | Empty) === empty) throw emptyAsItem()
    if (this.#end.told || this.#line.size > 0) return false
    const prepared = this.#codec.prepare(item)
    return this.#tryPut(prepared, this.#lengthOf(prepared))
  }

  override waitToWrite(options?: WaitOptions): Promise<boolean> {
    const signal = options?.signal
    if (signal?.aborted) return Promise.reject(signal.reason)
    try {
      if (!this.#claimed) this.#claim()
    } catch (error) {
      return Promise.reject(error)
    }
    if (this.#end.told) {
      const { error } = this.#end.outcome
      return error === undefined ? Promise.resolve(false) : Promise.reject(error)
    }
    if (this.#line.size === 0 && this.#fits(this.#wanted)) return this.#turn.promise(true)
    const waiting = this.#hints.wait(signal)
    this.#keepAlive.hold()
    this.#sleep()
    return waiting
  }

  override complete(error?: unknown): void {
    if (this.tryComplete(error)) return
    const why = closedError(this.#end.outcome, this.#end.name)
    throw why instanceof ChannelClosedError
      ? why
      : new ChannelClosedError(`channel "${this.#end.name}" is closed`, { cause: why })
  }

  override tryComplete(error?: unknown): boolean {
    if (!this.#claimed) this.#claim()
    return this.#end.finish(error === undefined ? ends.completed : ends.failed, error)
  }

  /** Answers what was buffered if this thread reads too, else nothing: across threads the items are dropped unseen. */
  override abort(reason?: unknown): T[] {
    if (!this.#claimed) this.#claim()
    const items = this.#drop()
    this.#end.finish(ends.failed, reason === undefined ? defaultAbortReason(this.#end.name) : reason)
    return items
  }

  override get closed(): boolean {
    return this.#end.told
  }

  #claim(): void {
    this.#end.claim('writer')
    this.#claimed = true
    this.#tail = this.#ring.tail
    this.#seenHead = this.#ring.head
    // The peer may end the channel while writers wait.
    this.#end.onEnd(() => this.#turnAway())
  }

  #offer(item: T, signal: AbortSignal | undefined): Promise<void> | undefined {
    if (signal?.aborted) return Promise.reject(signal.reason)
    try {
      if (!this.#claimed) this.#claim()
      if ((item as T | Empty) === empty) throw emptyAsItem()
      if (this.#end.told) throw closedError(this.#end.outcome, this.#end.name)
      const prepared = this.#codec.prepare(item)
      const length = this.#lengthOf(prepared)
      if (this.#line.size === 0 && this.#tryPut(prepared, length)) return undefined
      const blocked = new BlockedWrite(prepared, length, signal, () => this.#admit())
      this.#line.enter(blocked)
      this.#keepAlive.hold()
      this.#sleep()
      return blocked.promise
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #lengthOf(prepared: Prepared): number {
    const length = this.#codec.size(prepared)
    if (SharedRing.footprint(length) <= this.#ring.size) return length
    throw new RangeError(
      `an item of ${length} bytes does not fit worker channel "${this.#end.name}" of ${this.#ring.size} bytes: ` +
        'raise `bytes`',
    )
  }

  #tryPut(prepared: Prepared, length: number): boolean {
    const footprint = SharedRing.footprint(length)
    if (!this.#fits(footprint)) {
      this.#wanted = footprint
      return false
    }
    this.#wanted = smallestFootprint
    this.#tail = this.#ring.put(this.#tail, prepared, length)
    return true
  }

  #fits(footprint: number): boolean {
    if (this.#ring.free(this.#tail, this.#seenHead) >= footprint) return true
    this.#seenHead = this.#ring.head
    return this.#ring.free(this.#tail, this.#seenHead) >= footprint
  }

  #needs(): number {
    const first = this.#line.head
    return first === undefined ? this.#wanted : SharedRing.footprint(first.weight)
  }

  #admit(): void {
    if (this.#end.told) return
    for (let writer = this.#line.head; writer !== undefined; writer = this.#line.head) {
      if (!this.#tryPut(writer.item, writer.weight)) break
      writer.accepted(this.#turn)
    }
    if (this.#line.size === 0 && this.#hints.size > 0 && this.#fits(this.#wanted)) this.#hints.wake(this.#turn, 1)
    if (this.#line.size > 0 || this.#hints.size > 0) this.#sleep()
  }

  #sleep(): void {
    const needs = this.#needs()
    this.#ring.needs(needs)
    if (this.#sleeping) {
      // The reader may have looked at the old need just before.
      if (this.#fits(needs)) queueMicrotask(() => this.#admit())
      return
    }
    const bell = this.#ring.sleep('writer', () => !this.#fits(needs) && !this.#end.told)
    if (bell === undefined) {
      // Not on the caller's stack, which has not got its promise yet.
      if (!this.#end.told) queueMicrotask(() => this.#admit())
      return
    }
    this.#sleeping = true
    void bell.then(() => {
      this.#sleeping = false
      this.#admit()
    })
  }

  /** The channel has ended: blocked writes are rejected, their items never delivered. */
  #turnAway(): void {
    const { outcome } = this.#end
    for (let writer = this.#line.head; writer !== undefined; writer = this.#line.head) {
      writer.leave()
      writer.reject(closedError(outcome, this.#end.name))
    }
    this.#hints.end(outcome.error)
  }
}
