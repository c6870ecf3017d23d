/**
 * The message as bytes, and what the engine reads of it. Encoded once by the sender, stored and delivered as it is, decoded once by the receiver.
 *
 * ```
 *  0  u32  length of the whole record
 *  4  u8   flags: 1 key · 2 deduplication key · 4 deliverAt · 8 expiresAt · 32 mandatory · 128 this layout
 *  5  u8   priority
 *  6  u16  bytes of the key
 *  8  u16  bytes of the deduplication key
 * 10  u8   bytes of the id
 * 11  u8   1 there is a time
 * 12  u32  bytes of the message's own texts
 * 16  u32  bytes of the block
 * 20  f64  deliverAt, if flagged, then f64 expiresAt, if flagged
 *     key · deduplication key · id                    UTF-8
 *     f64 time, if there is one · own texts · block   attributes, headers and content type: see text-block.ts
 *     body
 * ```
 * The engine reads the fixed part and what lies before the time; the rest is opaque to it. A record without flag 128 has
 * the layout of protocol and file format 1: see first-record.ts.
 */
import { brokenFrame } from './byte-reader.ts'

export const recordFlags = {
  key: 1,
  deduplicationKey: 2,
  deliverAt: 4,
  expiresAt: 8,
  contentType: 16,
  mandatory: 32,
  ascii: 64,
  block: 128,
} as const

/** Bytes of the fixed part. */
export const recordHeaderBytes = 20

/** What a record says, its destination left aside: that stands before it in the frame. */
export interface DecodedMessage {
  readonly id: string
  readonly attributes: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>
  readonly contentType?: string
  /** A view into the frame. */
  readonly body: Uint8Array
  readonly key?: string
  readonly priority: number
  readonly deliverAt?: number
  readonly expiresAt?: number
  readonly mandatory: boolean
  readonly deduplicationKey?: string
}

/** Attributes, headers and content type of a record, and where they end. */
export interface RecordTexts {
  readonly attributes: Record<string, string>
  readonly headers: Readonly<Record<string, string>>
  readonly contentType: string | undefined
  readonly end: number
}

/** Length of the record at `at`, checked against the bytes that are there. */
export function recordLength(bytes: Buffer, at: number, end: number): number {
  if (end - at < recordHeaderBytes) throw brokenFrame('a message is cut off')
  const length = bytes.readUInt32LE(at)
  if (length > end - at || length < bodyStart(bytes, at) - at) throw brokenFrame(`a message claims ${length} bytes`)
  if ((bytes[at + 5] as number) > 9) throw brokenFrame('a priority above 9')
  return length
}

/** Where the body lies at the earliest; exactly so in this layout. */
function bodyStart(bytes: Buffer, at: number): number {
  const textsAt = idStart(bytes, at) + (bytes[at + 10] as number)
  const textBytes = bytes.readUInt32LE(at + 16)
  if (((bytes[at + 4] as number) & recordFlags.block) === 0) return textsAt + textBytes
  return textsAt + (bytes[at + 11] === 1 ? 8 : 0) + bytes.readUInt32LE(at + 12) + textBytes
}

/** At most so many bytes of a record's texts are lengths and the like, which count for no limit. */
export function recordOverhead(bytes: Buffer, at: number): number {
  const ofBlock = recordHas(bytes, at, recordFlags.block)
  if (ofBlock) return 16 + bytes.readUInt32LE(at + 12) + bytes.readUInt32LE(at + 16)
  return 16 + 10 * (bytes.readUInt16LE(at + 12) + bytes.readUInt16LE(at + 14))
}

export function recordHas(bytes: Buffer, at: number, flag: number): boolean {
  return ((bytes[at + 4] as number) & flag) !== 0
}

export function recordPriority(bytes: Buffer, at: number): number {
  return bytes[at + 5] as number
}

export function recordDeliverAt(bytes: Buffer, at: number): number | undefined {
  return recordHas(bytes, at, recordFlags.deliverAt) ? bytes.readDoubleLE(at + recordHeaderBytes) : undefined
}

export function recordExpiresAt(bytes: Buffer, at: number): number | undefined {
  if (!recordHas(bytes, at, recordFlags.expiresAt)) return undefined
  return bytes.readDoubleLE(at + recordHeaderBytes + (recordHas(bytes, at, recordFlags.deliverAt) ? 8 : 0))
}

function keyStart(bytes: Buffer, at: number): number {
  const flags = bytes[at + 4] as number
  return at + recordHeaderBytes + (flags & recordFlags.deliverAt ? 8 : 0) + (flags & recordFlags.expiresAt ? 8 : 0)
}

export function idStart(bytes: Buffer, at: number): number {
  return keyStart(bytes, at) + bytes.readUInt16LE(at + 6) + bytes.readUInt16LE(at + 8)
}

export function recordKey(bytes: Buffer, at: number): string | undefined {
  if (!recordHas(bytes, at, recordFlags.key)) return undefined
  const start = keyStart(bytes, at)
  return bytes.toString('utf8', start, start + bytes.readUInt16LE(at + 6))
}

/** A view of the UTF-8 of the deduplication key. */
export function recordDeduplicationKey(bytes: Buffer, at: number): Buffer | undefined {
  if (!recordHas(bytes, at, recordFlags.deduplicationKey)) return undefined
  const start = keyStart(bytes, at) + bytes.readUInt16LE(at + 6)
  return bytes.subarray(start, start + bytes.readUInt16LE(at + 8))
}

export function recordId(bytes: Buffer, at: number): string {
  const start = idStart(bytes, at)
  return bytes.toString('latin1', start, start + (bytes[at + 10] as number))
}

/** Where the UTF-8 of the key lies. */
export function recordKeyRange(
  bytes: Buffer,
  at: number,
): { readonly keyStart: number; readonly keyEnd: number; readonly hasKey: boolean } {
  const start = keyStart(bytes, at)
  return { keyStart: start, keyEnd: start + bytes.readUInt16LE(at + 6), hasKey: recordHas(bytes, at, recordFlags.key) }
}
