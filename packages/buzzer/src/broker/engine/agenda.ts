import type { EngineOptions } from './engine.ts'

/** Expiry is looked at so often: counts drop within a second, and a thousand moments share one commit. */
const expiryStepMs = 200
/** While something waits for the wall clock, jumps of it are noticed within this time. */
const wallCheckMs = 1_000

/**
 * When the engine must wake up by itself: one timer for the nearest moment of all kinds. Wall moments (due, expiry) and
 * monotonic ones (locks, windows) are kept apart.
 */
export class Agenda {
  readonly #options: EngineOptions
  #timer: unknown
  #timerAt = Number.POSITIVE_INFINITY
  /** Wall. */
  nextDue: number = Number.POSITIVE_INFINITY
  nextExpiry: number = Number.POSITIVE_INFINITY
  /** Monotonic. */
  #lastExpiryAt = Number.NEGATIVE_INFINITY
  nextWatch: number = Number.POSITIVE_INFINITY
  nextRest: number = Number.POSITIVE_INFINITY
  nextForget: number = Number.POSITIVE_INFINITY
  retryAt: number = Number.POSITIVE_INFINITY

  constructor(options: EngineOptions) {
    this.#options = options
  }

  /** Wall clock. */
  dueAt(due: number): void {
    if (due < this.nextDue) this.nextDue = due
  }

  expiryAt(expires: number): void {
    if (expires < this.nextExpiry) this.nextExpiry = expires
  }

  /** Monotonic: sessions, windows, idle queues must be looked at. */
  watchAt(at: number): void {
    if (at < this.nextWatch) this.nextWatch = at
  }

  /** Monotonic: what logs retain must be looked at. Retention needs no precision, so no jump of the wall clock wakes it. */
  forgetAt(at: number): void {
    if (at < this.nextForget) this.nextForget = at
  }

  expiryIsDue(now: number, monotonic: number): boolean {
    if (this.nextExpiry > now || monotonic - this.#lastExpiryAt < expiryStepMs) return false
    this.#lastExpiryAt = monotonic
    return true
  }

  /** Sets the timer for what is nearest. */
  arm(now: number, monotonic: number): void {
    const wall = Math.min(this.nextDue, Math.max(this.nextExpiry, now + this.#lastExpiryAt + expiryStepMs - monotonic))
    const waitWall = Number.isFinite(wall) ? Math.min(wall - now, wallCheckMs) : Number.POSITIVE_INFINITY
    const other = Math.min(this.nextWatch, this.nextRest, this.retryAt, this.nextForget)
    const at = Math.min(monotonic + waitWall, other)
    if (at === this.#timerAt) return
    if (this.#timerAt < at && this.#timerAt > monotonic) return
    this.disarm()
    if (!Number.isFinite(at)) return
    this.#timerAt = at
    this.#timer = this.#options.clock.setTimeout(
      () => {
        this.#timer = undefined
        this.#timerAt = Number.POSITIVE_INFINITY
        this.#options.onWork()
      },
      Math.max(0, Math.ceil(at - monotonic)),
    )
  }

  disarm(): void {
    if (this.#timer !== undefined) this.#options.clock.clearTimeout(this.#timer)
    this.#timer = undefined
    this.#timerAt = Number.POSITIVE_INFINITY
  }
}
