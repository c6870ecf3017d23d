import { Deque } from './deque.ts'

/** The deduplication keys a queue accepted of late. Old ones are dropped as new ones come, and on `clear`. */
export class DeduplicationWindow {
  readonly #acceptedAt = new Map<string, number>()
  readonly #order = new Deque<{ readonly key: string; readonly at: number }>()

  get size(): number {
    return this.#acceptedAt.size
  }

  has(key: string, windowMs: number, now: number): boolean {
    const at = this.#acceptedAt.get(key)
    return at !== undefined && now - at < windowMs
  }

  add(key: string, windowMs: number, now: number): void {
    for (
      let first = this.#order.peek();
      first !== undefined && now - first.at >= windowMs;
      first = this.#order.peek()
    ) {
      this.#order.shift()
      if (this.#acceptedAt.get(first.key) === first.at) this.#acceptedAt.delete(first.key)
    }
    this.#acceptedAt.set(key, now)
    this.#order.push({ key, at: now })
  }

  /** A cancelled message leaves no trace. */
  forget(key: string): void {
    this.#acceptedAt.delete(key)
  }
}
