const smallest = 64
/** An emptied one that is larger gives its room back. */
const kept = 4_096

function slots<T>(count: number): (T | undefined)[] {
  return Array.from({ length: count })
}

/** First in, first out, in a ring that grows by doubling: what comes and goes in batches makes no garbage. */
export class Fifo<T> {
  /** As many as a power of two. */
  #items: (T | undefined)[] = slots(smallest)
  #head = 0
  #length = 0

  get length(): number {
    return this.#length
  }

  push(item: T): void {
    if (this.#length === this.#items.length) this.#grow()
    this.#items[(this.#head + this.#length++) & (this.#items.length - 1)] = item
  }

  /** The `index`-th from the front. */
  at(index: number): T | undefined {
    if (index < 0 || index >= this.#length) return undefined
    return this.#items[(this.#head + index) & (this.#items.length - 1)]
  }

  shift(): T | undefined {
    if (this.#length === 0) return undefined
    const item = this.#items[this.#head]
    this.#items[this.#head] = undefined
    this.#head = (this.#head + 1) & (this.#items.length - 1)
    if (--this.#length === 0 && this.#items.length > kept) {
      this.#items = slots(smallest)
      this.#head = 0
    }
    return item
  }

  #grow(): void {
    const items = slots<T>(this.#items.length * 2)
    for (let index = 0; index < this.#length; index++) items[index] = this.at(index)
    this.#items = items
    this.#head = 0
  }
}
