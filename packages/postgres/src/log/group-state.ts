import { createHash } from 'node:crypto'
import type { LogState, PlannedBatch, RecordPlace, StreamOptions } from 'buzzer/transport'
import type { CallBatch } from './append-call.ts'
import type { KnownStream } from './streams.ts'

/** A partition whose row is locked. */
export interface LockedPartition {
  readonly stream: number
  readonly partition: number
  readonly version: number
  readonly segment: number
  /** The position that the next record gets. */
  end: number
  /** Bytes of all records there ever were. */
  total: number
  lastTime: number
  readonly first: number
}

export interface KnownProducer {
  readonly epoch: number
  lastSequence: number
  /** Batches stored so far, for the memory of the newest thousand. */
  batches: number
}

/** A row to be written. */
export interface ChunkRow {
  readonly stream: number
  readonly segment: number
  readonly partition: number
  readonly position: number
  readonly records: number
  readonly time: number
  readonly before: number
  readonly bytes: number
  readonly body: Buffer
}

/**
 * What is in the log as one transaction sees it, with what it has taken up so far. Everything it tells stays true until the
 * commit, for the rows it comes from are locked.
 */
export class GroupState implements LogState {
  readonly #streams: ReadonlyMap<string, KnownStream>
  readonly #partitions: ReadonlyMap<string, LockedPartition>
  readonly #now: number
  /** The last position of a key, by `keyName`; only those asked for were read. */
  readonly lastOfKey: Map<string, number> = new Map()
  /** By `seenName`. */
  readonly places: Map<string, RecordPlace> = new Map()
  /** By `producerName`. */
  readonly producers: Map<string, KnownProducer> = new Map()
  /** By `producedName`. */
  readonly produceds: Map<string, RecordPlace> = new Map()

  readonly chunks: ChunkRow[] = []
  readonly newKeys: Map<string, { stream: number; partition: number; key: string; position: number }> = new Map()
  readonly newSeen: { stream: number; key: string; place: RecordPlace }[] = []
  readonly newProduced: { stream: number; name: string; sequence: number; batch: number; place: RecordPlace }[] = []
  readonly changedProducers: Map<string, { stream: number; name: string; producer: KnownProducer }> = new Map()

  constructor(
    streams: ReadonlyMap<string, KnownStream>,
    partitions: ReadonlyMap<string, LockedPartition>,
    now: number,
  ) {
    this.#streams = streams
    this.#partitions = partitions
    this.#now = now
  }

  get now(): number {
    return this.#now
  }

  options(stream: string): StreamOptions | undefined {
    return this.#streams.get(stream)?.options
  }

  end(stream: string, partition: number): number {
    return this.#locked(stream, partition).end
  }

  lastOf(stream: string, partition: number, key: string): number | undefined {
    const position = this.lastOfKey.get(keyName(this.#id(stream), partition, key))
    return position !== undefined && position >= this.#locked(stream, partition).first ? position : undefined
  }

  seen(stream: string, deduplicationKey: string): RecordPlace | undefined {
    return this.places.get(seenName(this.#id(stream), deduplicationKey))
  }

  producer(stream: string, name: string): KnownProducer | undefined {
    return this.producers.get(producerName(this.#id(stream), name))
  }

  produced(stream: string, name: string, sequence: number): RecordPlace | undefined {
    return this.produceds.get(producedName(this.#id(stream), name, sequence))
  }

  /** Batches without keys are given their partition before (`toPlannable`). */
  turn(): number {
    return 0
  }

  /** Takes up a batch that may be stored: it is part of what later batches see. Answers where it lies. */
  store(batch: CallBatch, planned: Extract<PlannedBatch, { as: 'store' }>): RecordPlace {
    const stream = this.#streams.get(batch.stream) as KnownStream
    const locked = this.#locked(batch.stream, planned.partition)
    const { partition, position } = planned
    const time = Math.max(this.#now, locked.lastTime)
    locked.lastTime = time
    for (const { records, bytes, body } of batch.chunks) {
      const { segment, end, total } = locked
      this.chunks.push({
        stream: stream.id,
        segment,
        partition,
        position: end,
        records,
        time,
        before: total,
        bytes,
        body,
      })
      locked.end += records
      locked.total += bytes
    }
    if (stream.options.keyIndex) {
      for (const [index, key] of batch.keys.entries()) {
        if (key === undefined) continue
        const name = keyName(stream.id, partition, key)
        this.lastOfKey.set(name, position + index)
        this.newKeys.set(name, { stream: stream.id, partition, key, position: position + index })
      }
    }
    const place = { partition, position, time }
    if (batch.deduplicationKey !== undefined) {
      this.places.set(seenName(stream.id, batch.deduplicationKey), place)
      this.newSeen.push({ stream: stream.id, key: batch.deduplicationKey, place })
    }
    if (batch.producer !== undefined) this.#note(stream.id, batch.producer.name, batch.producer.sequence, place)
    return place
  }

  #note(stream: number, name: string, sequence: number, place: RecordPlace): void {
    const known = this.producers.get(producerName(stream, name)) as KnownProducer
    known.lastSequence = sequence
    known.batches++
    this.produceds.set(producedName(stream, name, sequence), place)
    this.newProduced.push({ stream, name, sequence, batch: known.batches, place })
    this.changedProducers.set(producerName(stream, name), { stream, name, producer: known })
  }

  #id(stream: string): number {
    return (this.#streams.get(stream) as KnownStream).id
  }

  #locked(stream: string, partition: number): LockedPartition {
    return this.#partitions.get(partitionName(this.#id(stream), partition)) as LockedPartition
  }
}

export function partitionName(stream: number, partition: number): string {
  return `${stream}/${partition}`
}

export function keyName(stream: number, partition: number, key: string): string {
  return `${stream}/${partition}/${keyHash(key)}`
}

export function seenName(stream: number, key: string): string {
  return `${stream}/${key}`
}

export function producerName(stream: number, name: string): string {
  return `${stream}/${name}`
}

export function producedName(stream: number, name: string, sequence: number): string {
  return `${stream}/${sequence}/${name}`
}

/** Keys may be of any length and hold NUL; the index has their hashes, in hexadecimal digits. */
export function keyHash(key: string): string {
  return createHash('sha256').update(key).digest('hex')
}

/** Names of producers as the bytes that stand for them, in hexadecimal digits. */
export function nameBytes(name: string): string {
  return Buffer.from(name).toString('hex')
}
