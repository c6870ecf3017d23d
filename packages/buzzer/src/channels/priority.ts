import type { Store, TwoEndedStore } from './ring.ts'

type Compare<T> = (a: T, b: T) => number

interface Entry<T> {
  readonly item: T
  readonly order: number
}

/** `compare` is asked first; equal items go in the order of acceptance. */
function inOrder<T>(compare: Compare<T>): (a: Entry<T>, b: Entry<T>) => boolean {
  return (a, b) => {
    const difference = compare(a.item, b.item)
    return difference < 0 || (!(difference > 0) && a.order < b.order)
  }
}

/**
 * A stable binary heap. Each step finds its place by comparing before anything moves, so a `compare` that throws
 * changes nothing.
 */
export class Heap<T> implements Store<T> {
  readonly #before: (a: Entry<T>, b: Entry<T>) => boolean
  readonly #entries: Entry<T>[] = []
  #accepted = 0

  constructor(compare: Compare<T>) {
    this.#before = inOrder(compare)
  }

  get size(): number {
    return this.#entries.length
  }

  push(item: T): void {
    const entries = this.#entries
    const entry = { item, order: this.#accepted }
    let place = entries.length
    while (place > 0 && this.#before(entry, entries[(place - 1) >> 1] as Entry<T>)) place = (place - 1) >> 1
    this.#accepted++
    entries.push(entry)
    for (let at = entries.length - 1; at !== place; at = (at - 1) >> 1) {
      entries[at] = entries[(at - 1) >> 1] as Entry<T>
    }
    entries[place] = entry
  }

  shift(): T {
    const entries = this.#entries
    const first = entries[0] as Entry<T>
    const last = entries[entries.length - 1] as Entry<T>
    const size = entries.length - 1
    let place = 0
    for (;;) {
      let child = 2 * place + 1
      if (child >= size) break
      if (child + 1 < size && this.#before(entries[child + 1] as Entry<T>, entries[child] as Entry<T>)) child++
      if (this.#before(last, entries[child] as Entry<T>)) break
      place = child
    }
    entries.pop()
    if (size > 0) {
      let moving = last
      for (let at = place; ; at = (at - 1) >> 1) {
        const above = entries[at] as Entry<T>
        entries[at] = moving
        moving = above
        if (at === 0) break
      }
    }
    return first.item
  }

  peek(): T {
    return (this.#entries[0] as Entry<T>).item
  }

  drain(): T[] {
    const sorted = this.#entries.toSorted((a, b) => (this.#before(a, b) ? -1 : 1))
    this.#entries.length = 0
    return sorted.map(entry => entry.item)
  }
}

/**
 * Items in order, for bounded channels that give up their last item: both ends are at hand. Insertion compares
 * log₂ n times and moves memory, which for the sizes that people bound a channel to beats two heaps.
 */
export class SortedItems<T> implements TwoEndedStore<T> {
  readonly #compare: Compare<T>
  /** The item read next is the last one, so that reading moves nothing. */
  readonly #items: T[] = []

  constructor(compare: Compare<T>) {
    this.#compare = compare
  }

  get size(): number {
    return this.#items.length
  }

  push(item: T): void {
    let low = 0
    let high = this.#items.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#compare(item, this.#items[middle] as T) < 0) low = middle + 1
      else high = middle
    }
    this.#items.splice(low, 0, item)
  }

  shift(): T {
    return this.#items.pop() as T
  }

  peek(): T {
    return this.#items[this.#items.length - 1] as T
  }

  pop(): T {
    return this.#items.shift() as T
  }

  drain(): T[] {
    return this.#items.splice(0).toReversed()
  }
}
