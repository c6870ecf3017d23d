/** How a channel keeps its items. `shift` and `peek` are asked only when `size` > 0. */
export interface Store<T> {
  readonly size: number
  push(item: T): void
  /** Takes the item that is read next. */
  shift(): T
  peek(): T
  /** Takes everything, in order. */
  drain(): T[]
}

/** A store that can also give up the item that would be read last. */
export interface TwoEndedStore<T> extends Store<T> {
  pop(): T
}

const smallest = 16

/** Filled at once: an array that never had a hole, nor numbers only, keeps one fast shape. */
function slotsFor<T>(length: number): (T | undefined)[] {
  const slots: (T | undefined)[] = []
  while (slots.length < length) slots.push(undefined)
  return slots
}

const shrinkAbove = 4_096

/** First in, first out, on a power-of-two array that doubles when full. A slot is cleared when its item is taken. */
export class Ring<T> implements TwoEndedStore<T> {
  size = 0
  #slots: (T | undefined)[] = slotsFor(smallest)
  #mask: number = smallest - 1
  #head = 0

  push(item: T): void {
    if (this.size > this.#mask) this.#grow()
    this.#slots[(this.#head + this.size++) & this.#mask] = item
  }

  shift(): T {
    const head = this.#head
    const item = this.#slots[head] as T
    this.#slots[head] = undefined
    this.#head = (head + 1) & this.#mask
    if (--this.size === 0 && this.#mask >= shrinkAbove) this.#reset()
    return item
  }

  peek(): T {
    return this.#slots[this.#head] as T
  }

  pop(): T {
    const last = (this.#head + --this.size) & this.#mask
    const item = this.#slots[last] as T
    this.#slots[last] = undefined
    return item
  }

  drain(): T[] {
    const items: T[] = []
    for (let index = 0; index < this.size; index++) items.push(this.#slots[(this.#head + index) & this.#mask] as T)
    this.#reset()
    this.size = 0
    return items
  }

  #grow(): void {
    const slots = slotsFor<T>(this.#slots.length * 2)
    for (let index = 0; index < this.size; index++) slots[index] = this.#slots[(this.#head + index) & this.#mask]
    this.#slots = slots
    this.#mask = slots.length - 1
    this.#head = 0
  }

  /** A burst must not keep its memory for good. */
  #reset(): void {
    this.#slots = slotsFor(smallest)
    this.#mask = smallest - 1
    this.#head = 0
  }
}
