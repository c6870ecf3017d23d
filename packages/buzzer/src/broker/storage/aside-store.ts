import { crc32 } from 'node:zlib'
import type { DatabaseSync } from 'node:sqlite'
import { type Statement, prepare } from './statement.ts'

/** A message outside the chunks: scheduled, or dead. */
export interface AsideRow {
  readonly sequence: number
  /** 0: bound for a topic, see `destination`. */
  readonly queue: number
  readonly messageId: string
  readonly enqueuedAt: number
  readonly due: number | null
  readonly expires: number | null
  readonly bytes: number
  /** Of a scheduled publish: as it stood in the frame. */
  readonly destination: string | null
  readonly attempts: number
  readonly reason: string | null
  /** JSON. */
  readonly detail: string | null
  readonly deadAt: number | null
  /** Deliveries from the dead-letter queue. */
  readonly deadDeliveries: number
  /** 1: settled there as one that stays; the dead-letter queue does not deliver it again. */
  readonly kept: number
}

export const asideKinds = { scheduled: 1, dead: 2 } as const
export type AsideKind = (typeof asideKinds)[keyof typeof asideKinds]

type Columns = readonly [
  number,
  number,
  string,
  number,
  number | null,
  number | null,
  number,
  string | null,
  number,
  string | null,
  string | null,
  number | null,
  number,
  number,
]

const columns =
  'sequence, queue, message_id, enqueued_at, due, expires, bytes, destination, attempts, reason, detail, dead_at, dead_deliveries, kept'

function toRow(row: Columns): AsideRow {
  return {
    sequence: row[0],
    queue: row[1],
    messageId: row[2],
    enqueuedAt: row[3],
    due: row[4],
    expires: row[5],
    bytes: row[6],
    destination: row[7],
    attempts: row[8],
    reason: row[9],
    detail: row[10],
    deadAt: row[11],
    deadDeliveries: row[12],
    kept: row[13],
  }
}

export class AsideStore {
  readonly #insert: Statement
  readonly #insertBody: Statement
  readonly #delete: Statement
  readonly #deleteBody: Statement
  readonly #body: Statement<readonly [Uint8Array, number]>
  readonly #get: Statement<Columns>
  readonly #page: Statement<Columns>
  readonly #deliverable: Statement<Columns>
  readonly #due: Statement<Columns>
  readonly #nextDue: Statement<readonly [number | null]>
  readonly #expiring: Statement<readonly [number, number]>
  readonly #nextExpiry: Statement<readonly [number | null]>
  readonly #scheduled: Statement<Columns>
  readonly #counts: Statement<readonly [number, number, number, number]>
  readonly #deadDelivery: Statement
  readonly #keep: Statement
  readonly #deadTtl: Statement
  readonly #dropQueue: readonly Statement[]

  constructor(db: DatabaseSync) {
    this.#insert = prepare(
      db,
      `insert into aside (${columns}, kind) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    )
    this.#insertBody = prepare(db, 'insert into aside_body (sequence, record, crc) values (?, ?, ?)')
    this.#delete = prepare(db, 'delete from aside where sequence = ?')
    this.#deleteBody = prepare(db, 'delete from aside_body where sequence = ?')
    this.#body = prepare(db, 'select record, crc from aside_body where sequence = ?')
    this.#get = prepare(db, `select ${columns} from aside where kind = ? and sequence = ?`)
    this.#page = prepare(
      db,
      `select ${columns} from aside where queue = ? and kind = ? and sequence > ? order by sequence limit ?`,
    )
    this.#deliverable = prepare(
      db,
      `select ${columns} from aside where queue = ? and kind = ${asideKinds.dead} and sequence > ? and kept = 0 order by sequence limit ?`,
    )
    this.#due = prepare(
      db,
      `select ${columns} from aside where due is not null and due <= ? order by due, sequence limit ?`,
    )
    this.#nextDue = prepare(db, 'select min(due) from aside where due is not null')
    this.#expiring = prepare(db, 'select sequence, kind from aside where expires <= ? limit ?')
    this.#nextExpiry = prepare(db, 'select min(expires) from aside where expires is not null')
    this.#scheduled = prepare(
      db,
      `select ${columns} from aside where message_id = ? and kind = ${asideKinds.scheduled}`,
    )
    this.#counts = prepare(db, 'select queue, kind, count(*), sum(bytes) from aside group by queue, kind')
    this.#deadDelivery = prepare(db, 'update aside set dead_deliveries = ? where sequence = ?')
    this.#keep = prepare(db, 'update aside set kept = 1 where sequence = ?')
    this.#deadTtl = prepare(db, `update aside set expires = dead_at + ? where queue = ? and kind = ${asideKinds.dead}`)
    this.#dropQueue = [
      prepare(db, 'delete from aside_body where sequence in (select sequence from aside where queue = ?)'),
      prepare(db, 'delete from aside where queue = ?'),
    ]
  }

  insert(kind: AsideKind, row: AsideRow, record: Uint8Array): void {
    this.#insert.run(
      row.sequence,
      row.queue,
      row.messageId,
      row.enqueuedAt,
      row.due,
      row.expires,
      row.bytes,
      row.destination,
      row.attempts,
      row.reason,
      row.detail,
      row.deadAt,
      row.deadDeliveries,
      row.kept,
      kind,
    )
    this.#insertBody.run(row.sequence, record, crc32(record))
  }

  delete(sequence: number): void {
    this.#delete.run(sequence)
    this.#deleteBody.run(sequence)
  }

  /** The record, and whether its checksum holds. */
  body(sequence: number): { readonly record: Buffer; readonly intact: boolean } | undefined {
    const row = this.#body.first(sequence)
    if (row === undefined) return undefined
    const record = Buffer.from(row[0].buffer, row[0].byteOffset, row[0].byteLength)
    return { record, intact: crc32(record) === row[1] }
  }

  get(kind: AsideKind, sequence: number): AsideRow | undefined {
    const row = this.#get.first(kind, sequence)
    return row === undefined ? undefined : toRow(row)
  }

  page(queue: number, kind: AsideKind, after: number, limit: number): AsideRow[] {
    return this.#page.all(queue, kind, after, limit).map(toRow)
  }

  /** Dead letters that the dead-letter queue may deliver, behind `after`. */
  deliverable(queue: number, after: number, limit: number): AsideRow[] {
    return this.#deliverable.all(queue, after, limit).map(toRow)
  }

  due(now: number, limit: number): AsideRow[] {
    return this.#due.all(now, limit).map(toRow)
  }

  nextDue(): number {
    return this.#nextDue.first()?.[0] ?? Number.POSITIVE_INFINITY
  }

  expiring(now: number, limit: number): readonly (readonly [sequence: number, kind: number])[] {
    return this.#expiring.all(now, limit)
  }

  nextExpiry(): number {
    return this.#nextExpiry.first()?.[0] ?? Number.POSITIVE_INFINITY
  }

  /** The scheduled copies of a message id, wherever they are bound. */
  scheduled(messageId: string): AsideRow[] {
    return this.#scheduled.all(messageId).map(toRow)
  }

  counts(): readonly (readonly [queue: number, kind: number, count: number, bytes: number])[] {
    return this.#counts.all()
  }

  countDeadDelivery(sequence: number, deliveries: number): void {
    this.#deadDelivery.run(deliveries, sequence)
  }

  keep(sequence: number): void {
    this.#keep.run(sequence)
  }

  /** `null`: dead letters of the queue are kept for ever. */
  setDeadTtl(queue: number, ttlMs: number | null): void {
    this.#deadTtl.run(ttlMs, queue)
  }

  dropQueue(queue: number): void {
    for (const statement of this.#dropQueue) statement.run(queue)
  }
}
