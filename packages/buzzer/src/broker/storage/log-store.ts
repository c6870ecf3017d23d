import type { DatabaseSync } from 'node:sqlite'
import { type Statement, prepare } from './statement.ts'

export interface StreamRow {
  readonly id: number
  readonly name: string
  /** JSON of what was declared; `null` in it stands for `Infinity`. */
  readonly options: string
}

export interface PartitionRow {
  readonly stream: number
  readonly partition: number
  readonly first: number
  readonly next: number
  readonly lastTime: number
  readonly bytes: number
}

/** A chunk but for its records. */
export interface ChunkPlace {
  readonly first: number
  readonly last: number
  readonly lastTime: number
  readonly bytes: number
}

export interface StoredChunk {
  readonly id: number
  readonly first: number
  readonly last: number
  readonly bodies: Buffer
}

/** Streams, partitions and chunks as rows. Every call is one statement; the caller owns the transaction. */
export class LogStore {
  readonly #streams: Statement<readonly [number, string, string]>
  readonly #insertStream: Statement
  readonly #updateStream: Statement
  readonly #deleteStream: Statement
  readonly #partitions: Statement<readonly [number, number, number, number, number, number]>
  readonly #putPartition: Statement
  readonly #deletePartition: Statement
  readonly #insertChunk: Statement
  readonly #deleteChunk: Statement
  readonly #placeAt: Statement<readonly [number, number, number, number]>
  readonly #placeFrom: Statement<readonly [number, number, number, number]>
  readonly #bytesBelow: Statement<readonly [number | null]>
  readonly #chunkAt: Statement<readonly [number, number, number, Uint8Array]>
  readonly #chunksBelow: Statement<readonly [number, number, number, Uint8Array]>
  readonly #meta: Statement<readonly [number]>
  readonly #setMeta: Statement

  constructor(db: DatabaseSync) {
    const place = 'select first, last, last_time, bytes from log_chunk where stream = ? and partition = ?'
    const chunk = 'select id, first, last, bodies from log_chunk where stream = ? and partition = ?'
    this.#streams = prepare(db, 'select id, name, options from stream order by id')
    this.#insertStream = prepare(
      db,
      'insert into stream (id, name, options, crc) values (?1, ?2, ?3, definition_crc(?1, ?2, ?3))',
    )
    this.#updateStream = prepare(db, 'update stream set options = ?1, crc = definition_crc(id, name, ?1) where id = ?2')
    this.#deleteStream = prepare(db, 'delete from stream where id = ?')
    this.#partitions = prepare(
      db,
      'select stream, partition, first, next, last_time, bytes from log_partition order by stream, partition',
    )
    this.#putPartition = prepare(
      db,
      'insert or replace into log_partition (stream, partition, first, next, last_time, bytes) values (?, ?, ?, ?, ?, ?)',
    )
    this.#deletePartition = prepare(db, 'delete from log_partition where stream = ? and partition = ?')
    this.#insertChunk = prepare(
      db,
      'insert into log_chunk (stream, partition, first, last, first_time, last_time, bytes, bodies) values (?, ?, ?, ?, ?, ?, ?, ?)',
    )
    this.#deleteChunk = prepare(db, 'delete from log_chunk where id = ?')
    this.#placeAt = prepare(db, `${place} and first <= ? order by first desc limit 1`)
    this.#placeFrom = prepare(db, `${place} and first >= ? order by first limit 1`)
    this.#bytesBelow = prepare(
      db,
      'select sum(bytes) from log_chunk where stream = ? and partition = ? and first >= ? and first < ?',
    )
    this.#chunkAt = prepare(db, `${chunk} and first = ?`)
    this.#chunksBelow = prepare(db, `${chunk} and first < ? order by first limit ?`)
    this.#meta = prepare(db, 'select value from meta where name = ?')
    this.#setMeta = prepare(db, 'insert or replace into meta (name, value) values (?, ?)')
  }

  streams(): StreamRow[] {
    return this.#streams.all().map(([id, name, options]) => ({ id, name, options }))
  }

  /** Ids are never used twice: chunks of a stream that is gone may still wait to be swept. */
  insertStream(name: string, options: string): number {
    const id = this.#meta.first('next_stream')?.[0] ?? 1
    this.#setMeta.run('next_stream', id + 1)
    this.#insertStream.run(id, name, options)
    return id
  }

  updateStream(id: number, options: string): void {
    this.#updateStream.run(options, id)
  }

  /** The stream's partitions and chunks stay, to be swept. */
  deleteStream(id: number): void {
    this.#deleteStream.run(id)
  }

  partitions(): PartitionRow[] {
    return this.#partitions
      .all()
      .map(([stream, partition, first, next, lastTime, bytes]) => ({ stream, partition, first, next, lastTime, bytes }))
  }

  putPartition({ stream, partition, first, next, lastTime, bytes }: PartitionRow): void {
    this.#putPartition.run(stream, partition, first, next, lastTime, bytes)
  }

  deletePartition(stream: number, partition: number): void {
    this.#deletePartition.run(stream, partition)
  }

  insertChunk(stream: number, partition: number, { first, last, lastTime, bytes }: ChunkPlace, bodies: Buffer): void {
    this.#insertChunk.run(stream, partition, first, last, lastTime, lastTime, bytes, bodies)
  }

  deleteChunk(id: number): void {
    this.#deleteChunk.run(id)
  }

  /** The last chunk that begins at or before `position`. */
  placeAt(stream: number, partition: number, position: number): ChunkPlace | undefined {
    return toPlace(this.#placeAt.first(stream, partition, position))
  }

  /** The first chunk that begins at or behind `position`. */
  placeFrom(stream: number, partition: number, position: number): ChunkPlace | undefined {
    return toPlace(this.#placeFrom.first(stream, partition, position))
  }

  /** Bytes of the chunks that begin at `from` or behind, and before `to`. */
  bytesBetween(stream: number, partition: number, from: number, to: number): number {
    return this.#bytesBelow.first(stream, partition, from, to)?.[0] ?? 0
  }

  /** The chunk that begins at `first`. */
  chunk(stream: number, partition: number, first: number): StoredChunk | undefined {
    const row = this.#chunkAt.first(stream, partition, first)
    return row === undefined ? undefined : toChunk(row)
  }

  chunksBelow(stream: number, partition: number, position: number, limit: number): StoredChunk[] {
    return this.#chunksBelow.all(stream, partition, position, limit).map(toChunk)
  }
}

function toPlace(row: readonly [number, number, number, number] | undefined): ChunkPlace | undefined {
  if (row === undefined) return undefined
  const [first, last, lastTime, bytes] = row
  return { first, last, lastTime, bytes }
}

function toChunk([id, first, last, bodies]: readonly [number, number, number, Uint8Array]): StoredChunk {
  return { id, first, last, bodies: Buffer.from(bodies.buffer, bodies.byteOffset, bodies.byteLength) }
}
