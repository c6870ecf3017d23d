import { BuzzerError } from 'buzzer'
import type { OutgoingMessage } from 'buzzer/transport'
import type { Route } from './routes.ts'

/** What became of one message of an array: an entry of `details.results`, see `Transport.send`. */
export type SendResult = 'stored' | 'not-stored' | 'unknown'

/** One message on its way out. */
export class Pending {
  readonly message: OutgoingMessage
  readonly batch: SendBatch
  readonly carriedAttempts: number
  route: Route | undefined
  state: 'waiting' | 'sent' | 'accepted' | 'refused' = 'waiting'
  /** It has left at least once, so only a confirm can tell whether it is stored. */
  hasLeft = false
  /** The server said that no queue takes it; its confirm is still to come. */
  isReturned = false
  wasReturnedBefore = false

  constructor(message: OutgoingMessage, batch: SendBatch, carriedAttempts: number) {
    this.message = message
    this.batch = batch
    this.carriedAttempts = carriedAttempts
  }

  get result(): SendResult {
    if (this.state === 'accepted') return 'stored'
    return this.state === 'refused' || !this.hasLeft ? 'not-stored' : 'unknown'
  }
}

/** One call of `send`: its messages, its promise, its deadline. */
export class SendBatch {
  readonly pending: Pending[]
  readonly deadline: number
  readonly bytes: number
  isOver = false
  #left: number
  #error: BuzzerError | undefined
  readonly #resolve: () => void
  readonly #reject: (error: unknown) => void
  #stopListening: (() => void) | undefined

  constructor(
    messages: readonly OutgoingMessage[],
    carriedAttempts: number,
    deadline: number,
    resolve: () => void,
    reject: (error: unknown) => void,
  ) {
    this.pending = messages.map(message => new Pending(message, this, carriedAttempts))
    this.bytes = messages.reduce((sum, { body }) => sum + body.byteLength, 0)
    this.#left = messages.length
    this.deadline = deadline
    this.#resolve = resolve
    this.#reject = reject
  }

  /** Whether nothing of it has ever left. */
  get isUntouched(): boolean {
    return !this.pending.some(pending => pending.hasLeft)
  }

  listen(signal: AbortSignal, onAbort: () => void): void {
    signal.addEventListener('abort', onAbort, { once: true })
    this.#stopListening = () => signal.removeEventListener('abort', onAbort)
  }

  accepted(pending: Pending): void {
    pending.state = 'accepted'
    this.#decided()
  }

  refused(pending: Pending, error: BuzzerError): void {
    pending.state = 'refused'
    this.#error ??= error
    this.#decided()
  }

  /** Settles the promise now; what is still on its way no longer matters to it. */
  end(error: BuzzerError | undefined): void {
    if (this.isOver) return
    this.isOver = true
    this.#stopListening?.()
    if (error === undefined) this.#resolve()
    else this.#reject(this.pending.length === 1 ? error : withResults(error, this.pending))
  }

  #decided(): void {
    if (--this.#left === 0) this.end(this.#error)
  }
}

/** The error of an array, with what became of each of its messages. */
function withResults(error: BuzzerError, pending: readonly Pending[]): BuzzerError {
  return new BuzzerError(error.code, error.message, {
    cause: error.cause,
    retryable: error.retryable,
    details: { ...error.details, results: pending.map(one => one.result) },
  })
}
