import type { Lock } from './held-delivery.ts'

/**
 * The locks of a session. One is added and removed for each message, so by slot: no hashing. Looking one up by its token
 * is rare (a lock was lost) and may walk.
 */
export class LockTable {
  readonly #slots: (Lock | undefined)[] = []
  readonly #free: number[] = []

  get size(): number {
    return this.#slots.length - this.#free.length
  }

  add(lock: Lock): void {
    lock.slot = this.#free.pop() ?? this.#slots.length
    this.#slots[lock.slot] = lock
  }

  remove(lock: Lock): void {
    if (this.#slots[lock.slot] !== lock) return
    this.#slots[lock.slot] = undefined
    this.#free.push(lock.slot)
  }

  find(token: number): Lock | undefined {
    return this.#slots.find(lock => lock?.token === token)
  }

  all(): Lock[] {
    return this.#slots.filter(lock => lock !== undefined)
  }
}
