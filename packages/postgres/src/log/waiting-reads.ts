import { AbortedError, BuzzerError, type Clock, type Logger } from 'buzzer'
import { streamNotFound } from 'buzzer/transport'
import { anything } from '../notices.ts'
import { rowsOf, type SqlHandle } from '../sql-handle.ts'

/** One read that waits, or may come to wait. */
export interface Wait extends Disposable {
  /**
   * Resolves when the partition may have something at `position`, or `waitMs` have passed; at once when there was a sign
   * since the wait began. Rejects with BUZZER_STREAM_NOT_FOUND when the stream is gone, BUZZER_ABORTED, BUZZER_NOT_RUNNING.
   */
  until(position: number, waitMs: number, signal: AbortSignal | undefined): Promise<void>
}

interface Waiting {
  readonly stream: string
  readonly partition: number
  /** What it waits for the end to pass; `undefined`: it does not wait yet. */
  position: number | undefined
  wake(error?: BuzzerError): void
}

interface EndRow {
  readonly name: string
  readonly partition: number
  readonly first: number
  readonly end: number
}

/** What a notification calls a partition. */
export function partitionNotice(stream: string, partition: number): string {
  return `${stream}/${partition}`
}

/**
 * Reads that wait for records. Notifications wake them; behind those one statement in `pollMs` looks at all partitions that
 * are waited for, however many wait.
 */
export class WaitingReads {
  readonly #handle: SqlHandle
  readonly #schema: string
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #pollMs: number
  readonly #waiting = new Map<string, Set<Waiting>>()
  #timer: unknown
  #isClosed = false

  /** `schema`: quoted. */
  constructor(options: { handle: SqlHandle; schema: string; clock: Clock; logger: Logger; pollMs: number }) {
    this.#handle = options.handle
    this.#schema = options.schema
    this.#clock = options.clock
    this.#logger = options.logger
    this.#pollMs = options.pollMs
  }

  /** Whether nobody waits. */
  get isEmpty(): boolean {
    return this.#waiting.size === 0
  }

  /** To be called before the look at the partition that decides whether to wait, so that nothing falls between. */
  begin(stream: string, partition: number): Wait {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    // A sign that nobody waits for is no error of anybody.
    promise.catch(() => undefined)
    const waiting: Waiting = {
      stream,
      partition,
      position: undefined,
      wake: error => (error === undefined ? resolve() : reject(error)),
    }
    if (this.#isClosed) waiting.wake(closed())
    const name = partitionNotice(stream, partition)
    const others = this.#waiting.get(name) ?? new Set()
    others.add(waiting)
    this.#waiting.set(name, others)
    return {
      until: async (position, waitMs, signal) => {
        waiting.position = position
        const onAbort = (): void => reject(new AbortedError(signal as AbortSignal, 'the read'))
        if (signal?.aborted === true) onAbort()
        signal?.addEventListener('abort', onAbort, { once: true })
        const timer = Number.isFinite(waitMs) ? this.#clock.setTimeout(resolve, waitMs) : undefined
        this.#poll()
        try {
          await promise
        } finally {
          this.#clock.clearTimeout(timer)
          signal?.removeEventListener('abort', onAbort)
        }
      },
      [Symbol.dispose]: () => {
        others.delete(waiting)
        if (others.size === 0 && this.#waiting.get(name) === others) this.#waiting.delete(name)
      },
    }
  }

  /** A notification of another process, or what this one has appended. */
  hint(payload: string): void {
    if (payload === anything) return this.wakeAll()
    for (const name of payload.split(',')) for (const one of this.#waiting.get(name) ?? []) one.wake()
  }

  /** Notifications may have been lost. */
  wakeAll(): void {
    for (const others of this.#waiting.values()) for (const one of others) one.wake()
  }

  close(): void {
    this.#isClosed = true
    this.#clock.clearTimeout(this.#timer)
    for (const others of this.#waiting.values()) for (const one of others) one.wake(closed())
  }

  #poll(): void {
    if (this.#timer !== undefined || this.#isClosed) return
    this.#timer = this.#clock.setTimeout(() => {
      void this.#look().finally(() => {
        this.#timer = undefined
        if (!this.isEmpty) this.#poll()
      })
    }, this.#pollMs)
  }

  async #look(): Promise<void> {
    const looked = [...this.#waiting.values()]
      .flatMap(others => [...others])
      .filter((one): one is Waiting & { position: number } => one.position !== undefined)
    if (looked.length === 0) return
    const keys = new Map(
      looked.map(one => [partitionNotice(one.stream, one.partition), { n: one.stream, p: one.partition }]),
    )
    try {
      const rows = await rowsOf<EndRow>(this.#handle, `select * from ${this.#schema}.log_ends($1::text)`, [
        JSON.stringify([...keys.values()]),
      ])
      const ends = new Map(rows.map(row => [partitionNotice(row.name, row.partition), row]))
      for (const one of looked) {
        const row = ends.get(partitionNotice(one.stream, one.partition))
        if (row === undefined) one.wake(streamNotFound(one.stream))
        else if (row.end > one.position || row.first > one.position) one.wake()
      }
    } catch (error) {
      this.#logger.debug({ error }, 'the ends of waited-for partitions could not be read; the next poll looks again')
    }
  }
}

function closed(): BuzzerError {
  return new BuzzerError('BUZZER_NOT_RUNNING', 'the log is closed')
}
