import { crc32 } from 'node:zlib'
import { type GivenStreamOptions, resolveStreamOptions, type StreamOptions } from '../../transport/index.ts'
import { ByteWriter, logRecordKey, setLogRecordTime } from '../protocol/index.ts'
import { writeBodies } from '../storage/chunk-format.ts'
import type { ChunkPlace, PartitionRow } from '../storage/log-store.ts'

/** Limits of one chunk. Source: spec streams 10. */
const chunkRecords = 1_000
const chunkBytes = 256 * 1024

/** A stream as the engine knows it. */
export class LogStream {
  readonly id: number
  readonly name: string
  /** What was declared: what nobody gave is absent. */
  given: GivenStreamOptions
  options: StreamOptions
  readonly partitions: LogPartition[] = []
  /** Whose turn it is for a batch without keys. */
  turn = 0
  /** Deduplication keys may lie in the file. */
  hasSeen = true
  /** Producers whose places grew in this commit. */
  readonly produced: Set<string> = new Set()

  constructor(id: number, name: string, given: GivenStreamOptions) {
    this.id = id
    this.name = name
    this.given = given
    this.options = resolveStreamOptions(given)
  }

  configure(given: GivenStreamOptions): void {
    this.given = given
    this.options = resolveStreamOptions(given)
  }
}

/** A partition as the engine knows it, and what it gets in the commit of the moment. */
export class LogPartition {
  readonly stream: LogStream
  readonly partition: number
  /** The first kept position. */
  first: number
  /** The position that the next record gets, those of this commit counted. */
  next: number
  lastTime: number
  /** Of kept records, those of this commit not counted. */
  bytes: number
  /** Time of the oldest chunk; `Infinity` while that is the newest, too; undefined while nobody has looked. */
  oldestTime: number | undefined
  readonly #records = new ByteWriter(1_024)
  readonly #ends: number[] = []

  constructor(stream: LogStream, { partition, first, next, lastTime, bytes }: Omit<PartitionRow, 'stream'>) {
    this.stream = stream
    this.partition = partition
    this.first = first
    this.next = next
    this.lastTime = lastTime
    this.bytes = bytes
  }

  get row(): PartitionRow {
    const { stream, partition, first, next, lastTime, bytes } = this
    return { stream: stream.id, partition, first, next, lastTime, bytes }
  }

  /** Takes the records that lie in `source` between `bounds`. Answers their time, which never goes back. */
  add(source: Buffer, bounds: readonly number[], now: number): number {
    const time = Math.max(now, this.lastTime)
    this.lastTime = time
    for (let at = 0; at < bounds.length; at += 2) {
      const start = bounds[at] as number
      setLogRecordTime(source, start, time)
      this.#records.slice(source, start, bounds[at + 1] as number)
      this.#ends.push(this.#records.length)
    }
    this.next += bounds.length / 2
    return time
  }

  /** What this commit brought, in chunks; forgotten afterwards. */
  *takeChunks(): Generator<{ readonly place: ChunkPlace; readonly bodies: Buffer }> {
    const count = this.#ends.length
    if (count === 0) return
    const records = this.#records.peek()
    let position = this.next - count
    for (let index = 0; index < count; ) {
      const start = index === 0 ? 0 : (this.#ends[index - 1] as number)
      const ends: number[] = []
      const crcs: number[] = []
      let from = start
      for (; index < count && ends.length < chunkRecords; index++) {
        const end = this.#ends[index] as number
        if (ends.length > 0 && end - start > chunkBytes) break
        ends.push(end - start)
        crcs.push(crc32(records.subarray(from, end)))
        from = end
      }
      const bytes = from - start
      const last = position + ends.length - 1
      this.bytes += bytes
      yield {
        place: { first: position, last, lastTime: this.lastTime, bytes },
        bodies: writeBodies(records.subarray(start, from), ends, crcs, ends.length),
      }
      position = last + 1
    }
    this.#records.rewind(0)
    this.#ends.length = 0
  }
}

/** The key of the record at `bounds[2 * index]`. */
export function keyOf(source: Buffer, bounds: readonly number[], index: number): string | undefined {
  return logRecordKey(source, bounds[2 * index] as number)
}
