import type { ChunkRow } from '../storage/chunk-store.ts'
import { type ChunkLayout, mark, readLayout } from '../storage/chunk-format.ts'

/** Messages that one queue got in one commit, as the engine knows them. Message `index` has sequence `id + index`. */
export class Chunk {
  readonly queue: number
  readonly lane: number
  readonly id: number
  readonly count: number
  readonly marks: Uint32Array
  readonly enqueuedAt: number
  /** Of key-ordered queues: key and priority of each message, see storage/message-key.ts. */
  readonly keys: Float64Array | undefined
  /** Messages that are not gone. */
  live = 0
  /** Their bytes. */
  bytes: number
  /** The earliest moment at which one of them may expire; `Infinity` when none can. */
  expires: number
  /** Deliveries of this engine. */
  open = 0
  /** First message that was never handed out; ordered and unordered lanes read on from here. */
  cursor = 0
  /** In memory for a while only. */
  bodies: Buffer | undefined
  layout: ChunkLayout | undefined
  /** Whether the bytes were checked, or never left this process. */
  verified = false
  /** Whether the rows exist. */
  stored: boolean
  dirty = false

  constructor(queue: number, row: ChunkRow, stored: boolean) {
    this.queue = queue
    this.lane = row.lane
    this.id = row.id
    this.count = row.count
    this.marks = row.marks
    this.enqueuedAt = row.enqueuedAt
    this.keys = row.keys
    this.bytes = row.bytes
    this.expires = row.expires ?? Number.POSITIVE_INFINITY
    this.stored = stored
    for (const word of row.marks) if ((word & mark.gone) === 0) this.live++
  }

  /** What is stored of it, but for the marks. */
  row(): Omit<ChunkRow, 'marks'> {
    const { id, lane, count, bytes, enqueuedAt, keys } = this
    return { id, lane, count, bytes, enqueuedAt, keys, expires: this.storedExpires() }
  }

  storedExpires(): number | null {
    return Number.isFinite(this.expires) ? this.expires : null
  }

  setBodies(bodies: Buffer): boolean {
    const layout = readLayout(bodies)
    if (layout === undefined || layout.count !== this.count) return false
    this.bodies = bodies
    this.layout = layout
    return true
  }

  dropBodies(): void {
    this.bodies = undefined
    this.layout = undefined
  }
}
