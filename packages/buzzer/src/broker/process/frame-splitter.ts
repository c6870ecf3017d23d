import { BuzzerError } from '../../message/index.ts'

/** Bytes of the length that stands before each frame on a socket. It counts what follows. Little-endian. */
const prefixBytes = 4

/** Most bytes of one frame. */
const maxFrameBytes: number = 256 * 1024 * 1024

/** Most bytes of one step of a client, its array of messages included: what shares its frame is small. */
export const maxStepBytes: number = maxFrameBytes - 4 * 1024 * 1024

/** The prefix of a frame. */
export function framePrefix(frameBytes: number): Uint8Array {
  const prefix = new Uint8Array(prefixBytes)
  new DataView(prefix.buffer).setUint32(0, frameBytes, true)
  return prefix
}

/**
 * Cuts a byte stream into frames. Bytes of an unfinished frame wait in the chunks they came in, so that a large frame is
 * copied once.
 */
export class FrameSplitter {
  readonly #limitBytes: number
  #parts: Uint8Array[] = []
  #waitingBytes = 0
  /** Bytes to wait for before the next frame can be complete. */
  #wantedBytes = prefixBytes

  constructor(limitBytes: number = maxFrameBytes) {
    this.#limitBytes = limitBytes
  }

  /**
   * Takes what the socket gave and calls `onFrame` for each frame complete by now, each in a buffer of its own.
   * @throws BUZZER_PROTOCOL_MISMATCH for a frame beyond the limit: the connection is to be closed
   */
  push(chunk: Uint8Array, onFrame: (frame: Uint8Array<ArrayBuffer>) => void): void {
    this.#parts.push(chunk)
    this.#waitingBytes += chunk.length
    if (this.#waitingBytes < this.#wantedBytes) return
    const bytes = this.#joined()
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    this.#wantedBytes = prefixBytes
    let at = 0
    while (bytes.length - at >= prefixBytes) {
      const length = view.getUint32(at, true)
      if (length > this.#limitBytes) {
        throw new BuzzerError(
          'BUZZER_PROTOCOL_MISMATCH',
          `a frame of ${length} bytes is beyond the limit of ${this.#limitBytes}`,
          { details: { actualBytes: length, limitBytes: this.#limitBytes } },
        )
      }
      const end = at + prefixBytes + length
      if (bytes.length < end) {
        this.#wantedBytes = prefixBytes + length
        break
      }
      onFrame(copyOf(bytes, at + prefixBytes, end))
      at = end
    }
    const rest = bytes.length - at
    this.#parts = rest === 0 ? [] : [bytes.subarray(at)]
    this.#waitingBytes = rest
  }

  #joined(): Uint8Array {
    const [first] = this.#parts
    if (this.#parts.length === 1 && first !== undefined) return first
    const joined = new Uint8Array(this.#waitingBytes)
    let at = 0
    for (const part of this.#parts) {
      joined.set(part, at)
      at += part.length
    }
    return joined
  }
}

/** `Buffer.slice` would be a view; what is transferred to another thread must be a buffer of its own. */
function copyOf(bytes: Uint8Array, from: number, to: number): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(to - from)
  copy.set(bytes.subarray(from, to))
  return copy
}
