import { createHash } from 'node:crypto'
import type { Clock, Logger } from 'buzzer'
import { rowsOf, type SqlHandle } from '../sql-handle.ts'
import { anything } from '../notices.ts'
import { recordKey } from './record-plan.ts'

interface Watched {
  readonly collection: string
  readonly id: string
  readonly listeners: Set<() => void>
  /** As it was when it was last looked at; `undefined`: not there. */
  state: string | undefined
  /** Whether it has been looked at since somebody listens. */
  readonly ready: Promise<void>
}

interface VersionRow {
  readonly collection: string
  readonly id: string
  readonly version: number
  readonly at: string
}

/** What a notification calls a record. Two records may share it; a watcher looks before it calls anybody. */
export function noticeName(collection: string, id: string): string {
  return createHash('sha1').update(`${collection}\0${id}`).digest('base64url').slice(0, 12)
}

/** Records looked at by one statement. */
const perLook = 1_000

/**
 * Calls listeners when their records have changed. A notification, a commit of this process and the poll are all no more
 * than a reason to look: listeners are called when the record's version is another one than at the look before, so neither
 * a notification lost nor one too many is noticed.
 */
export class RecordWatchers {
  readonly #handle: SqlHandle
  readonly #versions: string
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #pollMs: number
  readonly #watched = new Map<string, Watched>()
  readonly #byName = new Map<string, Set<string>>()
  readonly #suspects = new Set<string>()
  #isLooking = false
  #timer: unknown
  #isClosed = false

  constructor(options: { handle: SqlHandle; versions: string; clock: Clock; logger: Logger; pollMs: number }) {
    this.#handle = options.handle
    this.#versions = options.versions
    this.#clock = options.clock
    this.#logger = options.logger
    this.#pollMs = options.pollMs
  }

  /** Records that somebody listens to. */
  get size(): number {
    return this.#watched.size
  }

  /** Every change committed after this resolves reaches `onChange`, possibly several as one. */
  async watch(collection: string, id: string, onChange: () => void): Promise<AsyncDisposable> {
    const key = recordKey(collection, id)
    let watched = this.#watched.get(key)
    if (watched === undefined) {
      watched = { collection, id, listeners: new Set(), state: undefined, ready: this.#begin(key, collection, id) }
      this.#watched.set(key, watched)
    }
    // A callback may watch twice: each watch is its own function.
    const listener = (): void => onChange()
    const { listeners } = watched
    listeners.add(listener)
    const end = (): void => {
      if (listeners.delete(listener) && listeners.size === 0 && this.#watched.get(key)?.listeners === listeners) {
        this.#end(key, collection, id)
      }
    }
    try {
      await watched.ready
    } catch (error) {
      end()
      throw error
    }
    return {
      [Symbol.asyncDispose]() {
        end()
        return Promise.resolve()
      },
    }
  }

  /** A notification of another process, or of this one. */
  hint(payload: string): void {
    const keys =
      payload === anything
        ? this.#watched.keys()
        : payload.split(',').flatMap(name => [...(this.#byName.get(name) ?? [])])
    this.#suspect(keys)
  }

  /** A commit of this process. */
  changed(changes: Iterable<{ readonly collection: string; readonly id: string }>): void {
    if (this.#watched.size === 0) return
    const keys: string[] = []
    for (const { collection, id } of changes) {
      const key = recordKey(collection, id)
      if (this.#watched.has(key)) keys.push(key)
    }
    this.#suspect(keys)
  }

  /** Notifications may have been lost. */
  lookAtAll(): void {
    this.#suspect(this.#watched.keys())
  }

  close(): void {
    this.#isClosed = true
    this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
    this.#watched.clear()
    this.#byName.clear()
    this.#suspects.clear()
  }

  async #begin(key: string, collection: string, id: string): Promise<void> {
    const name = noticeName(collection, id)
    const sharing = this.#byName.get(name) ?? new Set()
    sharing.add(key)
    this.#byName.set(name, sharing)
    const states = await this.#states([{ collection, id }])
    const watched = this.#watched.get(key)
    if (watched !== undefined) watched.state = states.get(key)
    this.#poll()
  }

  #end(key: string, collection: string, id: string): void {
    this.#watched.delete(key)
    const name = noticeName(collection, id)
    const sharing = this.#byName.get(name)
    sharing?.delete(key)
    if (sharing?.size === 0) this.#byName.delete(name)
    this.#suspects.delete(key)
  }

  #poll(): void {
    if (this.#timer !== undefined || this.#isClosed || this.#watched.size === 0) return
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = undefined
      this.lookAtAll()
      this.#poll()
    }, this.#pollMs)
  }

  #suspect(keys: Iterable<string>): void {
    for (const key of keys) this.#suspects.add(key)
    if (this.#suspects.size > 0 && !this.#isClosed && !this.#isLooking) void this.#look()
  }

  async #look(): Promise<void> {
    this.#isLooking = true
    try {
      while (this.#suspects.size > 0) {
        const keys = [...this.#suspects].slice(0, perLook)
        for (const key of keys) this.#suspects.delete(key)
        const records = keys.flatMap(key => this.#watched.get(key) ?? [])
        if (records.length > 0) await this.#compare(records)
      }
    } catch (error) {
      // The next poll looks again.
      this.#logger.debug({ error }, 'watched records could not be read')
    } finally {
      this.#isLooking = false
    }
  }

  async #compare(records: readonly Watched[]): Promise<void> {
    await Promise.allSettled(records.map(record => record.ready))
    const states = await this.#states(records)
    for (const record of records) {
      const key = recordKey(record.collection, record.id)
      const state = states.get(key)
      if (this.#watched.get(key) !== record || record.state === state) continue
      record.state = state
      for (const listener of record.listeners) listener()
    }
  }

  async #states(records: readonly { collection: string; id: string }[]): Promise<ReadonlyMap<string, string>> {
    const keys = JSON.stringify(records.map(({ collection, id }) => ({ c: collection, i: id })))
    const rows = await rowsOf<VersionRow>(this.#handle, this.#versions, [keys])
    return new Map(rows.map(row => [recordKey(row.collection, row.id), `${row.version} ${row.at}`]))
  }
}
