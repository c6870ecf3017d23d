/**
 * The items of frames that belong to event logs; they stand among those of client-frames.ts and engine-frames.ts.
 *
 * | from | kind | payload |
 * |---|---|---|
 * | client | 9 append | f64 sequence · f64 answeredThrough · u32 batches · batches |
 * | engine | 11 appended | f64 sequence · answer |
 * | engine | 12 records | f64 requestId · f64 next · f64 first · f64 end · u32 count · per record f64 position, u32 length, record |
 *
 * A batch is `string JSON BatchHead · u32 count · per record u32 length, record`. Appends of one session are numbered
 * from 1 without gaps, apart from sends, and are never reordered; one of no batches stands for one that was withdrawn.
 * An answer is `u8 0 · u32 count · per batch u8 as, u32 partition, f64 position, f64 time` (as: 1 stored, 2 duplicate,
 * 3 duplicate whose place is forgotten), or `u8 1 · string JSON WireError`.
 */
import type {
  AppendBatch,
  Appended,
  ExpectedPosition,
  LogRecord,
  ProducerSequence,
  ReadResult,
  StreamOptions,
  StreamTopology,
} from '../../transport/index.ts'
import { type ByteReader, brokenFrame } from './byte-reader.ts'
import type { ByteWriter } from './byte-writer.ts'
import { beginItem, endItem } from './items.ts'
import { checkLogRecord, decodeLogRecord, encodeLogRecord } from './log-record.ts'
import type { WireError } from './wire-error.ts'

export const clientLogKinds = { append: 9 } as const
export const engineLogKinds = { appended: 11, records: 12 } as const

/** A batch but for its records. */
export interface BatchHead {
  readonly stream: string
  readonly partition?: number
  readonly expect?: ExpectedPosition
  readonly producer?: ProducerSequence
  readonly deduplicationKey?: string
}

/** A batch as it lies in a frame. */
export interface WireBatch extends BatchHead {
  /** Where each record begins and ends in the frame, one after the other. */
  readonly bounds: readonly number[]
}

/** What the engine decided about an append. */
export type AppendAnswer = { readonly answers: readonly Appended[] } | { readonly error: WireError }

/** One append; all its batches are one atomic step. */
export function writeAppend(
  writer: ByteWriter,
  sequence: number,
  answeredThrough: number,
  batches: readonly AppendBatch[],
): void {
  const start = beginItem(writer, clientLogKinds.append)
  writer.f64(sequence)
  writer.f64(answeredThrough)
  writer.u32(batches.length)
  for (const { stream, partition, expect, producer, deduplicationKey, records } of batches) {
    writer.json({ stream, partition, expect, producer, deduplicationKey } satisfies { [K in keyof BatchHead]: unknown })
    writer.u32(records.length)
    for (const record of records) {
      const mark = writer.length
      writer.u32(0)
      encodeLogRecord(writer, record)
      writer.patchU32(mark, writer.length - mark - 4)
    }
  }
  endItem(writer, start)
}

const headsKept = 256
const heads = new Map<string, BatchHead>()

/** Most heads are the name of a stream and nothing else: a text seen lately is not parsed again. */
function readHead(reader: ByteReader): BatchHead {
  const length = reader.u32()
  const from = reader.skip(length)
  const text = reader.bytes.toString('utf8', from, from + length)
  let head = heads.get(text)
  if (head !== undefined) return head
  try {
    head = JSON.parse(text) as BatchHead
  } catch {
    throw brokenFrame('the head of a batch is not JSON')
  }
  if (typeof head !== 'object' || head === null || typeof head.stream !== 'string') {
    throw brokenFrame('a batch names no stream')
  }
  if (head.expect !== undefined || head.producer !== undefined || head.deduplicationKey !== undefined) return head
  if (heads.size >= headsKept) heads.clear()
  heads.set(text, head)
  return head
}

/** The batches of an append, every record checked; the reader stands behind `answeredThrough`. */
export function readBatches(reader: ByteReader): WireBatch[] {
  const batches: WireBatch[] = []
  for (let left = reader.u32(); left > 0; left--) {
    const head = readHead(reader)
    const bounds: number[] = []
    for (let records = reader.u32(); records > 0; records--) {
      const length = reader.u32()
      const start = reader.skip(length)
      checkLogRecord(reader.bytes, start, start + length)
      bounds.push(start, start + length)
    }
    if (bounds.length === 0) throw brokenFrame('a batch has no records')
    batches.push({ ...head, bounds })
  }
  return batches
}

const verdicts = { stored: 1, duplicate: 2, forgotten: 3 } as const

/** The answer alone, as the file keeps it until the client has heard it. */
export function writeAnswer(writer: ByteWriter, answer: AppendAnswer): void {
  if ('error' in answer) {
    writer.u8(1)
    writer.json(answer.error)
    return
  }
  writer.u8(0)
  writer.u32(answer.answers.length)
  for (const one of answer.answers) {
    const place = one.as === 'staged' || one.position === undefined ? undefined : one
    writer.u8(one.as === 'stored' ? verdicts.stored : place === undefined ? verdicts.forgotten : verdicts.duplicate)
    writer.u32(place?.partition ?? 0)
    writer.f64(place?.position ?? 0)
    writer.f64(place?.time ?? 0)
  }
}

function readAnswer(reader: ByteReader): AppendAnswer {
  if (reader.u8() === 1) return { error: reader.json() as WireError }
  const answers: Appended[] = []
  for (let left = reader.u32(); left > 0; left--) {
    const verdict = reader.u8()
    const place = { partition: reader.u32(), position: reader.f64(), time: reader.f64() }
    if (verdict === verdicts.stored) answers.push({ as: 'stored', ...place })
    else answers.push({ as: 'duplicate', ...(verdict === verdicts.duplicate ? place : {}) })
  }
  return { answers }
}

/** `answer` as `writeAnswer` wrote it. */
export function writeAppended(writer: ByteWriter, sequence: number, answer: Uint8Array): void {
  const start = beginItem(writer, engineLogKinds.appended)
  writer.f64(sequence)
  writer.bytes(answer)
  endItem(writer, start)
}

export function readAppended(reader: ByteReader): { readonly sequence: number; readonly answer: AppendAnswer } {
  const sequence = reader.f64()
  return { sequence, answer: readAnswer(reader) }
}

/** Begins the answer to a read; `endRecords` closes it. */
export function beginRecords(writer: ByteWriter, requestId: number): number {
  const start = beginItem(writer, engineLogKinds.records)
  writer.f64(requestId)
  for (const _ of ['next', 'first', 'end']) writer.f64(0)
  writer.u32(0)
  return start
}

export function writeLogRecord(writer: ByteWriter, position: number, bytes: Buffer, start: number, end: number): void {
  writer.f64(position)
  writer.u32(end - start)
  writer.slice(bytes, start, end)
}

export function endRecords(
  writer: ByteWriter,
  start: number,
  { next, first, end }: Omit<ReadResult, 'records'>,
  count: number,
): void {
  writer.patchF64(start + 8, next)
  writer.patchF64(start + 16, first)
  writer.patchF64(start + 24, end)
  writer.patchU32(start + 32, count)
  endItem(writer, start)
}

/** The answer to a read; its records are views of the frame. */
export function readRecords(reader: ByteReader): { readonly requestId: number; readonly result: ReadResult } {
  const requestId = reader.f64()
  const next = reader.f64()
  const first = reader.f64()
  const end = reader.f64()
  const records: LogRecord[] = []
  for (let left = reader.u32(); left > 0; left--) {
    const position = reader.f64()
    const length = reader.u32()
    const start = reader.skip(length)
    records.push(decodeLogRecord(reader.bytes, start, start + length, position))
  }
  return { requestId, result: { records, next, first, end } }
}

/** JSON knows no `Infinity`: it travels, and is stored, as `null`. */
export type WireStream<T extends Partial<Pick<StreamTopology, 'retention'>> = StreamTopology> = Omit<T, 'retention'> & {
  readonly retention?: { readonly maxAgeMs?: number | null; readonly maxBytes?: number | null }
}

export function toWireStream<T extends Pick<StreamTopology, 'retention'>>(stream: T): WireStream<T> {
  const { retention, ...rest } = stream
  if (retention === undefined) return rest
  const wired = Object.entries(retention).map(([name, value]) => [name, Number.isFinite(value) ? value : null])
  return { ...rest, retention: Object.fromEntries(wired) as NonNullable<WireStream['retention']> }
}

export function fromWireStream<T extends Pick<StreamTopology, 'retention'>>(wire: WireStream<T>): T {
  const { retention, ...rest } = wire
  if (retention === undefined) return rest as unknown as T
  const read = Object.entries(retention).map(([name, value]) => [name, value ?? Number.POSITIVE_INFINITY])
  return { ...rest, retention: Object.fromEntries(read) as StreamOptions['retention'] } as unknown as T
}
