import { statSync, truncateSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { BuzzerError } from '../../message/index.ts'
import { notWritable } from './broker-path.ts'

/** What the owner writes about itself. Process ids are for messages to people, never for decisions. */
export interface OwnerRecord {
  /** Unique for each taking of the lock. */
  readonly token: string
  readonly pid: number
  /** Socket or pipe on which it serves other processes. */
  readonly address: string
}

/**
 * The lock that says who hosts the engine. Source: spec broker 7, 11 fact 2.
 *
 * Node has no `flock`. SQLite has locks that the kernel drops with the process, in whatever way it dies: POSIX record
 * locks (on Windows, mandatory byte-range locks). So the owner file is a tiny SQLite database in rollback mode, and the
 * owner keeps a `BEGIN IMMEDIATE` open on it for as long as it lives. That is SQLite's RESERVED lock: one holder among
 * all processes, and readers go on. Readers matter, because the row inside tells them the owner's address.
 *
 * Record locks have one trap: they belong to the process, and fall when the process closes *any* descriptor of the
 * file. SQLite knows that of its own connections, also of those in other threads. Whoever else opens and closes the
 * owner file in the owning process (a backup that copies the folder) gives the lock away; then two processes may think
 * themselves owner, and the epoch that every commit checks stops the older one. Hence nobody else may open this file,
 * and the data lies elsewhere: reading the database by `readFileSync` is harmless.
 *
 * The row is written by a transaction of its own before the lasting lock. Between the two another process may slip in,
 * so the lock counts only when the row still shows our token under it: while the lock is held the row is its holder's.
 */
export class OwnerLock {
  readonly #path: string
  #database: DatabaseSync | undefined
  #held = false

  constructor(path: string) {
    this.#path = path
  }

  /** Takes the lock if it is free; never waits for its holder. */
  tryTake(record: OwnerRecord): boolean {
    // Two rounds suffice unless others slip in between or the file is damaged; then their holder is somebody else.
    for (let round = 0; round < 8; round++) {
      try {
        const database = this.#open()
        database.exec('BEGIN IMMEDIATE')
        if (readRecord(database)?.token === record.token) {
          this.#held = true
          return true
        }
        writeRecord(database, record)
        database.exec('COMMIT')
      } catch (error) {
        this.#rollback()
        if (isBusy(error)) return false
        this.#repair(error)
      }
    }
    return false
  }

  /** The present owner's record, or the last owner's when there is none. */
  read(): OwnerRecord | undefined {
    try {
      return readRecord(this.#open())
    } catch (error) {
      // Busy: an owner is writing its row this moment. Damaged: the next `tryTake` repairs it.
      if (isBusy(error) || isDamage(error) || isMissingTable(error)) return undefined
      throw lockError(this.#path, error)
    }
  }

  /** Gives the lock back, and the file. Idempotent; taking it again is allowed. */
  release(): void {
    this.#rollback()
    this.#database?.close()
    this.#database = undefined
    this.#held = false
  }

  get held(): boolean {
    return this.#held
  }

  #open(): DatabaseSync {
    if (this.#database === undefined) {
      const database = new DatabaseSync(this.#path, { timeout: 0 })
      // Nothing in here needs to survive a power cut: a broken file is emptied and written anew.
      database.exec('PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA busy_timeout = 50')
      this.#database = database
    }
    return this.#database
  }

  #rollback(): void {
    if (this.#database?.isTransaction === true) this.#database.exec('ROLLBACK')
  }

  /**
   * What stands here is no database: a file of another tool, or half a write. It is emptied in place, never replaced:
   * a lock on a replaced file would lock nothing, while emptying leaves the lock of an owner who was quicker in force.
   */
  #repair(error: unknown): void {
    if (!isDamage(error)) throw lockError(this.#path, error)
    this.#database?.close()
    this.#database = undefined
    if (!statSync(this.#path).isFile()) {
      throw new BuzzerError(
        'BUZZER_INVALID_OPTION',
        `${this.#path} is in the way: the owner file must be a plain file`,
        {
          details: { option: 'path', value: this.#path },
        },
      )
    }
    truncateSync(this.#path, 0)
  }
}

function readRecord(database: DatabaseSync): OwnerRecord | undefined {
  const known = database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'owner'").get()
  if (known === undefined) return undefined
  return database.prepare('SELECT token, pid, address FROM owner WHERE id = 1').get() as unknown as
    | OwnerRecord
    | undefined
}

function writeRecord(database: DatabaseSync, record: OwnerRecord): void {
  database.exec('CREATE TABLE IF NOT EXISTS owner(id INTEGER PRIMARY KEY, token TEXT, pid INTEGER, address TEXT)')
  database
    .prepare('INSERT OR REPLACE INTO owner(id, token, pid, address) VALUES (1, ?, ?, ?)')
    .run(record.token, record.pid, record.address)
}

function lockError(path: string, cause: unknown): BuzzerError {
  const code = primaryCode(cause)
  if (code === sqliteFull) {
    return new BuzzerError('BUZZER_DISK_FULL', `the disk is full: the owner file ${path} cannot be written`, { cause })
  }
  if ([sqlitePermission, sqliteReadOnly, sqliteCannotOpen].includes(code)) return notWritable(path, cause)
  const why = cause instanceof Error ? cause.message : String(cause)
  return new BuzzerError('BUZZER_BROKER_FAILED', `the owner file ${path} cannot be used: ${why}`, { cause })
}

const sqlitePermission = 3
const sqliteReadOnly = 8
const sqliteFull = 13
const sqliteCannotOpen = 14
const sqliteBusy = 5
const sqliteLocked = 6
const sqliteCorrupt = 11
const sqliteNotADatabase = 26

function primaryCode(error: unknown): number {
  return ((error as { errcode?: number }).errcode ?? 0) & 0xff
}

function isBusy(error: unknown): boolean {
  const code = primaryCode(error)
  return code === sqliteBusy || code === sqliteLocked
}

function isDamage(error: unknown): boolean {
  const code = primaryCode(error)
  return code === sqliteCorrupt || code === sqliteNotADatabase || isMissingTable(error)
}

function isMissingTable(error: unknown): boolean {
  return error instanceof Error && /no such (table|column)/.test(error.message)
}
