import type { Clock } from '../message/index.ts'
import type { RateLimit } from './options.ts'

/**
 * No window of `perMs` contains more than `max` starts: the times of the last `max` starts are kept, and the next one
 * waits until the oldest is `perMs` ago. Exact, unlike a bucket, which lets twice the number through at its edges.
 */
export class RateLimiter {
  readonly #clock: Clock
  readonly #limit: RateLimit
  /** Ring of start times; grows up to `max`. */
  readonly #starts: number[] = []
  #next = 0
  #timer: unknown
  readonly #waiting: (() => void)[] = []

  constructor(clock: Clock, limit: RateLimit) {
    this.#clock = clock
    this.#limit = limit
  }

  /** Takes one start, if one is free now. */
  tryTake(): boolean {
    const now = this.#clock.monotonic()
    if (this.#starts.length < this.#limit.max) {
      this.#starts.push(now)
      return true
    }
    if (now - (this.#starts[this.#next] as number) < this.#limit.perMs) return false
    this.#starts[this.#next] = now
    this.#next = (this.#next + 1) % this.#limit.max
    return true
  }

  /** Calls back, once, as soon as a start may be free. Calls while one is pending are kept in order. */
  whenFree(callback: () => void): void {
    this.#waiting.push(callback)
    if (this.#timer !== undefined) return
    const oldest = this.#starts[this.#next] ?? Number.NEGATIVE_INFINITY
    const waitMs = Math.max(0, oldest + this.#limit.perMs - this.#clock.monotonic())
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = undefined
      for (const waiting of this.#waiting.splice(0)) waiting()
    }, Math.ceil(waitMs))
  }

  /** Forgets those who wait, after calling them once: they look at the state of their queue. */
  close(): void {
    this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
    for (const waiting of this.#waiting.splice(0)) waiting()
  }
}
