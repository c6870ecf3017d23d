import { planned } from './time.ts'

/** What becomes of messages with time: due, expired, left behind by a client that is gone, dead. */
export function lifeSql(schema: string): string {
  return `
-- Singles that are not leased to anybody, as dead letters of their queue.
create function ${schema}.bury(ranks bigint[], why text, what text, deaths integer) returns void language plpgsql ${planned} as $$
#variable_conflict use_column
declare
  now_at timestamptz := clock_timestamp();
begin
  with placed as materialized (
    select s.at, s.queue, nextval('${schema.replaceAll("'", "''")}.position') as place
    from (select rank from unnest(ranks) with ordinality as r(rank, ord) order by ord) r
    cross join lateral (select ctid as at, queue from ${schema}.single where rank = r.rank offset 0) s
  )
  update ${schema}.single s set rank = placed.place, queue = -s.queue, state = 0, key = null, attempt = 0, crashes = 0,
    due_at = null, own_expires_at = null, expires_at = now_at + ${schema}.span(w.dead_letter_ttl_ms), lease = null,
    leased_until = null, message_id = null, hash = null, reason = why, detail = what, dead_at = now_at,
    died_after = coalesce(deaths, s.attempt)
  from placed, ${schema}.queue w where s.ctid = placed.at and w.id = placed.queue;
end $$;

-- Makes singles of what is left of chunks, which end. All must be locked by the caller.
create function ${schema}.break_up(ranks bigint[], counted integer) returns void language plpgsql ${planned} as $$
#variable_conflict use_column
begin
  with broken as (
    delete from ${schema}.chunk where rank = any(ranks) returning *
  ), member as (
    select c.*, m.i::integer - 1 as i, m.size, (sum(m.size) over (partition by c.rank order by m.i) - m.size)::integer as start
    from broken c, unnest(c.sizes) with ordinality as m(size, i)
  )
  insert into ${schema}.single (rank, queue, state, priority, attempt, crashes, accepted_at, available_at, expires_at, record)
  select rank - next + i, queue, 0, priority, counted, counted, accepted_at, accepted_at, expires_at,
    substring(records from start + 1 for size)
  from member where i >= next and (settled is null or get_bit(settled, i) = 0);
end $$;

-- Ends the time to live of what nobody holds: dead letters where the queue says so, gone otherwise.
create function ${schema}.expire(of_queue integer) returns bigint language plpgsql ${planned} as $$
#variable_conflict use_column
declare
  now_at timestamptz := clock_timestamp();
  doomed bigint[];
  keys bytea[];
  is_kept boolean;
  total bigint := 0;
begin
  select coalesce(dead_letter_expired, false) into is_kept from ${schema}.queue where id = of_queue;
  select array_agg(rank) into doomed from (
    select rank from ${schema}.chunk where queue = of_queue and expires_at <= now_at and leased_until is null
    order by expires_at limit 100 for update skip locked) c;
  if doomed is not null then
    if is_kept then perform ${schema}.break_up(doomed, 0);
    else
      delete from ${schema}.chunk where rank = any(doomed);
      total := total + cardinality(doomed);
    end if;
  end if;
  with found as materialized (
    select s.rank, s.key from ${schema}.single s
    where s.queue = of_queue and s.expires_at <= now_at and s.leased_until is null and (s.state <> 3 or of_queue < 0)
      and not exists (
        select from ${schema}.lane where queue = of_queue and key = s.key and head = s.rank and leased_until is not null offset 0)
    order by s.expires_at limit 2000 for update skip locked
  )
  select array_agg(rank), array_agg(distinct key) filter (where key is not null) into doomed, keys from found;
  if doomed is null then return total; end if;
  if is_kept and of_queue > 0 then perform ${schema}.bury(doomed, 'expired', null, null);
  else delete from ${schema}.single where rank = any(doomed);
  end if;
  if keys is not null then perform ${schema}.advance(of_queue, keys); end if;
  return total + cardinality(doomed);
end $$;

-- What was leased by a client that did not renew comes back, counted, or dies of too many deliveries.
create function ${schema}.reclaim(of_queue integer) returns void language plpgsql ${planned} as $$
#variable_conflict use_column
declare
  now_at timestamptz := clock_timestamp();
  most integer := coalesce((select max_deliveries from ${schema}.queue where id = of_queue), 10);
  lost bigint[];
  spent bigint[];
  keys bytea[];
  ended text;
begin
  ended := json_build_object('ended', 'lock-lost', 'maxDeliveries', most)::text;
  select array_agg(rank) into lost from (
    select rank from ${schema}.chunk where queue = of_queue and leased_until <= now_at
    order by rank limit 20 for update skip locked) c;
  if lost is not null then perform ${schema}.break_up(lost, 1); end if;
  with held as materialized (
    select ctid as at from ${schema}.single where queue = of_queue and leased_until <= now_at
    order by rank limit 2000 for update skip locked
  ), freed as (
    update ${schema}.single s set lease = null, leased_until = null, crashes = least(s.crashes + 1, 1000),
      state = case when of_queue < 0 and s.attempt >= most then 3 else s.state end
    from held where s.ctid = held.at returning s.rank, s.attempt
  )
  select array_agg(rank order by rank) into spent from freed where attempt >= most and of_queue > 0;
  if lost is not null and most <= 1 and of_queue > 0 then
    select array_agg(rank) into lost from ${schema}.single where queue = of_queue and state = 0 and crashes = 1 and attempt = 1 and leased_until is null;
    spent := coalesce(spent, '{}') || lost;
  end if;
  if spent is not null then perform ${schema}.bury(spent, 'max-deliveries-exceeded', ended, null); end if;
  with held as materialized (
    select ctid as at from ${schema}.lane where queue = of_queue and leased_until <= now_at
    order by key limit 2000 for update skip locked
  ), freed as (
    update ${schema}.lane o set lease = null, leased_until = null, crashes = least(o.crashes + 1, 1000)
    from held where o.ctid = held.at returning o.key, o.head, o.attempt
  )
  select array_agg(head), array_agg(key) into spent, keys from freed where attempt >= most;
  if spent is not null then
    perform ${schema}.bury(spent, 'max-deliveries-exceeded', ended, most);
    perform ${schema}.advance(of_queue, keys);
  end if;
end $$;

-- What has waited for its time is ready: what its sender scheduled at the end, what waits for a retry at its old place.
create function ${schema}.wake(of_queue integer) returns void language plpgsql ${planned} as $$
#variable_conflict use_column
declare
  now_at timestamptz := clock_timestamp();
begin
  with due as materialized (
    select ctid as at, rank, due_at from ${schema}.single where queue = of_queue and due_at <= now_at
    order by due_at, rank limit 2000 for update skip locked
  ), placed as materialized (
    select at, nextval('${schema.replaceAll("'", "''")}.position') as place from (select at from due order by due_at, rank) ordered
  )
  update ${schema}.single s set rank = case s.state when 1 then placed.place else s.rank end, state = 0, due_at = null,
    message_id = null, hash = null
  from placed where s.ctid = placed.at;
  with due as materialized (
    select ctid as at from ${schema}.lane where queue = of_queue and due_at <= now_at order by key limit 2000 for update skip locked
  )
  update ${schema}.lane o set due_at = null from due where o.ctid = due.at;
end $$;
`
}
