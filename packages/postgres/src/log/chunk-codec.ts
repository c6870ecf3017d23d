import type { AppendRecord, LogHeader, LogRecord } from 'buzzer/transport'

/** Limits of one chunk, as in the embedded broker. Source: spec streams 10. */
const maxRecords = 1_000
const maxBytes = 256 * 1024

/** Records that go into one row. */
export interface EncodedChunk {
  readonly records: number
  /** Key, headers and value of all, as retention counts them. */
  readonly bytes: number
  readonly body: Buffer
}

const hasKey = 1
const hasHeaders = 2
const isTombstone = 4

/**
 * Records as chunks, in order; a record larger than a chunk is one by itself. Bytes are copied: the caller may change its
 * own afterwards.
 *
 * A record is: flags (1 byte), key (length, UTF-8), headers (count, then name and value with their lengths), value (length,
 * bytes; none for a tombstone). Numbers are 4 bytes, big-endian.
 */
export function encodeChunks(records: readonly AppendRecord[]): readonly EncodedChunk[] {
  const chunks: EncodedChunk[] = []
  let start = 0
  while (start < records.length) {
    let end = start
    let bytes = 0
    let size = 0
    while (end < records.length && end - start < maxRecords) {
      const record = records[end] as AppendRecord
      const own = bytesOf(record)
      if (end > start && bytes + own > maxBytes) break
      bytes += own
      size += encodedSize(record, own)
      end++
    }
    const body = Buffer.allocUnsafe(size)
    let at = 0
    for (let index = start; index < end; index++) at = encodeRecord(body, at, records[index] as AppendRecord)
    chunks.push({ records: end - start, bytes, body })
    start = end
  }
  return chunks
}

/** Key, headers and value together. */
export function bytesOf({ key, value, headers }: AppendRecord): number {
  let bytes = value?.byteLength ?? 0
  if (key !== undefined) bytes += Buffer.byteLength(key)
  for (const [name, content] of headers ?? []) bytes += Buffer.byteLength(name) + content.byteLength
  return bytes
}

function encodedSize({ key, value, headers }: AppendRecord, bytes: number): number {
  const count = headers?.length ?? 0
  return 1 + bytes + (key === undefined ? 0 : 4) + (count === 0 ? 0 : 4 + 8 * count) + (value === null ? 0 : 4)
}

function encodeRecord(body: Buffer, start: number, { key, value, headers }: AppendRecord): number {
  let at = start
  const flags =
    (key === undefined ? 0 : hasKey) | (headers?.length ? hasHeaders : 0) | (value === null ? isTombstone : 0)
  body[at++] = flags
  if (key !== undefined) at = writeText(body, at, key)
  if (headers?.length) {
    at = body.writeUInt32BE(headers.length, at)
    for (const [name, content] of headers) {
      at = writeText(body, at, name)
      at = writeBytes(body, at, content)
    }
  }
  return value === null ? at : writeBytes(body, at, value)
}

function writeText(body: Buffer, at: number, text: string): number {
  const length = body.write(text, at + 4, 'utf8')
  body.writeUInt32BE(length, at)
  return at + 4 + length
}

function writeBytes(body: Buffer, at: number, bytes: Uint8Array): number {
  const start = body.writeUInt32BE(bytes.byteLength, at)
  body.set(bytes, start)
  return start + bytes.byteLength
}

/** Goes through the records of a body; values and headers are views of it. */
export function* decodeRecords(body: Buffer): Generator<Omit<LogRecord, 'position' | 'time'>> {
  let at = 0
  const number = (): number => {
    at += 4
    return body.readUInt32BE(at - 4)
  }
  const bytes = (): Buffer => {
    const length = number()
    at += length
    return body.subarray(at - length, at)
  }
  while (at < body.length) {
    const flags = body[at++] as number
    const key = flags & hasKey ? bytes().toString('utf8') : undefined
    const headers: LogHeader[] = []
    if (flags & hasHeaders) {
      for (let left = number(); left > 0; left--) headers.push([bytes().toString('utf8'), bytes()])
    }
    const value = flags & isTombstone ? null : bytes()
    yield key === undefined ? { value, headers } : { key, value, headers }
  }
}
