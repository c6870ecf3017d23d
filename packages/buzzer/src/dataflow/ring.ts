const smallest = 16
const shrinkAbove = 4_096

/** First in, first out, on a power-of-two array that doubles when full. A slot is cleared when its item is taken. */
export class Ring<T> {
  /** Read it, never write it. */
  size = 0
  #slots: (T | undefined)[] = Array.from({ length: smallest })
  #mask: number = smallest - 1
  #head = 0

  push(item: T): void {
    if (this.size > this.#mask) this.#grow()
    this.#slots[(this.#head + this.size++) & this.#mask] = item
  }

  /** Only while `size` > 0. */
  shift(): T {
    const head = this.#head
    const item = this.#slots[head] as T
    this.#slots[head] = undefined
    this.#head = (head + 1) & this.#mask
    if (--this.size === 0 && this.#mask >= shrinkAbove) this.#reset()
    return item
  }

  /** The item that `offset` calls of `shift` would leave at the head. Only while `size` > `offset`. */
  at(offset: number): T {
    return this.#slots[(this.#head + offset) & this.#mask] as T
  }

  clear(): void {
    this.size = 0
    this.#reset()
  }

  #grow(): void {
    const slots = Array.from<T | undefined>({ length: this.#slots.length * 2 })
    for (let index = 0; index < this.size; index++) slots[index] = this.at(index)
    this.#slots = slots
    this.#mask = slots.length - 1
    this.#head = 0
  }

  /** A burst must not keep its memory for good. */
  #reset(): void {
    this.#slots = Array.from({ length: smallest })
    this.#mask = smallest - 1
    this.#head = 0
  }
}
