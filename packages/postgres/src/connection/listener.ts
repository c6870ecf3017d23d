import type { Clock, Logger } from 'buzzer'
import { quoteIdentifier } from '../sql-handle.ts'
import { backOffMs } from './back-off.ts'
import type { Database } from './database.ts'
import type { PgConnection } from './pg-connection.ts'

/** A listener that does not hear itself for so long sits behind something that drops LISTEN, as transaction poolers do. */
const echoMs = 2_000
/** How often a listener that hears nothing is tried again: the pooler may have gone. */
const deafPauseMs = 60_000

export interface ListenerEvents {
  /** A notification on the channel. */
  onPayload(payload: string): void
  /** Listening begins, again or for the first time: what was said in between is lost, so look yourself. */
  onListening(): void
}

/**
 * LISTEN on a connection of its own, with its own reconnect. Notifications are hints and may be lost at any time; `isHearing`
 * says whether they come at all, so that pollers know how long they may sleep. Source: spec transports 3.2 (RP8).
 */
export class Listener {
  readonly #database: Database
  readonly #channel: string
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #events: ListenerEvents
  #connection: PgConnection | undefined
  #isHearing = false
  #isClosed = false
  #timer: unknown
  #echo = 0
  #saidDeaf = false

  constructor(database: Database, channel: string, clock: Clock, logger: Logger, events: ListenerEvents) {
    this.#database = database
    this.#channel = channel
    this.#clock = clock
    this.#logger = logger
    this.#events = events
  }

  get isHearing(): boolean {
    return this.#isHearing
  }

  start(): void {
    void this.#listen(0)
  }

  close(): void {
    this.#isClosed = true
    this.#isHearing = false
    this.#clock.clearTimeout(this.#timer)
    this.#connection?.close()
    this.#connection = undefined
  }

  async #listen(failures: number): Promise<void> {
    if (this.#isClosed) return
    let connection: PgConnection | undefined
    try {
      connection = await this.#database.openConnection()
      if (this.#isClosed) {
        connection.close()
        return
      }
      this.#connection = connection
      const broken = Promise.withResolvers<never>()
      broken.promise.catch(() => {})
      connection.onBroken = error => broken.reject(error)
      const heard = Promise.withResolvers<void>()
      const echo = `echo:${process.pid}:${++this.#echo}:${this.#clock.monotonic()}`
      connection.onNotification((channel, payload) => {
        if (channel !== this.#channel) return
        if (payload === echo) heard.resolve()
        else if (!payload.startsWith('echo:')) this.#events.onPayload(payload)
      })
      await connection.query(`listen ${quoteIdentifier(this.#channel)}`)
      await connection.query('select pg_notify($1::text, $2::text)::text', [this.#channel, echo])
      const isHeard = await Promise.race([
        heard.promise.then(() => true),
        this.#pause(echoMs).then(() => false),
        broken.promise,
      ])
      if (!isHeard) {
        this.#sayDeaf()
        this.#again(connection, deafPauseMs)
        return
      }
      this.#isHearing = true
      this.#events.onListening()
      await broken.promise
    } catch (error) {
      this.#isHearing = false
      if (this.#isClosed) return
      this.#logger.debug({ error, channel: this.#channel }, 'the listener lost its connection; polling goes on')
      this.#again(connection, backOffMs(failures, Math.random()), failures + 1)
    }
  }

  #again(connection: PgConnection | undefined, pauseMs: number, failures = 0): void {
    connection?.close()
    this.#connection = undefined
    this.#timer = this.#clock.setTimeout(() => void this.#listen(failures), pauseMs)
  }

  #sayDeaf(): void {
    if (this.#saidDeaf) return
    this.#saidDeaf = true
    this.#logger.warn(
      { channel: this.#channel },
      'notifications of PostgreSQL do not come through, as behind a transaction-mode pooler: messages are found by polling (pollMs). With notify: false this is not tried',
    )
  }

  #pause(ms: number): Promise<void> {
    return new Promise(resolve => {
      this.#timer = this.#clock.setTimeout(resolve, ms)
    })
  }
}
