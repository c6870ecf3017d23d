/**
 * A record of a log as bytes. Encoded once by whoever appends it, stored and handed to readers as it is.
 *
 * ```
 *  0  u8   flags: 1 key · 2 tombstone
 *  1  u16  number of headers
 *  3  f64  time, set by the engine when it commits
 * 11  u32  bytes of the key
 * 15  u32  bytes of the headers
 * 19  key (UTF-8) · per header u32 bytes of the name, u32 bytes of the value, name (UTF-8), value · value, up to the end
 * ```
 * Its length stands before it, in a frame as in a chunk.
 */
import type { AppendRecord, LogHeader, LogRecord } from '../../transport/index.ts'
import { brokenFrame } from './byte-reader.ts'
import type { ByteWriter } from './byte-writer.ts'

const flags = { key: 1, tombstone: 2 } as const
const fixedBytes = 19
const timeAt = 3
const keyBytesAt = 11
const headerBytesAt = 15

/** Appends the record, without its length. The caller has checked it: see `checkAppend`. */
export function encodeLogRecord(writer: ByteWriter, { key, value, headers = [] }: AppendRecord): void {
  const start = writer.length
  writer.u8((key === undefined ? 0 : flags.key) | (value === null ? flags.tombstone : 0))
  writer.u16(headers.length)
  writer.f64(0)
  writer.u32(0)
  writer.u32(0)
  if (key !== undefined) {
    writer.text(key)
    writer.patchU32(start + keyBytesAt, writer.length - start - fixedBytes)
  }
  const headersStart = writer.length
  for (const [name, content] of headers) {
    const lengths = writer.length
    writer.u32(0)
    writer.u32(content.byteLength)
    writer.text(name)
    writer.patchU32(lengths, writer.length - lengths - 8)
    writer.bytes(content)
  }
  writer.patchU32(start + headerBytesAt, writer.length - headersStart)
  if (value !== null) writer.bytes(value)
}

/** Whether the parts of the record at `start` lie within it. Engines look before they store what a client sent. */
export function checkLogRecord(bytes: Buffer, start: number, end: number): void {
  if (end - start < fixedBytes) throw brokenFrame('a record is cut off')
  const keyBytes = bytes.readUInt32LE(start + keyBytesAt)
  const headerBytes = bytes.readUInt32LE(start + headerBytesAt)
  if (fixedBytes + keyBytes + headerBytes > end - start) throw brokenFrame('the parts of a record are cut off')
  let at = start + fixedBytes + keyBytes
  const headersEnd = at + headerBytes
  for (let left = bytes.readUInt16LE(start + 1); left > 0; left--) {
    if (at + 8 > headersEnd) throw brokenFrame('the headers of a record are cut off')
    at += 8 + bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4)
  }
  if (at !== headersEnd) throw brokenFrame('the headers of a record do not fit')
}

/** Bytes of key, headers and value together. */
export function logRecordSize(bytes: Buffer, start: number, end: number): number {
  return end - start - fixedBytes - 8 * bytes.readUInt16LE(start + 1)
}

export function setLogRecordTime(bytes: Buffer, start: number, time: number): void {
  bytes.writeDoubleLE(time, start + timeAt)
}

export function logRecordKey(bytes: Buffer, start: number): string | undefined {
  if (((bytes[start] as number) & flags.key) === 0) return undefined
  const keyStart = start + fixedBytes
  return bytes.toString('utf8', keyStart, keyStart + bytes.readUInt32LE(start + keyBytesAt))
}

/** The record as readers get it. Value and headers are views of `bytes`. */
export function decodeLogRecord(bytes: Buffer, start: number, end: number, position: number): LogRecord {
  checkLogRecord(bytes, start, end)
  const key = logRecordKey(bytes, start)
  let at = start + fixedBytes + bytes.readUInt32LE(start + keyBytesAt)
  const headers: LogHeader[] = []
  for (let left = bytes.readUInt16LE(start + 1); left > 0; left--) {
    const nameEnd = at + 8 + bytes.readUInt32LE(at)
    const contentEnd = nameEnd + bytes.readUInt32LE(at + 4)
    headers.push([bytes.toString('utf8', at + 8, nameEnd), view(bytes, nameEnd, contentEnd)])
    at = contentEnd
  }
  return {
    position,
    time: bytes.readDoubleLE(start + timeAt),
    ...(key === undefined ? {} : { key }),
    value: (bytes[start] as number) & flags.tombstone ? null : view(bytes, at, end),
    headers,
  }
}

function view(bytes: Buffer, start: number, end: number): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start)
}
