import type { Clock } from '../../../message/index.ts'
import { BinaryHeap, type HeapItem } from './binary-heap.ts'

export interface Timer extends HeapItem {
  readonly owner: Timers
  readonly fire: () => void
}

/** Any number of timers over one timer of the clock. One instance runs on the wall clock, one on the monotonic clock. */
export class Timers {
  readonly #heap = new BinaryHeap<Timer>()
  readonly #kind: 'now' | 'monotonic'
  #clock: Clock
  #armed: { readonly handle: unknown; readonly at: number } | undefined

  constructor(clock: Clock, kind: 'now' | 'monotonic') {
    this.#clock = clock
    this.#kind = kind
  }

  now(): number {
    return this.#clock[this.#kind]()
  }

  /** Fires once, at or after `at`, never before. */
  set(at: number, fire: () => void): Timer {
    const timer: Timer = { rank: at, position: -1, owner: this, fire }
    this.#heap.push(timer)
    if (this.#armed === undefined || at < this.#armed.at) this.#arm()
    return timer
  }

  /** Harmless for one that has fired. */
  static cancel(timer: Timer | undefined): void {
    if (timer === undefined || timer.position < 0) return
    const { owner } = timer
    owner.#heap.remove(timer)
    if (owner.#heap.size === 0) owner.#disarm()
  }

  /** Goes on under another clock. The monotonic origin of clocks differs, so what is left of each wait is kept. */
  moveTo(clock: Clock): void {
    const before = this.now()
    this.#disarm()
    this.#clock = clock
    if (this.#kind === 'monotonic') {
      const shift = this.now() - before
      for (const timer of this.#heap.values()) timer.rank += shift
    }
    this.#arm()
  }

  #arm(): void {
    this.#disarm()
    const next = this.#heap.peek()
    if (next === undefined) return
    const handle = this.#clock.setTimeout(() => this.#run(), Math.max(0, Math.ceil(next.rank - this.now())))
    this.#armed = { handle, at: next.rank }
  }

  #disarm(): void {
    if (this.#armed !== undefined) this.#clock.clearTimeout(this.#armed.handle)
    this.#armed = undefined
  }

  #run(): void {
    this.#armed = undefined
    const now = this.now()
    for (let next = this.#heap.peek(); next !== undefined && next.rank <= now; next = this.#heap.peek()) {
      this.#heap.remove(next)
      next.fire()
    }
    if (this.#armed === undefined) this.#arm()
  }
}
