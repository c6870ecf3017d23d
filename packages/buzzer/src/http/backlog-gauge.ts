import type { Clock } from '../message/index.ts'
import { within } from './within.ts'

const sampleEveryMs = 250
/** An older sample says nothing any more: wait for a new one. */
const staleMs = 2_000
/** A broker that takes longer to answer is not waited for; the commit will find out what is the matter. */
const patienceMs = 500

/** An accepting request that passed the gauge. */
export interface Passed {
  /** Order of its commit among commits and samples; absent until it is committed. */
  committedAs?: number
}

/**
 * The backlog of one queue, sampled at most every 250 ms. What passed here counts at once, until it is refused or was
 * certainly seen by a sample, so no burst slips through between two samples. Source: spec http 5.10.
 */
export class BacklogGauge {
  readonly #figures: () => Promise<number>
  readonly #clock: Clock
  readonly #unseen = new Set<Passed>()
  #sampled = 0
  #sampledAtMs = -Infinity
  #sampling: Promise<void> | undefined
  #order = 0
  #committedSinceSample = 0
  #drainPerMs: number | undefined

  /** `figures`: ready + locked of the queue. */
  constructor(figures: () => Promise<number>, clock: Clock) {
    this.#figures = figures
    this.#clock = clock
  }

  get backlog(): number {
    return this.#sampled + this.#unseen.size
  }

  /** Messages settled per millisecond, of late; `undefined` before two samples. */
  get drainPerMs(): number | undefined {
    return this.#drainPerMs
  }

  /** Whether the count is not known for certain: a sample could tell more. */
  get isUncertain(): boolean {
    return this.#unseen.size > 0 || this.#isDue
  }

  /** Brings the sample up to date, waiting only for the first one and after a long pause. Never rejects. */
  async refresh(): Promise<void> {
    if (!this.#isDue) return
    const sampling = this.sample()
    if (this.#clock.monotonic() - this.#sampledAtMs > staleMs) await sampling
  }

  /** Never rejects: a broker that does not answer refuses the commit, not the gauge. */
  sample(): Promise<void> {
    this.#sampling ??= this.#sample().finally(() => {
      this.#sampling = undefined
    })
    return within(
      this.#clock,
      patienceMs,
      this.#sampling,
      () => new Error('the broker does not tell its figures'),
    ).catch(() => {})
  }

  pass(): Passed {
    const passed: Passed = {}
    this.#unseen.add(passed)
    return passed
  }

  refused(passed: Passed): void {
    this.#unseen.delete(passed)
  }

  committed(passed: Passed): void {
    passed.committedAs = ++this.#order
    this.#committedSinceSample++
  }

  get #isDue(): boolean {
    return this.#clock.monotonic() - this.#sampledAtMs >= sampleEveryMs
  }

  async #sample(): Promise<void> {
    const asOf = ++this.#order
    const committed = this.#committedSinceSample
    let backlog: number
    try {
      backlog = await this.#figures()
    } catch {
      return
    }
    const now = this.#clock.monotonic()
    const elapsedMs = now - this.#sampledAtMs
    if (Number.isFinite(elapsedMs) && elapsedMs > 0) {
      const drained = Math.max(0, this.#sampled + committed - backlog)
      const rate = drained / elapsedMs
      this.#drainPerMs = this.#drainPerMs === undefined ? rate : (this.#drainPerMs + rate) / 2
    }
    this.#committedSinceSample -= committed
    for (const passed of this.#unseen) {
      if (passed.committedAs !== undefined && passed.committedAs < asOf) this.#unseen.delete(passed)
    }
    this.#sampled = backlog
    this.#sampledAtMs = now
  }
}
