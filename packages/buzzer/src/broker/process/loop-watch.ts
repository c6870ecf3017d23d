import type { Clock } from '../../message/index.ts'

export interface LoopWatchOptions {
  readonly clock: Clock
  /** Between two questions to the loop. */
  readonly everyMs: number
  /** After so long without an answer one warning is given. */
  readonly warnMs: number
  /** After so long the loop counts as dead. */
  readonly stallMs: number
  /** Asks the loop for a sign. */
  readonly ask: () => void
  readonly onBlocked: (blockedMs: number) => void
  readonly onStalled: () => void
  readonly onResumed: (blockedMs: number) => void
}

/** Tells from another thread whether an event loop turns. Source: spec broker 4. */
export class LoopWatch {
  readonly #options: LoopWatchOptions
  #timer: unknown
  #lookedAt: number
  /** When the question that is still open was asked. */
  #askedAt: number | undefined
  #said: 'nothing' | 'blocked' | 'stalled' = 'nothing'

  constructor(options: LoopWatchOptions) {
    this.#options = options
    this.#lookedAt = options.clock.monotonic()
    this.#arm()
  }

  /** The loop gave a sign. */
  answer(): void {
    const { clock, onResumed } = this.#options
    const blockedMs = this.#askedAt === undefined ? 0 : clock.monotonic() - this.#askedAt
    this.#askedAt = undefined
    if (this.#said === 'nothing') return
    this.#said = 'nothing'
    onResumed(blockedMs)
  }

  close(): void {
    this.#options.clock.clearTimeout(this.#timer)
  }

  #arm(): void {
    this.#timer = this.#options.clock.setTimeout(() => this.#look(), this.#options.everyMs)
  }

  #look(): void {
    const { clock, everyMs, warnMs, stallMs, ask, onBlocked, onStalled } = this.#options
    const now = clock.monotonic()
    // This thread itself did not run (SIGSTOP, a suspended laptop): the loop could not answer either. Give it its time.
    const stoppedMs = now - this.#lookedAt - everyMs
    if (stoppedMs > everyMs && this.#askedAt !== undefined) this.#askedAt += stoppedMs
    this.#lookedAt = now
    this.#arm()
    if (this.#askedAt === undefined) {
      this.#askedAt = now
      ask()
      return
    }
    const blockedMs = now - this.#askedAt
    if (blockedMs >= stallMs && this.#said !== 'stalled') {
      this.#said = 'stalled'
      onStalled()
    } else if (blockedMs >= warnMs && this.#said === 'nothing') {
      this.#said = 'blocked'
      onBlocked(blockedMs)
    }
  }
}
