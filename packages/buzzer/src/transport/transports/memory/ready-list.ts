import { BinaryHeap } from './binary-heap.ts'
import { Deque } from './deque.ts'
import type { Entry } from './entry.ts'

interface Level {
  /** Entries in order of acceptance. Those removed meanwhile are skipped when met. */
  readonly fresh: Deque<Entry>
  /** Entries that came back to an older place. */
  readonly returned: BinaryHeap<Entry>
  /** Removed, but still in `fresh`. */
  removed: number
}

/** What can be delivered now: higher priority first, then by sequence. */
export class ReadyList {
  readonly #levels: (Level | undefined)[] = []
  /** Entries that can be taken. */
  size = 0

  /** At the end of its priority: `entry` has the highest sequence of its queue. */
  append(entry: Entry, priority: number): void {
    this.#level(priority).fresh.push(entry)
    entry.spot = 'ready'
    this.size++
  }

  /** At the place its sequence gives it. */
  insert(entry: Entry, priority: number): void {
    this.#level(priority).returned.push(entry)
    entry.spot = 'ready'
    this.size++
  }

  take(): Entry | undefined {
    if (this.size === 0) return undefined
    for (let priority = this.#levels.length - 1; priority >= 0; priority--) {
      const level = this.#levels[priority]
      if (level === undefined) continue
      let fresh = level.fresh.peek()
      while (fresh !== undefined && fresh.spot !== 'ready') {
        level.fresh.shift()
        level.removed--
        fresh = level.fresh.peek()
      }
      const returned = level.returned.peek()
      if (fresh === undefined && returned === undefined) continue
      this.size--
      const taken =
        returned === undefined || (fresh !== undefined && fresh.rank < returned.rank)
          ? (level.fresh.shift() as Entry)
          : (level.returned.pop() as Entry)
      taken.spot = 'none'
      return taken
    }
    return undefined
  }

  remove(entry: Entry, priority: number): void {
    this.size--
    entry.spot = 'none'
    const level = this.#level(priority)
    if (entry.position >= 0) {
      level.returned.remove(entry)
      return
    }
    level.removed++
    if (level.removed > 256 && level.removed * 2 > level.fresh.size) {
      level.fresh.filter(one => one.spot === 'ready')
      level.removed = 0
    }
  }

  *[Symbol.iterator](): Generator<Entry> {
    for (const level of this.#levels) {
      if (level === undefined) continue
      for (const entry of level.fresh) if (entry.spot === 'ready') yield entry
      yield* level.returned.values()
    }
  }

  #level(priority: number): Level {
    return (this.#levels[priority] ??= { fresh: new Deque(), returned: new BinaryHeap(), removed: 0 })
  }
}
