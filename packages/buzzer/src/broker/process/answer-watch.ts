import type { Clock } from '../../message/index.ts'

export interface AnswerWatchOptions {
  readonly clock: Clock
  /** An answer may take so long. */
  readonly patienceMs: number
  /** Told once, when nothing was heard for longer than that after a question. */
  readonly onSilent: (silentMs: number) => void
  /** Something was heard after all. */
  readonly onHeard: () => void
}

/** Tells a peer that is quiet from one that does not answer: a stopped process keeps its connections open. */
export class AnswerWatch {
  readonly #options: AnswerWatchOptions
  #timer: unknown
  /** When the first question that nothing was heard after was asked. */
  #askedAt: number | undefined
  #dueAt = 0
  #silent = false

  constructor(options: AnswerWatchOptions) {
    this.#options = options
  }

  asked(): void {
    if (this.#askedAt !== undefined) return
    this.#askedAt = this.#options.clock.monotonic()
    if (this.#timer === undefined) this.#arm(this.#askedAt)
  }

  heard(): void {
    this.#askedAt = undefined
    if (!this.#silent) return
    this.#silent = false
    this.#options.onHeard()
  }

  close(): void {
    this.#options.clock.clearTimeout(this.#timer)
    this.#timer = undefined
    this.#askedAt = undefined
    this.#silent = false
  }

  #arm(from: number): void {
    const { clock, patienceMs } = this.#options
    this.#dueAt = from + patienceMs
    this.#timer = clock.setTimeout(() => this.#look(), this.#dueAt - clock.monotonic())
  }

  #look(): void {
    const { clock, patienceMs, onSilent } = this.#options
    this.#timer = undefined
    if (this.#askedAt === undefined || this.#silent) return
    const now = clock.monotonic()
    // This process stood still itself: what was answered meanwhile has not been read yet.
    if (now - this.#dueAt > patienceMs) this.#askedAt = now
    if (now - this.#askedAt < patienceMs) return this.#arm(this.#askedAt)
    this.#silent = true
    onSilent(now - this.#askedAt)
  }
}
