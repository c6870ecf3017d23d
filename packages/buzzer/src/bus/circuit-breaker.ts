import type { Clock } from '../message/index.ts'
import type { CircuitBreakerOptions } from './options.ts'

export type BreakerState = 'closed' | 'open' | 'half-open'

const defaultResetMs: readonly number[] = [1_000, 5_000, 15_000, 30_000, 60_000]

/**
 * Kill switch and breaker of one queue (spec bus 4.7). It fails nothing: it only says whether the queue may take.
 *
 *   closed ──rate over the window reached──→ open ──resetMs[n]──→ half-open ──all probes succeed──→ closed
 *                                             ↑                       │
 *                                             └────── one fails ──────┘ (next reset time)
 */
export class CircuitBreaker {
  readonly #clock: Clock
  readonly #options: CircuitBreakerOptions
  readonly #onChange: (state: BreakerState) => void
  readonly #windowMs: number
  readonly #probes: number
  /** Ends in order of time; one entry each while the window is worth counting. */
  #ends: { readonly at: number; readonly failed: boolean }[] = []
  #failures = 0
  #state: BreakerState = 'closed'
  #opened = 0
  #probesStarted = 0
  #probesSucceeded = 0
  #timer: unknown

  constructor(clock: Clock, options: CircuitBreakerOptions, onChange: (state: BreakerState) => void) {
    this.#clock = clock
    this.#options = options
    this.#onChange = onChange
    this.#windowMs = options.windowMs ?? 60_000
    this.#probes = options.probes ?? 1
  }

  get state(): BreakerState {
    return this.#state
  }

  /** Asked before each start; while half-open it counts the probes. */
  mayStart(): boolean {
    if (this.#state === 'closed') return true
    if (this.#state === 'open' || this.#probesStarted >= this.#probes) return false
    this.#probesStarted++
    return true
  }

  /** Whether half-open and all probes are under way. */
  get probing(): boolean {
    return this.#state === 'half-open' && this.#probesStarted >= this.#probes
  }

  counts(error: unknown): boolean {
    return this.#options.counts?.(error) ?? true
  }

  /** A probe ended without a verdict (released, discarded): another may take its place. */
  undecided(): void {
    if (this.#state === 'half-open' && this.#probesStarted > 0) this.#probesStarted--
  }

  ended(failed: 'failed' | 'fine'): void {
    if (this.#state === 'open') return
    if (this.#state === 'half-open') {
      if (failed === 'failed') return this.#open()
      this.#probesSucceeded++
      if (this.#probesSucceeded >= this.#probes) this.#close()
      return
    }
    const now = this.#clock.monotonic()
    this.#ends.push({ at: now, failed: failed === 'failed' })
    if (failed === 'failed') this.#failures++
    this.#forget(now)
    const { minimum = 20, failureRate = 0.5 } = this.#options
    if (this.#failures > 0 && this.#ends.length >= minimum && this.#failures >= failureRate * this.#ends.length)
      this.#open()
  }

  close(): void {
    this.#clock.clearTimeout(this.#timer)
  }

  #forget(now: number): void {
    let old = 0
    while (old < this.#ends.length && (this.#ends[old]?.at ?? now) <= now - this.#windowMs) {
      if (this.#ends[old]?.failed === true) this.#failures--
      old++
    }
    // More than this tells nothing new about the rate.
    const surplus = this.#ends.length - old - 10_000
    for (let i = 0; i < surplus; i++) if (this.#ends[old++]?.failed === true) this.#failures--
    if (old > 0) this.#ends.splice(0, old)
  }

  #open(): void {
    const waits = this.#options.resetMs ?? defaultResetMs
    const waitMs = waits[Math.min(this.#opened, waits.length - 1)] as number
    this.#opened++
    this.#change('open')
    this.#timer = this.#clock.setTimeout(() => {
      this.#probesStarted = 0
      this.#probesSucceeded = 0
      this.#change('half-open')
    }, waitMs)
  }

  #close(): void {
    this.#ends = []
    this.#failures = 0
    this.#opened = 0
    this.#change('closed')
  }

  #change(state: BreakerState): void {
    this.#state = state
    this.#onChange(state)
  }
}
