import { crc32 } from 'node:zlib'
import { ByteWriter, recordExpiresAt, recordKeyRange, recordPriority } from '../protocol/index.ts'
import { writeBodies } from '../storage/chunk-format.ts'
import { Chunk } from './chunk.ts'
import { packKey } from '../storage/message-key.ts'
import type { Queue } from './queue.ts'

const maxMessages = 1_024
const maxBytes = 1024 * 1024

/** Gathers the messages that one lane of a queue gets in one commit. */
export class ChunkBuilder {
  readonly queue: Queue
  readonly #lane: number
  readonly #records = new ByteWriter(1024)
  #ends: number[] = []
  #crcs: number[] = []
  #keys: number[] | undefined
  #expires = Number.POSITIVE_INFINITY

  constructor(queue: Queue, lane: number, keyed: boolean) {
    this.queue = queue
    this.#lane = lane
    this.#keys = keyed ? [] : undefined
  }

  get count(): number {
    return this.#ends.length
  }

  /** Whether the next message belongs in a new chunk. */
  get full(): boolean {
    return this.#ends.length >= maxMessages || this.#records.length >= maxBytes
  }

  add(bytes: Buffer, start: number, end: number): void {
    this.#records.slice(bytes, start, end)
    this.#ends.push(this.#records.length)
    // A plain view: `subarray` of a buffer costs twice as much, and one is needed for each message.
    this.#crcs.push(crc32(new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start)))
    const expiresAt = recordExpiresAt(bytes, start)
    if (expiresAt !== undefined && expiresAt < this.#expires) this.#expires = expiresAt
    if (this.#keys !== undefined) {
      const { keyStart, keyEnd, hasKey } = recordKeyRange(bytes, start)
      this.#keys.push(packKey(bytes, keyStart, keyEnd, hasKey, recordPriority(bytes, start)))
    }
  }

  /** The chunk of what was gathered, its first message numbered `id`; the builder is empty again. */
  take(id: number, now: number): Chunk {
    const count = this.#ends.length
    const records = this.#records.peek()
    const expires = Math.min(this.#expires, now + this.queue.settings.ttlMs)
    const chunk = new Chunk(
      this.queue.id,
      {
        id,
        lane: this.#lane,
        count,
        bytes: records.length,
        enqueuedAt: now,
        expires: Number.isFinite(expires) ? expires : null,
        marks: new Uint32Array(count),
        keys: this.#keys === undefined ? undefined : Float64Array.from(this.#keys),
      },
      false,
    )
    chunk.setBodies(writeBodies(records, this.#ends, this.#crcs, count))
    chunk.verified = true
    this.#records.rewind(0)
    this.#ends = []
    this.#crcs = []
    if (this.#keys !== undefined) this.#keys = []
    this.#expires = Number.POSITIVE_INFINITY
    return chunk
  }
}
