import type { Clock } from 'buzzer'

/**
 * The server's clock as seen from here. Every answer that carries the server's time bounds how far the two clocks are
 * apart; as long as "not at all" is within the bounds, they count as equal, so that times come out as they went in. Follows
 * a clock that jumps, since the bounds of the newest answer rule. Source: spec transports 3.1 (RP14).
 */
export class ServerTime {
  readonly #clock: Clock
  #offsetMs = 0
  #slackMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** An answer with the server's time `serverMs`, to a statement sent at `sentAt` of our clock. */
  observe(serverMs: number, sentAt: number): void {
    const low = serverMs - this.#clock.now() - 1
    const high = serverMs - sentAt + 1
    if (low > high) return
    if (low <= 0 && high >= 0) {
      this.#offsetMs = 0
      this.#slackMs = 0
    } else if (this.#offsetMs < low || this.#offsetMs > high || high - low < this.#slackMs) {
      this.#offsetMs = (low + high) / 2
      this.#slackMs = high - low
    }
  }

  /** An instant of ours on the server's clock: never early by what is not known. */
  toServer(ourMs: number): number {
    return ourMs + this.#offsetMs + this.#slackMs / 2
  }

  /** An instant of the server's on our clock, in whole milliseconds. */
  toOurs(serverMs: number): number {
    return Math.round(serverMs - this.#offsetMs)
  }

  now(): number {
    return this.#clock.now()
  }
}
