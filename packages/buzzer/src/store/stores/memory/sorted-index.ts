import type { Scalar } from '../../state-change.ts'

/** Numbers before text, numbers by size, text by code unit. */
export function compareScalars(a: Scalar, b: Scalar): number {
  if (typeof a !== typeof b) return typeof a === 'number' ? -1 : 1
  return a < b ? -1 : a > b ? 1 : 0
}

export interface IndexEntry {
  readonly value: Scalar
  readonly id: string
}

function compareEntries(a: IndexEntry, b: IndexEntry): number {
  return compareScalars(a.value, b.value) || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
}

/** Entries sorted by value, then id. Appending at the end, which is what times do, costs nothing. */
export class SortedIndex {
  readonly entries: IndexEntry[] = []

  add(entry: IndexEntry): void {
    const last = this.entries.at(-1)
    if (last === undefined || compareEntries(last, entry) < 0) this.entries.push(entry)
    else this.entries.splice(this.position(entry), 0, entry)
  }

  remove(entry: IndexEntry): void {
    const at = this.position(entry)
    const found = this.entries[at]
    if (found !== undefined && compareEntries(found, entry) === 0) this.entries.splice(at, 1)
  }

  /** The id of any entry with this value. */
  holder(value: Scalar): string | undefined {
    const found = this.entries[this.lowerBound(value)]
    return found !== undefined && compareScalars(found.value, value) === 0 ? found.id : undefined
  }

  /** Position of the first entry whose value is not below `value`. */
  lowerBound(value: Scalar): number {
    return this.#search(entry => compareScalars(entry.value, value) >= 0)
  }

  /** Position of the first entry whose value is above `value`. */
  upperBound(value: Scalar): number {
    return this.#search(entry => compareScalars(entry.value, value) > 0)
  }

  /** Position of the first entry after the given one, whether that is still there or not. */
  after(entry: IndexEntry): number {
    return this.#search(one => compareEntries(one, entry) > 0)
  }

  /** Position of the entry, or where it would stand. */
  position(entry: IndexEntry): number {
    return this.#search(one => compareEntries(one, entry) >= 0)
  }

  #search(isAtOrPast: (entry: IndexEntry) => boolean): number {
    let low = 0
    let high = this.entries.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (isAtOrPast(this.entries[middle] as IndexEntry)) high = middle
      else low = middle + 1
    }
    return low
  }
}
