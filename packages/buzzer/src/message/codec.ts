import { isUtf8 } from 'node:buffer'
import { BuzzerError } from './errors.ts'

/** Turns values into bytes and back. Synchronous; must not keep or change what it is given. */
export interface Codec {
  /** Media type that travels with the bytes; parameters (`; key=…`) are the codec's own. */
  readonly contentType: string
  /** Throws on a value it cannot carry: the send rejects with `BUZZER_INVALID_MESSAGE`. */
  encode(value: unknown): Uint8Array
  /** Throws on bytes it cannot read: the message is dead-lettered as `undecodable`. `contentType` as received. */
  decode(bytes: Uint8Array, contentType: string): unknown
}

/**
 * Encoded texts lie one after the other in slabs of this size; a longer one gets a buffer of its own. Small, because one
 * message that waits for long keeps its whole slab.
 */
const slabBytes = 8 * 1024
const longestInSlab = slabBytes / 2
let slab = Buffer.allocUnsafeSlow(slabBytes)
let slabUsed = 0

/** As `Buffer.from(text)`, without measuring the text first. */
function encodeText(text: string): Uint8Array {
  // A UTF-16 unit is at most three bytes.
  const most = text.length * 3
  if (most > longestInSlab) return Buffer.from(text)
  if (slabBytes - slabUsed < most) {
    slab = Buffer.allocUnsafeSlow(slabBytes)
    slabUsed = 0
  }
  const start = slabUsed
  slabUsed += slab.write(text, start)
  return slab.subarray(start, slabUsed)
}

/** Of the buffer that was decoded from last: bodies of one batch share theirs, and a view costs more than its use. */
let lastBuffer: ArrayBufferLike | undefined
let lastView: Buffer = Buffer.alloc(0)
const longestView = 1024 * 1024

/** Strict: what is not UTF-8 throws. Several times as fast on short bodies as a fatal `TextDecoder`. */
function decodeText(received: Uint8Array): string {
  const { buffer, byteOffset, byteLength } = received
  let view = lastView
  if (lastBuffer !== buffer) {
    view = Buffer.from(buffer)
    if (view.length <= longestView) {
      lastView = view
      lastBuffer = buffer
    }
  }
  const text = view.toString('utf8', byteOffset, byteOffset + byteLength)
  // Broken UTF-8 is read as U+FFFD, which may also have been sent.
  if (text.includes('\ufffd') && !isUtf8(received)) {
    throw new BuzzerError('BUZZER_UNDECODABLE', 'the bytes are not UTF-8')
  }
  return text
}

/** JSON in strict UTF-8, the default codec. */
export const json: Codec = {
  contentType: 'application/json',
  encode(value) {
    const text = JSON.stringify(value)
    if (text === undefined) {
      throw new BuzzerError('BUZZER_INVALID_MESSAGE', `JSON cannot carry a message that is ${describe(value)}`)
    }
    return encodeText(text)
  },
  decode: bytes => JSON.parse(decodeText(bytes)) as unknown,
}

/** Bytes as they are. */
export const bytes: Codec = {
  contentType: 'application/octet-stream',
  encode(value) {
    if (value instanceof Uint8Array) return value
    throw new BuzzerError('BUZZER_INVALID_MESSAGE', `the bytes codec takes a Uint8Array, not ${describe(value)}`)
  },
  decode: received => received,
}

/** The media type without parameters, in lower case. */
export function mediaType(contentType: string): string {
  const end = contentType.indexOf(';')
  return (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase()
}

function describe(value: unknown): string {
  if (value === null) return 'null'
  return typeof value === 'object' ? (value.constructor?.name ?? 'an object') : typeof value
}
