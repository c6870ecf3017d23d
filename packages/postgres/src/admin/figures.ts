import type { QueueFigures } from 'buzzer/transport'
import { rowsOf, type SqlHandle } from '../sql-handle.ts'
import type { ServerTime } from '../queues/server-time.ts'
import type { QueueEntry } from '../queues/topology.ts'

interface Row {
  readonly id: number
  readonly ready: number
  readonly locked: number
  readonly scheduled: number
  readonly parked: number
  readonly dead: number
  readonly bytes: number
  readonly receivers: number
  readonly oldest: number | null
}

/**
 * Counts of queues as of one moment. What is due, expired or abandoned by its client is put where it belongs first, so that
 * the counts are exact although nobody may have looked for a while.
 */
export async function figuresOf(
  handle: SqlHandle,
  quotedSchema: string,
  queues: readonly QueueEntry[],
  aliveMs: number,
  time: ServerTime,
): Promise<readonly QueueFigures[]> {
  const ids = JSON.stringify(queues.map(({ id }) => id))
  const chosen = `(select value::integer as id from json_array_elements_text($1::json) as x(value))`
  await handle.query(
    `select (${quotedSchema}.wake(q.id), ${quotedSchema}.expire(q.id), ${quotedSchema}.expire(-q.id), ${quotedSchema}.reclaim(q.id), ${quotedSchema}.reclaim(-q.id))::text as done from ${chosen} q`,
    [ids],
  )
  const rows = await rowsOf<Row>(
    handle,
    `select q.id, (c.ready + s.ready - o.taken)::float8 as ready, (c.locked + s.locked + o.locked)::float8 as locked,
      (s.scheduled + o.asleep)::float8 as scheduled, s.parked::float8 as parked, d.dead::float8 as dead,
      (c.bytes + s.bytes + d.bytes)::float8 as bytes, r.receivers::float8 as receivers,
      ${quotedSchema}.epoch_ms(least(c.oldest, s.oldest)) as oldest
    from ${chosen} q,
    lateral (
      select coalesce(sum(n - next - done) filter (where leased_until is null), 0) as ready,
        coalesce(sum(n - next - done) filter (where leased_until is not null), 0) as locked,
        coalesce(sum(octet_length(records)::bigint * (n - next - done) / n), 0) as bytes,
        min(accepted_at) filter (where leased_until is null) as oldest
      from ${quotedSchema}.chunk where queue = q.id
    ) c,
    lateral (
      select count(*) filter (where state in (0, 4) and leased_until is null) as ready,
        count(*) filter (where leased_until is not null) as locked,
        count(*) filter (where state in (1, 2)) as scheduled, count(*) filter (where state = 3) as parked,
        coalesce(sum(octet_length(record)), 0) as bytes,
        min(available_at) filter (where state in (0, 4) and leased_until is null) as oldest
      from ${quotedSchema}.single where queue = q.id
    ) s,
    lateral (
      select count(*) filter (where leased_until is not null or due_at is not null) as taken,
        count(*) filter (where leased_until is not null) as locked, count(*) filter (where due_at is not null) as asleep
      from ${quotedSchema}.lane where queue = q.id
    ) o,
    lateral (select count(*) as dead, coalesce(sum(octet_length(record)), 0) as bytes from ${quotedSchema}.single where queue = -q.id) d,
    lateral (
      select coalesce(sum(count), 0) as receivers from ${quotedSchema}.receiver
      where queue = q.id and seen_at > clock_timestamp() - ${quotedSchema}.span($2::float8)
    ) r`,
    [ids, aliveMs],
  )
  const byId = new Map(rows.map(row => [row.id, row]))
  return queues.flatMap(({ id, name, limits }) => {
    const row = byId.get(id)
    if (row === undefined) return []
    const { id: _, oldest, ...counts } = row
    return [
      { name, options: { ...limits }, ...counts, ...(oldest === null ? {} : { oldestReadyAt: time.toOurs(oldest) }) },
    ]
  })
}
