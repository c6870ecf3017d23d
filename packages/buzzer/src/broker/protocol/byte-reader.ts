import { BuzzerError } from '../../message/index.ts'

/** What a reader throws when the bytes end too early or make no sense. It closes that connection only. */
export function brokenFrame(what: string): BuzzerError {
  return new BuzzerError('BUZZER_PROTOCOL_MISMATCH', `a frame is broken: ${what}`, { retryable: true })
}

/** Walks over the bytes of one frame. Every read is checked against the end: bytes come from other processes. */
export class ByteReader {
  readonly bytes: Buffer
  readonly view: DataView
  at = 0
  end: number

  constructor(frame: Uint8Array) {
    this.bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength)
    this.view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
    this.end = frame.byteLength
  }

  /** Steps over `count` bytes and returns where they began. */
  skip(count: number): number {
    const from = this.at
    if (count > this.end - from) throw brokenFrame(`${count} bytes wanted at ${from}, ${this.end - from} are left`)
    this.at = from + count
    return from
  }

  u8(): number {
    return this.view.getUint8(this.skip(1))
  }

  u16(): number {
    return this.view.getUint16(this.skip(2), true)
  }

  u32(): number {
    return this.view.getUint32(this.skip(4), true)
  }

  f64(): number {
    return this.view.getFloat64(this.skip(8), true)
  }

  text(byteLength: number): string {
    const from = this.skip(byteLength)
    return this.bytes.toString('utf8', from, from + byteLength)
  }

  /** UTF-8 behind its u32 byte length. */
  string(): string {
    return this.text(this.u32())
  }

  json(): unknown {
    const text = this.string()
    try {
      return JSON.parse(text)
    } catch (cause) {
      throw new BuzzerError('BUZZER_PROTOCOL_MISMATCH', 'a frame carries text that is not JSON', { cause })
    }
  }
}
