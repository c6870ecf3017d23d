import pg from 'pg'
import type { ClientBase, ClientConfig } from 'pg'
import type { SqlHandle, SqlResult } from '../sql-handle.ts'
import { connectionError, isConnectionLoss } from './sql-error.ts'

/** A pool of the user's, by structure: `pg.Pool` is one. */
export interface PoolLike {
  connect(): Promise<ClientBase & { release(error?: Error | boolean): void }>
}

/** What a connection needs to know about how it is to behave. */
export interface ConnectionSettings {
  readonly applicationName: string
  readonly statementTimeoutMs: number
  /** `transaction`: no start-up parameters and no named statements, which such a pooler cannot keep. */
  readonly pooler: 'none' | 'transaction'
}

/** So many statements have names; others are prepared anew each time. */
const maxNamed = 256
const connectTimeoutMs = 10_000
/** Beyond the server's own limit an answer is not coming: the link is dead although nobody said so. */
const answerGraceMs = 2_000

/** Statement names are the same on every connection, so that a pooler that keeps prepared statements keeps few. */
const names = new Map<string, string>()

function nameOf(text: string): string | undefined {
  const known = names.get(text)
  if (known !== undefined || names.size >= maxNamed) return known
  const name = `buzzer${names.size + 1}`
  names.set(text, name)
  return name
}

/**
 * One connection, and the only place that touches `pg`. Statements with values are named ones. An answer that stays away
 * for longer than the server's own limit breaks the connection, so that no promise waits for a dead link for ever.
 */
export class PgConnection implements SqlHandle {
  readonly #client: ClientBase
  readonly #settings: ConnectionSettings
  readonly #end: (error?: Error) => void
  readonly #listeners = new Set<(channel: string, payload: string) => void>()
  #failure: Error | undefined
  #failed: ((error: Error) => void) | undefined
  /** Told once, when the connection ends without being closed. */
  onBroken: (error: Error) => void = () => {}

  private constructor(client: ClientBase, settings: ConnectionSettings, end: (error?: Error) => void) {
    this.#client = client
    this.#settings = settings
    this.#end = end
    // An idle client's error without a listener would end the process (pg).
    client.on('error', this.#onError)
    client.on('end', this.#onEnd)
    client.on('notification', this.#onNotification)
  }

  /** A connection of our own. Rejects as `connectionError` says. */
  static async open(config: ClientConfig, settings: ConnectionSettings): Promise<PgConnection> {
    const client = new pg.Client({
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      connectionTimeoutMillis: connectTimeoutMs,
      application_name: settings.applicationName,
      ...(settings.pooler === 'transaction'
        ? {}
        : {
            statement_timeout: settings.statementTimeoutMs,
            // Nobody's code runs inside our transactions: one that idles belongs to a process that is gone or stopped.
            idle_in_transaction_session_timeout: Math.min(60_000, 2 * settings.statementTimeoutMs),
          }),
      ...config,
      // Lock first, look then: each statement must see what was committed before it, whatever the role's default is.
      ...(settings.pooler === 'transaction'
        ? {}
        : { options: `${config.options ?? ''} -c default_transaction_isolation=read\\ committed`.trimStart() }),
    })
    const connection = new PgConnection(client, settings, () => {
      // `end` waits for a farewell; a broken link would make it wait for ever.
      if (connection.#failure === undefined) void client.end().catch(() => {})
      else (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy()
    })
    try {
      await client.connect()
    } catch (error) {
      connection.#fail(error as Error)
      connection.close()
      throw connectionError(error)
    }
    return connection
  }

  /** A connection of the user's pool, given back by `close`. */
  static async borrow(pool: PoolLike, settings: ConnectionSettings): Promise<PgConnection> {
    try {
      const client = await pool.connect()
      const connection: PgConnection = new PgConnection(client, settings, error => {
        // The pool listens itself from here on, and the next borrower adds a listener of its own.
        client.removeListener('error', connection.#onError)
        client.release(error ?? false)
      })
      return connection
    } catch (error) {
      throw connectionError(error)
    }
  }

  get isBroken(): boolean {
    return this.#failure !== undefined
  }

  /** Rejects with the driver's error; `isBroken` says whether the connection survived it. */
  async query(text: string, values?: readonly unknown[]): Promise<SqlResult> {
    if (this.#failure !== undefined) throw this.#failure
    const { promise: broken, reject } = Promise.withResolvers<never>()
    this.#failed = reject
    const { statementTimeoutMs, pooler } = this.#settings
    const watch = setTimeout(
      () => this.#fail(new Error(`no answer for ${statementTimeoutMs + answerGraceMs} ms`)),
      statementTimeoutMs + answerGraceMs,
    )
    try {
      const name = values === undefined || pooler === 'transaction' ? undefined : nameOf(text)
      const statement = { text, ...(values === undefined ? {} : { values: values as unknown[] }) }
      const answer = this.#client.query(name === undefined ? statement : { ...statement, name })
      answer.catch(() => {})
      return await Promise.race([answer, broken])
    } catch (error) {
      // The socket's end comes a moment after these words.
      if (isConnectionLoss(error)) this.#fail(error as Error)
      throw error
    } finally {
      clearTimeout(watch)
      this.#failed = undefined
    }
  }

  /** Calls `listener` for each notification that comes on any channel this connection listens on. */
  onNotification(listener: (channel: string, payload: string) => void): void {
    this.#listeners.add(listener)
  }

  /** Idempotent. */
  close(): void {
    this.#client.removeListener('notification', this.#onNotification)
    this.#client.removeListener('end', this.#onEnd)
    this.#listeners.clear()
    this.#end(this.#failure)
    this.#failure ??= new Error('the connection is closed')
  }

  #fail(error: Error): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#failed?.(error)
    this.onBroken(error)
  }

  readonly #onError = (error: Error): void => this.#fail(error)
  readonly #onEnd = (): void => this.#fail(new Error('the server ended the connection'))
  readonly #onNotification = (message: { channel: string; payload?: string | undefined }): void => {
    for (const listener of this.#listeners) listener(message.channel, message.payload ?? '')
  }
}
