import { BuzzerError, type Clock, type Logger } from 'buzzer'
import { migrate, type MigrateMode, migrations } from '../migrations/index.ts'
import { rowsOf, type RunTransaction, type SqlHandle } from '../sql-handle.ts'
import { Database, type DatabaseContext, type DatabaseOptions } from './database.ts'
import { Notifications } from './notifications.ts'

export interface SharedDatabaseOptions extends DatabaseOptions {
  readonly declare: MigrateMode
  /** Whether to LISTEN and NOTIFY. */
  readonly notify: boolean
}

export interface OpeningContext {
  readonly bus: string
  readonly clock: Clock
  readonly logger: Logger
  /** Told of each change of the connection, as long as the one who opened keeps it open. */
  readonly onState?: DatabaseContext['onState']
}

interface Opened {
  readonly database: Database
  readonly notifications: Notifications | undefined
}

/**
 * One database for a transport, its store and its log: opened by the first of them, its schema brought up to date, closed
 * by the last. Opened again after that it is a fresh one.
 */
export class SharedDatabase {
  readonly options: SharedDatabaseOptions
  /** One entry for each `open`; a transport, its store and its log may give the same context. */
  readonly #users = new Set<{ readonly context: OpeningContext }>()
  #opening: Promise<Opened> | undefined
  #opened: Opened | undefined

  constructor(options: SharedDatabaseOptions) {
    this.options = options
  }

  /** Each statement by itself, on any connection. */
  readonly handle: SqlHandle = { query: (text, values) => this.database.query(text, values) }

  /** As `handle`, for statements that only look: repeated over lost connections until one comes through, for up to 60 s. */
  readonly looks: SqlHandle = {
    query: (text, values) => this.database.repeat(connection => connection.query(text, values)),
  }

  readonly transaction: RunTransaction = work => this.database.transaction(work)

  /** @throws BUZZER_NOT_RUNNING when it is not open */
  get database(): Database {
    if (this.#opened === undefined) {
      throw new BuzzerError('BUZZER_NOT_RUNNING', 'the connection to PostgreSQL is not open; connect first')
    }
    return this.#opened.database
  }

  /** `undefined` with `notify: false`, and while it is not open. */
  get notifications(): Notifications | undefined {
    return this.#opened?.notifications
  }

  /**
   * Resolves when statements can be run and the schema is as this version needs it; disposing of the answer closes.
   * Rejects as `Database.connect` and `migrate` do.
   */
  async open(context: OpeningContext): Promise<Disposable> {
    const user = { context }
    this.#users.add(user)
    this.#opening ??= this.#open(context)
    const opening = this.#opening
    const leave = (): void => {
      if (!this.#users.delete(user) || this.#users.size > 0 || this.#opening !== opening) return
      this.#opening = undefined
      this.#opened = undefined
      opening.then(
        ({ database, notifications }) => {
          notifications?.close()
          database.close()
        },
        () => undefined,
      )
    }
    try {
      const opened = await opening
      if (this.#opening === opening) this.#opened = opened
      return { [Symbol.dispose]: leave }
    } catch (error) {
      // Who waited for the same attempt tries anew with the next call.
      if (this.#opening === opening) this.#opening = undefined
      this.#users.delete(user)
      throw error
    }
  }

  async #open({ bus, clock, logger }: OpeningContext): Promise<Opened> {
    const database = new Database(this.options)
    try {
      await database.connect({
        bus,
        clock,
        logger,
        onState: (state, error) => {
          for (const user of new Set([...this.#users].map(one => one.context))) user.onState?.(state, error)
        },
      })
      await checkIsolation(database)
      await migrate(work => database.transaction(work), database.schema, migrations, this.options.declare)
      return { database, notifications: this.options.notify ? new Notifications(database, clock, logger) : undefined }
    } catch (error) {
      database.close()
      throw error
    }
  }
}

/** Connections of our own are as they must be; those of a pool or behind a pooler are as somebody has made them. */
async function checkIsolation(database: Database): Promise<void> {
  const [row] = await rowsOf<{ level: string }>(database, "select current_setting('transaction_isolation') as level")
  if (row === undefined || row.level === 'read committed') return
  throw new BuzzerError(
    'BUZZER_UNSUPPORTED',
    `transactions of this database are '${row.level}' by default; queues, store and log need 'read committed'. Set default_transaction_isolation for the role that Buzzer uses, or let it open connections of its own`,
    { details: { found: row.level, needed: 'read committed' } },
  )
}
