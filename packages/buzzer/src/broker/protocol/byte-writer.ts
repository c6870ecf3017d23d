/**
 * A growing buffer that frames are written into. One per connection is kept and reused; `take` hands out a copy of its
 * own that may be transferred. All numbers are little-endian.
 */
export class ByteWriter {
  #bytes: Buffer
  #view: DataView
  #length = 0

  constructor(capacity: number = 16 * 1024) {
    this.#bytes = Buffer.allocUnsafeSlow(capacity)
    this.#view = new DataView(this.#bytes.buffer)
  }

  /** Bytes written so far; also a mark for `rewind` and the `patch` calls. */
  get length(): number {
    return this.#length
  }

  /** Forgets what was written after `mark`. */
  rewind(mark: number): void {
    this.#length = mark
  }

  #reserve(more: number): number {
    const at = this.#length
    const needed = at + more
    if (needed > this.#bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2))
      this.#bytes.copy(grown, 0, 0, at)
      this.#bytes = grown
      this.#view = new DataView(grown.buffer)
    }
    this.#length = needed
    return at
  }

  zeros(count: number): void {
    const at = this.#reserve(count)
    // By hand: few, and a call into native code costs more.
    for (let index = at; index < at + count; index++) this.#bytes[index] = 0
  }

  u8(value: number): void {
    const at = this.#reserve(1)
    this.#bytes[at] = value
  }

  u16(value: number): void {
    const at = this.#reserve(2)
    this.#view.setUint16(at, value, true)
  }

  u32(value: number): void {
    const at = this.#reserve(4)
    this.#view.setUint32(at, value, true)
  }

  f64(value: number): void {
    const at = this.#reserve(8)
    this.#view.setFloat64(at, value, true)
  }

  /** Unsigned LEB128, at most 32 bits. */
  varint(value: number): void {
    let rest = value
    while (rest >= 0x80) {
      this.u8((rest & 0x7f) | 0x80)
      rest >>>= 7
    }
    this.u8(rest)
  }

  bytes(source: Uint8Array): void {
    const at = this.#reserve(source.length)
    this.#bytes.set(source, at)
  }

  /** A part of `source`, without making a view of it. */
  slice(source: Buffer, start: number, end: number): void {
    const at = this.#reserve(end - start)
    source.copy(this.#bytes, at, start, end)
  }

  /**
   * UTF-8 without a length. Lone surrogates become U+FFFD. Returns whether all of it was ASCII.
   * Short ASCII is written by hand: a call into native code costs more than forty characters do.
   */
  text(value: string): boolean {
    const length = value.length
    const at = this.#reserve(length * 3)
    const bytes = this.#bytes
    if (length <= 40) {
      let index = 0
      for (; index < length; index++) {
        const code = value.charCodeAt(index)
        if (code >= 0x80) break
        bytes[at + index] = code
      }
      if (index === length) {
        this.#length = at + length
        return true
      }
    }
    const written = bytes.write(value, at, 'utf8')
    this.#length = at + written
    return written === length
  }

  /** Visible ASCII without a length. False, and nothing written, when it is something else. */
  visibleAscii(value: string): boolean {
    const { length } = value
    const at = this.#reserve(length)
    const bytes = this.#bytes
    for (let index = 0; index < length; index++) {
      const code = value.charCodeAt(index)
      if (code < 0x21 || code > 0x7e) {
        this.#length = at
        return false
      }
      bytes[at + index] = code
    }
    return true
  }

  /** UTF-8 behind its u32 byte length. */
  string(value: string): void {
    const mark = this.#length
    this.u32(0)
    this.text(value)
    this.patchU32(mark, this.#length - mark - 4)
  }

  json(value: unknown): void {
    this.string(JSON.stringify(value))
  }

  patchU8(at: number, value: number): void {
    this.#bytes[at] = value
  }

  patchU16(at: number, value: number): void {
    this.#view.setUint16(at, value, true)
  }

  patchU32(at: number, value: number): void {
    this.#view.setUint32(at, value, true)
  }

  patchF64(at: number, value: number): void {
    this.#view.setFloat64(at, value, true)
  }

  /** A copy of all that was written, in a buffer of its own; the writer is empty afterwards. */
  take(): Uint8Array<ArrayBuffer> {
    // Not zeroed before it is filled.
    const copy = Buffer.allocUnsafeSlow(this.#length)
    this.#bytes.copy(copy, 0, 0, this.#length)
    this.#length = 0
    return new Uint8Array(copy.buffer)
  }

  /** As `take`, in memory that threads share: it can be handed over and kept as well, so nobody may change it. */
  takeShared(): Uint8Array<SharedArrayBuffer> {
    const copy = new Uint8Array(new SharedArrayBuffer(this.#length))
    copy.set(this.peek())
    this.#length = 0
    return copy
  }

  /** What was written, as a view that the next write may change. */
  peek(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }
}
