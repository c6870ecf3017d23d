/** First in, first out, at constant cost; grows by doubling and shrinks when emptied. */
export class Deque<T> {
  #items: (T | undefined)[] = emptySlots<T>(16)
  #head = 0
  #size = 0

  get size(): number {
    return this.#size
  }

  push(item: T): void {
    if (this.#size === this.#items.length) this.#resize(this.#items.length * 2)
    this.#items[(this.#head + this.#size) & (this.#items.length - 1)] = item
    this.#size++
  }

  peek(): T | undefined {
    return this.#size === 0 ? undefined : this.#items[this.#head]
  }

  shift(): T | undefined {
    if (this.#size === 0) return undefined
    const item = this.#items[this.#head]
    this.#items[this.#head] = undefined
    this.#head = (this.#head + 1) & (this.#items.length - 1)
    this.#size--
    if (this.#size === 0 && this.#items.length > 1_024) {
      this.#items = emptySlots<T>(16)
      this.#head = 0
    }
    return item
  }

  /** Drops what `keep` refuses, at the cost of the whole length. */
  filter(keep: (item: T) => boolean): void {
    const kept = [...this].filter(keep)
    this.#items = emptySlots<T>(16)
    this.#head = 0
    this.#size = 0
    for (const item of kept) this.push(item)
  }

  *[Symbol.iterator](): Generator<T> {
    for (let at = 0; at < this.#size; at++) yield this.#items[(this.#head + at) & (this.#items.length - 1)] as T
  }

  #resize(length: number): void {
    const items = emptySlots<T>(length)
    for (let at = 0; at < this.#size; at++) items[at] = this.#items[(this.#head + at) & (this.#items.length - 1)]
    this.#items = items
    this.#head = 0
  }
}

function emptySlots<T>(length: number): (T | undefined)[] {
  return Array.from({ length })
}
