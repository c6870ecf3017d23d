import type { DatabaseSync } from 'node:sqlite'
import {
  type GivenStreamOptions,
  type LogState,
  partitionNotFound,
  type RecordPlace,
  type StreamOptions,
  streamNotFound,
} from '../../transport/index.ts'
import { ByteWriter, fromWireStream, toWireStream } from '../protocol/index.ts'
import { LogNoteStore } from '../storage/log-note-store.ts'
import { LogStore } from '../storage/log-store.ts'
import { seenHash } from '../storage/seen-store.ts'
import { LogPartition, LogStream } from './log-state.ts'
import type { Session } from './session.ts'

/** Answers to appends of one session that this commit must keep. */
interface KeptAnswers {
  readonly writer: ByteWriter
  last: number
}

/**
 * The event logs of the engine: streams and partitions in memory, records in the file. Positions are given as appends come
 * and become true with the commit; a rollback reads all of this from the file again. Source: spec broker 10.
 */
export class Logs implements LogState {
  readonly store: LogStore
  readonly notes: LogNoteStore
  readonly streams: Map<string, LogStream> = new Map()
  readonly streamsById: Map<number, LogStream> = new Map()
  /** Partitions whose rows, or records, this commit must write. */
  readonly dirty: Set<LogPartition> = new Set()
  /** Partitions that may hold chunks below their first position, or belong to no stream: `stream/partition`. */
  readonly rubbish: Map<string, { readonly stream: number; readonly partition: number }> = new Map()
  readonly #answers = new Map<Session, KeptAnswers>()
  /** Wall clock of the commit of the moment. */
  now = 0

  constructor(db: DatabaseSync) {
    this.store = new LogStore(db)
    this.notes = new LogNoteStore(db)
  }

  /** Reads streams and partitions; returns the bytes of all records. */
  reload(): number {
    const turns = new Map([...this.streams].map(([name, { turn }]) => [name, turn]))
    this.streams.clear()
    this.streamsById.clear()
    this.dirty.clear()
    this.rubbish.clear()
    this.#answers.clear()
    for (const { id, name, options } of this.store.streams()) {
      const stream = new LogStream(id, name, unpackOptions(options))
      stream.turn = turns.get(name) ?? 0
      this.add(stream)
    }
    let bytes = 0
    for (const row of this.store.partitions()) {
      const stream = this.streamsById.get(row.stream)
      this.rubbish.set(`${row.stream}/${row.partition}`, { stream: row.stream, partition: row.partition })
      if (stream === undefined) continue
      stream.partitions[row.partition] = new LogPartition(stream, row)
      bytes += row.bytes
    }
    return bytes
  }

  add(stream: LogStream): void {
    this.streams.set(stream.name, stream)
    this.streamsById.set(stream.id, stream)
  }

  remove(stream: LogStream): void {
    this.streams.delete(stream.name)
    this.streamsById.delete(stream.id)
  }

  /** @throws BUZZER_STREAM_NOT_FOUND */
  stream(name: string): LogStream {
    const stream = this.streams.get(name)
    if (stream === undefined) throw streamNotFound(name)
    return stream
  }

  /** @throws BUZZER_STREAM_NOT_FOUND, BUZZER_INVALID_OPTION */
  partition(name: string, number: number): LogPartition {
    const { partitions } = this.stream(name)
    const partition = partitions[number]
    if (partition === undefined) throw partitionNotFound(name, number, partitions.length)
    return partition
  }

  // What a plan asks for.

  options(stream: string): StreamOptions | undefined {
    return this.streams.get(stream)?.options
  }

  end(stream: string, partition: number): number {
    return this.partition(stream, partition).next
  }

  lastOf(stream: string, partition: number, key: string): number | undefined {
    const { first, stream: known } = this.partition(stream, partition)
    const last = this.notes.lastOf(known.id, partition, key)
    return last !== undefined && last >= first ? last : undefined
  }

  seen(stream: string, deduplicationKey: string): RecordPlace | undefined {
    const { id, options } = this.stream(stream)
    return this.notes.seen(id, hashOf(deduplicationKey), this.now - options.deduplicationWindowMs)
  }

  producer(stream: string, name: string): { readonly epoch: number; readonly lastSequence: number } | undefined {
    return this.notes.producer(this.stream(stream).id, name)
  }

  produced(stream: string, name: string, sequence: number): RecordPlace | undefined {
    return this.notes.produced(this.stream(stream).id, name, sequence)
  }

  turn(stream: string, partitions: number): number {
    const known = this.stream(stream)
    const turn = known.turn % partitions
    known.turn = turn + 1
    return turn
  }

  noteSeen(stream: LogStream, deduplicationKey: string, place: RecordPlace): void {
    this.notes.noteSeen(stream.id, hashOf(deduplicationKey), this.now, place)
  }

  /** Keeps an answer until its client says that it has it. */
  keepAnswer(session: Session, sequence: number, answer: Uint8Array): void {
    let kept = this.#answers.get(session)
    if (kept === undefined) {
      kept = { writer: new ByteWriter(256), last: 0 }
      this.#answers.set(session, kept)
    }
    kept.writer.f64(sequence)
    kept.writer.u32(answer.length)
    kept.writer.bytes(answer)
    kept.last = sequence
  }

  /** Whether this commit has something of the logs to write. */
  get hasChanges(): boolean {
    return this.dirty.size > 0 || this.#answers.size > 0
  }

  /** Writes what this commit brought; the caller has begun the transaction. Returns about how many bytes that were. */
  write(): number {
    let written = 0
    for (const partition of this.dirty) {
      const { stream } = partition
      for (const { place, bodies } of partition.takeChunks()) {
        this.store.insertChunk(stream.id, partition.partition, place, bodies)
        written += bodies.length + 512
      }
      for (const name of stream.produced) this.notes.dropProduced(stream.id, name)
      stream.produced.clear()
      this.store.putPartition(partition.row)
      if (partition.oldestTime === Number.POSITIVE_INFINITY) partition.oldestTime = undefined
    }
    this.dirty.clear()
    for (const [session, { writer, last }] of this.#answers) {
      const heard = Math.min(session.appendsHeard, last - 1)
      this.notes.dropAnswers(session.id, heard)
      const answers = writer.take()
      this.notes.noteAnswers(session.id, last, answers)
      written += answers.length
    }
    this.#answers.clear()
    return written
  }
}

function hashOf(deduplicationKey: string): Uint8Array {
  return seenHash(Buffer.from(deduplicationKey))
}

export function packOptions(given: GivenStreamOptions): string {
  return JSON.stringify(toWireStream(given))
}

function unpackOptions(text: string): GivenStreamOptions {
  return fromWireStream(JSON.parse(text) as ReturnType<typeof toWireStream<GivenStreamOptions>>)
}
