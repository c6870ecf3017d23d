import { BuzzerError, type Clock, isRetryable } from 'buzzer'
import type { AmqpConnection } from './amqplib-connection.ts'

/** Pause after a loss: this, and a random part of a window that doubles from `firstWindowMs`. */
const leastPauseMs = 100
/** So wide that clients that lose one server at the same moment do not come back at the same moment. */
const firstWindowMs = 1_500
/** Longest window while nobody answers: an attempt costs little, and the server may be back any second. */
const longestWindowMs = 4_500
/** Pause when a server that answers refuses us: wrong credentials do not heal by asking often. */
const refusedPauseMs = 30_000
/** A server that starts up refuses virtual hosts for a moment; only more refusals than that are for good. */
const refusalsForgiven = 4

export interface LinkOptions {
  readonly clock: Clock
  readonly random: () => number
  open(): Promise<AmqpConnection>
  /** Makes everything that lives on the connection. A rejection counts as a failed attempt. */
  onOpen(connection: AmqpConnection): Promise<void>
  /** `connection` answers now. */
  onReady(): void
  /** The connection is gone, and all on it. */
  onLost(error: Error): void
  /** A refusal that will not heal by itself, told each time; attempts go on slowly. */
  onRefused(error: Error): void
}

/**
 * Keeps one connection. One attempt at a time; the pauses are random, so that many clients do not come back as one.
 *
 * ```
 *  new ──connect──▶ connecting ──opened──▶ ready
 *                        ▲  └─failed: rejects (first), pause (later)
 *                        └────── pause ◀──── lost
 *  any ──close──▶ closed
 * ```
 */
export class Link {
  readonly #options: LinkOptions
  #state: 'new' | 'connecting' | 'ready' | 'waiting' | 'closed' = 'new'
  #connection: AmqpConnection | undefined
  #timer: unknown
  #hold: NodeJS.Timeout | undefined
  #failures = 0
  #refusals = 0
  #attempt: Promise<void> | undefined

  constructor(options: LinkOptions) {
    this.#options = options
  }

  get isReady(): boolean {
    return this.#state === 'ready'
  }

  get connection(): AmqpConnection | undefined {
    return this.#state === 'ready' ? this.#connection : undefined
  }

  /** The first attempt. Rejects when it fails; a later call tries again. From the first success on the link keeps itself. */
  connect(): Promise<void> {
    this.#attempt ??= this.#connect().finally(() => {
      this.#attempt = undefined
    })
    return this.#attempt
  }

  async #connect(): Promise<void> {
    if (this.#state !== 'new') return
    this.#state = 'connecting'
    try {
      await this.#open()
    } catch (error) {
      if (!this.#isClosed) this.#state = 'new'
      throw error
    }
  }

  /** Ends the connection, by force after `patienceMs`. Idempotent. */
  async close(patienceMs: number): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#options.clock.clearTimeout(this.#timer)
    clearInterval(this.#hold)
    const connection = this.#connection
    this.#connection = undefined
    await connection?.close(this.#options.clock, patienceMs)
  }

  /** Gives up the connection and makes a new one: for a server that no longer keeps its word. */
  abandon(error: Error): void {
    const connection = this.#connection
    if (this.#state !== 'ready' || connection === undefined) return
    void connection.close(this.#options.clock, 0)
    this.#lost(connection, error)
  }

  async #open(): Promise<void> {
    const options = this.#options
    const { clock } = options
    const connection = await options.open()
    if (this.#isClosed) {
      await connection.close(clock, 1_000)
      throw new BuzzerError('BUZZER_NOT_RUNNING', 'the rabbitmq transport was closed while it connected')
    }
    let lostWhile: Error | undefined
    connection.onLost(error => {
      lostWhile = error
      this.#lost(connection, error)
    })
    try {
      await options.onOpen(connection)
      if (lostWhile !== undefined) throw lostWhile
      if (this.#isClosed)
        throw new BuzzerError('BUZZER_NOT_RUNNING', 'the rabbitmq transport was closed while it connected')
    } catch (error) {
      await connection.close(clock, 1_000)
      throw error
    }
    this.#connection = connection
    this.#failures = 0
    this.#refusals = 0
    this.#state = 'ready'
    clearInterval(this.#hold)
    this.#options.onReady()
  }

  #lost(connection: AmqpConnection, error: Error): void {
    if (this.#state !== 'ready' || connection !== this.#connection) return
    this.#connection = undefined
    this.#state = 'waiting'
    // The pauses alone would not keep a process that waits for its server.
    this.#hold = setInterval(() => {}, 2 ** 30)
    this.#options.onLost(error)
    this.#again(this.#pauseMs())
  }

  #again(pauseMs: number): void {
    this.#timer = this.#options.clock.setTimeout(() => {
      if (this.#isClosed) return
      this.#state = 'connecting'
      this.#open().catch((error: unknown) => {
        if (this.#isClosed) return
        this.#state = 'waiting'
        this.#failures++
        if (isRetryable(error) || ++this.#refusals <= refusalsForgiven) return this.#again(this.#pauseMs())
        this.#options.onRefused(error as Error)
        this.#again(refusedPauseMs * (0.5 + 0.5 * this.#options.random()))
      })
    }, pauseMs)
  }

  #pauseMs(): number {
    const window = Math.min(longestWindowMs, firstWindowMs * 2 ** Math.min(this.#failures, 10))
    return leastPauseMs + this.#options.random() * window
  }

  get #isClosed(): boolean {
    return this.#state === 'closed'
  }
}
