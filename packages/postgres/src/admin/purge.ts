import type { MessageState } from 'buzzer/transport'
import { rowsOf, type SqlHandle } from '../sql-handle.ts'

/** Removes what is in a state and in nobody's hands; `before` by the server's clock. In a transaction. Answers how many. */
export async function purge(
  handle: SqlHandle,
  schema: string,
  queue: number,
  state: Exclude<MessageState, 'locked'>,
  before: number | undefined,
): Promise<number> {
  const values = [queue, before ?? null]
  const isOld = `($2::float8 is null or accepted_at < ${schema}.instant($2::float8))`
  let count = 0
  if (state === 'ready' && queue > 0) {
    const [row] = await rowsOf<{ count: number }>(
      handle,
      `with doomed as (
        select rank from ${schema}.chunk where queue = $1::integer and leased_until is null and ${isOld} order by rank for update
      ), gone as (
        delete from ${schema}.chunk c using doomed where c.rank = doomed.rank returning c.n - c.next - c.done as messages
      ) select coalesce(sum(messages), 0)::integer as count from gone`,
      values,
    )
    count += row?.count ?? 0
  }
  const isMeant: Record<typeof state, string> = {
    ready: `s.queue = $1::integer and s.state in (0, 4) and (o.head is null or o.leased_until is null and o.due_at is null)`,
    scheduled: `s.queue = $1::integer and (s.state in (1, 2) or o.due_at is not null)`,
    parked: `s.queue = $1::integer and s.state = 3`,
    dead: `s.queue = -abs($1::integer)`,
  }
  const [row] = await rowsOf<{ count: number; keys: string | null }>(
    handle,
    `with doomed as (
      select s.rank from ${schema}.single s
      left join ${schema}.lane o on o.queue = s.queue and o.key = s.key and o.head = s.rank
      where ${isMeant[state]} and s.leased_until is null and ${isOld.replace('accepted_at', 's.accepted_at')}
      order by s.rank for update of s
    ), gone as (
      delete from ${schema}.single s using doomed where s.rank = doomed.rank returning s.key
    ) select count(*)::integer as count, json_agg(distinct encode(key, 'base64')) filter (where key is not null)::text as keys from gone`,
    values,
  )
  if (row?.keys !== null && row?.keys !== undefined && queue > 0) {
    await handle.query(
      `select ${schema}.advance($1::integer, array(select decode(value, 'base64') from json_array_elements_text($2::json) as x(value)))::text`,
      [queue, row.keys],
    )
  }
  return count + (row?.count ?? 0)
}
