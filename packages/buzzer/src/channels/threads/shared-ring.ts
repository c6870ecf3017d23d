import { Buffer } from 'node:buffer'

/*
 * One ring in shared memory: one thread writes, one reads. A header of 32-bit words, the busy ones on cache lines of
 * their own, then the bytes.
 *
 *   word 0    format           word 64   tail: bytes written      word 96   head: bytes read
 *   word 1    the end          word 65   messages written         word 97   messages read
 *   word 2    peer's thread    word 80   the reader's bell        word 112  the writer's bell
 *   word 3    peer's exit code word 81   the reader sleeps        word 113  the writer sleeps
 *   word 4    who writes                                          word 114  bytes the writer needs
 *   word 5    who reads        word 128… the error, as JSON
 *   word 6    what is left was dropped
 *
 * Head and tail only grow, and wrap at 2³²; the size is a power of two, so that a position is their low bits. A message
 * is its length in a word, then its bytes, up to the next word boundary; the tail moves when all of it is there, so a
 * thread that dies half-way has written nothing.
 */
const word = {
  format: 0,
  end: 1,
  peerThread: 2,
  peerExitCode: 3,
  writingThread: 4,
  readingThread: 5,
  dropped: 6,
  tail: 64,
  messagesIn: 65,
  readerBell: 80,
  readerSleeps: 81,
  head: 96,
  messagesOut: 97,
  writerBell: 112,
  writerSleeps: 113,
  writerNeeds: 114,
  error: 128,
} as const

const format = 0x42_5a_43_31
const errorBytes = 4_096
/** Of a message's length; lengths themselves end at 2³⁰. */
const asciiBit = 1 << 31
const headerBytes = word.error * 4 + errorBytes

/** How a ring ended. `telling`: somebody is about to say. `lost`: a thread is gone. */
export const ends = { open: 0, telling: 1, completed: 2, failed: 3, lost: 4 } as const
export type End = (typeof ends)[keyof typeof ends]

/** `ascii`: the bytes are ASCII text. */
export type Decode<T> = (bytes: Buffer, start: number, end: number, ascii: boolean) => T

export type Side = 'reader' | 'writer'

export interface LostPeer {
  readonly threadId: number
  readonly exitCode: number
}

/** The memory of a worker channel: everything in it is seen by both threads, and nothing else is. */
export class SharedRing {
  readonly buffer: SharedArrayBuffer
  /** Bytes that all messages together may take, each with 4 bytes of length, in whole words. */
  readonly size: number
  readonly bytes: Buffer
  readonly #words: Int32Array
  readonly #mask: number

  static create(bytes: number): SharedRing {
    const size = 2 ** Math.ceil(Math.log2(Math.max(bytes, 64)))
    const buffer = new SharedArrayBuffer(headerBytes + size)
    Atomics.store(new Int32Array(buffer), word.format, format)
    return new SharedRing(buffer)
  }

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer
    this.#words = new Int32Array(buffer)
    if (buffer.byteLength <= headerBytes || Atomics.load(this.#words, word.format) !== format) {
      throw new TypeError('the handle is not that of a worker channel of this version')
    }
    this.size = buffer.byteLength - headerBytes
    this.#mask = this.size - 1
    this.bytes = Buffer.from(buffer, headerBytes, this.size)
  }

  // ── who may do what ──────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes a side for a thread: the thread that holds it, so `thread` itself if that succeeded. */
  claim(side: Side, thread: number): number {
    const at = side === 'reader' ? word.readingThread : word.writingThread
    // 0 is nobody, and the main thread's id.
    const held = Atomics.compareExchange(this.#words, at, 0, thread + 1)
    return held === 0 ? thread : held - 1
  }

  /** The thread that has taken a side. */
  holder(side: Side): number | undefined {
    const held = Atomics.load(this.#words, side === 'reader' ? word.readingThread : word.writingThread)
    return held === 0 ? undefined : held - 1
  }

  // ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────

  get tail(): number {
    return Atomics.load(this.#words, word.tail)
  }

  get head(): number {
    return Atomics.load(this.#words, word.head)
  }

  get messages(): number {
    return (Atomics.load(this.#words, word.messagesIn) - Atomics.load(this.#words, word.messagesOut)) | 0
  }

  static footprint(length: number): number {
    return 4 + ((length + 3) & ~3)
  }

  free(tail: number, head: number): number {
    return this.size - ((tail - head) >>> 0)
  }

  /** Writes a message at `tail` and shows it to the reader. The caller has made sure of the room. */
  put(tail: number, payload: Uint8Array | string, length: number): number {
    const words = this.#words
    const { size, bytes } = this
    // A string as long as its bytes is ASCII: it is copied, not encoded, here and there.
    const ascii = typeof payload === 'string' && payload.length === length
    words[(headerBytes + (tail & this.#mask)) >> 2] = ascii ? length | asciiBit : length
    const start = (tail + 4) & this.#mask
    if (start + length <= size) {
      if (typeof payload === 'string') bytes.write(payload, start, length, ascii ? 'latin1' : 'utf8')
      else bytes.set(payload, start)
    } else {
      const whole = typeof payload === 'string' ? Buffer.from(payload) : payload
      bytes.set(whole.subarray(0, size - start), start)
      bytes.set(whole.subarray(size - start), 0)
    }
    const next = (tail + SharedRing.footprint(length)) | 0
    // Written by this side alone, and shown with the tail.
    words[word.messagesIn] = ((words[word.messagesIn] as number) + 1) | 0
    Atomics.store(words, word.tail, next)
    if (Atomics.load(words, word.readerSleeps) !== 0) this.ring('reader')
    return next
  }

  lengthAt(head: number): number {
    return (this.#words[(headerBytes + (head & this.#mask)) >> 2] as number) & ~asciiBit
  }

  isAsciiAt(head: number): boolean {
    return (this.#words[(headerBytes + (head & this.#mask)) >> 2] as number) < 0
  }

  /** Calls `decode` with the place of the message at `head`. */
  view<T>(head: number, length: number, decode: Decode<T>): T {
    const start = (head + 4) & this.#mask
    const end = start + length
    const ascii = this.isAsciiAt(head)
    if (end <= this.size) return decode(this.bytes, start, end, ascii)
    const whole = Buffer.concat([this.bytes.subarray(start), this.bytes.subarray(0, end - this.size)])
    return decode(whole, 0, length, ascii)
  }

  /** Gives up the message at `head`. */
  release(head: number, length: number): number {
    const words = this.#words
    const next = (head + SharedRing.footprint(length)) | 0
    words[word.messagesOut] = ((words[word.messagesOut] as number) + 1) | 0
    Atomics.store(words, word.head, next)
    if (
      Atomics.load(words, word.writerSleeps) !== 0 &&
      this.free(this.tail, next) >= Atomics.load(words, word.writerNeeds)
    ) {
      this.ring('writer')
    }
    return next
  }

  /** Takes everything there is out of the ring. For the reading side. */
  clear(): number {
    const tail = this.tail
    Atomics.store(this.#words, word.messagesOut, Atomics.load(this.#words, word.messagesIn))
    Atomics.store(this.#words, word.head, tail)
    this.ring('writer')
    return tail
  }

  // ── sleeping ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Wakes a side, if it sleeps. */
  ring(side: Side): void {
    const bell = side === 'reader' ? word.readerBell : word.writerBell
    Atomics.store(this.#words, bell + 1, 0)
    Atomics.add(this.#words, bell, 1)
    Atomics.notify(this.#words, bell)
  }

  /** Changes what the sleeping writer waits for. */
  needs(bytes: number): void {
    Atomics.store(this.#words, word.writerNeeds, bytes)
  }

  /**
   * Says that a side sleeps, then looks once more, then sleeps until its bell is rung. `undefined`: there is something
   * to do at once.
   */
  sleep(side: Side, idle: () => boolean): Promise<unknown> | undefined {
    const bell = side === 'reader' ? word.readerBell : word.writerBell
    const seen = Atomics.load(this.#words, bell)
    Atomics.store(this.#words, bell + 1, 1)
    if (idle()) {
      const sleep = Atomics.waitAsync(this.#words, bell, seen)
      if (sleep.async) return sleep.value
    }
    Atomics.store(this.#words, bell + 1, 0)
    return undefined
  }

  // ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

  get end(): End {
    return Atomics.load(this.#words, word.end) as End
  }

  /** Whether what was left in the ring is not to be read any more. */
  get dropped(): boolean {
    return Atomics.load(this.#words, word.dropped) !== 0
  }

  drop(): void {
    Atomics.store(this.#words, word.dropped, 1)
  }

  /** Ends the ring, once. Whether this call did. */
  finish(end: End, error?: unknown): boolean {
    if (Atomics.compareExchange(this.#words, word.end, ends.open, ends.telling) !== ends.open) return false
    if (end === ends.failed) this.#writeError(error)
    Atomics.store(this.#words, word.end, end)
    Atomics.notify(this.#words, word.end)
    return true
  }

  /** A thread is gone, perhaps in the middle of telling the end. Whether this call ended the ring. */
  lose(peer: LostPeer): boolean {
    const end = this.end
    if (end !== ends.open && end !== ends.telling) return false
    Atomics.store(this.#words, word.peerThread, peer.threadId)
    Atomics.store(this.#words, word.peerExitCode, peer.exitCode)
    if (Atomics.compareExchange(this.#words, word.end, end, ends.lost) !== end) return false
    Atomics.notify(this.#words, word.end)
    return true
  }

  get lostPeer(): LostPeer {
    return {
      threadId: Atomics.load(this.#words, word.peerThread),
      exitCode: Atomics.load(this.#words, word.peerExitCode),
    }
  }

  /** Resolves when the ring has ended, whichever thread ended it. */
  async whenEnded(): Promise<void> {
    for (let end = this.end; end === ends.open || end === ends.telling; end = this.end) {
      const sleep = Atomics.waitAsync(this.#words, word.end, end)
      if (sleep.async) await sleep.value
    }
  }

  /** The error as the other thread sees it: an Error of the same name, message and code, or the JSON value. */
  readError(): unknown {
    const length = this.#words[word.error] as number
    // A copy: TextDecoder and JSON take no shared memory.
    const told = Buffer.from(Buffer.from(this.buffer, word.error * 4 + 4, length)).toString()
    const { error, value } = JSON.parse(told) as {
      error?: { name: string; message: string; code?: string }
      value?: unknown
    }
    if (error === undefined) return value
    const { name, message, code } = error
    const twin = name === 'AbortError' ? new DOMException(message, name) : Object.assign(new Error(message), { name })
    return code === undefined ? twin : Object.assign(twin, { code })
  }

  #writeError(error: unknown): void {
    let told = describe(error, Infinity)
    if (told.length > errorBytes - 4) told = describe(error, 256)
    this.#words[word.error] = told.copy(Buffer.from(this.buffer, word.error * 4 + 4, errorBytes - 4))
  }
}

function describe(error: unknown, longest: number): Buffer {
  if (error instanceof Error) {
    const { name, message } = error
    const { code } = error as { code?: unknown }
    const cut = (text: string): string => (text.length > longest ? `${text.slice(0, longest)}…` : text)
    return Buffer.from(
      JSON.stringify({
        error: { name: cut(name), message: cut(message), ...(typeof code === 'string' ? { code: cut(code) } : {}) },
      }),
    )
  }
  try {
    const told = Buffer.from(JSON.stringify({ value: error }))
    if (told.length <= Math.min(longest, errorBytes - 4)) return told
  } catch {
    // No JSON form: its text will do.
  }
  return Buffer.from(JSON.stringify({ value: String(error).slice(0, 256) }))
}
