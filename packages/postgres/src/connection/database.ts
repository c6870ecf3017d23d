import { AbortedError, BuzzerError, type Clock, hasCode, type Logger } from 'buzzer'
import type { ClientConfig } from 'pg'
import { quoteIdentifier, type SqlHandle, type SqlResult } from '../sql-handle.ts'
import { backOffMs } from './back-off.ts'
import { type ConnectionSettings, PgConnection, type PoolLike } from './pg-connection.ts'
import { sqlStateOf } from '../sql-state.ts'
import { connectionError, databaseError, isRepeatable } from './sql-error.ts'

export interface DatabaseOptions {
  readonly config: ClientConfig
  readonly pool: PoolLike | undefined
  /** Quoted where it is used; as given. */
  readonly schema: string
  readonly maxConnections: number
  readonly statementTimeoutMs: number
  readonly pooler: 'none' | 'transaction'
}

export interface DatabaseContext {
  readonly bus: string
  readonly clock: Clock
  readonly logger: Logger
  onState(state: 'connected' | 'reconnecting' | 'lost', error?: Error): void
}

/** How one use of the database waits and gives up. */
export interface UseOptions {
  readonly signal?: AbortSignal
  /** How long to wait for a connection while there is none. Default 60,000; then `BUZZER_DISCONNECTED`. */
  readonly patienceMs?: number
}

/** After a refusal that only people can end (credentials, database): slowly, but not never. Spec transports 1. */
const fatalPauseMs = 30_000
const defaultPatienceMs = 60_000

interface Waiter {
  readonly grant: (connection: PgConnection) => void
  readonly refuse: (error: Error) => void
}

/**
 * Connections to one database and the one that watches over them:
 *
 *   new ──connect──▶ ready ──a connection breaks──▶ reconnecting ──one opens──▶ ready
 *                      ▲                                 │ refused for good
 *                      └────────── one opens ───────── lost (tried again every 30 s)
 *   from each of them: close ──▶ closed
 *
 * - At most `maxConnections` are open; who needs one waits in line. A use takes one connection and never a second inside.
 * - One attempt to connect at a time, full-jitter back-off from 100 ms to 30 s.
 * - Uses that find no connection wait for it up to their patience; nothing that a server might have done is repeated here,
 *   except by `repeat`, whose caller says that doing it twice is the same as once.
 */
export class Database {
  readonly schema: string
  readonly quotedSchema: string
  readonly #options: DatabaseOptions
  readonly #idle: PgConnection[] = []
  readonly #waiters: Waiter[] = []
  readonly #onReady = new Set<() => void>()
  #state: 'new' | 'ready' | 'reconnecting' | 'lost' | 'closed' = 'new'
  #open = 0
  #attempt: Promise<void> | undefined
  #context: DatabaseContext | undefined
  #timer: unknown
  #lastError: Error | undefined

  constructor(options: DatabaseOptions) {
    this.#options = options
    this.schema = options.schema
    this.quotedSchema = quoteIdentifier(options.schema)
  }

  get state(): 'new' | 'ready' | 'reconnecting' | 'lost' | 'closed' {
    return this.#state
  }

  /** Opens the first connection. Rejects with a retryable error while the server is away, with another when it refuses us. */
  async connect(context: DatabaseContext): Promise<void> {
    if (this.#state === 'closed') throw closedError()
    if (this.#state !== 'new') return
    this.#context = context
    const connection = await this.openConnection()
    if (this.state === 'closed') {
      connection.close()
      throw closedError()
    }
    this.#state = 'ready'
    this.#open++
    this.#release(connection)
  }

  /** Called after each reconnect, before waiting uses go on. */
  onReady(callback: () => void): void {
    this.#onReady.add(callback)
  }

  /** A connection beside the counted ones, watched by its owner. */
  async openConnection(): Promise<PgConnection> {
    const { config, pool } = this.#options
    const settings: ConnectionSettings = {
      applicationName: `buzzer:${this.#context?.bus ?? ''}`,
      statementTimeoutMs: this.#options.statementTimeoutMs,
      pooler: this.#options.pooler,
    }
    return pool === undefined ? PgConnection.open(config, settings) : PgConnection.borrow(pool, settings)
  }

  /**
   * Runs `work` on one connection. Rejects with what `work` throws, errors of the driver made ours (`databaseError`);
   * `BUZZER_DISCONNECTED` with `details.outcome` `not-stored` when no connection came, `unknown` when it broke in between.
   */
  async run<T>(work: (connection: PgConnection) => Promise<T>, options: UseOptions = {}): Promise<T> {
    const connection = await this.#acquire(options)
    try {
      return await work(connection)
    } catch (error) {
      if (connection.isBroken) throw databaseError(error, { outcome: 'unknown' })
      throw sqlStateOf(error) === undefined ? error : databaseError(error)
    } finally {
      this.#release(connection)
    }
  }

  /** `run` for work that may be done twice. */
  repeat<T>(work: (connection: PgConnection) => Promise<T>, options: UseOptions = {}): Promise<T> {
    return this.repeating(() => this.run(work, options), options)
  }

  /**
   * Repeats an attempt that may be made twice, over lost connections, deadlocks and time limits, until the patience ends. The
   * attempt takes its connection itself.
   */
  async repeating<T>(
    attempt: () => Promise<T>,
    { signal, patienceMs = defaultPatienceMs }: UseOptions = {},
  ): Promise<T> {
    const clock = this.#clock
    const giveUpAt = clock.monotonic() + patienceMs
    for (let failures = 0; ; failures++) {
      try {
        return await attempt()
      } catch (error) {
        const isWorthIt = isRepeatable(error) || hasCode(error, 'BUZZER_DISCONNECTED')
        if (!isWorthIt || this.#state === 'closed' || clock.monotonic() >= giveUpAt) throw error
        if (signal?.aborted === true) throw error
        await pause(clock, backOffMs(failures, Math.random()))
      }
    }
  }

  query(text: string, values?: readonly unknown[]): Promise<SqlResult> {
    return this.run(connection => connection.query(text, values))
  }

  /** BEGIN, `work`, COMMIT on one connection; a rejection rolls back and is passed on. */
  transaction<T>(work: (handle: SqlHandle) => Promise<T>, options: UseOptions = {}): Promise<T> {
    return this.run(async connection => {
      await connection.query('begin')
      try {
        const result = await work(connection)
        await connection.query('commit')
        return result
      } catch (error) {
        if (!connection.isBroken) await connection.query('rollback')
        throw error
      }
    }, options)
  }

  /** Idempotent. Waiting uses reject with `BUZZER_NOT_RUNNING`; running ones finish. */
  close(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#context?.clock.clearTimeout(this.#timer)
    for (const waiter of this.#waiters.splice(0)) waiter.refuse(closedError())
    for (const connection of this.#idle.splice(0)) this.#discard(connection)
  }

  get #clock(): Clock {
    if (this.#context === undefined) throw closedError()
    return this.#context.clock
  }

  async #acquire({ signal, patienceMs = defaultPatienceMs }: UseOptions): Promise<PgConnection> {
    if (this.#state === 'closed' || this.#state === 'new') throw closedError()
    if (signal?.aborted === true) throw new AbortedError(signal, 'the wait for a connection', { outcome: 'not-stored' })
    if (this.#state === 'ready') {
      const idle = this.#idle.pop()
      if (idle !== undefined) return idle
    }
    const { promise, resolve, reject } = Promise.withResolvers<PgConnection>()
    const waiter: Waiter = { grant: resolve, refuse: reject }
    const leave = (error: Error): void => {
      const at = this.#waiters.indexOf(waiter)
      if (at >= 0) this.#waiters.splice(at, 1)
      reject(error)
    }
    const clock = this.#clock
    const timer = clock.setTimeout(() => leave(this.#awayError()), patienceMs)
    const onAbort = (): void =>
      leave(new AbortedError(signal as AbortSignal, 'the wait for a connection', { outcome: 'not-stored' }))
    signal?.addEventListener('abort', onAbort, { once: true })
    this.#waiters.push(waiter)
    this.#grow()
    try {
      return await promise
    } finally {
      clock.clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** Opens one more connection for those who wait, within the limit. */
  #grow(): void {
    if (this.#state !== 'ready' || this.#waiters.length === 0 || this.#attempt !== undefined) return
    if (this.#open >= this.#options.maxConnections) return
    this.#attempt = this.openConnection().then(
      connection => {
        this.#attempt = undefined
        this.#open++
        this.#release(connection)
        this.#grow()
      },
      (error: Error) => {
        this.#attempt = undefined
        // With others open this is a full server, not a lost one: those who wait take turns.
        if (this.#open === 0) this.#lost(error)
        else this.#context?.logger.warn({ error }, 'PostgreSQL gives us no further connection')
      },
    )
  }

  #release(connection: PgConnection): void {
    if (connection.isBroken || this.#state === 'closed') {
      this.#discard(connection)
      return
    }
    connection.onBroken = () => {}
    if (this.#options.pool !== undefined && this.#waiters.length === 0) {
      // What belongs to the user's pool goes back at once.
      this.#discard(connection)
      return
    }
    const waiter = this.#state === 'ready' ? this.#waiters.shift() : undefined
    if (waiter !== undefined) {
      waiter.grant(connection)
      return
    }
    connection.onBroken = error => {
      const at = this.#idle.indexOf(connection)
      if (at >= 0) this.#idle.splice(at, 1)
      this.#discard(connection, error)
    }
    this.#idle.push(connection)
  }

  #discard(connection: PgConnection, error?: Error): void {
    const isLost = connection.isBroken
    this.#open--
    connection.onBroken = () => {}
    connection.close()
    if (isLost) this.#lost(error ?? new Error('the connection broke'))
    else this.#grow()
  }

  #lost(error: Error): void {
    this.#lastError = error
    if (this.#state !== 'ready') return
    this.#state = 'reconnecting'
    this.#context?.onState('reconnecting', connectionError(error))
    void this.#reconnect(0)
  }

  async #reconnect(failures: number): Promise<void> {
    try {
      const connection = await this.openConnection()
      if (this.state === 'closed') {
        connection.close()
        return
      }
      // What else was open then may be broken without knowing it; each finds out by itself.
      this.#state = 'ready'
      this.#open++
      for (const callback of this.#onReady) callback()
      this.#context?.onState('connected')
      this.#release(connection)
      this.#grow()
    } catch (error) {
      if (this.state === 'closed') return
      const known = connectionError(error)
      this.#lastError = known
      if (!known.retryable && this.#state !== 'lost') {
        this.#state = 'lost'
        this.#context?.onState('lost', known)
      } else if (known.retryable && this.#state === 'lost') {
        this.#state = 'reconnecting'
        this.#context?.onState('reconnecting', known)
      }
      const pauseMs = known.retryable ? backOffMs(failures, Math.random()) : fatalPauseMs
      this.#timer = this.#clock.setTimeout(() => void this.#reconnect(failures + 1), pauseMs)
    }
  }

  #awayError(): BuzzerError {
    return new BuzzerError(
      'BUZZER_DISCONNECTED',
      `no connection to PostgreSQL: ${this.#lastError?.message ?? 'all are busy'}`,
      {
        cause: this.#lastError,
        details: { outcome: 'not-stored' },
      },
    )
  }
}

function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise(resolve => clock.setTimeout(resolve, ms))
}

function closedError(): BuzzerError {
  return new BuzzerError('BUZZER_NOT_RUNNING', 'the PostgreSQL transport is not connected, or closed; make a new one')
}
