/**
 * The blobs of a chunk.
 *
 * *bodies*: `u32 1 · u32 count · u32 offsets[count + 1] · u32 crc[count] · records`. Offsets count from the first record;
 * a record of no length was removed when the chunk was rewritten.
 *
 * *marks*: one 32-bit word per message, see `mark`. Stored as one byte per message while every message is fresh (0), open
 * for the first time (1) or gone (2), which is the life of nearly all; else as words.
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

export interface ChunkLayout {
  readonly count: number
  /** Where the first record lies. */
  readonly recordsAt: number
}

/** Where the parts of a bodies blob lie, or undefined if it is not one. */
export function readLayout(bodies: Buffer): ChunkLayout | undefined {
  if (bodies.length < 12 || bodies.readUInt32LE(0) !== 1) return undefined
  const count = bodies.readUInt32LE(4)
  const recordsAt = 8 + 4 * (count + 1) + 4 * count
  return recordsAt > bodies.length ? undefined : { count, recordsAt }
}

export function recordStart(bodies: Buffer, layout: ChunkLayout, index: number): number {
  return layout.recordsAt + bodies.readUInt32LE(8 + 4 * index)
}

function recordCrc(bodies: Buffer, layout: ChunkLayout, index: number): number {
  return bodies.readUInt32LE(8 + 4 * (layout.count + 1) + 4 * index)
}

/** Whether record `index` is whole: its place makes sense and its checksum holds. */
export function recordIntact(bodies: Buffer, layout: ChunkLayout, index: number): boolean {
  const start = recordStart(bodies, layout, index)
  const end = recordStart(bodies, layout, index + 1)
  if (start > end || start < layout.recordsAt || end > bodies.length) return false
  return crc32(bodies.subarray(start, end)) === recordCrc(bodies, layout, index)
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

/** The same blob without the records that are gone. */
export function withoutGone(bodies: Buffer, layout: ChunkLayout, marks: Uint32Array): Buffer {
  const parts: Buffer[] = [Buffer.from(bodies.subarray(0, layout.recordsAt))]
  const head = parts[0] as Buffer
  let end = 0
  for (let index = 0; index < layout.count; index++) {
    if (((marks[index] as number) & mark.gone) === 0) {
      const record = bodies.subarray(recordStart(bodies, layout, index), recordStart(bodies, layout, index + 1))
      parts.push(record)
      end += record.length
    }
    head.writeUInt32LE(end, 8 + 4 * (index + 1))
  }
  return Buffer.concat(parts)
}

/** `null` while every message is fresh. */
export function encodeMarks(marks: Uint32Array): Uint8Array | null {
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
  if (stored.length === count) {
    for (let index = 0; index < count; index++) {
      const byte = stored[index]
      marks[index] = byte === 1 ? firstOpen : byte === 2 ? mark.gone : 0
    }
    return marks
  }
  const view = new DataView(stored.buffer, stored.byteOffset, stored.byteLength)
  for (let index = 0; index < count && 4 * index + 4 <= stored.length; index++) {
    marks[index] = view.getUint32(4 * index, true)
  }
  return marks
}
