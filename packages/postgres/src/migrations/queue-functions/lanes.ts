import { planned } from './time.ts'

/** Keys of ordered queues: what comes next in them. */
export function lanesSql(schema: string): string {
  return `
-- Gives lanes whose head is gone their next one, or ends them. Who adds to a lane while it ends finds no lane, and begins one.
create function ${schema}.advance(of_queue integer, keys bytea[]) returns void language plpgsql ${planned} as $$
#variable_conflict use_column
begin
  perform from (select key from unnest(keys) as k(key) order by key) k
  cross join lateral (select from ${schema}.lane where queue = of_queue and key = k.key for update) o;
  with following as materialized (
    select o.at, s.rank, s.priority from unnest(keys) as k(key)
    cross join lateral (select ctid as at, head from ${schema}.lane where queue = of_queue and key = k.key offset 0) o
    left join lateral (
      select rank, priority from ${schema}.single
      where queue = of_queue and key = k.key and state in (0, 4) order by rank limit 1
    ) s on true
    where not exists (select from ${schema}.single where rank = o.head and queue = of_queue and state in (0, 4) offset 0)
  ), ended as (
    delete from ${schema}.lane o using following f where o.ctid = f.at and f.rank is null
  )
  update ${schema}.lane o set head = f.rank, priority = f.priority, attempt = 0, crashes = 0, due_at = null, lease = null,
    leased_until = null
  from following f where o.ctid = f.at and f.rank is not null;
end $$;

-- Messages behind the head of their key are put out of the way of those who look for new keys.
create function ${schema}.line_up(of_queue integer) returns void language plpgsql ${planned} as $$
#variable_conflict use_column
begin
  with seen as materialized (
    select rank, key from ${schema}.single
    where queue = of_queue and state = 0 and leased_until is null and key is not null
    order by priority desc, rank limit 20000
  ), behind as materialized (
    select w.at from seen s
    cross join lateral (
      select from ${schema}.lane where queue = of_queue and key = s.key and head <> s.rank for share skip locked
    ) o
    cross join lateral (
      select ctid as at from ${schema}.single where rank = s.rank and queue = of_queue and state = 0 for update skip locked
    ) w limit 5000
  )
  update ${schema}.single w set state = 4 from behind b where w.ctid = b.at;
end $$;
`
}
