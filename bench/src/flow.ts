import { type Reading, reading, sequenceOf } from './reading.ts'

export interface FlowOptions {
  /** Messages published and not yet handled, at most. */
  readonly inFlight: number
  /** Messages of one call of `publish`; a rival that sends arrays gets its favourite size. Default 1. */
  readonly batch?: number
  /** Default: readings of 200 bytes. */
  readonly message?: (sequence: number) => Reading
  /** Resolves when the broker has accepted the readings. */
  publish(readings: readonly Reading[]): Promise<unknown>
}

/**
 * A closed loop: publishes as fast as messages are handled, and never has more than `inFlight` of them on the way.
 * A round is over when every message is accepted and handled; one handled twice or never makes it fail.
 */
export class Flow {
  readonly #options: Required<FlowOptions>
  #n = 0
  #sent = 0
  #accepted = 0
  #handled = 0
  #sum = 0
  #settle: { resolve(): void; reject(error: unknown): void } | undefined

  constructor(options: FlowOptions) {
    this.#options = { batch: 1, message: reading, ...options }
  }

  run(n: number): Promise<void> {
    this.#n = n
    this.#sent = this.#accepted = this.#handled = this.#sum = 0
    return new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject }
      this.#feed()
    })
  }

  /** Told by the handler, once per message. */
  handled(message: Reading): void {
    this.handledMany(1, sequenceOf(message))
  }

  /** Told of `count` messages whose sequences add up to `sum`. */
  handledMany(count: number, sum: number): void {
    this.#handled += count
    this.#sum += sum
    this.#feed()
    this.#finish()
  }

  /** Ends the round: a client or a broker has failed outside of any publish. */
  fail(error: unknown): void {
    this.#settle?.reject(error)
  }

  #feed(): void {
    const { inFlight, batch, message, publish } = this.#options
    while (this.#sent < this.#n) {
      const size = Math.min(batch, this.#n - this.#sent)
      if (this.#sent - this.#handled + size > inFlight) return
      const readings: Reading[] = []
      for (let i = 0; i < size; i++) readings.push(message(this.#sent + i))
      this.#sent += size
      publish(readings).then(
        () => {
          this.#accepted += size
          this.#finish()
        },
        (error: unknown) => this.fail(error),
      )
    }
  }

  #finish(): void {
    if (this.#handled < this.#n || this.#accepted < this.#n) return
    const expected = (this.#n * (this.#n - 1)) / 2
    if (this.#handled > this.#n || this.#sum !== expected)
      this.#settle?.reject(
        new Error(`${this.#handled} of ${this.#n} handled, their sum ${this.#sum} instead of ${expected}`),
      )
    else this.#settle?.resolve()
  }
}
