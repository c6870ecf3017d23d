/**
 * The blobs of a chunk.
 *
 * *bodies*: `u32 1 · u32 count · u32 offsets[count + 1] · u32 crc[count] · records`. Offsets count from the first record;
 * a record of no length was removed when the chunk was rewritten.
 *
 * *marks*: one 32-bit word per message, see `mark`. Stored as one byte per message while every message is fresh (0), open
 * for the first time (1) or gone (2), which is the life of nearly all; else as words.
 *
 * *keys*: one double per message.
 *
 * What is gone at either end need not be stored, since format 3: then each blob holds the *span* between only. Bodies:
 * `u32 2 · u32 count · u32 from · u32 length · u32 crc of these · offsets[length + 1] · crc[length] · records`. Marks: `u32
 * from · u32 length · bytes or words [length]`, known by being shorter than `count` bytes. Keys: the double `from`, then the
 * keys of the span.
 */
import { crc32 } from 'node:zlib'

/** The bits of a mark. */
export const mark = {
  /** Deliveries counted so far. */
  attempts: 0x7fffff,
  /** Deliveries in a row that ended with the death of their process, up to 2: `deathUnit` each. */
  deaths: 0x1800000,
  deathUnit: 0x800000,
  open: 0x2000000,
  gone: 0x4000000,
  /** A retry that waits for its time; its row is in `held`. */
  held: 0x8000000,
  parked: 0x10000000,
  /** In memory only: this engine has the delivery. An open mark without it is of an engine before. */
  ours: 0x20000000,
} as const

/** A message with any of these cannot be delivered now. */
export const unavailable: number = mark.open | mark.gone | mark.held | mark.parked

const firstOpen = mark.open | 1
/** What stands in front of the offsets of a span. */
const spanHead = 20

export interface ChunkLayout {
  readonly count: number
  /** The messages that it has records of: `length` of them, the first being message `from`. */
  readonly from: number
  readonly length: number
  readonly offsetsAt: number
  /** Where the first record lies. */
  readonly recordsAt: number
}

/** Where the parts of a bodies blob lie, or undefined if it is not one. */
export function readLayout(bodies: Buffer): ChunkLayout | undefined {
  if (bodies.length < 12) return undefined
  const version = bodies.readUInt32LE(0)
  const count = bodies.readUInt32LE(4)
  if (version === 1) return layoutOf(bodies, count, 0, count, 8)
  if (version !== 2 || bodies.length < spanHead) return undefined
  // With another `from` a record would be whole, and another message's.
  if (crc32(bodies.subarray(0, 16)) !== bodies.readUInt32LE(16)) return undefined
  return layoutOf(bodies, count, bodies.readUInt32LE(8), bodies.readUInt32LE(12), spanHead)
}

function layoutOf(
  bodies: Buffer,
  count: number,
  from: number,
  length: number,
  offsetsAt: number,
): ChunkLayout | undefined {
  const recordsAt = offsetsAt + 4 * (length + 1) + 4 * length
  if (recordsAt > bodies.length || from + length > count) return undefined
  return { count, from, length, offsetsAt, recordsAt }
}

/** Where record `index` begins; `count` names the end of the last. */
export function recordStart(bodies: Buffer, layout: ChunkLayout, index: number): number {
  const { from, length, offsetsAt, recordsAt } = layout
  return recordsAt + bodies.readUInt32LE(offsetsAt + 4 * Math.min(Math.max(index - from, 0), length))
}

/** Whether record `index` is whole: its place makes sense and its checksum holds. */
export function recordIntact(bodies: Buffer, layout: ChunkLayout, index: number): boolean {
  const { from, length, offsetsAt, recordsAt } = layout
  const within = index - from
  if (within < 0 || within >= length) return false
  const start = recordStart(bodies, layout, index)
  const end = recordStart(bodies, layout, index + 1)
  if (start > end || start < recordsAt || end > bodies.length) return false
  return crc32(bodies.subarray(start, end)) === bodies.readUInt32LE(offsetsAt + 4 * (length + 1 + within))
}

/** Makes a bodies blob of `count` records that lie one after the other in `records`; `ends[i]` is where record i ends. */
export function writeBodies(
  records: Buffer,
  ends: ArrayLike<number>,
  crcs: ArrayLike<number>,
  count: number,
): Buffer<ArrayBuffer> {
  const recordsAt = 8 + 4 * (count + 1) + 4 * count
  const bodies = Buffer.allocUnsafeSlow(recordsAt + records.length)
  bodies.writeUInt32LE(1, 0)
  bodies.writeUInt32LE(count, 4)
  bodies.writeUInt32LE(0, 8)
  let at = 12
  for (let index = 0; index < count; index++, at += 4) bodies.writeUInt32LE(ends[index] as number, at)
  for (let index = 0; index < count; index++, at += 4) bodies.writeUInt32LE((crcs[index] as number) >>> 0, at)
  bodies.set(records, at)
  return bodies
}

/** The same blob without the records that are gone; those that are not must be intact. */
export function withoutGone(bodies: Buffer, layout: ChunkLayout, marks: Uint32Array): Buffer {
  const { from, end } = spanOf(marks)
  const length = end - from
  const head = Buffer.alloc(spanHead + 4 * (length + 1) + 4 * length)
  for (const [at, value] of [2, layout.count, from, length].entries()) head.writeUInt32LE(value, 4 * at)
  head.writeUInt32LE(crc32(head.subarray(0, 16)), 16)
  const parts: Buffer[] = [head]
  const crcs = layout.offsetsAt + 4 * (layout.length + 1 - layout.from)
  let written = 0
  for (let index = from; index < end; index++) {
    const within = index - from
    if (((marks[index] as number) & mark.gone) === 0) {
      const record = bodies.subarray(recordStart(bodies, layout, index), recordStart(bodies, layout, index + 1))
      parts.push(record)
      written += record.length
      head.writeUInt32LE(bodies.readUInt32LE(crcs + 4 * index), spanHead + 4 * (length + 1 + within))
    }
    head.writeUInt32LE(written, spanHead + 4 * (within + 1))
  }
  return Buffer.concat(parts)
}

/** The messages from the first to the last that is not gone; `end` is behind it. */
function spanOf(marks: Uint32Array): { readonly from: number; readonly end: number } {
  let end = marks.length
  while (end > 0 && (marks[end - 1] as number) & mark.gone) end--
  let from = 0
  while (from < end && (marks[from] as number) & mark.gone) from++
  return { from, end }
}

/** `null` while every message is fresh. */
export function encodeMarks(marks: Uint32Array): Uint8Array | null {
  const { from, end } = spanOf(marks)
  const whole = encodeAll(marks.subarray(from, end))
  const length = end - from
  if (length === marks.length) return whole
  const stored = whole ?? new Uint8Array(length)
  if (8 + stored.length < marks.length) {
    const span = Buffer.alloc(8 + stored.length)
    span.writeUInt32LE(from, 0)
    span.writeUInt32LE(length, 4)
    span.set(stored, 8)
    return span
  }
  return encodeAll(marks)
}

function encodeAll(marks: Uint32Array): Uint8Array | null {
  const small = new Uint8Array(marks.length)
  let fresh = true
  for (let index = 0; index < marks.length; index++) {
    const word = (marks[index] as number) & ~mark.ours
    if (word === 0) continue
    fresh = false
    if (word === firstOpen) small[index] = 1
    else if (word & mark.gone) small[index] = 2
    else {
      const words = new Uint32Array(marks.length)
      for (let at = 0; at < marks.length; at++) words[at] = (marks[at] as number) & ~mark.ours
      return new Uint8Array(words.buffer)
    }
  }
  return fresh ? null : small
}

export function decodeMarks(stored: Uint8Array | null, count: number): Uint32Array {
  const marks = new Uint32Array(count)
  if (stored === null) return marks
  if (stored.length >= count) decodeAll(stored, marks)
  else {
    const view = new DataView(stored.buffer, stored.byteOffset, stored.byteLength)
    const from = stored.length < 8 ? count : Math.min(view.getUint32(0, true), count)
    const length = stored.length < 8 ? 0 : Math.min(view.getUint32(4, true), count - from)
    marks.fill(mark.gone)
    decodeAll(stored.subarray(8), marks.subarray(from, from + length).fill(0))
  }
  return marks
}

function decodeAll(stored: Uint8Array, marks: Uint32Array): void {
  const count = marks.length
  if (stored.length === count) {
    for (let index = 0; index < count; index++) {
      const byte = stored[index]
      marks[index] = byte === 1 ? firstOpen : byte === 2 ? mark.gone : 0
    }
    return
  }
  const view = new DataView(stored.buffer, stored.byteOffset, stored.byteLength)
  for (let index = 0; index < count && 4 * index + 4 <= stored.length; index++) {
    marks[index] = view.getUint32(4 * index, true)
  }
}

export function encodeKeys(keys: Float64Array, marks: Uint32Array): Uint8Array {
  const { from, end } = spanOf(marks)
  let stored = keys
  if (end - from + 1 < keys.length) {
    stored = new Float64Array(end - from + 1)
    stored[0] = from
    stored.set(keys.subarray(from, end), 1)
  }
  return new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength)
}

/** 0 for messages outside of the span: they are gone. */
export function decodeKeys(stored: Uint8Array, count: number): Float64Array {
  const found = new Float64Array(stored.slice().buffer)
  if (found.length === count) return found
  const keys = new Float64Array(count)
  const from = found[0] ?? 0
  if (from + found.length - 1 <= count) keys.set(found.subarray(1), from)
  return keys
}
