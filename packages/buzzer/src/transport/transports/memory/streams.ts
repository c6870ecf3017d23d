import { BuzzerError } from '../../../message/index.ts'
import type {
  AppendBatch,
  AppendRecord,
  Appended,
  LogDescription,
  LogRecord,
  OpenedProducer,
  ReadResult,
  StreamTopology,
} from '../../event-log.ts'
import {
  type LogState,
  type PlannableBatch,
  type PlannedBatch,
  planAppend,
  type RecordPlace,
} from '../../log/append-plan.ts'
import { checkTrim, type ResolvedRead } from '../../log/check-read.ts'
import { logPosition, logTrimmed, partitionNotFound, streamNotFound } from '../../log/log-errors.ts'
import { checkAlteration, checkPartitions, checkStreamTopology, mergeStreamOptions } from '../../log/stream-options.ts'
import { bytesOf, type MemoryPartition, MemoryStream } from './stream.ts'
import { type Timer, Timers } from './timers.ts'

/** A read that waits: told when its partition has grown, or its stream is gone. */
export interface Waiter {
  readonly partition: MemoryPartition
  wake(error?: BuzzerError): void
}

/** What the streams need of the broker they live in. */
export interface StreamsHost {
  readonly wall: Timers
  readonly maxBytes: number
}

/** The streams of a memory broker. Every call runs in one turn of the event loop, so each is one step. */
export class MemoryStreams implements LogState {
  readonly #host: StreamsHost
  readonly #streams = new Map<string, MemoryStream>()
  readonly #waiters = new Set<Waiter>()
  #bytes = 0
  #retention: Timer | undefined

  constructor(host: StreamsHost) {
    this.#host = host
  }

  declare(topologies: readonly StreamTopology[]): void {
    const wanted = new Map<string, MemoryStream['given']>()
    for (const topology of topologies) {
      checkStreamTopology(topology)
      const { name, ...given } = topology
      const known = wanted.get(name) ?? this.#streams.get(name)?.given
      wanted.set(name, known === undefined ? given : mergeStreamOptions(name, known, given))
    }
    for (const [name, given] of wanted) this.#configure(name, given)
  }

  #configure(name: string, given: MemoryStream['given']): void {
    const known = this.#streams.get(name)
    if (known === undefined) this.#streams.set(name, new MemoryStream(name, given))
    else known.configure(given)
    this.#forget()
  }

  // What a plan asks for.

  options(stream: string): MemoryStream['options'] | undefined {
    return this.#streams.get(stream)?.options
  }

  end(stream: string, partition: number): number {
    return this.partition(stream, partition).end
  }

  lastOf(stream: string, partition: number, key: string): number | undefined {
    return this.partition(stream, partition).lastOf(key)
  }

  seen(stream: string, deduplicationKey: string): RecordPlace | undefined {
    const { seen, options } = this.stream(stream)
    return seen.find(deduplicationKey, options.deduplicationWindowMs, this.#host.wall.now())
  }

  producer(stream: string, name: string): { readonly epoch: number; readonly lastSequence: number } | undefined {
    return this.stream(stream).producers.get(name)
  }

  produced(stream: string, name: string, sequence: number): RecordPlace | undefined {
    return this.stream(stream).producers.get(name)?.places.get(sequence)
  }

  turn(stream: string, partitions: number): number {
    const known = this.stream(stream)
    const turn = known.turn % partitions
    known.turn = turn + 1
    return turn
  }

  // Appending.

  /** @throws as `planAppend`, and BUZZER_BROKER_FULL */
  plan(batches: readonly AppendBatch[]): readonly PlannedBatch[] {
    const bytes = batches.reduce((sum, { records }) => sum + records.reduce((all, one) => all + bytesOf(one), 0), 0)
    const limit = this.#host.maxBytes
    if (this.#bytes + bytes > limit) {
      throw new BuzzerError(
        'BUZZER_BROKER_FULL',
        `the memory log holds ${this.#bytes} bytes; ${bytes} more would pass maxBytes ${limit}. Trim it, or let less be retained`,
        { details: { limit, size: this.#bytes, bytes } },
      )
    }
    return planAppend(this, batches.map(plannable))
  }

  /** Stores what `plan` accepted in this same turn. Never fails. */
  apply(batches: readonly AppendBatch[], plan: readonly PlannedBatch[]): readonly Appended[] {
    const now = this.#host.wall.now()
    const answers: Appended[] = []
    const grown = new Set<MemoryPartition>()
    for (const [index, planned] of plan.entries()) {
      const batch = batches[index] as AppendBatch
      if (planned.as === 'duplicate') {
        const earlier = planned.duplicateOf === undefined ? undefined : answers[planned.duplicateOf]
        const place = earlier?.as === 'stored' ? placeOf(earlier) : planned.place
        answers.push({ as: 'duplicate', ...place })
        continue
      }
      const stream = this.stream(batch.stream)
      const partition = this.partition(batch.stream, planned.partition)
      const sizes = batch.records.map(bytesOf)
      const time = partition.append(batch.records.map(copied), sizes, now)
      for (const size of sizes) this.#bytes += size
      const place = { partition: planned.partition, position: planned.position, time }
      const { producer, deduplicationKey } = batch
      const known = producer && stream.producers.get(producer.name)
      if (producer !== undefined && known !== undefined) stream.note(known, producer.sequence, place)
      if (deduplicationKey !== undefined) stream.seen.note(deduplicationKey, place, now)
      grown.add(partition)
      answers.push({ as: 'stored', ...place })
    }
    for (const partition of grown) partition.seal()
    this.#forget()
    for (const waiter of this.#waiters) if (grown.has(waiter.partition)) waiter.wake()
    return answers
  }

  openProducer(stream: string, name: string): OpenedProducer {
    const { producers } = this.stream(stream)
    const known = producers.get(name)
    if (known === undefined) {
      producers.set(name, { epoch: 1, lastSequence: 0, places: new Map() })
      return { epoch: 1, lastSequence: 0 }
    }
    known.epoch++
    return { epoch: known.epoch, lastSequence: known.lastSequence }
  }

  // Reading.

  /** Where a read begins, as a position. @throws BUZZER_LOG_TRIMMED, BUZZER_LOG_POSITION */
  resolve({ stream, partition: number, from }: ResolvedRead): number {
    const partition = this.partition(stream, number)
    const { first, end } = partition
    if (from === 'start') return first
    if (from === 'end') return end
    if (typeof from === 'object') return partition.positionOf(from.time)
    if (from < first) throw logTrimmed(stream, number, from, first)
    if (from > end) throw logPosition(stream, number, from, end)
    return from
  }

  /** @throws BUZZER_LOG_TRIMMED when the position went meanwhile */
  read(request: ResolvedRead, position: number): ReadResult {
    const { stream, partition: number, maxRecords, maxBytes } = request
    const partition = this.partition(stream, number)
    const { first, end } = partition
    if (position < first) throw logTrimmed(stream, number, position, first)
    const records: readonly LogRecord[] = partition.read(position, maxRecords, maxBytes)
    return { records, next: (records.at(-1)?.position ?? position - 1) + 1, first, end }
  }

  wait(waiter: Waiter): void {
    this.#waiters.add(waiter)
  }

  /** Idempotent. */
  endWait(waiter: Waiter): void {
    this.#waiters.delete(waiter)
  }

  // Administration.

  describe(name: string | undefined): LogDescription {
    const streams = name === undefined ? [...this.#streams.values()] : [this.stream(name)]
    return {
      streams: streams
        .toSorted((left, right) => (left.name < right.name ? -1 : 1))
        .map(({ name: streamName, options, partitions }) => ({
          name: streamName,
          options,
          partitions: partitions.map(partition => partition.describe()),
        })),
    }
  }

  trim(stream: string, number: number, before: number): { readonly first: number } {
    const partition = this.partition(stream, number)
    checkTrim(before)
    if (before > partition.end) throw logPosition(stream, number, before, partition.end)
    this.#bytes -= partition.drop(({ last }) => last < before)
    return { first: partition.first }
  }

  addPartitions(name: string, partitions: number): void {
    const stream = this.stream(name)
    checkPartitions(partitions)
    const present = stream.options.partitions
    if (partitions <= present) {
      throw new BuzzerError(
        'BUZZER_INVALID_OPTION',
        `stream ${name} has ${present} partitions; they can only be added, not become ${partitions}`,
        { details: { option: 'partitions', value: partitions, stream: name, partitions: present } },
      )
    }
    stream.configure({ ...stream.given, partitions })
  }

  alter(name: string, options: Pick<StreamTopology, 'deduplicationWindowMs' | 'retention'>): void {
    const stream = this.stream(name)
    checkAlteration(options)
    this.#configure(name, mergeStreamOptions(name, stream.given, options, 'update'))
  }

  deleteStream(name: string): void {
    const { partitions } = this.stream(name)
    this.#streams.delete(name)
    for (const { bytes } of partitions) this.#bytes -= bytes
    for (const waiter of this.#waiters) if (partitions.includes(waiter.partition)) waiter.wake(streamNotFound(name))
  }

  /** @throws BUZZER_STREAM_NOT_FOUND */
  stream(name: string): MemoryStream {
    const stream = this.#streams.get(name)
    if (stream === undefined) throw streamNotFound(name)
    return stream
  }

  /** @throws BUZZER_STREAM_NOT_FOUND, BUZZER_INVALID_OPTION */
  partition(name: string, number: number): MemoryPartition {
    const { partitions } = this.stream(name)
    const partition = partitions[number]
    if (partition === undefined) throw partitionNotFound(name, number, partitions.length)
    return partition
  }

  /** Drops what retention lets go, and comes back when the next chunk is due by age. */
  #forget(): void {
    const now = this.#host.wall.now()
    let next = Number.POSITIVE_INFINITY
    for (const { options, partitions } of this.#streams.values()) {
      const { maxAgeMs, maxBytes } = options.retention
      for (const partition of partitions) {
        let left = partition.bytes
        this.#bytes -= partition.drop(({ time, bytes }) => {
          if (time + maxAgeMs > now && left - bytes < maxBytes) return false
          left -= bytes
          return true
        })
        next = Math.min(next, (partition.oldestTime() ?? Number.POSITIVE_INFINITY) + maxAgeMs)
      }
    }
    if (this.#retention !== undefined && this.#retention.rank === next && this.#retention.position >= 0) return
    Timers.cancel(this.#retention)
    this.#retention = Number.isFinite(next) ? this.#host.wall.set(next, () => this.#forget()) : undefined
  }
}

function placeOf({ partition, position, time }: RecordPlace): RecordPlace {
  return { partition, position, time }
}

function plannable({ stream, partition, expect, producer, deduplicationKey, records }: AppendBatch): PlannableBatch {
  return {
    stream,
    partition,
    expect,
    producer,
    deduplicationKey,
    count: records.length,
    key: index => records[index]?.key,
  }
}

/** The log's own: what the caller does with its objects afterwards changes no record. */
function copied({ key, value, headers = [] }: AppendRecord): Omit<LogRecord, 'position' | 'time'> {
  return {
    ...(key === undefined ? {} : { key }),
    value: value === null ? null : Uint8Array.from(value),
    headers: headers.map(([name, content]) => [name, Uint8Array.from(content)] as const),
  }
}
