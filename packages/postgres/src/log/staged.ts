import { type AppendRecord, type LogState, planAppend } from 'buzzer/transport'
import { rowsOf, type SqlHandle } from '../sql-handle.ts'
import { type AppendCall, targetOf, toCall, toPlannable } from './append-call.ts'
import { bytesOf, decodeRecords } from './chunk-codec.ts'
import type { KnownStream } from './streams.ts'

export interface StreamPartition {
  readonly stream: string
  readonly partition: number
}

/** Batches that one transaction takes up. */
const maxTaken = 500

/**
 * Lays the batches of a call ready in the caller's transaction: it takes no lock that an append of somebody else waits for.
 * They get their positions after its commit.
 */
export async function stage(
  handle: SqlHandle,
  schema: string,
  call: AppendCall,
  known: ReadonlyMap<string, KnownStream>,
): Promise<void> {
  let offset = 1
  const bodies: Buffer[] = []
  const rows = call.batches.map(batch => {
    const stream = known.get(batch.stream) as KnownStream
    const body = Buffer.concat(batch.chunks.map(chunk => chunk.body))
    const row = {
      s: stream.id,
      p: targetOf(batch, stream),
      d: batch.deduplicationKey ?? null,
      f: offset,
      l: body.length,
    }
    offset += body.length
    bodies.push(body)
    return row
  })
  await handle.query(
    `insert into ${schema}.log_staged (stream, partition, deduplication_key, body)
     select k.s, k.p, k.d, substr($2::bytea, k.f, k.l)
     from json_to_recordset($1::text::json) as k (s integer, p integer, d text, f integer, l integer)`,
    [JSON.stringify(rows), Buffer.concat(bodies)],
  )
}

/** Partitions for which something lies ready; `stream` is `undefined` when it was deleted meanwhile. */
export async function findStaged(
  handle: SqlHandle,
  schema: string,
): Promise<readonly { readonly stream: string | undefined; readonly partition: number }[]> {
  const rows = await rowsOf<{ name: string | null; partition: number }>(
    handle,
    `select s.name, t.partition from (select distinct stream, partition from ${schema}.log_staged limit 100) t
     left join ${schema}.log_stream s on s.id = t.stream`,
  )
  return rows.map(({ name, partition }) => ({ stream: name ?? undefined, partition }))
}

/** Forgets what was appended to streams that are gone. */
export async function dropOrphans(handle: SqlHandle, schema: string): Promise<void> {
  await handle.query(
    `delete from ${schema}.log_staged t where not exists (select 1 from ${schema}.log_stream s where s.id = t.stream)`,
  )
}

/** Takes what lies ready for partitions that are locked, in the order in which it was laid, each batch as a call. */
export async function takeStaged(
  handle: SqlHandle,
  schema: string,
  partitions: readonly StreamPartition[],
  known: ReadonlyMap<string, KnownStream>,
): Promise<readonly AppendCall[]> {
  const names = new Map([...known.values()].map(stream => [stream.id, stream.name]))
  const keys = partitions.flatMap(({ stream, partition }) => {
    const found = known.get(stream)
    return found === undefined ? [] : [{ s: found.id, p: partition }]
  })
  const rows = await rowsOf<{ stream: number; partition: number; key: string | null; body: Uint8Array }>(
    handle,
    `with taken as (
       delete from ${schema}.log_staged where id in (
         select t.id from ${schema}.log_staged t
         join json_to_recordset($1::text::json) as k (s integer, p integer) on t.stream = k.s and t.partition = k.p
         order by t.id limit ${maxTaken})
       returning id, stream, partition, deduplication_key, body
     ) select stream, partition, deduplication_key as key, body from taken order by id`,
    [JSON.stringify(keys)],
  )
  return rows.map(({ stream, partition, key, body }) => {
    const records: AppendRecord[] = [...decodeRecords(Buffer.from(body.buffer, body.byteOffset, body.byteLength))]
    const bytes = records.reduce((sum, record) => sum + bytesOf(record), 0)
    const batch = { stream: names.get(stream) ?? '', partition, records }
    return toCall([key === null ? batch : { ...batch, deduplicationKey: key }], bytes, () => 0)
  })
}

/** Refuses what will be refused after the caller's commit, when nobody can be told any more. */
export function checkStaged(call: AppendCall, known: ReadonlyMap<string, KnownStream>): void {
  const nothing = { lastOf: none, seen: none, producer: none, produced: none, turn: () => 0, end: () => 1 }
  const state: LogState = { ...nothing, options: stream => known.get(stream)?.options }
  planAppend(
    state,
    call.batches.map(batch => toPlannable(batch, known.get(batch.stream))),
  )
}

function none(): undefined {
  return undefined
}
