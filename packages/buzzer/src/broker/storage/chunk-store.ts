import type { DatabaseSync } from 'node:sqlite'
import { decodeKeys, decodeMarks, encodeKeys, encodeMarks, mark, unavailable } from './chunk-format.ts'
import { type Statement, prepare } from './statement.ts'

/** A row of `state`. */
export interface ChunkRow {
  readonly id: number
  readonly lane: number
  readonly count: number
  /** Bytes of the records that are not gone. */
  readonly bytes: number
  readonly enqueuedAt: number
  /** The earliest moment at which one of its messages may expire. */
  readonly expires: number | null
  readonly marks: Uint32Array
  /** Of key-ordered queues: see message-key.ts. */
  readonly keys: Float64Array | undefined
}

export interface LaneSummary {
  readonly queue: number
  readonly lane: number
  readonly ready: number
  readonly open: number
  readonly held: number
  readonly parked: number
  readonly bytes: number
}

/** A chunk some of whose messages were delivered. */
export interface TouchedChunk {
  readonly queue: number
  readonly lane: number
  readonly id: number
  readonly count: number
  readonly live: number
  readonly open: number
}

type StateColumns = readonly [
  number,
  number,
  number,
  number,
  number,
  number | null,
  Uint8Array | null,
  Uint8Array | null,
]

const columns = 'id, lane, count, bytes, enqueued_at, expires, marks'
const withKeys = `select ${columns}, (select keys from chunk_keys where id = state.id) from state`

const isReady = (word: number): boolean => (word & unavailable) === 0

function toRow([id, lane, count, bytes, enqueuedAt, expires, storedMarks, storedKeys]: StateColumns): ChunkRow {
  const marks = decodeMarks(storedMarks, count)
  const keys = storedKeys === null ? undefined : decodeKeys(storedKeys, count)
  return { id, lane, count, bytes, enqueuedAt, expires, marks, keys }
}

/** Rows of messages that lie in their chunk. All calls belong inside the transaction of the moment. */
export class ChunkStore {
  readonly #insertBodies: Statement
  readonly #insertState: Statement
  readonly #insertKeys: Statement
  readonly #deleteKeys: Statement
  readonly #updateState: Statement
  readonly #deleteBodies: Statement
  readonly #deleteState: Statement
  readonly #bodies: Statement<readonly [Uint8Array]>
  readonly #window: Statement<StateColumns>
  readonly #windowOfMarks: Statement<StateColumns>
  readonly #byId: Statement<StateColumns>
  readonly #idAtOrBelow: Statement<readonly [number]>
  readonly #ofQueue: Statement<StateColumns>
  readonly #expiring: Statement<readonly [number, number, number]>
  readonly #nextExpiry: Statement<readonly [number | null]>
  readonly #lowerExpiry: Statement
  readonly #fresh: Statement<readonly [number, number, number, number]>
  readonly #touched: Statement<readonly [number, number, number, number, number, Uint8Array]>
  readonly #move: Statement
  readonly #head: Statement<readonly [number, number, Uint8Array | null]>
  readonly #insertHeld: Statement
  readonly #deleteHeld: Statement
  readonly #dueHeld: Statement<readonly [number, number]>
  readonly #nextHeld: Statement<readonly [number | null]>
  readonly #shiftHeld: Statement
  readonly #capHeld: Statement
  readonly #heldDue: Statement<readonly [number]>
  readonly #dropQueue: readonly Statement[]

  constructor(db: DatabaseSync) {
    this.#insertBodies = prepare(db, 'insert into chunk (id, bodies) values (?, ?)')
    this.#insertState = prepare(db, `insert into state (${columns}, queue) values (?, ?, ?, ?, ?, ?, ?, ?)`)
    this.#insertKeys = prepare(db, 'insert or replace into chunk_keys (id, keys) values (?, ?)')
    this.#deleteKeys = prepare(db, 'delete from chunk_keys where id = ?')
    this.#updateState = prepare(
      db,
      'update state set bytes = ?, expires = ?, marks = ? where queue = ? and lane = ? and id = ?',
    )
    this.#deleteBodies = prepare(db, 'delete from chunk where id = ?')
    this.#deleteState = prepare(db, 'delete from state where queue = ? and lane = ? and id = ?')
    this.#bodies = prepare(db, 'select bodies from chunk where id = ?')
    this.#window = prepare(db, `${withKeys} where queue = ? and lane = ? and id > ? order by id limit ?`)
    this.#windowOfMarks = prepare(
      db,
      `select ${columns}, null from state where queue = ? and lane = ? and id > ? order by id limit ?`,
    )
    this.#byId = prepare(db, `${withKeys} where queue = ? and lane = ? and id = ?`)
    this.#idAtOrBelow = prepare(db, 'select id from chunk where id <= ? order by id desc limit 1')
    this.#ofQueue = prepare(db, `${withKeys} where queue = ? order by lane, id`)
    this.#expiring = prepare(db, 'select queue, lane, id from state where expires <= ? order by expires limit ?')
    this.#nextExpiry = prepare(db, 'select min(expires) from state where expires is not null')
    this.#lowerExpiry = prepare(
      db,
      'update state set expires = min(coalesce(expires, 9e15), enqueued_at + ?) where queue = ?',
    )
    this.#fresh = prepare(
      db,
      'select queue, lane, sum(count), sum(bytes) from state where marks is null group by queue, lane',
    )
    this.#touched = prepare(db, 'select queue, lane, id, count, bytes, marks from state where marks is not null')
    this.#head = prepare(
      db,
      'select count, enqueued_at, marks from state where queue = ? and lane = ? order by id limit 64',
    )
    this.#move = prepare(db, 'update state set lane = ? where queue = ? and lane = ? and id = ?')
    this.#insertHeld = prepare(db, 'insert or replace into held (sequence, queue, due, wait) values (?, ?, ?, ?)')
    this.#deleteHeld = prepare(db, 'delete from held where sequence = ?')
    this.#dueHeld = prepare(db, 'select sequence, queue from held where due <= ? order by due, sequence limit ?')
    this.#nextHeld = prepare(db, 'select min(due) from held')
    this.#shiftHeld = prepare(db, 'update held set due = due + ?')
    this.#capHeld = prepare(db, 'update held set due = ? + wait where due > ? + wait')
    this.#heldDue = prepare(db, 'select due from held where sequence = ?')
    this.#dropQueue = [
      prepare(db, 'delete from chunk where id in (select id from state where queue = ?)'),
      prepare(db, 'delete from chunk_keys where id in (select id from state where queue = ?)'),
      prepare(db, 'delete from state where queue = ?'),
      prepare(db, 'delete from held where queue = ?'),
    ]
  }

  insert(queue: number, row: Omit<ChunkRow, 'marks'>, bodies: Uint8Array, marks: Uint32Array): void {
    this.#insertBodies.run(row.id, bodies)
    const { id, lane, count, bytes, enqueuedAt, expires, keys } = row
    this.#insertState.run(id, lane, count, bytes, enqueuedAt, expires, encodeMarks(marks), queue)
    if (keys !== undefined) this.#insertKeys.run(id, encodeKeys(keys, marks))
  }

  update(queue: number, lane: number, id: number, bytes: number, expires: number | null, marks: Uint32Array): void {
    this.#updateState.run(bytes, expires, encodeMarks(marks), queue, lane, id)
  }

  delete(queue: number, lane: number, id: number): void {
    this.#deleteState.run(queue, lane, id)
    this.#deleteBodies.run(id)
    this.#deleteKeys.run(id)
  }

  /**
   * Stores a chunk anew that has become smaller. The rows are taken out and put in again: SQLite joins pages that have
   * become empty when it deletes, and leaves them as they are when it updates.
   */
  rewrite(queue: number, row: Omit<ChunkRow, 'marks'>, bodies: Uint8Array, marks: Uint32Array): void {
    this.delete(queue, row.lane, row.id)
    this.insert(queue, row, bodies, marks)
  }

  bodies(id: number): Buffer | undefined {
    const row = this.#bodies.first(id)
    if (row === undefined) return undefined
    return Buffer.from(row[0].buffer, row[0].byteOffset, row[0].byteLength)
  }

  /** The next chunks of a lane behind `after`. */
  window(queue: number, lane: number, after: number, limit: number): ChunkRow[] {
    return this.#window.all(queue, lane, after, limit).map(toRow)
  }

  /** The same without their keys. */
  windowOfMarks(queue: number, lane: number, after: number, limit: number): ChunkRow[] {
    return this.#windowOfMarks.all(queue, lane, after, limit).map(toRow)
  }

  byId(queue: number, lane: number, id: number): ChunkRow | undefined {
    const row = this.#byId.first(queue, lane, id)
    return row === undefined ? undefined : toRow(row)
  }

  /** The chunk of the file that holds `sequence`, if any does: sequences are unique in the file. */
  idHolding(sequence: number): number | undefined {
    return this.#idAtOrBelow.first(sequence)?.[0]
  }

  *ofQueue(queue: number): Iterable<ChunkRow> {
    for (const row of this.#ofQueue.each(queue)) yield toRow(row)
  }

  expiring(now: number, limit: number): readonly (readonly [queue: number, lane: number, id: number])[] {
    return this.#expiring.all(now, limit)
  }

  nextExpiry(): number {
    return this.#nextExpiry.first()?.[0] ?? Number.POSITIVE_INFINITY
  }

  /** A queue got a shorter time to live: its chunks are looked at earlier. */
  lowerExpiry(queue: number, ttlMs: number): void {
    this.#lowerExpiry.run(ttlMs, queue)
  }

  /** What lies in each lane, in one pass over the narrow rows. `onTouched` is told of each chunk that is not all fresh. */
  summaries(onTouched: (chunk: TouchedChunk) => void): LaneSummary[] {
    const lanes = new Map<string, { -readonly [K in keyof LaneSummary]: LaneSummary[K] }>()
    const lane = (queue: number, number: number): { -readonly [K in keyof LaneSummary]: LaneSummary[K] } => {
      const name = `${queue}/${number}`
      let found = lanes.get(name)
      if (found === undefined) {
        found = { queue, lane: number, ready: 0, open: 0, held: 0, parked: 0, bytes: 0 }
        lanes.set(name, found)
      }
      return found
    }
    for (const [queue, number, count, bytes] of this.#fresh.each()) {
      const found = lane(queue, number)
      found.ready += count
      found.bytes += bytes
    }
    for (const [queue, number, id, count, bytes, stored] of this.#touched.each()) {
      const found = lane(queue, number)
      found.bytes += bytes
      let live = 0
      const openBefore = found.open
      for (const word of decodeMarks(stored, count)) {
        if (word & mark.gone) continue
        live++
        if (word & mark.open) found.open++
        else if (word & mark.held) found.held++
        else if (word & mark.parked) found.parked++
        else found.ready++
      }
      onTouched({ queue, lane: number, id, count, live, open: found.open - openBefore })
    }
    return [...lanes.values()]
  }

  /** When the oldest message that is ready came, as far as the heads of the lanes tell. */
  oldestReadyAt(queue: number): number | undefined {
    let oldest: number | undefined
    for (let lane = 0; lane < 10; lane++) {
      for (const [count, enqueuedAt, marks] of this.#head.each(queue, lane)) {
        if (!decodeMarks(marks, count).some(isReady)) continue
        oldest = Math.min(oldest ?? enqueuedAt, enqueuedAt)
        break
      }
    }
    return oldest
  }

  /** To another lane, with the keys that its order needs. */
  move(queue: number, lane: number, id: number, toLane: number, keys: Float64Array | undefined): void {
    this.#move.run(toLane, queue, lane, id)
    if (keys === undefined) this.#deleteKeys.run(id)
    else this.#insertKeys.run(id, new Uint8Array(keys.buffer))
  }

  hold(sequence: number, queue: number, due: number, waitMs: number): void {
    this.#insertHeld.run(sequence, queue, due, waitMs)
  }

  unhold(sequence: number): void {
    this.#deleteHeld.run(sequence)
  }

  dueHeld(now: number, limit: number): readonly (readonly [sequence: number, queue: number])[] {
    return this.#dueHeld.all(now, limit)
  }

  heldDue(sequence: number): number | undefined {
    return this.#heldDue.first(sequence)?.[0]
  }

  nextHeld(): number {
    return this.#nextHeld.first()?.[0] ?? Number.POSITIVE_INFINITY
  }

  /** The wall clock jumped: retries wait on the monotonic one. */
  shiftHeld(byMs: number): void {
    this.#shiftHeld.run(byMs)
  }

  /** After a start: no retry waits longer than its whole delay again. */
  capHeld(now: number): void {
    this.#capHeld.run(now, now)
  }

  dropQueue(queue: number): void {
    for (const statement of this.#dropQueue) statement.run(queue)
  }
}
