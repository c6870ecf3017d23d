import type { Clock } from '../message/index.ts'

/** Something that may be overdue. The list owns the links; an item is in one list at a time. */
export interface Deadlined {
  dueAt: number
  before: Deadlined | undefined
  after: Deadlined | undefined
  /** Called once, after the item has left the list. */
  overdue(): void
}

/**
 * Time limits of one common length: since all wait equally long, the list is in order of time by itself, and one timer
 * serves it whatever its length. Adding and removing cost a few assignments, which is why no attempt and no send has
 * a timer of its own. An item is called at most a millisecond late, never early.
 */
export class DeadlineList {
  readonly #clock: Clock
  readonly #limitMs: number
  #first: Deadlined | undefined
  #last: Deadlined | undefined
  #timer: unknown

  constructor(clock: Clock, limitMs: number) {
    this.#clock = clock
    this.#limitMs = limitMs
  }

  add(item: Deadlined): void {
    item.dueAt = this.#clock.monotonic() + this.#limitMs
    item.before = this.#last
    item.after = undefined
    if (this.#last === undefined) this.#first = item
    else this.#last.after = item
    this.#last = item
    // A running timer belongs to an earlier item; when it fires it is set again for whatever is first then.
    if (this.#timer === undefined && this.#limitMs !== Number.POSITIVE_INFINITY) this.#arm(this.#limitMs)
  }

  remove(item: Deadlined): void {
    const { before, after } = item
    if (before === undefined && after === undefined && this.#first !== item) return
    if (before === undefined) this.#first = after
    else before.after = after
    if (after === undefined) this.#last = before
    else after.before = before
    item.before = undefined
    item.after = undefined
  }

  get isEmpty(): boolean {
    return this.#first === undefined
  }

  close(): void {
    this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #arm(ms: number): void {
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = undefined
      const now = this.#clock.monotonic()
      while (this.#first !== undefined && this.#first.dueAt <= now) {
        const item = this.#first
        this.remove(item)
        item.overdue()
      }
      if (this.#first !== undefined && this.#timer === undefined) this.#arm(Math.ceil(this.#first.dueAt - now))
    }, ms)
  }
}
