import { AbortedError, BuzzerError } from '../../message/index.ts'
import type { StateChange } from '../../store/index.ts'
import type { OutgoingMessage, Receipt } from '../../transport/index.ts'
import { type ByteWriter, fromWireError, type Welcome, type WireError, writeSend } from '../protocol/index.ts'
import { Fifo } from './fifo.ts'

/** Where a send's item has its count of messages, and where its state stands when that count is 0: see client-frames. */
const countOffset = 1 + 4 + 8
const emptyStateOffset = countOffset + 4

const none: readonly never[] = []

/** Repeated sends leave in frames of about this size. */
const repeatFrameBytes = 1024 * 1024

interface PendingSend {
  /** Given up when they are written. */
  messages: readonly OutgoingMessage[]
  state: readonly StateChange[] | undefined
  readonly receipt: Receipt
  /** Where its item lies: in `frame`, or in the writer while there is none. */
  start: number
  end: number
  frame: Buffer | undefined
  stage: 'waiting' | 'written' | 'left' | 'decided'
  stopListening: (() => void) | undefined
}

export interface PendingSendsOptions {
  readonly writer: ByteWriter
  readonly maxMessageBytes: number
  readonly maxPendingBytes: number
  readonly maxStepBytes: number
  /** Something was written: it wants to be flushed. */
  readonly onWritten: () => void
}

/**
 * The sends of one session that have no answer yet, in the order of the calls, numbered without gaps. Their bytes are
 * kept until the engine says that they are decided, so that a lost connection repeats what was not: exactly once into
 * the file. Beyond `maxPendingBytes` further sends wait; their promises are the back-pressure. Source: spec broker 2.
 *
 * ```
 * waiting ── room ──> written ── flushed ──> left ── committed, refused ──> decided
 * ```
 */
export class PendingSends {
  readonly #options: PendingSendsOptions
  readonly #pending = new Fifo<PendingSend>()
  readonly #waiting = new Fifo<PendingSend>()
  /** Sequence of the first of `#pending`. */
  #firstSequence = 1
  /** Sequences that lie in the writer: from the one up to, not including, the other. */
  #writerFrom = 1
  #writerTo = 1
  #pendingBytes = 0
  #undecided = 0
  #refusalsHeld = false

  constructor(options: PendingSendsOptions) {
    this.#options = options
  }

  /** Sends that somebody waits for. */
  get count(): number {
    return this.#undecided
  }

  /** All sends up to here are answered. */
  get answeredThrough(): number {
    return this.#firstSequence - 1
  }

  /** Whether the engine may forget refusals since the last question. */
  takeRefusals(): boolean {
    if (!this.#refusalsHeld || this.#pending.length > 0) return false
    this.#refusalsHeld = false
    return true
  }

  send(
    messages: readonly OutgoingMessage[],
    state: readonly StateChange[] | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      this.submit(messages, state, signal, { accepted: resolve, refused: reject })
    })
  }

  /** The same, told by calls. */
  submit(
    messages: readonly OutgoingMessage[],
    state: readonly StateChange[] | undefined,
    signal: AbortSignal | undefined,
    receipt: Receipt,
  ): void {
    if (signal?.aborted === true) return receipt.refused(aborted(signal, 'not-stored'))
    const send: PendingSend = {
      messages,
      state,
      receipt,
      start: 0,
      end: 0,
      frame: undefined,
      stage: 'waiting',
      stopListening: undefined,
    }
    this.#undecided++
    if (signal !== undefined) this.#listen(send, signal)
    if (this.#pendingBytes >= this.#options.maxPendingBytes || this.#waiting.length > 0) this.#waiting.push(send)
    else this.#write(send)
  }

  /** Whether the writer holds sends, so that a copy of its bytes must be kept. */
  get inWriter(): boolean {
    return this.#writerTo > this.#writerFrom
  }

  /** The writer's bytes were handed over as a frame, of which `kept` is a copy. */
  left(kept: Buffer): void {
    for (; this.#writerFrom < this.#writerTo; this.#writerFrom++) {
      const send = this.#pending.at(this.#writerFrom - this.#firstSequence) as PendingSend
      send.frame = kept
      if (send.stage === 'written') send.stage = 'left'
    }
  }

  /** All sends up to `sequence` are decided; refused ones were told before. */
  committed(sequence: number): void {
    this.#decideThrough(sequence)
    this.#admit()
  }

  #decideThrough(sequence: number): void {
    while (this.#firstSequence <= sequence) {
      const send = this.#pending.shift()
      if (send === undefined) return
      this.#firstSequence++
      this.#pendingBytes -= send.end - send.start
      if (send.stage !== 'decided') {
        this.#decide(send)
        send.receipt.accepted()
      }
    }
  }

  refused(sequence: number, error: WireError): void {
    this.#refusalsHeld = true
    const send = this.#pending.at(sequence - this.#firstSequence)
    if (send === undefined || send.stage === 'decided') return
    this.#decide(send)
    send.receipt.refused(fromWireError(error))
  }

  /** Empties the writer: the sends in it, and its bytes for them, are kept until `welcomed`. */
  setAside(): void {
    const frame = Buffer.from(this.#options.writer.take().buffer)
    for (; this.#writerFrom < this.#writerTo; this.#writerFrom++) {
      ;(this.#pending.at(this.#writerFrom - this.#firstSequence) as PendingSend).frame = frame
    }
  }

  /** On a new connection, after `setAside`: takes what is decided, then writes again, in order, what the engine lacks. */
  welcomed(through: number, refused: Welcome['refused'], flush: () => void): void {
    for (const { sequence, error } of refused) this.refused(sequence, error)
    this.#decideThrough(through)
    this.#repeat(flush)
    this.#admit()
  }

  #repeat(flush: () => void): void {
    const { writer } = this.#options
    this.#writerFrom = this.#writerTo = this.#firstSequence
    const count = this.#pending.length
    for (let index = 0; index < count; index++) {
      const send = this.#pending.at(index) as PendingSend
      const { frame, start, end } = send
      if (frame === undefined) throw new Error('a pending send has lost its bytes')
      send.start = writer.length
      writer.slice(frame, start, end)
      send.end = writer.length
      send.frame = undefined
      this.#writerTo++
      if (writer.length >= repeatFrameBytes) flush()
    }
  }

  /**
   * Tells every caller that no answer will come. What has a number keeps its place as a send of nothing, so that a later
   * connection finds no gap.
   */
  rejectAll(error: (outcome: 'not-stored' | 'unknown') => BuzzerError): void {
    for (let index = 0; index < this.#pending.length; index++) {
      const send = this.#pending.at(index) as PendingSend
      const { stage } = send
      if (stage === 'decided') continue
      this.#decide(send)
      this.#neutralise(send)
      send.receipt.refused(error(stage === 'left' ? 'unknown' : 'not-stored'))
    }
    for (let send = this.#waiting.shift(); send !== undefined; send = this.#waiting.shift()) {
      if (send.stage === 'decided') continue
      this.#decide(send)
      send.receipt.refused(error('not-stored'))
    }
  }

  #write(send: PendingSend): void {
    const { writer, maxMessageBytes, maxStepBytes, onWritten } = this.#options
    const start = writer.length
    const sequence = this.#firstSequence + this.#pending.length
    try {
      writeSend(writer, sequence, send.messages, send.state, maxMessageBytes)
      const actualBytes = writer.length - start
      if (actualBytes > maxStepBytes) {
        writer.rewind(start)
        throw arrayTooLarge('send', send.messages.length, actualBytes, maxStepBytes)
      }
    } catch (error) {
      this.#decide(send)
      return send.receipt.refused(error)
    }
    send.start = start
    send.end = writer.length
    send.stage = 'written'
    send.messages = none
    send.state = undefined
    this.#pending.push(send)
    if (this.#writerFrom === this.#writerTo) this.#writerFrom = sequence
    this.#writerTo = sequence + 1
    this.#pendingBytes += send.end - start
    onWritten()
  }

  #admit(): void {
    while (this.#waiting.length > 0 && this.#pendingBytes < this.#options.maxPendingBytes) {
      const send = this.#waiting.shift() as PendingSend
      if (send.stage === 'waiting') this.#write(send)
    }
  }

  #decide(send: PendingSend): void {
    send.stage = 'decided'
    this.#undecided--
    send.stopListening?.()
    send.stopListening = undefined
  }

  #listen(send: PendingSend, signal: AbortSignal): void {
    const onAbort = (): void => this.#abort(send, signal)
    signal.addEventListener('abort', onAbort, { once: true })
    send.stopListening = () => signal.removeEventListener('abort', onAbort)
  }

  #abort(send: PendingSend, signal: AbortSignal): void {
    const { stage } = send
    if (stage === 'decided') return
    this.#decide(send)
    if (stage === 'written') this.#neutralise(send)
    send.receipt.refused(aborted(signal, stage === 'left' ? 'unknown' : 'not-stored'))
  }

  /** Turns a send that has not left into one of nothing, in place: the numbers of those behind it stay as they are. */
  #neutralise(send: PendingSend): void {
    const { writer } = this.#options
    if (send.frame === undefined) {
      writer.patchU32(send.start + countOffset, 0)
      writer.patchU32(send.start + emptyStateOffset, 0)
    } else {
      // A frame that has left is shared with the broker thread, which may still read it.
      const own = Buffer.from(send.frame.subarray(send.start, send.end))
      own.writeUInt32LE(0, countOffset)
      own.writeUInt32LE(0, emptyStateOffset)
      send.frame = own
      send.end -= send.start
      send.start = 0
    }
  }
}

function aborted(signal: AbortSignal, outcome: 'not-stored' | 'unknown'): BuzzerError {
  return new AbortedError(signal, 'the send', { outcome })
}

/** `step`: what has the array, a send or a settlement. */
export function arrayTooLarge(step: string, count: number, actualBytes: number, limitBytes: number): BuzzerError {
  return new BuzzerError(
    'BUZZER_MESSAGE_TOO_LARGE',
    `a ${step} of ${count} messages has ${actualBytes} bytes; one atomic step takes at most ${limitBytes}. Send them in parts`,
    { details: { actualBytes, limitBytes } },
  )
}
