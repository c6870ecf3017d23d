import { BuzzerError, checkMessageId } from '../../message/index.ts'
import type { OutgoingMessage } from '../../transport/index.ts'
import type { ByteWriter } from './byte-writer.ts'
import { decodeFirstTexts } from './first-record.ts'
import { attributesOf, readBlock } from './read-block.ts'
import {
  type DecodedMessage,
  idStart,
  recordDeduplicationKey,
  recordDeliverAt,
  recordExpiresAt,
  recordFlags,
  recordHeaderBytes,
  recordKey,
  recordLength,
  type RecordTexts,
} from './record-layout.ts'
import { blockOf, exactTime, writeOwnTexts } from './written-block.ts'

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

function invalid(what: string, value: unknown): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_MESSAGE', `a message cannot be sent: ${what}`, { details: { value } })
}

/**
 * Appends `message` as a record. On an error the writer is as it was.
 * @throws BUZZER_MESSAGE_TOO_LARGE when attributes, headers and body together are larger than `maxMessageBytes`;
 *   details `actualBytes`, `limitBytes`
 * @throws BUZZER_INVALID_OPTION for an id that is not 1 to 128 visible ASCII characters
 * @throws BUZZER_INVALID_MESSAGE for a body that is not bytes and for parts that have no place in a record
 */
export function encodeMessage(writer: ByteWriter, message: OutgoingMessage, maxMessageBytes: number): void {
  const start = writer.length
  try {
    writeRecord(writer, message, maxMessageBytes, start)
  } catch (error) {
    writer.rewind(start)
    throw error
  }
}

function writeRecord(writer: ByteWriter, message: OutgoingMessage, maxMessageBytes: number, start: number): void {
  const { id, body, key, deduplicationKey, deliverAt, expiresAt, priority } = message
  if (!(body instanceof Uint8Array)) throw invalid('its body is not a Uint8Array', typeof body)
  if (!Number.isInteger(priority) || priority < 0 || priority > 9) throw invalid('priority is 0 to 9', priority)
  if (body.length > maxMessageBytes) throw tooLarge(checkMessageId(id), body.length, maxMessageBytes)
  const block = blockOf(message)
  let flags: number = message.mandatory ? recordFlags.block | recordFlags.mandatory : recordFlags.block
  writer.zeros(recordHeaderBytes)
  if (deliverAt !== undefined) {
    if (typeof deliverAt !== 'number' || Number.isNaN(deliverAt)) throw invalid('deliverAt is not a number', deliverAt)
    flags |= recordFlags.deliverAt
    writer.f64(deliverAt)
  }
  if (expiresAt !== undefined) {
    if (typeof expiresAt !== 'number' || Number.isNaN(expiresAt)) throw invalid('expiresAt is not a number', expiresAt)
    flags |= recordFlags.expiresAt
    writer.f64(expiresAt)
  }
  let keyBytes = 0
  if (key !== undefined) {
    flags |= recordFlags.key
    keyBytes = writeShort(writer, 'key', key)
    writer.patchU16(start + 6, keyBytes)
  }
  if (deduplicationKey !== undefined) {
    flags |= recordFlags.deduplicationKey
    writer.patchU16(start + 8, writeShort(writer, 'deduplicationKey', deduplicationKey))
  }
  // Checked in the writing; the words of a refusal come from the one place that has them.
  if (typeof id !== 'string' || id.length === 0 || id.length > 128 || !writer.visibleAscii(id)) checkMessageId(id)
  if (block.hasTime) writer.f64(exactTime(message.attributes['time'] as string) as number)
  const ownStart = writer.length
  if (block.ownTexts > 0) writeOwnTexts(writer, block, message)
  const ownBytes = writer.length - ownStart
  const { idValues, keyValues, ownTexts } = block
  const textBytes = block.textBytes + idValues * id.length + keyValues * keyBytes + ownBytes - 2 * ownTexts
  const bytes = textBytes + body.length
  if (bytes > maxMessageBytes) throw tooLarge(id, bytes, maxMessageBytes)
  writer.bytes(block.bytes)
  writer.bytes(body)
  writer.patchU32(start, writer.length - start)
  writer.patchU8(start + 4, flags)
  writer.patchU8(start + 5, priority)
  writer.patchU8(start + 10, id.length)
  if (block.hasTime) writer.patchU8(start + 11, 1)
  if (ownBytes > 0) writer.patchU32(start + 12, ownBytes)
  writer.patchU32(start + 16, block.bytes.length)
}

function writeShort(writer: ByteWriter, what: string, value: string): number {
  if (typeof value !== 'string') throw invalid(`its ${what} is not a string`, value)
  const start = writer.length
  writer.text(value)
  const bytes = writer.length - start
  if (bytes > 0xffff) throw invalid(`its ${what} is ${bytes} bytes long, at most 65,535 are allowed`, bytes)
  return bytes
}

function tooLarge(id: string, actualBytes: number, limitBytes: number): BuzzerError {
  return new BuzzerError(
    'BUZZER_MESSAGE_TOO_LARGE',
    `message ${id} has ${actualBytes} bytes in attributes, headers and body; at most ${limitBytes} are accepted. Store the content elsewhere and send a reference, or raise maxMessageBytes`,
    { details: { id, actualBytes, limitBytes } },
  )
}

/** Everything in the record at `at`. */
export function decodeMessage(bytes: Buffer, at: number): DecodedMessage {
  const length = recordLength(bytes, at, bytes.length)
  const flags = bytes[at + 4] as number
  const idAt = idStart(bytes, at)
  const textsAt = idAt + (bytes[at + 10] as number)
  const id = bytes.toString('latin1', idAt, textsAt)
  const key = flags & recordFlags.key ? recordKey(bytes, at) : undefined
  const isBlock = (flags & recordFlags.block) !== 0
  const { attributes, headers, contentType, end } = isBlock
    ? decodeTexts(bytes, at, textsAt, id, key)
    : decodeFirstTexts(bytes, at, textsAt, at + length)
  const message: Mutable<DecodedMessage> = {
    id,
    attributes,
    headers,
    body: new Uint8Array(bytes.buffer, bytes.byteOffset + end, at + length - end),
    priority: bytes[at + 5] as number,
    mandatory: (flags & recordFlags.mandatory) !== 0,
  }
  if (contentType !== undefined) message.contentType = contentType
  if (key !== undefined) message.key = key
  if (flags & (recordFlags.deliverAt | recordFlags.expiresAt | recordFlags.deduplicationKey)) {
    const deliverAt = recordDeliverAt(bytes, at)
    if (deliverAt !== undefined) message.deliverAt = deliverAt
    const expiresAt = recordExpiresAt(bytes, at)
    if (expiresAt !== undefined) message.expiresAt = expiresAt
    const deduplicationKey = recordDeduplicationKey(bytes, at)
    if (deduplicationKey !== undefined) message.deduplicationKey = deduplicationKey.toString('utf8')
  }
  return message
}

function decodeTexts(bytes: Buffer, at: number, textsAt: number, id: string, key: string | undefined): RecordTexts {
  const time = bytes[at + 11] === 1 ? bytes.readDoubleLE(textsAt) : undefined
  const ownAt = textsAt + (time === undefined ? 0 : 8)
  const blockAt = ownAt + bytes.readUInt32LE(at + 12)
  const end = blockAt + bytes.readUInt32LE(at + 16)
  const block = readBlock(bytes, blockAt, end)
  const attributes = attributesOf(block, id, key, time, bytes, ownAt, blockAt)
  return { attributes, headers: block.headers, contentType: block.contentType, end }
}
