/**
 * Records as protocol and file format 1 had them. Files still hold them, and clients of that protocol still get them.
 *
 * ```
 *  4  u8   flags, as in message-record.ts, and: 16 contentType · 64 text is ASCII
 * 12  u16  number of attributes
 * 14  u16  number of headers
 * 16  u32  bytes of the text
 *     behind the id:
 *     lengths of the texts in UTF-16 units            varints: contentType (if flagged), then name and value of each attribute, each header
 *     text                                            UTF-8, one run
 *     body
 * ```
 */
import { brokenFrame } from './byte-reader.ts'
import type { ByteWriter } from './byte-writer.ts'
import { setText } from './read-block.ts'
import { type DecodedMessage, recordFlags, recordHeaderBytes, type RecordTexts } from './record-layout.ts'

/** The texts of the record at `at`, which begin at `textsAt` and whose record ends at `end`. */
export function decodeFirstTexts(bytes: Buffer, at: number, textsAt: number, end: number): RecordTexts {
  const flags = bytes[at + 4] as number
  const attributeCount = bytes.readUInt16LE(at + 12)
  const headerCount = bytes.readUInt16LE(at + 14)
  let lengthAt = textsAt
  const varint = (): number => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      if (lengthAt >= end || shift > 28) throw brokenFrame('the lengths of a message are broken')
      const byte = bytes[lengthAt++] as number
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value >>> 0
    }
  }
  const count = (flags & recordFlags.contentType ? 1 : 0) + 2 * (attributeCount + headerCount)
  const lengths = Array.from({ length: count }, varint)
  const textEnd = lengthAt + bytes.readUInt32LE(at + 16)
  if (textEnd > end) throw brokenFrame('the text of a message is cut off')
  const text = bytes.toString(flags & recordFlags.ascii ? 'latin1' : 'utf8', lengthAt, textEnd)
  let used = 0
  let next = 0
  const piece = (): string => text.slice(used, (used += lengths[next++] as number))
  const contentType = flags & recordFlags.contentType ? piece() : undefined
  const attributes: Record<string, string> = {}
  for (let left = attributeCount; left > 0; left--) setText(attributes, piece(), piece())
  const headers: Record<string, string> = {}
  for (let left = headerCount; left > 0; left--) setText(headers, piece(), piece())
  return { attributes, headers, contentType, end: textEnd }
}

/** Appends `message` as a record of the first layout. It was accepted once, so nothing is refused. */
export function encodeFirstRecord(writer: ByteWriter, message: DecodedMessage): void {
  const { id, key, deduplicationKey, deliverAt, expiresAt, contentType, attributes, headers, body } = message
  const start = writer.length
  let flags = message.mandatory ? recordFlags.mandatory : 0
  writer.zeros(recordHeaderBytes)
  if (deliverAt !== undefined) {
    flags |= recordFlags.deliverAt
    writer.f64(deliverAt)
  }
  if (expiresAt !== undefined) {
    flags |= recordFlags.expiresAt
    writer.f64(expiresAt)
  }
  for (const [offset, flag, text] of [
    [6, recordFlags.key, key],
    [8, recordFlags.deduplicationKey, deduplicationKey],
  ] as const) {
    if (text === undefined) continue
    flags |= flag
    const from = writer.length
    writer.text(text)
    writer.patchU16(start + offset, writer.length - from)
  }
  writer.text(id)
  const texts = [attributes, headers].flatMap(each => Object.entries(each).flat())
  if (contentType !== undefined) {
    flags |= recordFlags.contentType
    texts.unshift(contentType)
  }
  for (const text of texts) writer.varint(text.length)
  const textStart = writer.length
  writer.text(texts.join(''))
  writer.patchU32(start + 16, writer.length - textStart)
  writer.bytes(body)
  writer.patchU32(start, writer.length - start)
  writer.patchU8(start + 4, flags)
  writer.patchU8(start + 5, message.priority)
  writer.patchU8(start + 10, id.length)
  writer.patchU16(start + 12, Object.keys(attributes).length)
  writer.patchU16(start + 14, Object.keys(headers).length)
}
