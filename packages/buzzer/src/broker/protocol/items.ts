import { ByteReader, brokenFrame } from './byte-reader.ts'
import type { ByteWriter } from './byte-writer.ts'

/** Begins an item of a frame, `u8 kind · u32 length · payload`; `endItem` closes it. */
export function beginItem(writer: ByteWriter, kind: number): number {
  writer.u8(kind)
  writer.u32(0)
  return writer.length
}

/** `start` is what `beginItem` returned. */
export function endItem(writer: ByteWriter, start: number): void {
  writer.patchU32(start - 4, writer.length - start)
}

/**
 * Reads a frame item by item, in order. While `readItem` runs, the reader ends where the item ends; what it leaves unread
 * is skipped.
 * @throws BUZZER_PROTOCOL_MISMATCH for bytes that make no sense; items before them have been read
 */
export function readItems(frame: Uint8Array, readItem: (kind: number, reader: ByteReader) => void): void {
  const reader = new ByteReader(frame)
  const frameEnd = reader.end
  while (reader.at < frameEnd) {
    const kind = reader.u8()
    const length = reader.u32()
    const itemEnd = reader.at + length
    if (itemEnd > frameEnd) throw brokenFrame(`an item claims ${length} bytes`)
    reader.end = itemEnd
    readItem(kind, reader)
    reader.end = frameEnd
    reader.at = itemEnd
  }
}
