import type { Clock } from 'buzzer'

/** At most so often: NOTIFY takes a lock of the whole database at its commit. Source: spec transports 3.2. */
const everyMs = 50
/** A payload of PostgreSQL has at most 7,999 bytes. */
const maxBytes = 7_500
/** Stands for "more than can be named". */
export const anything = '*'

/**
 * Tells other processes what has changed, by names without comma: a hint after the commit, outside every transaction, many
 * changes as one. One that is lost costs whoever waits its patience until the next poll, and nothing else.
 */
export class Notices {
  readonly #send: (payload: string) => Promise<void>
  readonly #clock: Clock
  #names = new Set<string>()
  #bytes = 0
  #timer: unknown
  #quietUntil = Number.NEGATIVE_INFINITY
  #isClosed = false

  constructor(send: (payload: string) => Promise<void>, clock: Clock) {
    this.#send = send
    this.#clock = clock
  }

  tell(names: Iterable<string>): void {
    if (this.#isClosed) return
    for (const name of names) {
      if (this.#bytes > maxBytes) break
      if (this.#names.has(name)) continue
      this.#names.add(name)
      this.#bytes += name.length + 1
    }
    if (this.#timer !== undefined || this.#names.size === 0) return
    const waitMs = Math.max(0, this.#quietUntil - this.#clock.monotonic())
    this.#timer = this.#clock.setTimeout(() => this.#flush(), waitMs)
  }

  close(): void {
    this.#isClosed = true
    this.#clock.clearTimeout(this.#timer)
  }

  #flush(): void {
    this.#timer = undefined
    this.#quietUntil = this.#clock.monotonic() + everyMs
    const payload = this.#bytes > maxBytes ? anything : [...this.#names].join(',')
    this.#names = new Set()
    this.#bytes = 0
    // A notification that cannot be sent is a lost one: there is nothing to do about it that the poll does not do.
    this.#send(payload).catch(() => undefined)
  }
}
