// Kept from load time, so that mocked timers do not stop a channel.
const nextTurn = setImmediate

/** So many items may be told of by promises alone before the event loop gets its turn (spec channels 2.10). */
export const itemsPerTurn = 1_024

/**
 * Counts what one side of a channel tells its callers through promises. Promises alone starve timers and sockets, so
 * when the count is used up everything further is told after one turn of the event loop, in the same order.
 */
export class Turn {
  #told = 0
  #held: (() => void)[] = []

  /** Tells `value` by calling `resolve`: now or after the turn. */
  tell<V>(resolve: (value: V) => void, value: V, items = 1): void {
    this.#told += items
    if (this.#told <= itemsPerTurn) resolve(value)
    else this.#hold(() => resolve(value))
  }

  /** A promise of `value`: resolved now or after the turn. */
  promise<V>(value: V, items = 1): Promise<V> {
    this.#told += items
    return this.#told <= itemsPerTurn ? Promise.resolve(value) : this.#heldPromise(value)
  }

  /** As `promise`, for the many calls that can share one resolved promise. */
  shared(settled: Promise<void>): Promise<void> {
    return ++this.#told <= itemsPerTurn ? settled : this.#heldPromise(undefined)
  }

  /** Counts items that were moved without a promise. Whether the next promise will wait for the turn. */
  due(items = 1): boolean {
    this.#told += items
    return this.#told >= itemsPerTurn
  }

  #heldPromise<V>(value: V): Promise<V> {
    return new Promise(resolve => this.#hold(() => resolve(value)))
  }

  #hold(tell: () => void): void {
    if (this.#held.push(tell) === 1) nextTurn(() => this.#begin())
  }

  #begin(): void {
    const held = this.#held
    this.#held = []
    this.#told = 0
    for (const tell of held) tell()
  }
}
