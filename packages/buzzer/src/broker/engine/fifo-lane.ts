import { mark, unavailable } from '../storage/chunk-format.ts'
import type { Chunk } from './chunk.ts'
import { Heap } from './heap.ts'
import type { ChunkSource, Place } from './ready-order.ts'

/** Chunks of one lane that are kept in memory ahead of the receivers; the rest waits in the file. */
const windowChunks = 2_048
const refillChunks = 128

function earlier(left: Place, right: Place): boolean {
  return left.chunk.id + left.index < right.chunk.id + right.index
}

/** First in, first out over chunks; what comes back is served first, by its sequence. */
export class FifoLane {
  readonly lane: number
  readonly #source: ChunkSource
  readonly #returned = new Heap<Place>(earlier)
  #chunks: Chunk[] = []
  #head = 0
  /** The last chunk that was loaded or added. */
  #lastLoaded: number
  #moreInFile: boolean

  constructor(lane: number, source: ChunkSource, moreInFile: boolean) {
    this.lane = lane
    this.#source = source
    this.#moreInFile = moreInFile
    this.#lastLoaded = moreInFile ? -1 : Number.MAX_SAFE_INTEGER
  }

  add(chunk: Chunk): boolean {
    if (this.#moreInFile) return false
    if (this.#chunks.length - this.#head >= windowChunks) {
      this.#moreInFile = true
      return false
    }
    this.#chunks.push(chunk)
    this.#lastLoaded = chunk.id
    return true
  }

  passed(chunk: Chunk): boolean {
    return chunk.id <= this.#lastLoaded
  }

  giveBack(chunk: Chunk, index: number): void {
    if (index < chunk.cursor) this.#returned.push({ chunk, index })
  }

  /** The chunk the cursor is on. */
  #current(): Chunk | undefined {
    for (;;) {
      const chunk = this.#chunks[this.#head]
      if (chunk !== undefined) {
        if (chunk.cursor < chunk.count && chunk.live > 0) return chunk
        chunk.cursor = chunk.count
        this.#head++
        if (this.#head > 1_024 && this.#head * 2 > this.#chunks.length) {
          this.#chunks = this.#chunks.slice(this.#head)
          this.#head = 0
        }
        continue
      }
      if (!this.#moreInFile) return undefined
      const loaded = this.#source.window(this.lane, this.#lastLoaded, refillChunks)
      this.#moreInFile = loaded.length === refillChunks
      this.#chunks = loaded
      this.#head = 0
      const last = loaded.at(-1)
      if (last === undefined) return undefined
      this.#lastLoaded = last.id
    }
  }

  /** The next message, without taking it; `stopAt` are marks that end the search instead of being skipped. */
  peek(stopAt: number): Place | 'blocked' | undefined {
    for (let back = this.#returned.peek(); back !== undefined; back = this.#returned.peek()) {
      const word = back.chunk.marks[back.index] as number
      if ((word & unavailable) === 0) return back
      if (word & stopAt) return 'blocked'
      this.#returned.pop()
    }
    for (let chunk = this.#current(); chunk !== undefined; chunk = this.#current()) {
      const { marks, count } = chunk
      for (; chunk.cursor < count; chunk.cursor++) {
        const word = marks[chunk.cursor] as number
        if ((word & unavailable) === 0) return { chunk, index: chunk.cursor }
        if (word & stopAt && (word & mark.gone) === 0) return 'blocked'
      }
    }
    return undefined
  }

  /** Takes what `peek` has shown. */
  take(place: Place): void {
    if (this.#returned.peek() === place) this.#returned.pop()
    else place.chunk.cursor = place.index + 1
  }
}
