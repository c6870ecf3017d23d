import { type BuzzerError, isBuzzerError } from 'buzzer'
import { type Appended, planAppend, type RecordPlace } from 'buzzer/transport'
import { rowsOf, type SqlHandle } from '../sql-handle.ts'
import { type AppendCall, type CallBatch, targetOf, toPlannable } from './append-call.ts'
import {
  GroupState,
  keyHash,
  keyName,
  type LockedPartition,
  nameBytes,
  partitionName,
  producedName,
  producerName,
  seenName,
} from './group-state.ts'
import { type StreamPartition, takeStaged } from './staged.ts'
import type { KnownStream, Streams } from './streams.ts'

/** What became of one call. */
export type CallOutcome = readonly Appended[] | BuzzerError

/** Where a step has written, by which it can be found again when the answer to its COMMIT was lost. */
export interface StepTrace {
  readonly stream: number
  readonly segment: number
  readonly partition: number
  readonly position: number
}

export interface StepResult {
  readonly outcomes: readonly CallOutcome[]
  /** The first chunk written; `undefined` when nothing was. */
  readonly trace: StepTrace | undefined
  /** What has grown, as [stream, partition]. */
  readonly grown: readonly (readonly [stream: string, partition: number])[]
  /** How many staged batches have been taken up. */
  readonly unstaged: number
}

/** Who writes, and which of its steps this is. */
export interface StepMark {
  /** A UUID. */
  readonly writer: string
  readonly step: number
}

interface LockRow {
  readonly stream: number
  readonly partition: number
  readonly version: number
  readonly segment: number
  readonly end: number
  readonly total: number
  readonly last_time: number
  readonly first: number
  readonly now: number
}

interface PlaceRow {
  readonly partition: number
  readonly position: number
  readonly time: number
}

/** Places of one producer that are remembered. Source: spec streams 3.5. */
const placesKept = 1_000

/** What this process knew of a stream was out of date; it knows more now. The transaction is to be begun anew. */
export class StaleStream extends Error {
  override readonly name = 'StaleStream'
}

/**
 * Appends calls inside one transaction, in their order, each as a whole or not at all. The rows of all partitions they go
 * to are locked first, in one order, and stay so until the commit: so positions are dense, and in the order of commits.
 * Source: spec streams 10.
 */
export class AppendStep {
  readonly #schema: string
  readonly #streams: Streams

  /** `schema`: quoted. */
  constructor(schema: string, streams: Streams) {
    this.#schema = schema
    this.#streams = streams
  }

  /**
   * `mark` stands in the rows, so that `wasCommitted` finds them. `unstaged`: partitions that first get what lies ready
   * for them from transactions of callers.
   * @throws StaleStream: roll back and begin anew
   */
  async run(
    handle: SqlHandle,
    calls: readonly AppendCall[],
    mark: StepMark,
    unstaged: readonly StreamPartition[] = [],
  ): Promise<StepResult> {
    const known = await this.#know(handle, calls, unstaged)
    const state = await this.#lock(handle, calls, unstaged, known)
    const staged = unstaged.length === 0 ? [] : await takeStaged(handle, this.#schema, unstaged, known)
    const batches = [...staged, ...calls].flatMap(call => call.batches)
    await this.#look(handle, batches, known, state)
    const grown = new Map<string, readonly [string, number]>()
    const judge = (call: AppendCall): CallOutcome => {
      try {
        return apply(call, known, state, grown)
      } catch (error) {
        if (isBuzzerError(error)) return error
        throw error
      }
    }
    for (const call of staged) judge(call)
    const outcomes = calls.map(judge)
    await this.#write(handle, state, mark)
    const [chunk] = state.chunks
    const trace = chunk && {
      stream: chunk.stream,
      segment: chunk.segment,
      partition: chunk.partition,
      position: chunk.position,
    }
    return { outcomes, trace, grown: [...grown.values()], unstaged: staged.length }
  }

  async #know(
    handle: SqlHandle,
    calls: readonly AppendCall[],
    unstaged: readonly StreamPartition[],
  ): Promise<ReadonlyMap<string, KnownStream>> {
    const names = new Set([
      ...calls.flatMap(call => call.batches.map(batch => batch.stream)),
      ...unstaged.map(one => one.stream),
    ])
    await this.#streams.learn(handle, names)
    const known = new Map<string, KnownStream>()
    for (const name of names) {
      const found = this.#streams.known(name)
      if (found !== undefined) known.set(name, found)
    }
    return known
  }

  /** After a COMMIT whose answer was lost. Waits for that transaction if it is still under way. */
  async wasCommitted(handle: SqlHandle, trace: StepTrace, { writer, step }: StepMark): Promise<boolean> {
    const { stream, segment, partition, position } = trace
    await handle.query(`select count(*)::integer as n from ${this.#schema}.log_lock($1::text)`, [
      JSON.stringify([{ s: stream, p: partition }]),
    ])
    const [row] = await rowsOf<{ there: boolean }>(
      handle,
      `select ${this.#schema}.log_has_step($1::integer, $2::integer, $3::integer, $4::bigint, $5::text::uuid, $6::bigint) as there`,
      [stream, segment, partition, position, writer, step],
    )
    return row?.there === true
  }

  async #lock(
    handle: SqlHandle,
    calls: readonly AppendCall[],
    unstaged: readonly StreamPartition[],
    known: ReadonlyMap<string, KnownStream>,
  ): Promise<GroupState> {
    const wanted = new Map<string, { s: number; p: number }>()
    const want = (stream: KnownStream | undefined, partition: number): void => {
      if (stream === undefined || partition >= stream.options.partitions) return
      wanted.set(partitionName(stream.id, partition), { s: stream.id, p: partition })
    }
    for (const batch of calls.flatMap(call => call.batches)) {
      const stream = known.get(batch.stream)
      if (stream !== undefined) want(stream, targetOf(batch, stream))
    }
    for (const { stream, partition } of unstaged) want(known.get(stream), partition)
    const rows = wanted.size === 0 ? [] : await this.#lockRows(handle, [...wanted.values()])
    const versions = new Map(rows.map(row => [row.stream, row.version]))
    const stale = [...known.values()].filter(({ id, version }) => versions.has(id) && versions.get(id) !== version)
    // A stream that was deleted, or deleted and made again, has no such partition any more.
    const gone = rows.length < wanted.size ? [...known.values()] : []
    if (stale.length + gone.length > 0) {
      for (const { name } of [...stale, ...gone]) this.#streams.forget(name)
      throw new StaleStream('a stream has changed')
    }
    const partitions = new Map(
      rows.map((row): [string, LockedPartition] => [
        partitionName(row.stream, row.partition),
        { ...row, lastTime: row.last_time },
      ]),
    )
    return new GroupState(known, partitions, Math.max(0, ...rows.map(row => row.now)))
  }

  #lockRows(handle: SqlHandle, keys: readonly { s: number; p: number }[]): Promise<readonly LockRow[]> {
    return rowsOf<LockRow>(handle, `select * from ${this.#schema}.log_lock($1::text)`, [JSON.stringify(keys)])
  }

  /** Reads what the plan will ask for: most appends ask for nothing more. */
  async #look(
    handle: SqlHandle,
    batches: readonly CallBatch[],
    known: ReadonlyMap<string, KnownStream>,
    state: GroupState,
  ): Promise<void> {
    const keys = new Map<string, { s: number; p: number; k: string }>()
    const seen = new Map<string, { s: number; k: string; w: number }>()
    const producers = new Map<string, { s: number; name: string; n: string }>()
    const sequences = new Map<string, { s: number; name: string; n: string; q: number }>()
    for (const batch of batches) {
      const stream = known.get(batch.stream)
      if (stream === undefined) continue
      const { id: s, options } = stream
      const { expect, deduplicationKey, producer } = batch
      if (expect !== undefined && 'key' in expect) {
        const p = targetOf(batch, stream)
        keys.set(keyName(s, p, expect.key), { s, p, k: keyHash(expect.key) })
      }
      if (deduplicationKey !== undefined) {
        seen.set(seenName(s, deduplicationKey), {
          s,
          k: deduplicationKey,
          w: state.now - options.deduplicationWindowMs,
        })
      }
      if (producer !== undefined) {
        const { name, sequence } = producer
        producers.set(producerName(s, name), { s, name, n: nameBytes(name) })
        sequences.set(producedName(s, name, sequence), { s, name, n: nameBytes(name), q: sequence })
      }
    }
    if (keys.size > 0) await this.#lookAtKeys(handle, [...keys.values()], state)
    if (seen.size > 0) await this.#lookAtSeen(handle, [...seen.values()], state)
    if (producers.size > 0) await this.#lookAtProducers(handle, [...producers.values()], [...sequences.values()], state)
  }

  async #lookAtKeys(
    handle: SqlHandle,
    keys: readonly { s: number; p: number; k: string }[],
    state: GroupState,
  ): Promise<void> {
    const rows = await rowsOf<{ s: number; p: number; k: string; position: number }>(
      handle,
      `select k.s, k.p, k.k, l.position::double precision as position
       from json_to_recordset($1::text::json) as k (s integer, p integer, k text)
       join ${this.#schema}.log_key l on l.stream = k.s and l.partition = k.p and l.key = decode(k.k, 'hex')`,
      [JSON.stringify(keys)],
    )
    for (const { s, p, k, position } of rows) state.lastOfKey.set(`${partitionName(s, p)}/${k}`, position)
  }

  /**
   * A key may be under way to another partition, whose row we have not locked. So keys are locked too, in one order and by
   * few locks, for the server has a limited number of them.
   */
  async #lookAtSeen(
    handle: SqlHandle,
    seen: readonly { s: number; k: string; w: number }[],
    state: GroupState,
  ): Promise<void> {
    const list = JSON.stringify(seen)
    await handle.query(
      `select count(pg_advisory_xact_lock(hashtextextended(${this.#lockName()}, k.s::bigint << 32 | k.bucket)))::integer as n
       from (select distinct k.s, hashtext(k.k) & 63 as bucket
         from json_to_recordset($1::text::json) as k (s integer, k text) order by 1, 2) k`,
      [list],
    )
    const rows = await rowsOf<PlaceRow & { s: number; k: string }>(
      handle,
      `select k.s, k.k, l.partition, l.position::double precision as position, l.time::double precision as time
       from json_to_recordset($1::text::json) as k (s integer, k text collate "C", w double precision)
       join ${this.#schema}.log_seen l on l.stream = k.s and l.key = k.k and l.seen_at > k.w`,
      [list],
    )
    for (const { s, k, ...place } of rows) state.places.set(seenName(s, k), toPlace(place))
  }

  /** Locked, so that nobody takes a producer over between this look and the commit. */
  async #lookAtProducers(
    handle: SqlHandle,
    producers: readonly { s: number; name: string; n: string }[],
    sequences: readonly { s: number; name: string; n: string; q: number }[],
    state: GroupState,
  ): Promise<void> {
    const names = new Map(producers.map(({ s, name, n }) => [`${s}/${n}`, name]))
    const rows = await rowsOf<{ s: number; n: string; epoch: number; last: number; batches: number }>(
      handle,
      `select l.stream as s, encode(l.name, 'hex') as n, l.epoch::double precision as epoch,
         l.last_sequence::double precision as last, l.batches::double precision as batches
       from json_to_recordset($1::text::json) as k (s integer, n text)
       join ${this.#schema}.log_producer l on l.stream = k.s and l.name = decode(k.n, 'hex')
       order by l.stream, l.name for update of l`,
      [JSON.stringify(producers.map(({ s, n }) => ({ s, n })))],
    )
    for (const { s, n, epoch, last, batches } of rows) {
      const name = names.get(`${s}/${n}`) ?? ''
      state.producers.set(producerName(s, name), { epoch, lastSequence: last, batches })
    }
    const places = await rowsOf<PlaceRow & { s: number; n: string; q: number }>(
      handle,
      `select k.s, k.n, k.q, l.partition, l.position::double precision as position, l.time::double precision as time
       from json_to_recordset($1::text::json) as k (s integer, n text, q double precision)
       join ${this.#schema}.log_produced l on l.stream = k.s and l.name = decode(k.n, 'hex') and l.sequence = k.q::bigint`,
      [JSON.stringify(sequences.map(({ s, n, q }) => ({ s, n, q })))],
    )
    for (const { s, n, q, ...place } of places) {
      state.produceds.set(producedName(s, names.get(`${s}/${n}`) ?? '', q), toPlace(place))
    }
  }

  async #write(handle: SqlHandle, state: GroupState, { writer, step }: StepMark): Promise<void> {
    if (state.chunks.length === 0) return
    let offset = 1
    const rows = state.chunks.map(({ stream, segment, partition, position, records, time, before, bytes, body }) => {
      const from = offset
      offset += body.length
      return {
        s: stream,
        g: segment,
        p: partition,
        o: position,
        n: records,
        t: time,
        b: before,
        z: bytes,
        f: from,
        l: body.length,
      }
    })
    await handle.query(
      `select ${this.#schema}.log_insert($1::text, $2::bytea, $3::text::uuid, $4::bigint) as written`,
      [JSON.stringify(rows), Buffer.concat(state.chunks.map(chunk => chunk.body)), writer, step],
    )
    if (state.newKeys.size > 0) await this.#writeKeys(handle, state)
    if (state.newSeen.length > 0) await this.#writeSeen(handle, state)
    if (state.newProduced.length > 0) await this.#writeProduced(handle, state)
  }

  async #writeKeys(handle: SqlHandle, state: GroupState): Promise<void> {
    const keys = [...state.newKeys.values()].map(({ stream, partition, key, position }) => ({
      s: stream,
      p: partition,
      k: keyHash(key),
      o: position,
    }))
    await handle.query(
      `insert into ${this.#schema}.log_key (stream, partition, key, position)
       select k.s, k.p, decode(k.k, 'hex'), k.o
       from json_to_recordset($1::text::json) as k (s integer, p integer, k text, o bigint)
       on conflict (stream, partition, key) do update set position = excluded.position`,
      [JSON.stringify(keys)],
    )
  }

  async #writeSeen(handle: SqlHandle, state: GroupState): Promise<void> {
    const seen = state.newSeen.map(({ stream, key, place: { partition, position, time } }) => ({
      s: stream,
      k: key,
      p: partition,
      o: position,
      t: time,
      a: state.now,
    }))
    await handle.query(
      `insert into ${this.#schema}.log_seen (stream, key, partition, position, time, seen_at)
       select k.s, k.k, k.p, k.o, k.t, k.a
       from json_to_recordset($1::text::json) as k (s integer, k text, p integer, o bigint, t bigint, a bigint)
       on conflict (stream, key) do update set partition = excluded.partition, position = excluded.position,
         time = excluded.time, seen_at = excluded.seen_at`,
      [JSON.stringify(seen)],
    )
  }

  async #writeProduced(handle: SqlHandle, state: GroupState): Promise<void> {
    const producers = [...state.changedProducers.values()].map(({ stream, name, producer }) => ({
      s: stream,
      n: nameBytes(name),
      q: producer.lastSequence,
      b: producer.batches,
      // What is older than the newest thousand is dropped now and then, not with each batch.
      d: producer.batches - placesKept,
    }))
    const places = state.newProduced.map(({ stream, name, sequence, batch, place }) => ({
      s: stream,
      n: nameBytes(name),
      q: sequence,
      b: batch,
      p: place.partition,
      o: place.position,
      t: place.time,
    }))
    await handle.query(
      `with changed as (
         update ${this.#schema}.log_producer l set last_sequence = k.q, batches = k.b
         from json_to_recordset($1::text::json) as k (s integer, n text, q bigint, b bigint)
         where l.stream = k.s and l.name = decode(k.n, 'hex') returning 1
       ), dropped as (
         delete from ${this.#schema}.log_produced l
         using json_to_recordset($1::text::json) as k (s integer, n text, d bigint)
         where l.stream = k.s and l.name = decode(k.n, 'hex') and l.batch <= k.d returning 1
       ), added as (
         insert into ${this.#schema}.log_produced (stream, name, batch, sequence, partition, position, time)
         select k.s, decode(k.n, 'hex'), k.b, k.q, k.p, k.o, k.t
         from json_to_recordset($2::text::json) as k (s integer, n text, q bigint, b bigint, p integer, o bigint, t bigint)
         returning 1
       ) select (select count(*) from changed)::integer + (select count(*) from added)::integer
         + (select count(*) from dropped)::integer as rows`,
      [JSON.stringify(producers), JSON.stringify(places)],
    )
  }

  #lockName(): string {
    return `'buzzer seen ${this.#schema.replaceAll("'", "''")}'`
  }
}

/** Judges one call against the state and, when it holds, makes it part of it. */
function apply(
  call: AppendCall,
  known: ReadonlyMap<string, KnownStream>,
  state: GroupState,
  grown: Map<string, readonly [string, number]>,
): readonly Appended[] {
  const plan = planAppend(
    state,
    call.batches.map(batch => toPlannable(batch, known.get(batch.stream))),
  )
  const answers: Appended[] = []
  for (const [index, planned] of plan.entries()) {
    const batch = call.batches[index] as CallBatch
    if (planned.as === 'duplicate') {
      const earlier = planned.duplicateOf === undefined ? undefined : answers[planned.duplicateOf]
      const place = earlier?.as === 'stored' ? toPlace(earlier) : planned.place
      answers.push({ as: 'duplicate', ...place })
      continue
    }
    const place = state.store(batch, planned)
    grown.set(`${batch.stream}/${place.partition}`, [batch.stream, place.partition])
    answers.push({ as: 'stored', ...place })
  }
  return answers
}

function toPlace({ partition, position, time }: PlaceRow): RecordPlace {
  return { partition, position, time }
}
