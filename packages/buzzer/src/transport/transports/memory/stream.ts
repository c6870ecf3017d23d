import { SeenBatches } from './seen-batches.ts'
import type { LogRecord, PartitionDescription } from '../../event-log.ts'
import type { RecordPlace } from '../../log/append-plan.ts'
import { type GivenStreamOptions, resolveStreamOptions } from '../../log/stream-options.ts'

/** Limits of one chunk, as in the embedded broker. */
const chunkRecords = 1_000
const chunkBytes = 256 * 1024
/** A producer's last places that are remembered. */
const placesKept = 1_000

interface Chunk {
  readonly first: number
  readonly time: number
  readonly records: LogRecord[]
  bytes: number
}

export interface Producer {
  epoch: number
  lastSequence: number
  readonly places: Map<number, RecordPlace>
}

/** A stream in memory: its options, its partitions, what it remembers of producers and deduplication keys. */
export class MemoryStream {
  readonly name: string
  given: GivenStreamOptions
  options: ReturnType<typeof resolveStreamOptions>
  readonly partitions: MemoryPartition[] = []
  readonly producers: Map<string, Producer> = new Map()
  readonly seen: SeenBatches = new SeenBatches()
  turn = 0

  constructor(name: string, given: GivenStreamOptions) {
    this.name = name
    this.given = given
    this.options = resolveStreamOptions(given)
    this.configure(given)
  }

  configure(given: GivenStreamOptions): void {
    this.given = given
    this.options = resolveStreamOptions(given)
    while (this.partitions.length < this.options.partitions) {
      this.partitions.push(new MemoryPartition(this.partitions.length, this.options.keyIndex))
    }
  }

  /** Remembers where a producer's batch went. */
  note(producer: Producer, sequence: number, place: RecordPlace): void {
    producer.lastSequence = sequence
    producer.places.set(sequence, place)
    if (producer.places.size <= placesKept) return
    const [oldest] = producer.places.keys()
    if (oldest !== undefined) producer.places.delete(oldest)
  }
}

/** The records of one partition, in chunks: what one call brings lies together and is forgotten together. */
export class MemoryPartition {
  readonly partition: number
  readonly #chunks: Chunk[] = []
  readonly #lastOfKey: Map<string, number> | undefined
  /** The chunk of the call of the moment. */
  #open: Chunk | undefined
  #end = 1
  #bytes = 0
  #lastTime = 0

  constructor(partition: number, keyIndex: boolean) {
    this.partition = partition
    this.#lastOfKey = keyIndex ? new Map() : undefined
  }

  get end(): number {
    return this.#end
  }

  get first(): number {
    return this.#chunks[0]?.first ?? this.#end
  }

  get bytes(): number {
    return this.#bytes
  }

  lastOf(key: string): number | undefined {
    return this.#lastOfKey?.get(key)
  }

  /** Appends the records of one batch; answers their time, which never goes back. */
  append(records: readonly Omit<LogRecord, 'position' | 'time'>[], sizes: readonly number[], now: number): number {
    const time = Math.max(now, this.#lastTime)
    this.#lastTime = time
    for (const [index, record] of records.entries()) {
      const size = sizes[index] as number
      let chunk = this.#open
      if (chunk === undefined || chunk.records.length >= chunkRecords || chunk.bytes + size > chunkBytes) {
        chunk = { first: this.#end, time, records: [], bytes: 0 }
        this.#chunks.push(chunk)
        this.#open = chunk
      }
      if (record.key !== undefined) this.#lastOfKey?.set(record.key, this.#end)
      chunk.records.push({ ...record, position: this.#end++, time })
      chunk.bytes += size
      this.#bytes += size
    }
    return time
  }

  /** The call is over: what comes next is another chunk. */
  seal(): void {
    this.#open = undefined
  }

  /** At most `maxRecords` records and `maxBytes` from `position` on; the first passes whatever its size. */
  read(position: number, maxRecords: number, maxBytes: number): LogRecord[] {
    const records: LogRecord[] = []
    let bytes = 0
    for (let index = this.#chunkAt(position); index < this.#chunks.length; index++) {
      const chunk = this.#chunks[index] as Chunk
      for (let at = Math.max(0, position - chunk.first); at < chunk.records.length; at++) {
        const record = chunk.records[at] as LogRecord
        bytes += bytesOf(record)
        if (records.length >= maxRecords || (records.length > 0 && bytes > maxBytes)) return records
        records.push(record)
      }
    }
    return records
  }

  /** The first position whose time is at or after `time`. */
  positionOf(time: number): number {
    let low = 0
    let high = this.#chunks.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#chunks[middle] as Chunk).time < time) low = middle + 1
      else high = middle
    }
    return this.#chunks[low]?.first ?? this.#end
  }

  /** When the oldest chunk may go by age; never the newest. */
  oldestTime(): number | undefined {
    return this.#chunks.length > 1 ? this.#chunks[0]?.time : undefined
  }

  /** Drops chunks from the oldest on for as long as `isOver` says so, never the newest. Answers the bytes that went. */
  drop(isOver: (chunk: { readonly time: number; readonly last: number; readonly bytes: number }) => boolean): number {
    let count = 0
    let freed = 0
    for (; count < this.#chunks.length - 1; count++) {
      const { first, time, bytes, records } = this.#chunks[count] as Chunk
      if (!isOver({ time, last: first + records.length - 1, bytes })) break
      freed += bytes
      this.#bytes -= bytes
      for (const { key, position } of records) {
        if (key !== undefined && this.#lastOfKey?.get(key) === position) this.#lastOfKey.delete(key)
      }
    }
    this.#chunks.splice(0, count)
    return freed
  }

  describe(): PartitionDescription {
    const oldest = this.#chunks[0]
    const newest = this.#chunks.at(-1)
    return {
      partition: this.partition,
      first: this.first,
      end: this.#end,
      bytes: this.#bytes,
      ...(oldest === undefined || newest === undefined ? {} : { firstTime: oldest.time, lastTime: newest.time }),
    }
  }

  /** Index of the chunk that holds `position`, or of the first behind it. */
  #chunkAt(position: number): number {
    let low = 0
    let high = this.#chunks.length
    while (low < high) {
      const middle = (low + high) >> 1
      const { first, records } = this.#chunks[middle] as Chunk
      if (first + records.length <= position) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Key, headers and value together. */
export function bytesOf({
  key,
  value,
  headers = [],
}: {
  key?: string
  value: LogRecord['value']
  headers?: LogRecord['headers']
}): number {
  let bytes = value?.byteLength ?? 0
  if (key !== undefined) bytes += Buffer.byteLength(key)
  for (const [name, content] of headers) bytes += Buffer.byteLength(name) + content.byteLength
  return bytes
}
