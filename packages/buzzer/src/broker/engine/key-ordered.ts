import { mark, unavailable } from '../storage/chunk-format.ts'
import type { Chunk } from './chunk.ts'
import { packedHash, packedPriority } from '../storage/message-key.ts'
import type { ChunkSource, Place, ReadyOrder } from './ready-order.ts'

const none = 0xffffffff

function grown<T extends Float64Array | Uint32Array | Uint16Array | Uint8Array>(
  old: T,
  make: (length: number) => T,
): T {
  const next = make(old.length * 2)
  next.set(old)
  return next
}

interface KeyState {
  /** Entry of its oldest message. */
  head: number
  tail: number
  /** The head is open or held. */
  busy: boolean
}

/**
 * `orderBy: 'key'`. All messages that are not gone stand in typed arrays, some twenty bytes each, linked per key; chunks
 * are loaded when a message of theirs is handed out. A heap holds the heads of the keys that nothing is open of, so a busy
 * key costs the others nothing.
 *
 * An entry in the heap may be out of date (its key went on, or it was removed): it is checked when it comes out.
 */
export class KeyOrdered implements ReadyOrder {
  readonly #source: ChunkSource
  readonly #keys = new Map<number, KeyState>()
  #sequence = new Float64Array(64)
  #index = new Uint16Array(64)
  #next = new Uint32Array(64)
  #packed = new Float64Array(64)
  /** In `#packed` too; by itself for the heap, which compares some twenty for each message. */
  #priority = new Uint8Array(64)
  #used = 0
  #free = none
  #heap = new Uint32Array(64)
  #heapSize = 0

  constructor(source: ChunkSource) {
    this.#source = source
  }

  add(chunk: Chunk): boolean {
    const { keys } = chunk
    for (let index = 0; index < chunk.count; index++) {
      const word = chunk.marks[index] as number
      if ((word & mark.gone) === 0 && (word & mark.parked) === 0)
        this.#append(chunk.id + index, index, keys?.[index] ?? 4)
    }
    return true
  }

  #entry(sequence: number, index: number, packed: number): number {
    let entry = this.#free
    if (entry === none) {
      entry = this.#used++
      if (entry === this.#sequence.length) {
        this.#sequence = grown(this.#sequence, length => new Float64Array(length))
        this.#packed = grown(this.#packed, length => new Float64Array(length))
        this.#priority = grown(this.#priority, length => new Uint8Array(length))
        this.#next = grown(this.#next, length => new Uint32Array(length))
        this.#index = grown(this.#index, length => new Uint16Array(length))
      }
    } else this.#free = this.#next[entry] as number
    this.#sequence[entry] = sequence
    this.#index[entry] = index
    this.#packed[entry] = packed
    this.#priority[entry] = packedPriority(packed)
    this.#next[entry] = none
    return entry
  }

  #release(entry: number): void {
    this.#sequence[entry] = -1
    this.#next[entry] = this.#free
    this.#free = entry
  }

  #append(sequence: number, index: number, packed: number): void {
    const entry = this.#entry(sequence, index, packed)
    const hash = packedHash(packed)
    if (hash === 0) {
      this.#push(entry)
      return
    }
    const key = this.#keys.get(hash)
    if (key === undefined) {
      this.#keys.set(hash, { head: entry, tail: entry, busy: false })
      this.#push(entry)
    } else {
      this.#next[key.tail] = entry
      key.tail = entry
    }
  }

  next(): Place | undefined {
    while (this.#heapSize > 0) {
      const entry = this.#pop()
      const sequence = this.#sequence[entry] as number
      if (sequence < 0) continue
      const hash = packedHash(this.#packed[entry] as number)
      const key = hash === 0 ? undefined : this.#keys.get(hash)
      if (hash !== 0 && (key === undefined || key.head !== entry || key.busy)) continue
      const index = this.#index[entry] as number
      const chunk = this.#source.chunk(0, sequence - index)
      const word = chunk?.marks[index] ?? mark.gone
      if (chunk !== undefined && (word & unavailable) === 0) {
        if (key === undefined) this.#release(entry)
        else key.busy = true
        return { chunk, index }
      }
      if (key === undefined) this.#release(entry)
      else if (word & (mark.gone | mark.parked)) this.#goOn(hash, key)
      else key.busy = true
    }
    return undefined
  }

  /** The head of `key` is done with. */
  #goOn(hash: number, key: KeyState): void {
    const done = key.head
    const next = this.#next[done] as number
    this.#release(done)
    if (next === none) {
      this.#keys.delete(hash)
      return
    }
    key.head = next
    key.busy = false
    this.#push(next)
  }

  giveBack(chunk: Chunk, index: number): void {
    const packed = chunk.keys?.[index] ?? 4
    const hash = packedHash(packed)
    const sequence = chunk.id + index
    const key = this.#keys.get(hash)
    if (hash === 0 || key === undefined) {
      this.#append(sequence, index, packed)
      return
    }
    if (this.#sequence[key.head] === sequence) {
      key.busy = false
      this.#push(key.head)
    }
  }

  restore(chunk: Chunk, index: number): void {
    const packed = chunk.keys?.[index] ?? 4
    const key = this.#keys.get(packedHash(packed))
    if (packedHash(packed) === 0 || key === undefined) this.#append(chunk.id + index, index, packed)
    else this.#insert(key, chunk.id + index, index, packed)
  }

  /** Back into the middle of its key. */
  #insert(key: KeyState, sequence: number, index: number, packed: number): void {
    let before = none
    let at = key.head
    while (at !== none && ((this.#sequence[at] as number) < sequence || (at === key.head && key.busy))) {
      if (this.#sequence[at] === sequence) return
      before = at
      at = this.#next[at] as number
    }
    if (at !== none && this.#sequence[at] === sequence) return
    const entry = this.#entry(sequence, index, packed)
    this.#next[entry] = at
    if (before === none) {
      key.head = entry
      this.#push(entry)
    } else this.#next[before] = entry
    if (at === none) key.tail = entry
  }

  settled(chunk: Chunk, index: number): void {
    const hash = packedHash(chunk.keys?.[index] ?? 4)
    if (hash === 0) return
    const key = this.#keys.get(hash)
    if (key !== undefined && this.#sequence[key.head] === chunk.id + index) this.#goOn(hash, key)
  }

  passed(): boolean {
    return true
  }

  canForget(): boolean {
    return true
  }

  #before(left: number, right: number): boolean {
    const leftPriority = this.#priority[left] as number
    const rightPriority = this.#priority[right] as number
    if (leftPriority !== rightPriority) return leftPriority > rightPriority
    return (this.#sequence[left] as number) < (this.#sequence[right] as number)
  }

  #push(entry: number): void {
    if (this.#heapSize === this.#heap.length) this.#heap = grown(this.#heap, length => new Uint32Array(length))
    const heap = this.#heap
    let at = this.#heapSize++
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = heap[parent] as number
      if (!this.#before(entry, above)) break
      heap[at] = above
      at = parent
    }
    heap[at] = entry
  }

  #pop(): number {
    const heap = this.#heap
    const top = heap[0] as number
    const last = heap[--this.#heapSize] as number
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= this.#heapSize) break
      if (child + 1 < this.#heapSize && this.#before(heap[child + 1] as number, heap[child] as number)) child++
      const below = heap[child] as number
      if (!this.#before(below, last)) break
      heap[at] = below
      at = child
    }
    heap[at] = last
    return top
  }
}
