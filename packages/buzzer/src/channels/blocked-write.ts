import type { Turn } from './turn.ts'
import { Waiter } from './waiter.ts'

/** A blocked `write`, with its item. */
export class BlockedWrite<T> extends Waiter {
  readonly promise: Promise<void>
  readonly item: T
  readonly weight: number
  /** Its place is free: those behind it may fit. */
  readonly #gone: () => void
  #resolve!: (value: undefined) => void
  reject!: (error: unknown) => void

  constructor(item: T, weight: number, signal: AbortSignal | undefined, gone: () => void) {
    super(signal)
    this.item = item
    this.weight = weight
    this.#gone = gone
    this.promise = new Promise<void>((resolve, reject) => {
      this.#resolve = resolve
      this.reject = reject
    })
  }

  accepted(turn: Turn): void {
    this.leave()
    turn.tell(this.#resolve, undefined)
  }

  aborted(reason: unknown): void {
    this.reject(reason)
    this.#gone()
  }
}
