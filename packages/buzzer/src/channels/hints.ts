import type { Turn } from './turn.ts'
import { Waiter, WaiterLine } from './waiter.ts'

class HintWaiter extends Waiter {
  readonly promise: Promise<boolean>
  resolve!: (answer: boolean) => void
  reject!: (error: unknown) => void

  constructor(signal: AbortSignal) {
    super(signal)
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }

  aborted(reason: unknown): void {
    this.reject(reason)
  }
}

/**
 * The callers of `waitToRead` (or of `waitToWrite`): all of them are woken at once by a hint that reserves nothing.
 * Those without a signal share one promise.
 */
export class Hints {
  /** How many callers wait. A plain field: every try call looks at it. */
  size = 0
  /** Called when the last one has gone. */
  onEmpty: (() => void) | undefined = undefined
  #sharing = 0
  #shared: PromiseWithResolvers<boolean> | undefined = undefined
  readonly #line: WaiterLine<HintWaiter> = new WaiterLine()

  constructor() {
    this.#line.onLeave = () => this.#gone(1)
  }

  wait(signal: AbortSignal | undefined): Promise<boolean> {
    this.size++
    if (signal !== undefined) {
      const waiter = new HintWaiter(signal)
      this.#line.enter(waiter)
      return waiter.promise
    }
    this.#sharing++
    this.#shared ??= Promise.withResolvers<boolean>()
    return this.#shared.promise
  }

  /** Wakes everybody. `items`: how many were moved by try calls since the last hint, for the event loop's turn. */
  wake(turn: Turn, items: number): void {
    this.#each(({ resolve }) => turn.tell(resolve, true, items))
  }

  /** Tells everybody of the end: `false`, or the raw error. */
  end(error: unknown): void {
    this.#each(({ resolve, reject }) => (error === undefined ? resolve(false) : reject(error)))
  }

  #each(settle: (waiter: { resolve: (answer: boolean) => void; reject: (error: unknown) => void }) => void): void {
    // Only those who wait now: whoever is woken may come back at once.
    let left = this.#line.size
    const shared = this.#shared
    if (shared !== undefined) {
      const sharing = this.#sharing
      this.#shared = undefined
      this.#sharing = 0
      this.#gone(sharing)
      settle(shared)
    }
    for (; left > 0; left--) {
      const waiter = this.#line.head as HintWaiter
      waiter.leave()
      settle(waiter)
    }
  }

  #gone(callers: number): void {
    this.size -= callers
    if (this.size === 0) this.onEmpty?.()
  }
}
