import {
  logPosition,
  type LogRecord,
  logTrimmed,
  partitionNotFound,
  type ReadResult,
  type ResolvedRead,
  streamNotFound,
} from 'buzzer/transport'
import { rowsOf, type SqlHandle } from '../sql-handle.ts'
import { sqlStateOf } from '../sql-state.ts'
import { bytesOf, decodeRecords } from './chunk-codec.ts'
import type { Streams } from './streams.ts'

/** The first row of an answer has the first three; the others the rest. */
interface ReadRow {
  readonly first: number | null
  readonly end: number
  readonly start: number
  readonly position: number
  readonly time: number
  readonly body: Buffer
}

/** A segment was dropped between finding and reading it. */
const undefinedTable = '42P01'
const triesOfDrop = 5

/** Reads of a log: each is one statement and sees one moment of it; it waits for nobody. */
export class LogReader {
  readonly #handle: SqlHandle
  readonly #schema: string
  readonly #streams: Streams

  /** `schema`: quoted. */
  constructor(handle: SqlHandle, schema: string, streams: Streams) {
    this.#handle = handle
    this.#schema = schema
    this.#streams = streams
  }

  /** Reads from `from`, whatever the request says of it. @throws as `EventLog.read` */
  async read(request: ResolvedRead, from: ResolvedRead['from']): Promise<ReadResult> {
    const { stream, partition } = request
    const [header, ...chunks] = await this.#rows(request, from)
    if (header === undefined) {
      await this.#streams.refresh(this.#handle, [stream])
      const known = this.#streams.known(stream)
      throw known === undefined
        ? streamNotFound(stream)
        : partitionNotFound(stream, partition, known.options.partitions)
    }
    const { first, end, start } = header
    if (first !== null && start < first) throw logTrimmed(stream, partition, start, first)
    if (start > end) throw logPosition(stream, partition, start, end)
    const records = take(chunks, start, request)
    return { records, next: (records.at(-1)?.position ?? start - 1) + 1, first: first ?? end, end }
  }

  async #rows(request: ResolvedRead, from: ResolvedRead['from']): Promise<readonly ReadRow[]> {
    const { stream, partition, maxRecords, maxBytes } = request
    // What no stream can be called is called by none; PostgreSQL would refuse to look.
    if (stream.includes('\0') || !stream.isWellFormed() || partition > 2 ** 31 - 1) return []
    const kind = typeof from === 'number' ? 'position' : typeof from === 'string' ? from : 'time'
    // Times have no fractions in the log: a record at or after 1.5 is one at or after 2.
    const place =
      typeof from === 'number' ? from : typeof from === 'string' ? 0 : Math.ceil(Math.min(from.time, 2 ** 53))
    for (let tries = 1; ; tries++) {
      try {
        return await rowsOf<ReadRow>(
          this.#handle,
          `select * from ${this.#schema}.log_read($1::text, $2::integer, $3::text, $4::bigint, $5::integer, $6::bigint)`,
          [stream, partition, kind, place, maxRecords, maxBytes],
        )
      } catch (error) {
        if (sqlStateOf(error) !== undefinedTable || tries === triesOfDrop) throw error
      }
    }
  }
}

/** Records from `start` on within the limits; the first passes whatever its size. */
function take(chunks: readonly ReadRow[], start: number, { maxRecords, maxBytes }: ResolvedRead): readonly LogRecord[] {
  const records: LogRecord[] = []
  let bytes = 0
  for (const { position: first, time, body } of chunks) {
    let position = first
    for (const record of decodeRecords(body)) {
      const at = position++
      if (at < start) continue
      bytes += bytesOf(record)
      if (records.length >= maxRecords || (records.length > 0 && bytes > maxBytes)) return records
      records.push({ ...record, position: at, time })
    }
  }
  return records
}
