import { closeSync, existsSync, fsyncSync, openSync, readSync, rmSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { BuzzerError, type LogFields } from '../../message/index.ts'
import { addDefinitionCrc, checkDefinitions } from './definitions.ts'
import { applicationId, formatVersion, migrations, schema } from './schema.ts'
import { syncFolder } from './folder.ts'
import { refuseOldSqlite, sqliteVersion } from './sqlite-version.ts'
import { recordedDurability, refuseDamagedWal } from './wal-judge.ts'

export interface BrokerFileOptions {
  readonly path: string
  readonly durability: 'fsync' | 'os'
  readonly report: (level: 'debug' | 'info' | 'warn' | 'error', fields: LogFields, message: string) => void
}

/** How long a transaction waits for a foreign one, for example of somebody's shell. */
const busyMs = 5_000
const pageBytes = 4096
const reserveBytes = 16 * 1024 * 1024
/** Checkpoint when the write-ahead file holds so many bytes: pages that were written and freed meanwhile cost nothing. */
const checkpointBytes = 24 * 1024 * 1024

/** Looks at the first bytes of the file without SQLite, so that a foreign or newer file stays untouched. */
function checkHeader(path: string): void {
  if (!existsSync(path)) return
  const header = Buffer.alloc(100)
  const file = openSync(path, 'r')
  let read: number
  try {
    read = readSync(file, header, 0, 100, 0)
  } finally {
    closeSync(file)
  }
  if (read === 0) return
  const id = header.readUInt32BE(68)
  const isSqlite = header.toString('latin1', 0, 16) === 'SQLite format 3\0'
  // A file whose creation was cut short has no id yet; `open` looks whether it is empty.
  if (read < 100 || !isSqlite || (id !== applicationId && id !== 0)) {
    throw new BuzzerError('BUZZER_NOT_A_BROKER_FILE', `${path} is not a file of the broker; it was left untouched`, {
      details: { path },
    })
  }
  const version = header.readUInt32BE(60)
  if (version > formatVersion) {
    throw new BuzzerError(
      'BUZZER_FILE_TOO_NEW',
      `${path} has format ${version}, this version of buzzer knows ${formatVersion}; it was left untouched. Update buzzer`,
      { details: { path, format: version, known: formatVersion } },
    )
  }
}

/** SQLite's primary result code of an error of `node:sqlite`, or undefined for any other error. */
export function sqliteCode(error: unknown): number | undefined {
  const code = (error as { errcode?: unknown }).errcode
  return typeof code === 'number' ? code & 0xff : undefined
}

/** Errors after which the engine must not go on. */
export const fatalCodes: ReadonlySet<string> = new Set(['BUZZER_OWNERSHIP_LOST', 'BUZZER_FILE_REPLACED'])

const codes = { full: 13, corrupt: 11, notADatabase: 26 } as const

export function isDiskFull(error: unknown): boolean {
  return sqliteCode(error) === codes.full
}

/** What an error of SQLite means for the broker. */
export function fileError(error: unknown, path: string): BuzzerError {
  if (error instanceof BuzzerError) return error
  const code = sqliteCode(error)
  if (code === codes.corrupt || code === codes.notADatabase) return fileDamaged(error, path)
  return new BuzzerError('BUZZER_BROKER_FAILED', `the broker's file ${path} cannot be used: ${wordsOf(error)}`, {
    cause: error,
    details: { path },
  })
}

export function fileDamaged(cause: unknown, path: string): BuzzerError {
  return new BuzzerError(
    'BUZZER_FILE_DAMAGED',
    `the broker's file ${path} is damaged: ${wordsOf(cause)}. Check it with checkFile, restore a backup or salvage it`,
    { cause, details: { path } },
  )
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/**
 * The database under the engine: opening, recovery, the epoch, transactions, checkpoints, the reserve.
 * One write transaction at a time; `begin` is lazy, so a pump that changes nothing writes nothing.
 */
export class BrokerFile {
  readonly path: string
  readonly durability: 'fsync' | 'os'
  readonly db: DatabaseSync
  readonly epoch: number
  /** Owners so far that took over from one that did not close the file. */
  readonly takeovers: number
  /** The owner before closed in good order, with deliveries of other processes open. */
  readonly handedOver: boolean
  readonly #report: BrokerFileOptions['report']
  readonly #begin: StatementSync
  readonly #commit: StatementSync
  readonly #rollback: StatementSync
  readonly #epoch: StatementSync
  #device = 0
  #inode = 0
  #inTransaction = false
  #closed = false

  constructor(options: BrokerFileOptions) {
    const { path, durability } = options
    this.path = path
    this.durability = durability
    this.#report = options.report
    refuseOldSqlite(sqliteVersion())
    checkHeader(path)
    const recorded = recordedDurability(path)
    // What was promised when it was written decides, not what this process was given.
    refuseDamagedWal(`${path}-wal`, recorded ?? durability, options.report)
    const isNew = !existsSync(path)
    // Who closes the file empties its write-ahead file.
    const leftBehind = !isNew && this.walBytes() > 0
    let db: DatabaseSync | undefined
    try {
      db = new DatabaseSync(path, { timeout: busyMs })
      this.db = db
      addDefinitionCrc(db)
      this.#open(isNew)
      checkDefinitions(db, (_, where, detail) => {
        throw fileDamaged(`${where}: ${detail}`, path)
      })
      this.#begin = db.prepare('begin immediate')
      this.#commit = db.prepare('commit')
      this.#rollback = db.prepare('rollback')
      this.#epoch = db.prepare("select value from meta where name = 'epoch'")
      this.#epoch.setReturnArrays(true)
      const begun = this.#raiseEpoch(leftBehind)
      this.epoch = begun.epoch
      this.takeovers = begun.takeovers
      this.handedOver = begun.handedOver
      // The class must stand in the database itself before anything is written in it.
      if (recorded !== durability) db.exec('pragma wal_checkpoint(truncate)')
      this.#noteIdentity()
      this.#makeReserve()
    } catch (error) {
      db?.close()
      throw fileError(error, path)
    }
  }

  #open(isNew: boolean): void {
    const { db, path } = this
    // Also when a creation was cut short: these take effect only before the first table.
    const tables = (): number => Number(db.prepare('select count(*) as n from sqlite_master').get()?.['n'])
    const empty = tables() === 0
    let version = formatVersion
    if (empty) {
      db.exec(
        `pragma page_size = ${pageBytes}; pragma auto_vacuum = incremental; pragma application_id = ${applicationId}`,
      )
    } else {
      const id = Number(db.prepare('pragma application_id').get()?.['application_id'])
      if (id !== applicationId) {
        throw new BuzzerError(
          'BUZZER_NOT_A_BROKER_FILE',
          `${path} is not a file of the broker; it was left untouched`,
          {
            details: { path },
          },
        )
      }
      version = Number(db.prepare('pragma user_version').get()?.['user_version'])
      if (version > formatVersion) {
        throw new BuzzerError(
          'BUZZER_FILE_TOO_NEW',
          `${path} has format ${version}, this version of buzzer knows ${formatVersion}; it was left untouched`,
          { details: { path, format: version, known: formatVersion } },
        )
      }
    }
    db.exec(`
      pragma journal_mode = wal;
      pragma synchronous = ${this.durability === 'fsync' ? 'full' : 'normal'};
      pragma wal_autocheckpoint = 0;
      pragma journal_size_limit = ${checkpointBytes};
      pragma cache_size = -32768;
      pragma temp_store = memory;
      pragma fullfsync = 1;
      pragma checkpoint_fullfsync = 1;
    `)
    // After an unclean end the pages are written again: a sync that failed once may have lost them (spec broker 11, fact 3).
    db.exec('pragma wal_checkpoint(truncate)')
    if (empty) {
      db.exec('begin immediate')
      if (tables() === 0) db.exec(`${schema} pragma user_version = ${formatVersion};`)
      db.exec('commit')
      db.exec('pragma wal_checkpoint(truncate)')
    }
    if (version < formatVersion) this.#migrate(version)
    if (isNew) syncFolder(dirname(path))
  }

  /** In one transaction: killed in the middle, the file still has the format it had. */
  #migrate(from: number): void {
    const { db } = this
    db.exec('begin immediate')
    for (const migration of migrations.slice(from - 1)) db.exec(migration)
    db.exec(`pragma user_version = ${formatVersion}; commit`)
    this.#report('info', { path: this.path, from, to: formatVersion }, 'the file was migrated to a newer format')
  }

  #raiseEpoch(leftBehind: boolean): {
    readonly epoch: number
    readonly takeovers: number
    readonly handedOver: boolean
  } {
    const { db } = this
    db.exec('begin immediate')
    const row = this.#epoch.get() as unknown as [number] | undefined
    const epoch = (row?.[0] ?? 0) + 1
    const before = Number(db.prepare("select value from meta where name = 'takeovers'").get()?.['value'] ?? 0)
    const handover = Number(db.prepare("select value from meta where name = 'handover'").get()?.['value'] ?? 0)
    const takeovers = before + (leftBehind ? 1 : 0)
    db.prepare(
      "insert or replace into meta (name, value) values ('epoch', ?), ('durability', ?), ('takeovers', ?)",
    ).run(epoch, this.durability, takeovers)
    db.exec('commit')
    if (leftBehind)
      this.#report('info', { path: this.path, epoch, takeovers }, 'taken over from an owner that did not close')
    return { epoch, takeovers, handedOver: handover === epoch - 1 }
  }

  /** The last commit of an owner that closes in good order: the next one knows that no process died with it. */
  noteHandover(): void {
    this.begin()
    this.db.prepare("insert or replace into meta (name, value) values ('handover', ?)").run(this.epoch)
    this.commit()
  }

  #noteIdentity(): void {
    const { dev, ino } = statSync(this.path)
    this.#device = dev
    this.#inode = ino
  }

  /** `<path>.reserve` gives settlements room when the disk is full. Best effort: without it the broker works as well. */
  #makeReserve(): void {
    const path = `${this.path}.reserve`
    try {
      if (existsSync(path) && statSync(path).size === reserveBytes) return
      const file = openSync(path, 'w')
      try {
        const block = Buffer.alloc(1024 * 1024)
        for (let written = 0; written < reserveBytes; written += block.length) writeSync(file, block)
        fsyncSync(file)
      } finally {
        closeSync(file)
      }
    } catch (error) {
      rmSync(path, { force: true })
      this.#report('warn', { error, path }, 'the reserve file for a full disk could not be made')
    }
  }

  restoreReserve(): void {
    this.#makeReserve()
  }

  releaseReserve(): void {
    rmSync(`${this.path}.reserve`, { force: true })
  }

  get inTransaction(): boolean {
    return this.#inTransaction
  }

  /** Begins a transaction unless one is open, and makes sure that this engine still owns the file. */
  begin(): void {
    if (this.#inTransaction) return
    this.#begin.run()
    this.#inTransaction = true
    const epoch = (this.#epoch.get() as unknown as [number] | undefined)?.[0]
    if (epoch !== this.epoch) {
      throw new BuzzerError(
        'BUZZER_OWNERSHIP_LOST',
        `another owner has taken the file ${this.path}: its epoch is ${epoch}, ours was ${this.epoch}`,
        { details: { epoch, ours: this.epoch } },
      )
    }
  }

  /** Returns once the transaction is as durable as the class says. */
  commit(): void {
    if (!this.#inTransaction) return
    this.#checkIdentity()
    this.#commit.run()
    this.#inTransaction = false
  }

  /** A full disk has rolled back by itself; then this does nothing. */
  rollback(): void {
    if (!this.#inTransaction) return
    this.#inTransaction = false
    try {
      this.#rollback.run()
    } catch (error) {
      if (this.db.isTransaction) throw error
    }
  }

  #checkIdentity(): void {
    let replaced: boolean
    try {
      const { dev, ino } = statSync(this.path)
      replaced =
        dev !== this.#device ||
        ino !== this.#inode ||
        statSync(`${this.path}-wal`, { throwIfNoEntry: false }) === undefined
    } catch {
      replaced = true
    }
    if (!replaced) return
    throw new BuzzerError(
      'BUZZER_FILE_REPLACED',
      `the file ${this.path} was deleted or replaced under the running broker; nothing more is acknowledged`,
      { details: { path: this.path } },
    )
  }

  walBytes(): number {
    return statSync(`${this.path}-wal`, { throwIfNoEntry: false })?.size ?? 0
  }

  /** Moves committed pages into the database when enough have gathered. Between transactions only. */
  checkpointIfDue(committedBytes: number): boolean {
    if (committedBytes < checkpointBytes) return false
    this.db.exec('pragma wal_checkpoint(passive)')
    return true
  }

  /**
   * For times of rest: empties the write-ahead file and gives free pages back, so many at most. `more`: call it again soon.
   * `waiting`: a reader of the file (a check, a backup, somebody's shell) still needs the write-ahead file.
   */
  tidy(pages = 2_048): 'done' | 'more' | 'waiting' {
    if (this.freePages() > 256) {
      this.db.exec(`pragma incremental_vacuum(${pages})`)
      this.db.exec('pragma wal_checkpoint(passive)')
      return 'more'
    }
    // SQLite would wait for readers, and the engine with it.
    this.db.exec('pragma busy_timeout = 0')
    const { busy } = this.db.prepare('pragma wal_checkpoint(truncate)').get() as { busy: number }
    this.db.exec(`pragma busy_timeout = ${busyMs}`)
    return busy === 0 ? 'done' : 'waiting'
  }

  freePages(): number {
    return Number(this.db.prepare('pragma freelist_count').get()?.['freelist_count'])
  }

  /** Bytes of the database that nothing needs; they are used again, and given back at rest. */
  freeBytes(): number {
    return this.freePages() * pageBytes
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.rollback()
    this.db.close()
  }
}
