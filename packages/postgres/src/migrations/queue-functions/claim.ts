import { planned } from './time.ts'

/** Handing messages out. */
export function claimSql(schema: string): string {
  const suspects = `exists (select from ${schema}.single where queue = of_queue and crashes >= 2 and leased_until > now_at)
    or exists (select from ${schema}.lane where queue = of_queue and crashes >= 2 and leased_until > now_at)`
  const lanesOf = (keys: string): string => `unnest(${keys}) as k(key) cross join lateral (
        select ctid as at, key, head, priority, attempt from ${schema}.lane where queue = of_queue and key = k.key offset 0) o`
  // Whole chunks, singles and, in ordered queues, lanes and new keys: highest priority first, then in order of acceptance.
  const choose = (ordered: 'unordered' | 'ordered'): string => `
    with c as materialized (
      select rank, priority, n - next as count, octet_length(records)::bigint * (n - next) / n as bytes from ${schema}.chunk
      where queue = of_queue and leased_until is null and rank >= lowest and (expires_at is null or expires_at > now_at)
      order by priority desc, rank limit most_chunks for update skip locked
    ), s as materialized (
      select rank, priority, octet_length(record) as bytes, crashes >= 2 as is_suspect from ${schema}.single
      where queue = of_queue and state = 0 and leased_until is null and key is null and rank >= lowest
        and (expires_at is null or expires_at > now_at) and (crashes < 2 or not is_suspected)
      order by priority desc, rank limit want for update skip locked
    )${
      ordered === 'unordered'
        ? ''
        : `, o as materialized (
      select key, head, priority, crashes >= 2 as is_suspect from ${schema}.lane
      where queue = of_queue and leased_until is null and due_at is null and (crashes < 2 or not is_suspected)
      order by priority desc, head limit want for update skip locked
    ), a as materialized (
      select distinct on (key) key, rank, priority, bytes from (
        select w.key, w.rank, w.priority, octet_length(w.record) as bytes from ${schema}.single w
        where w.queue = of_queue and w.state = 0 and w.leased_until is null and w.key is not null
          and not exists (select from ${schema}.lane where queue = of_queue and key = w.key offset 0)
        order by w.priority desc, w.rank limit want * 4 + 64
      ) seen order by key, rank
    )`
    }, candidate as (
      select rank, priority, count, bytes, 'chunk' as kind, null::bytea as key, false as is_suspect from c
      union all select rank, priority, 1, bytes, 'single', null, is_suspect from s${
        ordered === 'unordered'
          ? ''
          : `
      union all select head, priority, 1, 0, 'lane', key, is_suspect from o
      union all select rank, priority, 1, bytes, 'arrival', key, false from a`
      }
    ), kept as (
      -- What was open at the death of two clients is handed out alone, so that the one that kills is told from its neighbours.
      select * from (select *, row_number() over (partition by is_suspect order by priority desc, rank) as nth from candidate) numbered
      where not is_suspect or nth = 1
    ), chosen as (
      select * from (select *, (sum(count) over (order by priority desc, rank) - count)::integer as before,
        sum(bytes) over (order by priority desc, rank) - bytes as bytes_before from kept) summed
      where before < want and bytes_before < most_bytes
    )
    select array_agg(rank) filter (where kind = 'chunk' and before + count <= want),
      max(rank) filter (where kind = 'chunk' and before + count > want),
      max(want - before) filter (where kind = 'chunk' and before + count > want),
      array_agg(rank) filter (where kind = 'single'),
      array_agg(key) filter (where kind = 'lane'),
      array_agg(key) filter (where kind = 'arrival'), array_agg(rank) filter (where kind = 'arrival'),
      array_agg(priority) filter (where kind = 'arrival'),
      coalesce(sum(count), 0) < want and coalesce(sum(bytes), 0) < most_bytes and count(*) filter (where kind = 'chunk') < most_chunks
    into whole, cut, cut_count, singles, lanes, new_keys, new_ranks, new_priorities, is_drained from chosen;`
  return `
-- Leases up to want messages of a queue to a client, of most_bytes or a little more. head says what they are, data holds their records in the same order.
-- lowest: ranks below are left out, and what needs only be seen to now and then is not. Dead rows that vacuum may not remove
-- yet lie there; who claims with 0 now and then misses nothing. took: milliseconds.
-- drained: nothing is left that this client could have, and it is noted to wait for more; what is stored from now on is told to it.
-- as: claimed, gone (no such queue), keyed (chunks with keys must be broken up first).
create function ${schema}.claim(of_client uuid, of_queue integer, want integer, most_chunks integer, most_bytes bigint, lease_ms double precision,
  is_ordered boolean, was_waiting boolean, lowest bigint, out head text, out data bytea) language plpgsql ${planned} as $$
#variable_conflict use_column
declare
  now_at timestamptz := clock_timestamp();
  until timestamptz := now_at + ${schema}.span(lease_ms);
  token bigint;
  mask integer;
  is_suspected boolean;
  sign record;
  whole bigint[];
  cut bigint;
  cut_count integer;
  singles bigint[];
  lanes bytea[];
  new_keys bytea[];
  new_ranks bigint[];
  new_priorities smallint[];
  moved bytea[];
  found_items json;
  is_busy boolean := false;
  is_drained boolean;
  next_due double precision;
  looked_for interval;
begin
  select priorities into mask from ${schema}.queue where id = abs(of_queue);
  if of_queue <> 0 and not found then
    head := json_build_object('as', 'gone')::text;
    return;
  end if;
  if lowest = 0 then
    select
      exists (select from ${schema}.single where queue = abs(of_queue) and expires_at <= now_at and leased_until is null)
        or exists (select from ${schema}.chunk where queue = abs(of_queue) and expires_at <= now_at and leased_until is null) as is_expired,
      of_queue < 0 and exists (select from ${schema}.single where queue = of_queue and expires_at <= now_at and leased_until is null) as is_decayed,
      exists (select from ${schema}.chunk where queue = of_queue and leased_until <= now_at)
        or exists (select from ${schema}.single where queue = of_queue and leased_until <= now_at)
        or exists (select from ${schema}.lane where queue = of_queue and leased_until <= now_at) as is_lost,
      is_ordered and exists (select from ${schema}.chunk where queue = of_queue and keyed and leased_until is null) as is_keyed
    into sign;
    if sign.is_expired then perform ${schema}.expire(abs(of_queue)); end if;
    if sign.is_decayed then perform ${schema}.expire(of_queue); end if;
    if sign.is_lost then perform ${schema}.reclaim(of_queue); end if;
    if sign.is_keyed then
      head := json_build_object('as', 'keyed')::text;
      return;
    end if;
  end if;
  if exists (select from ${schema}.single where queue = of_queue and due_at <= now_at)
    or is_ordered and exists (select from ${schema}.lane where queue = of_queue and due_at <= now_at) then
    perform ${schema}.wake(of_queue);
  end if;
  -- Among several priorities a low rank may lie behind a high one.
  if mask is null or mask & (mask - 1) <> 0 then lowest := 0; end if;
  is_suspected := ${suspects};
  if is_ordered then${choose('ordered')}
  else${choose('unordered')}
  end if;
  looked_for := clock_timestamp() - now_at;
  if whole is not null or cut is not null or singles is not null or lanes is not null or new_keys is not null then
    token := nextval('${schema.replaceAll("'", "''")}.lease_token');
    if whole is not null then
      update ${schema}.chunk set lease = token, leased_until = until where rank = any(whole);
    end if;
    if cut is not null then
      update ${schema}.chunk set rank = rank + cut_count, next = next + cut_count where rank = cut;
      insert into ${schema}.chunk (rank, queue, priority, n, keyed, accepted_at, expires_at, lease, leased_until, sizes, records)
      select cut, queue, priority, cut_count, keyed, accepted_at, expires_at, token, until, part.sizes,
        substring(records from part.start + 1 for part.bytes)
      from ${schema}.chunk, lateral (
        select sizes[next - cut_count + 1:next] as sizes,
          (select coalesce(sum(size), 0)::integer from unnest(sizes[:next - cut_count]) size) as start,
          (select sum(size)::integer from unnest(sizes[next - cut_count + 1:next]) size) as bytes
      ) part where rank = cut + cut_count;
      whole := whole || cut;
    end if;
    if singles is not null then
      update ${schema}.single set lease = token, leased_until = until, attempt = attempt + 1 where rank = any(singles);
    end if;
    if lanes is not null then
      update ${schema}.lane d set lease = token, leased_until = until, attempt = o.attempt + 1
      from ${lanesOf('lanes')} where d.ctid = o.at;
    end if;
    if new_keys is not null then
      with begun as (
        insert into ${schema}.lane (queue, key, head, priority, attempt, lease, leased_until)
        select of_queue, a.key, a.rank, a.priority, 1, token, until
        from unnest(new_keys, new_ranks, new_priorities) as a(key, rank, priority) order by a.key
        on conflict do nothing returning key
      )
      select array_agg(key) into new_keys from begun;
      -- Between the look and the lock another client may have handled this head, or an earlier one may have been accepted.
      select array_agg(o.key) into moved from ${lanesOf('new_keys')}
      where o.head is distinct from (
        select rank from ${schema}.single where queue = of_queue and key = o.key and state in (0, 4) order by rank limit 1);
      if moved is not null then
        update ${schema}.lane d set head = f.rank, priority = f.priority
        from ${lanesOf('moved')} cross join lateral (
          select rank, priority from ${schema}.single where queue = of_queue and key = o.key and state in (0, 4) order by rank limit 1
        ) f where d.ctid = o.at;
        with ended as (
          delete from ${schema}.lane d using ${lanesOf('moved')}
          where d.ctid = o.at and not exists (select from ${schema}.single where rank = o.head offset 0) returning o.key
        )
        select array_agg(k.key) into new_keys from unnest(new_keys) as k(key) where k.key not in (select key from ended);
      end if;
      lanes := lanes || new_keys;
    end if;
    select json_agg(item order by priority desc, rank), string_agg(bytes, ''::bytea order by priority desc, rank)
    into found_items, data from (
      select priority, rank, json_build_array(0, rank, next, n, ${schema}.epoch_ms(accepted_at), sizes[next + 1:n]) as item,
        substring(records from (select coalesce(sum(size), 0)::integer from unnest(sizes[:next]) size) + 1) as bytes
      from ${schema}.chunk where rank = any(whole)
      union all
      select priority, rank, json_build_array(1, rank, attempt, ${schema}.epoch_ms(accepted_at), octet_length(record), reason,
        detail, ${schema}.epoch_ms(dead_at)), record
      from ${schema}.single where rank = any(singles)
      union all
      select o.priority, s.rank, json_build_array(2, s.rank, o.attempt, ${schema}.epoch_ms(s.accepted_at),
        octet_length(s.record), encode(o.key, 'base64')), s.record
      from ${lanesOf('lanes')} cross join lateral (
        select rank, accepted_at, record from ${schema}.single where rank = o.head offset 0) s
    ) found;
  end if;
  -- Many that wait behind the heads of their keys lie in the way of new keys.
  if is_ordered and looked_for > interval '4 milliseconds' then
    perform ${schema}.line_up(of_queue);
  end if;
  if found_items is null then
    is_busy := exists (select from ${schema}.chunk where queue = of_queue and leased_until is null and rank >= lowest
        and (expires_at is null or expires_at > now_at))
      or exists (select from ${schema}.single where queue = of_queue and state = 0 and leased_until is null and key is null
        and rank >= lowest and (expires_at is null or expires_at > now_at) and (crashes < 2 or not is_suspected))
      or is_ordered and exists (select from ${schema}.lane where queue = of_queue and leased_until is null and due_at is null and (crashes < 2 or not is_suspected));
  end if;
  is_drained := is_drained or found_items is null;
  if was_waiting <> is_drained then
    update ${schema}.receiver set waiting = not was_waiting where client = of_client and queue = of_queue;
  end if;
  next_due := ${schema}.epoch_ms(least(
    (select due_at from ${schema}.single where queue = of_queue and due_at is not null order by due_at limit 1),
    (select due_at from ${schema}.lane where queue = of_queue and due_at is not null order by due_at limit 1)));
  head := json_build_object('as', 'claimed', 'now', ${schema}.epoch_ms(clock_timestamp()), 'lease', token, 'items', found_items,
    'drained', is_drained, 'busy', is_busy, 'due', next_due, 'took', ${schema}.epoch_ms(clock_timestamp()) - ${schema}.epoch_ms(now_at))::text;
end $$;
`
}
