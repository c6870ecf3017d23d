import type { DatabaseSync } from 'node:sqlite'
import type { RecordPlace } from '../../transport/index.ts'
import { type Statement, prepare } from './statement.ts'

/** A producer's last places that are remembered. Source: spec streams 3.5. */
const placesKept = 1_000

type PlaceRow = readonly [partition: number, position: number, time: number]

/** What the log remembers beside the records: keys, deduplication keys, producers, answers to appends. */
export class LogNoteStore {
  readonly #lastOfKey: Statement<readonly [number]>
  readonly #insertKey: Statement
  readonly #deleteKey: Statement
  readonly #seen: Statement<PlaceRow>
  readonly #note: Statement
  readonly #oldestSeen: Statement<readonly [number | null]>
  readonly #dropSeen: Statement
  readonly #producer: Statement<readonly [number, number]>
  readonly #putProducer: Statement
  readonly #produced: Statement<PlaceRow>
  readonly #noteProduced: Statement
  readonly #dropProduced: Statement
  readonly #answers: Statement<readonly [number, Uint8Array]>
  readonly #lastAppend: Statement<readonly [number | null]>
  readonly #insertAnswers: Statement
  readonly #dropAnswers: Statement
  readonly #forgetSession: Statement
  readonly #forgetSessions: Statement
  readonly #forgetStream: readonly Statement[]

  constructor(db: DatabaseSync) {
    this.#lastOfKey = prepare(
      db,
      'select position from log_key where stream = ? and key = ? and partition = ? order by position desc limit 1',
    )
    this.#insertKey = prepare(db, 'insert into log_key (stream, key, partition, position) values (?, ?, ?, ?)')
    this.#deleteKey = prepare(db, 'delete from log_key where stream = ? and key = ? and partition = ? and position = ?')
    this.#seen = prepare(db, 'select partition, position, time from log_seen where stream = ? and hash = ? and at > ?')
    this.#note = prepare(
      db,
      'insert or replace into log_seen (stream, hash, at, partition, position, time) values (?, ?, ?, ?, ?, ?)',
    )
    this.#oldestSeen = prepare(db, 'select min(at) from log_seen where stream = ?')
    this.#dropSeen = prepare(
      db,
      'delete from log_seen where stream = ? and hash in (select hash from log_seen where stream = ? and at <= ? limit ?)',
    )
    this.#producer = prepare(db, 'select epoch, last_sequence from log_producer where stream = ? and name = ?')
    this.#putProducer = prepare(
      db,
      'insert or replace into log_producer (stream, name, epoch, last_sequence) values (?, ?, ?, ?)',
    )
    this.#produced = prepare(
      db,
      'select partition, position, time from log_produced where stream = ? and name = ? and sequence = ?',
    )
    this.#noteProduced = prepare(
      db,
      'insert into log_produced (stream, name, sequence, partition, position, time) values (?, ?, ?, ?, ?, ?)',
    )
    this.#dropProduced = prepare(
      db,
      `delete from log_produced where stream = ?1 and name = ?2 and sequence <= (
        select sequence from log_produced where stream = ?1 and name = ?2 order by sequence desc limit 1 offset ${placesKept})`,
    )
    this.#answers = prepare(db, 'select last, answers from log_answer where session = ? and last > ? order by last')
    this.#lastAppend = prepare(db, 'select max(last) from log_answer where session = ?')
    this.#insertAnswers = prepare(db, 'insert into log_answer (session, last, answers) values (?, ?, ?)')
    this.#dropAnswers = prepare(db, 'delete from log_answer where session = ? and last <= ?')
    this.#forgetSession = prepare(db, 'delete from log_answer where session = ?')
    this.#forgetSessions = prepare(db, 'delete from log_answer where session not in (select id from session)')
    this.#forgetStream = ['log_seen', 'log_producer', 'log_produced'].map(table =>
      prepare(db, `delete from ${table} where stream = ?`),
    )
  }

  lastOf(stream: number, partition: number, key: string): number | undefined {
    return this.#lastOfKey.first(stream, key, partition)?.[0]
  }

  noteKey(stream: number, partition: number, key: string, position: number): void {
    this.#insertKey.run(stream, key, partition, position)
  }

  forgetKey(stream: number, partition: number, key: string, position: number): void {
    this.#deleteKey.run(stream, key, partition, position)
  }

  /** Where the batch with this deduplication key went, if it did after `since`. */
  seen(stream: number, hash: Uint8Array, since: number): RecordPlace | undefined {
    return toPlace(this.#seen.first(stream, hash, since))
  }

  noteSeen(stream: number, hash: Uint8Array, at: number, { partition, position, time }: RecordPlace): void {
    this.#note.run(stream, hash, at, partition, position, time)
  }

  oldestSeen(stream: number): number | undefined {
    return this.#oldestSeen.first(stream)?.[0] ?? undefined
  }

  /** Forgets up to `limit` keys seen at or before `upTo`. */
  dropSeen(stream: number, upTo: number, limit: number): void {
    this.#dropSeen.run(stream, stream, upTo, limit)
  }

  producer(stream: number, name: string): { readonly epoch: number; readonly lastSequence: number } | undefined {
    const row = this.#producer.first(stream, name)
    return row === undefined ? undefined : { epoch: row[0], lastSequence: row[1] }
  }

  putProducer(stream: number, name: string, epoch: number, lastSequence: number): void {
    this.#putProducer.run(stream, name, epoch, lastSequence)
  }

  produced(stream: number, name: string, sequence: number): RecordPlace | undefined {
    return toPlace(this.#produced.first(stream, name, sequence))
  }

  noteProduced(stream: number, name: string, sequence: number, { partition, position, time }: RecordPlace): void {
    this.#noteProduced.run(stream, name, sequence, partition, position, time)
  }

  /** Keeps the last places only. */
  dropProduced(stream: number, name: string): void {
    this.#dropProduced.run(stream, name)
  }

  /** The answers behind the append `after`, oldest first, as they were written. */
  answers(session: string, after: number): Uint8Array[] {
    return this.#answers.all(session, after).map(([, answers]) => answers)
  }

  lastAppend(session: string): number {
    return this.#lastAppend.first(session)?.[0] ?? 0
  }

  noteAnswers(session: string, last: number, answers: Uint8Array): void {
    this.#insertAnswers.run(session, last, answers)
  }

  /** Forgets what the client has heard. Called with less than its last append only. */
  dropAnswers(session: string, upTo: number): void {
    this.#dropAnswers.run(session, upTo)
  }

  forgetSession(session: string): void {
    this.#forgetSession.run(session)
  }

  /** Of sessions that are forgotten themselves. */
  forgetLostSessions(): void {
    this.#forgetSessions.run()
  }

  forgetStream(stream: number): void {
    for (const statement of this.#forgetStream) statement.run(stream)
  }
}

function toPlace(row: PlaceRow | undefined): RecordPlace | undefined {
  if (row === undefined) return undefined
  const [partition, position, time] = row
  return { partition, position, time }
}
