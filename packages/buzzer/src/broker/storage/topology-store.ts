import type { DatabaseSync } from 'node:sqlite'
import { type Statement, prepare } from './statement.ts'

export interface QueueRow {
  readonly id: number
  readonly name: string
  /** JSON of what was declared. */
  readonly options: string
}

export interface BindingRow {
  readonly topic: string
  readonly queue: number
  /** JSON, '' when there is none. */
  readonly match: string
  readonly exclusive: boolean
}

export class TopologyStore {
  readonly #queues: Statement<readonly [number, string, string]>
  readonly #bindings: Statement<readonly [string, number, string, number]>
  readonly #insertQueue: Statement
  readonly #updateQueue: Statement
  readonly #deleteQueue: readonly Statement[]
  readonly #bind: Statement
  readonly #unbind: Statement
  readonly #meta: Statement<readonly [number]>
  readonly #setMeta: Statement
  readonly #highest: Statement<readonly [number | null]>

  constructor(db: DatabaseSync) {
    this.#queues = prepare(db, 'select id, name, options from queue order by id')
    this.#bindings = prepare(db, 'select topic, queue, match, exclusive from binding')
    this.#insertQueue = prepare(
      db,
      'insert into queue (id, name, options, crc) values (?1, ?2, ?3, definition_crc(?1, ?2, ?3))',
    )
    this.#updateQueue = prepare(db, 'update queue set options = ?1, crc = definition_crc(id, name, ?1) where id = ?2')
    this.#deleteQueue = [
      prepare(db, 'delete from queue where id = ?'),
      prepare(db, 'delete from binding where queue = ?'),
      prepare(db, 'delete from seen where queue = ?'),
    ]
    this.#bind = prepare(
      db,
      `insert or replace into binding (topic, queue, match, exclusive, crc)
       values (?1, ?2, ?3, ?4, definition_crc(?1, ?2, ?3, ?4))`,
    )
    this.#unbind = prepare(db, 'delete from binding where topic = ? and queue = ?')
    this.#meta = prepare(db, 'select value from meta where name = ?')
    this.#setMeta = prepare(db, 'insert or replace into meta (name, value) values (?, ?)')
    this.#highest = prepare(
      db,
      'select max(s) from (select max(id + count) as s from state union all select max(sequence) + 1 from aside)',
    )
  }

  queues(): QueueRow[] {
    return this.#queues.all().map(([id, name, options]) => ({ id, name, options }))
  }

  bindings(): BindingRow[] {
    return this.#bindings
      .all()
      .map(([topic, queue, match, exclusive]) => ({ topic, queue, match, exclusive: exclusive === 1 }))
  }

  insertQueue(row: QueueRow): void {
    this.#insertQueue.run(row.id, row.name, row.options)
  }

  updateQueue(id: number, options: string): void {
    this.#updateQueue.run(options, id)
  }

  deleteQueue(id: number): void {
    for (const statement of this.#deleteQueue) statement.run(id)
  }

  bind(row: BindingRow): void {
    this.#bind.run(row.topic, row.queue, row.match, row.exclusive ? 1 : 0)
  }

  unbind(topic: string, queue: number): number {
    return this.#unbind.run(topic, queue)
  }

  /** Numbers below it are used up. Reserved in steps, so that not every commit writes it. */
  nextSequence(): number {
    return Math.max(this.#meta.first('next_sequence')?.[0] ?? 1, this.#highest.first()?.[0] ?? 1)
  }

  reserveSequences(upTo: number): void {
    this.#setMeta.run('next_sequence', upTo)
  }

  nextQueueId(): number {
    const id = this.#meta.first('next_queue')?.[0] ?? 1
    this.#setMeta.run('next_queue', id + 1)
    return id
  }
}
