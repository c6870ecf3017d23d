import { AbortedError, BuzzerError } from '../../message/index.ts'
import type { AppendBatch, Appended } from '../../transport/index.ts'
import { type AppendAnswer, ByteWriter, fromWireError, writeAppend } from '../protocol/index.ts'
import { Fifo } from './fifo.ts'

/** Unconfirmed bytes beyond which further appends wait. Source: spec streams 3.8. */
const maxPendingBytes = 16 * 1024 * 1024

interface PendingAppend {
  readonly batches: readonly AppendBatch[]
  readonly resolve: (answers: readonly Appended[]) => void
  readonly reject: (error: unknown) => void
  /** Its item, kept until it is answered. */
  item: Buffer | undefined
  isDecided: boolean
  stopListening: (() => void) | undefined
}

export interface PendingAppendsOptions {
  /** The frame of the moment. */
  readonly writer: ByteWriter
  readonly maxStepBytes: number
  /** Something was written: it wants to be flushed. */
  readonly onWritten: () => void
  /** An append whose writing was not the caller's doing: the frame may be full. */
  readonly flush: () => void
}

/**
 * The appends of one session that have no answer yet, in the order of the calls, numbered without gaps and apart from
 * sends. Each is one item that carries nothing of its connection, kept until the engine has answered, so that a lost
 * connection repeats what was not decided: exactly once into the file. Source: spec streams 3.5, broker 2.
 *
 * ```
 * waiting ── room ──> numbered ── answered, withdrawn ──> decided
 * ```
 */
export class PendingAppends {
  readonly #options: PendingAppendsOptions
  readonly #pending = new Fifo<PendingAppend>()
  readonly #waiting = new Fifo<PendingAppend>()
  readonly #encoder = new ByteWriter(4 * 1024)
  /** Sequence of the first of `#pending`. */
  #firstSequence = 1
  #pendingBytes = 0
  #undecided = 0

  constructor(options: PendingAppendsOptions) {
    this.#options = options
  }

  /** Appends that somebody waits for. */
  get count(): number {
    return this.#undecided
  }

  /** All appends up to here are answered. */
  get answeredThrough(): number {
    return this.#firstSequence - 1
  }

  append(batches: readonly AppendBatch[], signal: AbortSignal | undefined): Promise<readonly Appended[]> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(aborted(signal, 'not-stored'))
      const append: PendingAppend = {
        batches,
        resolve,
        reject,
        item: undefined,
        isDecided: false,
        stopListening: undefined,
      }
      this.#undecided++
      if (signal !== undefined) this.#listen(append, signal)
      if (this.#pendingBytes >= maxPendingBytes || this.#waiting.length > 0) this.#waiting.push(append)
      else this.#number(append)
    })
  }

  /** The engine's answer. Answers come in order. */
  answered(sequence: number, answer: AppendAnswer): void {
    if (sequence !== this.#firstSequence) return
    const append = this.#pending.shift()
    if (append === undefined) return
    this.#firstSequence++
    this.#pendingBytes -= append.item?.length ?? 0
    if (!append.isDecided) {
      this.#decide(append)
      if ('error' in answer) append.reject(fromWireError(answer.error))
      else append.resolve(answer.answers)
    }
    this.#admit()
  }

  /** On a new connection, whose frame is empty: writes again, in order, what the engine has not decided. */
  welcomed(through: number): void {
    const count = this.#pending.length
    for (let index = Math.max(0, through - this.answeredThrough); index < count; index++) {
      this.#write(this.#pending.at(index) as PendingAppend)
      this.#options.flush()
    }
  }

  /** Tells every caller that no answer will come. What has a number keeps it, as an append of nothing. */
  rejectAll(error: (outcome: 'not-stored' | 'unknown') => BuzzerError): void {
    for (let index = 0; index < this.#pending.length; index++) {
      const append = this.#pending.at(index) as PendingAppend
      if (append.isDecided) continue
      this.#decide(append)
      this.#withdraw(append, this.#firstSequence + index)
      append.reject(error('unknown'))
    }
    for (let append = this.#waiting.shift(); append !== undefined; append = this.#waiting.shift()) {
      if (append.isDecided) continue
      this.#decide(append)
      append.reject(error('not-stored'))
    }
  }

  #number(append: PendingAppend): void {
    const { maxStepBytes } = this.#options
    const sequence = this.#firstSequence + this.#pending.length
    writeAppend(this.#encoder, sequence, this.answeredThrough, append.batches)
    if (this.#encoder.length > maxStepBytes) {
      const actualBytes = this.#encoder.length
      this.#encoder.rewind(0)
      this.#decide(append)
      return append.reject(appendTooLarge(actualBytes, maxStepBytes))
    }
    append.item = Buffer.from(this.#encoder.take().buffer)
    this.#pending.push(append)
    this.#pendingBytes += append.item.length
    this.#write(append)
    this.#options.onWritten()
  }

  #write({ item }: PendingAppend): void {
    if (item === undefined) throw new Error('a pending append has lost its bytes')
    this.#options.writer.slice(item, 0, item.length)
  }

  #admit(): void {
    while (this.#waiting.length > 0 && this.#pendingBytes < maxPendingBytes) {
      const append = this.#waiting.shift() as PendingAppend
      if (!append.isDecided) this.#number(append)
    }
  }

  #decide(append: PendingAppend): void {
    append.isDecided = true
    this.#undecided--
    append.stopListening?.()
    append.stopListening = undefined
  }

  #withdraw(append: PendingAppend, sequence: number): void {
    this.#pendingBytes -= append.item?.length ?? 0
    writeAppend(this.#encoder, sequence, 0, [])
    append.item = Buffer.from(this.#encoder.take().buffer)
    this.#pendingBytes += append.item.length
  }

  #listen(append: PendingAppend, signal: AbortSignal): void {
    const onAbort = (): void => {
      if (append.isDecided) return
      this.#decide(append)
      append.reject(aborted(signal, append.item === undefined ? 'not-stored' : 'unknown'))
    }
    signal.addEventListener('abort', onAbort, { once: true })
    append.stopListening = () => signal.removeEventListener('abort', onAbort)
  }
}

function aborted(signal: AbortSignal, outcome: 'not-stored' | 'unknown'): BuzzerError {
  return new AbortedError(signal, 'the append', { outcome })
}

function appendTooLarge(actualBytes: number, limitBytes: number): BuzzerError {
  return new BuzzerError(
    'BUZZER_MESSAGE_TOO_LARGE',
    `an append has ${actualBytes} bytes; one atomic step takes at most ${limitBytes}. Append in parts`,
    { details: { actualBytes, limitBytes } },
  )
}
