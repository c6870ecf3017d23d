import type { OrderBy } from 'buzzer/transport'
import { rowsOf, type SqlHandle } from '../sql-handle.ts'
import { laneKey } from './manifest.ts'
import { decodeRecord } from './message-record.ts'

interface ChunkRow {
  readonly rank: string
  readonly next: number
  readonly n: number
  readonly sizes: string
  readonly records: Buffer
}

const rowsAtOnce = 1_000
const chunksAtOnce = 10

/** What waits in a queue gets the keys of a new order, or loses them. In the transaction that changes the queue's `orderBy`. */
export async function reorder(handle: SqlHandle, quotedSchema: string, queue: number, orderBy: OrderBy): Promise<void> {
  await handle.query(
    `with slept as (
      update ${quotedSchema}.single s set state = case when o.due_at is null then 0 else 2 end, due_at = o.due_at, attempt = o.attempt
      from ${quotedSchema}.lane o where o.queue = $1::integer and s.rank = o.head
    ) delete from ${quotedSchema}.lane where queue = $1::integer`,
    [queue],
  )
  await handle.query(
    `update ${quotedSchema}.single set key = null, state = case when state = 4 then 0 else state end
    where queue = $1::integer and (key is not null or state = 4)`,
    [queue],
  )
  if (orderBy === 'none') return
  if (orderBy === 'queue') {
    await handle.query(`update ${quotedSchema}.chunk set keyed = true where queue = $1::integer`, [queue])
    await handle.query(`update ${quotedSchema}.single set priority = 0 where queue = $1::integer`, [queue])
  }
  for (let after = '-1'; ; ) {
    const rows = await rowsOf<{ rank: string; record: Buffer }>(
      handle,
      `select rank::text, record from ${quotedSchema}.single where queue = $1::integer and state in (0, 1, 2, 3) and rank > $2::bigint
      order by rank limit ${rowsAtOnce}`,
      [queue, after],
    )
    const last = rows.at(-1)
    if (last === undefined) break
    after = last.rank
    const keys = rows.flatMap(({ rank, record }) => {
      const { key } = decodeRecord(record, 0, record.byteLength)
      if (orderBy === 'key' && key === undefined) return []
      return [{ r: rank, k: laneKey(orderBy === 'queue' ? '' : (key as string)) }]
    })
    await handle.query(
      `update ${quotedSchema}.single s set key = decode(x.k, 'base64') from json_to_recordset($1::json) as x(r bigint, k text)
      where s.rank = x.r`,
      [JSON.stringify(keys)],
    )
  }
  // What waits for a retry holds its key.
  await handle.query(
    `with first as (
      select distinct on (key) key, rank, priority, attempt, due_at from ${quotedSchema}.single
      where queue = $1::integer and state = 2 and key is not null order by key, rank
    ), held as (
      insert into ${quotedSchema}.lane (queue, key, head, priority, attempt, due_at)
      select $1::integer, key, rank, priority, attempt, due_at from first
    )
    update ${quotedSchema}.single s set state = 0, due_at = null from first where s.rank = first.rank`,
    [queue],
  )
}

/**
 * Chunks that came to a queue before it was ordered become singles, at their places and with their keys, before anything of
 * the queue is handed out. True while there may be more.
 */
export async function breakUpChunks(
  handle: SqlHandle,
  quotedSchema: string,
  queue: number,
  orderBy: OrderBy,
): Promise<boolean> {
  const chunks = await rowsOf<ChunkRow>(
    handle,
    `select rank::text, next, n, to_json(sizes)::text as sizes, records from ${quotedSchema}.chunk
    where queue = $1::integer and keyed and leased_until is null order by rank limit ${chunksAtOnce} for update`,
    [queue],
  )
  const messages = chunks.flatMap(({ rank, next, n, sizes, records }) => {
    let start = 0
    const found: { r: string; i: number; k: string | null }[] = []
    for (const [index, size] of (JSON.parse(sizes) as number[]).entries()) {
      if (index >= next && index < n) {
        const { key } = decodeRecord(records, start, size)
        const lane = orderBy === 'queue' ? '' : key
        found.push({ r: rank, i: index, k: lane === undefined ? null : laneKey(lane) })
      }
      start += size
    }
    return found
  })
  await handle.query(
    `with moved as (
      insert into ${quotedSchema}.single (rank, queue, state, priority, key, accepted_at, available_at, expires_at, record)
      select c.rank - c.next + x.i, c.queue, 0, ${orderBy === 'queue' ? '0' : 'c.priority'}, decode(x.k, 'base64'), c.accepted_at,
        c.accepted_at, c.expires_at,
        substring(c.records from (select coalesce(sum(size), 0)::integer from unnest(c.sizes[:x.i]) size) + 1 for c.sizes[x.i + 1])
      from json_to_recordset($1::json) as x(r bigint, i integer, k text) join ${quotedSchema}.chunk c on c.rank = x.r
    ) delete from ${quotedSchema}.chunk where rank in (select r from json_to_recordset($1::json) as x(r bigint))`,
    [JSON.stringify(messages)],
  )
  return chunks.length === chunksAtOnce
}
