import type { DatabaseSync } from 'node:sqlite'
import { type Statement, prepare } from './statement.ts'

/** The last send of a session, so that it is told after a takeover what was committed. */
export interface SessionRow {
  readonly lastSend: number
  /** JSON of the refusals the client may not have heard of. */
  readonly refused: string
}

export class SessionStore {
  readonly #get: Statement<readonly [number, string, number]>
  readonly #put: Statement
  readonly #delete: Statement
  readonly #remote: Statement<readonly [number]>
  readonly #dropOld: Statement

  constructor(db: DatabaseSync) {
    this.#get = prepare(db, 'select last_send, refused, local from session where id = ?')
    this.#put = prepare(
      db,
      'insert or replace into session (id, last_send, refused, local, seen_at) values (?, ?, ?, ?, ?)',
    )
    this.#delete = prepare(db, 'delete from session where id = ?')
    this.#remote = prepare(db, 'select count(*) from session where local = 0')
    this.#dropOld = prepare(db, 'delete from session where seen_at < ?')
  }

  /** `isAwaited`: one of those that `remoteCount` counts. */
  get(id: string): (SessionRow & { readonly isAwaited: boolean }) | undefined {
    const row = this.#get.first(id)
    return row === undefined ? undefined : { lastSend: row[0], refused: row[1], isAwaited: row[2] === 0 }
  }

  put(id: string, row: SessionRow, place: 'gone' | 'local' | 'remote', now: number): void {
    this.#put.run(id, row.lastSend, row.refused, place === 'remote' ? 0 : 1, now)
  }

  delete(id: string): void {
    this.#delete.run(id)
  }

  /** Sessions of other processes, which may come back with open deliveries after a takeover. */
  remoteCount(): number {
    return this.#remote.first()?.[0] ?? 0
  }

  dropOlderThan(seenAt: number): void {
    this.#dropOld.run(seenAt)
  }
}
