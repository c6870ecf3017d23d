import { mark } from '../storage/chunk-format.ts'
import type { Chunk } from './chunk.ts'
import { FifoLane } from './fifo-lane.ts'
import type { ChunkSource, Place, ReadyOrder } from './ready-order.ts'

/** `orderBy: 'queue'`: one open delivery, the next message only when the one before is settled for good. */
export class StrictlyOrdered implements ReadyOrder {
  readonly #lane: FifoLane
  #taken = false

  constructor(source: ChunkSource, inFile: ReadonlySet<number>) {
    this.#lane = new FifoLane(0, source, inFile.has(0))
  }

  add(chunk: Chunk): boolean {
    return this.#lane.add(chunk)
  }

  next(): Place | undefined {
    if (this.#taken) return undefined
    const place = this.#lane.peek(mark.held | mark.open)
    if (place === undefined || place === 'blocked') return undefined
    this.#lane.take(place)
    this.#taken = true
    return place
  }

  giveBack(chunk: Chunk, index: number): void {
    this.#taken = false
    this.#lane.giveBack(chunk, index)
  }

  restore(chunk: Chunk, index: number): void {
    this.#lane.giveBack(chunk, index)
  }

  settled(): void {
    this.#taken = false
  }

  passed(chunk: Chunk): boolean {
    return this.#lane.passed(chunk)
  }

  canForget(chunk: Chunk): boolean {
    return chunk.cursor >= chunk.count
  }
}
