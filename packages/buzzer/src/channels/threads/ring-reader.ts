import { Completion } from '../completion.ts'
import { type Empty, empty } from '../empty.ts'
import { Hints } from '../hints.ts'
import type { WaitOptions } from '../options.ts'
import { ChannelReader } from '../reader.ts'
import { Turn } from '../turn.ts'
import type { RingCodec } from './codec.ts'
import { KeepAlive } from './keep-alive.ts'
import type { RingEnd } from './ring-end.ts'
import { SharedRing } from './shared-ring.ts'

/** The reading side of a worker channel. It sleeps on its bell while somebody waits here, and never polls. */
export class RingReader<T> extends ChannelReader<T> {
  readonly #ring: SharedRing
  readonly #codec: RingCodec<T>
  readonly #end: RingEnd
  readonly #hints = new Hints()
  readonly #turn = new Turn()
  readonly #completion = new Completion()
  readonly #keepAlive = new KeepAlive()
  #claimed = false
  #sleeping = false
  #watching = false
  /** Read by this thread alone. */
  #head = 0
  /** The writer's tail as last seen: until the head is there, nothing shared has to be looked at. */
  #seenTail = 0

  constructor(ring: SharedRing, codec: RingCodec<T>, end: RingEnd) {
    super()
    this.#ring = ring
    this.#codec = codec
    this.#end = end
    this.#hints.onEmpty = () => this.#keepAlive.release()
  }

  override tryRead(): T | Empty {
    if (!this.#claimed) this.#claim()
    if (!this.#available()) return empty
    const head = this.#head
    const length = this.#ring.lengthAt(head)
    try {
      return this.#ring.view(head, length, this.#codec.decode)
    } finally {
      // Also when the decoder throws: the message is not readable, now or later.
      this.#head = this.#ring.release(head, length)
      if (this.#end.told) this.#lookForEnd()
    }
  }

  override tryPeek(): T | Empty {
    if (!this.#claimed) this.#claim()
    if (!this.#available()) return empty
    return this.#ring.view(this.#head, this.#ring.lengthAt(this.#head), this.#codec.decode)
  }

  override waitToRead(options?: WaitOptions): Promise<boolean> {
    const signal = options?.signal
    if (signal?.aborted) return Promise.reject(signal.reason)
    try {
      if (!this.#claimed) this.#claim()
    } catch (error) {
      return Promise.reject(error)
    }
    if (this.#available()) return this.#turn.promise(true)
    if (this.#ended()) {
      const { error } = this.#end.outcome
      return error === undefined ? Promise.resolve(false) : Promise.reject(error)
    }
    const waiting = this.#hints.wait(signal)
    this.#keepAlive.hold()
    this.#sleep()
    return waiting
  }

  /** Settles in the reading thread only. */
  override get completion(): Promise<void> {
    this.#watchEnd()
    return this.#completion.promise
  }

  override get count(): number {
    return this.#end.dropped ? 0 : this.#ring.messages
  }

  override get closed(): boolean {
    return this.#end.told
  }

  #claim(): void {
    this.#end.claim('reader')
    this.#claimed = true
    this.#head = this.#ring.head
    this.#seenTail = this.#ring.tail
    this.#watchEnd()
  }

  /** For an abort by the writer: what is not to be read any more. `[]` where another thread reads. */
  drop(): T[] {
    this.#ring.drop()
    if (this.#end.heldElsewhere('reader')) return []
    const ring = this.#ring
    const items: T[] = []
    for (let head = this.#claimed ? this.#head : ring.head; head !== ring.tail; ) {
      const length = ring.lengthAt(head)
      items.push(ring.view(head, length, this.#codec.decode))
      head = (head + SharedRing.footprint(length)) | 0
    }
    if (this.#claimed) this.#head = ring.clear()
    if (this.#end.told) this.#lookForEnd()
    return items
  }

  #available(): boolean {
    if (this.#head !== this.#seenTail && !this.#end.dropped) return true
    this.#seenTail = this.#ring.tail
    if (!this.#end.dropped) return this.#head !== this.#seenTail
    if (this.#head !== this.#seenTail) this.#head = this.#ring.clear()
    return false
  }

  #ended(): boolean {
    // In this order: what was written before the end is visible once the end is.
    if (!this.#end.told) return false
    const drained = this.#ring.tail === (this.#claimed ? this.#head : this.#ring.head)
    if (!drained && !this.#end.dropped) return false
    this.#completion.settle(this.#end.outcome.error)
    return true
  }

  #lookForEnd(): void {
    if (this.#ended()) this.#hints.end(this.#end.outcome.error)
  }

  #sleep(): void {
    if (this.#sleeping) return
    const bell = this.#ring.sleep('reader', () => !this.#available() && !this.#end.told)
    if (bell === undefined) {
      // Not on the caller's stack, which has not got its promise yet.
      queueMicrotask(() => this.#wake())
      return
    }
    this.#sleeping = true
    void bell.then(() => {
      this.#sleeping = false
      this.#wake()
    })
  }

  #wake(): void {
    if (this.#available()) this.#hints.wake(this.#turn, 1)
    else if (this.#end.told) this.#lookForEnd()
    else if (this.#hints.size > 0) this.#sleep()
  }

  #watchEnd(): void {
    if (this.#watching) return
    this.#watching = true
    this.#end.onEnd(() => this.#lookForEnd())
  }
}
