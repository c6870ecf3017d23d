import type { Chunk } from './chunk.ts'

/** Where a message stands: chunk and index in it. */
export interface Place {
  readonly chunk: Chunk
  readonly index: number
}

/**
 * In which order a queue hands out what is ready. The three orders of spec broker 5 are three implementations.
 * What cannot be delivered (gone, parked, held, open) is known by its mark; orders look at it when they come to it.
 */
export interface ReadyOrder {
  /** A chunk has come at the end. Returns whether the order keeps it in memory. */
  add(chunk: Chunk): boolean
  /** Takes the next message that may be delivered now. */
  next(): Place | undefined
  /** A message that was taken or held is ready again, at its old place. */
  giveBack(chunk: Chunk, index: number): void
  /** A message that was set aside is ready again, at its old place; what is open stays open. */
  restore(chunk: Chunk, index: number): void
  /** A message that was taken or held will not come back: what waited behind it may go on. */
  settled(chunk: Chunk, index: number): void
  /** Whether a chunk just loaded, which no one knows, lies behind what was handed out. */
  passed(chunk: Chunk): boolean
  /** Whether `chunk` may leave the memory although messages of it are left. */
  canForget(chunk: Chunk): boolean
}

/** Where an order gets chunks that are not in memory. */
export interface ChunkSource {
  /** The next chunks of a lane; fewer than `limit` when there are no more. */
  window(lane: number, after: number, limit: number): Chunk[]
  chunk(lane: number, id: number): Chunk | undefined
}
