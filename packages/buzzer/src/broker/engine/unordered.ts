import { FifoLane } from './fifo-lane.ts'
import type { Chunk } from './chunk.ts'
import type { ChunkSource, Place, ReadyOrder } from './ready-order.ts'

const priorities = 10

/** `orderBy: 'none'`: one lane per priority, higher first, strictly. */
export class Unordered implements ReadyOrder {
  readonly #lanes: FifoLane[]

  /** `inFile`: the lanes that hold chunks already. */
  constructor(source: ChunkSource, inFile: ReadonlySet<number>) {
    this.#lanes = Array.from({ length: priorities }, (_, lane) => new FifoLane(lane, source, inFile.has(lane)))
  }

  #lane(chunk: Chunk): FifoLane {
    return this.#lanes[chunk.lane] as FifoLane
  }

  add(chunk: Chunk): boolean {
    return this.#lane(chunk).add(chunk)
  }

  next(): Place | undefined {
    for (let priority = priorities - 1; priority >= 0; priority--) {
      const lane = this.#lanes[priority] as FifoLane
      const place = lane.peek(0)
      if (place === undefined || place === 'blocked') continue
      lane.take(place)
      return place
    }
    return undefined
  }

  giveBack(chunk: Chunk, index: number): void {
    this.#lane(chunk).giveBack(chunk, index)
  }

  restore(chunk: Chunk, index: number): void {
    this.#lane(chunk).giveBack(chunk, index)
  }

  settled(): void {}

  passed(chunk: Chunk): boolean {
    return this.#lane(chunk).passed(chunk)
  }

  canForget(chunk: Chunk): boolean {
    return chunk.cursor >= chunk.count
  }
}
