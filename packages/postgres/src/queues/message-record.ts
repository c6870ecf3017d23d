import { BuzzerError } from 'buzzer'
import type { OutgoingMessage } from 'buzzer/transport'

/** A message as it is stored, without what its row knows: where it goes, and whether it is mandatory. */
export type StoredMessage = Omit<OutgoingMessage, 'to' | 'mandatory'> & {
  /** Of publishes that wait for their time. */
  readonly topic?: { readonly name: string; readonly bases: readonly string[] }
}

type Head = [
  id: string,
  priority: number,
  attributes: Readonly<Record<string, string>>,
  headers: Readonly<Record<string, string>>,
  contentType?: string | null,
  key?: string | null,
  deliverAt?: number | null,
  expiresAt?: number | null,
  topic?: string | null,
  bases?: readonly string[],
]

const lengthBytes = 4
/**
 * Records lie one after the other in slabs of this size, so that those of a batch are mostly one piece of memory. Small: one
 * message that is held for long keeps its whole slab.
 */
const slabBytes = 64 * 1024
const longestInSlab = slabBytes / 8
let slab = Buffer.allocUnsafeSlow(slabBytes)
let slabUsed = 0

/**
 * A record: the length of its head as four bytes, the head as JSON, the body as it is. Written once and never rewritten, and
 * read by every later version: fields are added at the end of the head.
 */
export function encodeRecord(message: OutgoingMessage): Buffer {
  const { id, priority, attributes, headers, contentType, key, deliverAt, expiresAt, to, body } = message
  const head: Head = [id, priority, attributes, headers]
  const isPlain = key === undefined && deliverAt === undefined && expiresAt === undefined && 'queue' in to
  if (contentType !== undefined || !isPlain) head.push(contentType ?? null)
  if (!isPlain) {
    head.push(key ?? null, deliverAt ?? null, expiresAt ?? null)
    if ('topic' in to && deliverAt !== undefined) head.push(to.topic, to.bases)
  }
  const text = JSON.stringify(head)
  // A UTF-16 unit is at most three bytes.
  const most = lengthBytes + text.length * 3 + body.byteLength
  if (most > longestInSlab) {
    const record = Buffer.allocUnsafeSlow(lengthBytes + Buffer.byteLength(text) + body.byteLength)
    writeRecord(record, 0, text, body)
    return record
  }
  if (slabBytes - slabUsed < most) {
    slab = Buffer.allocUnsafeSlow(slabBytes)
    slabUsed = 0
  }
  const start = slabUsed
  slabUsed = writeRecord(slab, start, text, body)
  return slab.subarray(start, slabUsed)
}

/** Returns where the record ends. */
function writeRecord(into: Buffer, start: number, text: string, body: Uint8Array): number {
  const headBytes = into.write(text, start + lengthBytes, 'utf8')
  into.writeUInt32BE(headBytes, start)
  const bodyAt = start + lengthBytes + headBytes
  into.set(body, bodyAt)
  return bodyAt + body.byteLength
}

/** Records one behind the other; without a copy where they already lie so. */
export function joinRecords(records: readonly Buffer[]): Buffer {
  const pieces: Buffer[] = []
  let first: Buffer | undefined
  let end = 0
  for (const record of records) {
    if (first !== undefined && first.buffer === record.buffer && record.byteOffset === end) {
      end += record.byteLength
      continue
    }
    if (first !== undefined) pieces.push(Buffer.from(first.buffer, first.byteOffset, end - first.byteOffset))
    first = record
    end = record.byteOffset + record.byteLength
  }
  if (first !== undefined) pieces.push(Buffer.from(first.buffer, first.byteOffset, end - first.byteOffset))
  return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces)
}

/** The message in `size` bytes from `start` on. Its body is a view of them. */
export function decodeRecord(bytes: Buffer, start: number, size: number): StoredMessage {
  const bodyAt = start + lengthBytes + bytes.readUInt32BE(start)
  if (bodyAt > start + size) {
    throw new BuzzerError('BUZZER_DATABASE_FAILED', 'a stored message is damaged: its head is longer than its record', {
      retryable: false,
    })
  }
  const head = JSON.parse(bytes.toString('utf8', start + lengthBytes, bodyAt)) as Head
  const [id, priority, attributes, headers, contentType, key, deliverAt, expiresAt, topic, bases] = head
  const body = new Uint8Array(bytes.buffer, bytes.byteOffset + bodyAt, start + size - bodyAt)
  const message: { -readonly [K in keyof StoredMessage]: StoredMessage[K] } = {
    id,
    priority,
    attributes,
    headers,
    body,
  }
  if (contentType !== undefined && contentType !== null) message.contentType = contentType
  if (key !== undefined && key !== null) message.key = key
  if (deliverAt !== undefined && deliverAt !== null) message.deliverAt = deliverAt
  if (expiresAt !== undefined && expiresAt !== null) message.expiresAt = expiresAt
  if (topic !== undefined && topic !== null) message.topic = { name: topic, bases: bases ?? [] }
  return message
}
