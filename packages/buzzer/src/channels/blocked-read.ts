import { closedError, type Outcome } from './errors.ts'
import { type ItemSource, Receiver } from './item-source.ts'

/** A blocked `read`. */
export class BlockedRead<T> extends Receiver<T> {
  readonly #source: ItemSource<T>
  readonly #resolve: (item: T) => void
  readonly #reject: (error: unknown) => void

  constructor(
    source: ItemSource<T>,
    signal: AbortSignal | undefined,
    resolve: (item: T) => void,
    reject: (error: unknown) => void,
  ) {
    super(signal)
    this.#source = source
    this.#resolve = resolve
    this.#reject = reject
  }

  deliver(item: T): void {
    this.leave()
    this.#source.turn.tell(this.#resolve, item)
  }

  ended(outcome: Outcome): void {
    this.#reject(closedError(outcome, this.#source.name))
  }

  broken(error: unknown): void {
    this.#reject(error)
  }

  aborted(reason: unknown): void {
    this.#reject(reason)
  }
}
