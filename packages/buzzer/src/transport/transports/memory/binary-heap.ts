/** Something a heap holds; it remembers its position so that it can be removed from the middle. */
export interface HeapItem {
  /** The smallest comes out first. */
  rank: number
  /** Position in the heap; -1 when in none. */
  position: number
}

/** The item of the smallest rank first; insertion and removal anywhere cost log n. */
export class BinaryHeap<T extends HeapItem> {
  readonly #items: T[] = []

  get size(): number {
    return this.#items.length
  }

  peek(): T | undefined {
    return this.#items[0]
  }

  push(item: T): void {
    item.position = this.#items.length
    this.#items.push(item)
    this.#up(item)
  }

  pop(): T | undefined {
    const first = this.#items[0]
    if (first !== undefined) this.remove(first)
    return first
  }

  remove(item: T): void {
    const at = item.position
    if (at < 0) return
    const last = this.#items.pop() as T
    item.position = -1
    if (last === item) return
    this.#items[at] = last
    last.position = at
    this.#up(last)
    this.#down(last)
  }

  values(): readonly T[] {
    return this.#items
  }

  clear(): void {
    for (const item of this.#items) item.position = -1
    this.#items.length = 0
  }

  #up(item: T): void {
    let at = item.position
    while (at > 0) {
      const above = (at - 1) >>> 1
      const parent = this.#items[above] as T
      if (parent.rank <= item.rank) break
      this.#items[at] = parent
      parent.position = at
      at = above
    }
    this.#items[at] = item
    item.position = at
  }

  #down(item: T): void {
    let at = item.position
    for (;;) {
      let below = at * 2 + 1
      if (below >= this.#items.length) break
      const right = this.#items[below + 1]
      if (right !== undefined && right.rank < (this.#items[below] as T).rank) below++
      const child = this.#items[below] as T
      if (child.rank >= item.rank) break
      this.#items[at] = child
      child.position = at
      at = below
    }
    this.#items[at] = item
    item.position = at
  }
}
