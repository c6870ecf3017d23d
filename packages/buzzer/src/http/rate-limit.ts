import type { Clock } from '../message/index.ts'

interface Bucket {
  points: number
  /** Monotonic milliseconds. */
  at: number
}

/** Keys are the client's to choose, so their number is bounded: the one unused longest is forgotten. */
const maxKeys = 10_000

/** A token bucket per key: `max` points, all of them back after `perMs`. Per process. */
export class RateLimit {
  readonly #max: number
  readonly #perMs: number
  readonly #clock: Clock
  readonly #buckets = new Map<string, Bucket>()

  constructor(limit: { readonly max: number; readonly perMs: number }, clock: Clock) {
    this.#max = limit.max
    this.#perMs = limit.perMs
    this.#clock = clock
  }

  /** Takes a point: 0, or the milliseconds until the next one. */
  take(key: string): number {
    const now = this.#clock.monotonic()
    const known = this.#buckets.get(key)
    const points =
      known === undefined ? this.#max : Math.min(this.#max, known.points + ((now - known.at) / this.#perMs) * this.#max)
    const allowed = points >= 1
    this.#buckets.delete(key)
    this.#buckets.set(key, { points: allowed ? points - 1 : points, at: now })
    if (this.#buckets.size > maxKeys) this.#buckets.delete(this.#buckets.keys().next().value as string)
    return allowed ? 0 : ((1 - points) / this.#max) * this.#perMs
  }
}
