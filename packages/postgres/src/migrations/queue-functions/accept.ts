import { planned } from './time.ts'

/**
 * What a manifest says of each row to be made: queue, priority, for a chunk its number and sizes of messages and whether any
 * has a key, bytes of its records, and for a single its key, due time, own expiry, time to live in the queue, deduplication
 * hash and message id.
 */
const columns =
  'q integer, p smallint, n integer, s integer[], y boolean, b integer, k text, d double precision, x double precision, l double precision, h uuid, m text'
const items = `rows from (json_to_recordset(items) as (${columns})) with ordinality as i(q, p, n, s, y, b, k, d, x, l, h, m, ord)`

/** Taking messages in: `accept` judges and stores, `send` is `accept` as a step of a client's. */
export function acceptSql(schema: string): string {
  return `
-- Whether a queue has not seen this key within its window; from now on it has.
create function ${schema}.is_fresh(of_queue integer, of_hash uuid, window_ms double precision, now_at timestamptz)
returns boolean language plpgsql ${planned} as $$
#variable_conflict use_column
declare
  slots smallint[] := ${schema}.slots(window_ms, now_at);
  since timestamptz := now_at - ${schema}.span(window_ms);
  -- A transaction that is still open may have left its trace in the slot before.
  is_early boolean := mod(extract(epoch from now_at)::bigint, case when window_ms <= 3600000 then 900 else 86400 end)
    < case when window_ms <= 3600000 then 60 else 3600 end;
begin
  insert into ${schema}.seen as o (slot, queue, hash, at) values (slots[1], of_queue, of_hash, now_at)
    on conflict (slot, queue, hash) do update set at = excluded.at where o.at <= since;
  if not found then return false; end if;
  if is_early then
    insert into ${schema}.seen as o (slot, queue, hash, at) values (slots[2], of_queue, of_hash, now_at)
      on conflict (slot, queue, hash) do update set at = excluded.at where o.at <= since;
    if not found then
      delete from ${schema}.seen where slot = slots[1] and queue = of_queue and hash = of_hash;
      return false;
    end if;
  end if;
  if exists (select from ${schema}.seen where slot = any(slots[2:]) and queue = of_queue and hash = of_hash
             and at > since and not (is_early and slot = slots[2])) then
    delete from ${schema}.seen where slot = any(slots[:2]) and queue = of_queue and hash = of_hash and at = now_at;
    return false;
  end if;
  return true;
end $$;

-- Messages and bytes that count against a queue's limits: all of them, dead letters too.
create function ${schema}.held(of_queue integer, out messages bigint, out bytes bigint) language sql stable ${planned} as $$
  select
    (select coalesce(sum(n - next - done), 0) from ${schema}.chunk where queue = of_queue)
      + (select count(*) from ${schema}.single where queue in (of_queue, -of_queue)),
    (select coalesce(sum(octet_length(records)::bigint * (n - next - done) / n), 0)::bigint from ${schema}.chunk where queue = of_queue)
      + (select coalesce(sum(octet_length(record)), 0) from ${schema}.single where queue in (of_queue, -of_queue))
$$;

-- The room that is left, counted now. Fails with BZ001 when it is too small.
create function ${schema}.count_room(of_queue integer, messages bigint, bytes bigint, out room bigint, out room_size bigint)
language plpgsql ${planned} as $$
#variable_conflict use_variable
declare
  limits record;
  present record;
begin
  select * into limits from ${schema}.queue where id = of_queue;
  select * into present from ${schema}.held(of_queue);
  room := coalesce(limits.max_messages, 9000000000000000000) - present.messages;
  room_size := coalesce(limits.max_bytes, 9000000000000000000) - present.bytes;
  if room < messages then
    raise exception 'queue % is full', limits.name using errcode = 'BZ001', detail = json_build_object('queue', limits.name,
      'limit', 'maxMessages', 'value', limits.max_messages, 'present', present.messages)::text;
  elsif room_size < bytes then
    raise exception 'queue % is full', limits.name using errcode = 'BZ001', detail = json_build_object('queue', limits.name,
      'limit', 'maxBytes', 'value', limits.max_bytes, 'present', present.bytes)::text;
  end if;
end $$;

-- Lets the messages pass or fails with BZ001. The room known from the last count only shrinks until it is counted again.
create function ${schema}.take_room(of_queue integer, messages bigint, bytes bigint) returns void language plpgsql ${planned} as $$
#variable_conflict use_variable
declare
  room bigint;
  room_size bigint;
begin
  select w.room_messages, w.room_bytes into room, room_size from ${schema}.queue w where w.id = of_queue for update;
  if not found then return; end if;
  if room is null or room_size is null or room < messages or room_size < bytes then
    select c.room, c.room_size into room, room_size from ${schema}.count_room(of_queue, messages, bytes) c;
  end if;
  update ${schema}.queue set room_messages = room - messages, room_bytes = room_size - bytes where id = of_queue;
end $$;

-- Stores items, which lie in the order of acceptance with their records one behind the other in data.
-- limited: queues with limits among them; hashed: some have deduplication keys. Fails whole.
-- Chunks of the queues in taken are leased as they are stored: returns their ranks, in the order of the items.
create function ${schema}.accept(items json, data bytea, limited integer[], hashed boolean, taken integer[], token bigint,
  until timestamptz) returns bigint[]
language plpgsql ${planned} as $$
#variable_conflict use_column
declare
  now_at timestamptz := clock_timestamp();
  dropped bigint[] := '{}';
  ranks bigint[];
begin
  if hashed then
    select coalesce(array_agg(judged.ord), '{}') into dropped from (
      select keyed.ord, ${schema}.is_fresh(keyed.q, keyed.h, keyed.window_ms, now_at) as fresh from (
        select i.ord, i.q, i.h, w.deduplication_window_ms as window_ms from ${items}
        join ${schema}.queue w on w.id = i.q where i.h is not null order by i.q, i.h
      ) keyed
    ) judged where not judged.fresh;
  end if;
  if limited is not null then
    perform ${schema}.take_room(wanted.q, wanted.messages, wanted.bytes) from (
      select i.q, sum(coalesce(i.n, 1)) as messages, sum(i.b) as bytes from ${items}
      where i.q = any(limited) and i.ord <> all(dropped) group by i.q order by i.q
    ) wanted;
  end if;
  with placed as materialized (
    select nextval('${schema.replaceAll("'", "''")}.position') as rank, * from (
      select i.*, (sum(i.b) over (order by i.ord) - i.b)::integer as start from ${items} order by i.ord
    ) ordered
  ), chunks as (
    insert into ${schema}.chunk (rank, queue, priority, n, keyed, accepted_at, expires_at, lease, leased_until, sizes, records)
    select rank, q, p, n, y, now_at, now_at + ${schema}.span(l), case when q = any(taken) then token end,
      case when q = any(taken) then until end, s, substring(data from start + 1 for b)
    from placed where n is not null returning rank, lease
  ), singles as (
    insert into ${schema}.single (rank, queue, state, priority, key, accepted_at, available_at, due_at, own_expires_at,
      expires_at, message_id, hash, record)
    select rank, q, case when d is null then 0 else 1 end, p, decode(k, 'base64'), now_at, available.at,
      ${schema}.instant(d), ${schema}.instant(x), least(${schema}.instant(x), available.at + ${schema}.span(l)),
      case when d is not null then m end, case when d is not null then h end, substring(data from start + 1 for b)
    from placed, lateral (select coalesce(${schema}.instant(d), now_at) as at) available
    where n is null and ord <> all(dropped)
  )
  select array_agg(rank order by rank) filter (where lease is not null) into ranks from chunks;
  return ranks;
end $$;

-- The queues among these that have receivers of other clients waiting for a message.
create function ${schema}.awaited(queues integer[], of_client uuid) returns integer[] language sql stable ${planned} as $$
  select array_agg(distinct queue) from ${schema}.receiver
  where queue = any(queues) and waiting and client is distinct from of_client
$$;

-- A use of the queues that are deleted when idle.
create function ${schema}.touch(queues integer[]) returns void language sql ${planned} as $$
  update ${schema}.queue set used_at = clock_timestamp()
  where id = any(queues) and expires_after_idle_ms is not null
    and used_at < clock_timestamp() - ${schema}.span(expires_after_idle_ms / 4)
$$;

-- Priorities that a queue has not seen before, as bits.
create function ${schema}.note_priorities(masks json) returns void language sql ${planned} as $$
  update ${schema}.queue w set priorities = w.priorities | x.m from json_to_recordset(masks) as x(q integer, m integer)
  where w.id = x.q and w.priorities & x.m <> x.m
$$;

-- Messages and bytes of items for each of these queues.
create function ${schema}.wanted(items json, limited integer[]) returns table (queue integer, messages bigint, bytes bigint)
language sql stable as $$
  select i.q, sum(coalesce(i.n, 1))::bigint, sum(i.b)::bigint from ${items} where i.q = any(limited) group by i.q order by i.q
$$;

-- What a send in a transaction of somebody else's does outside of it and before: no row of a queue may stay locked until
-- they commit. Done for a transaction that rolls back, it is a little too much of what is counted again anyway.
create function ${schema}.announce(items json, limited integer[], idle integer[], masks json) returns void
language plpgsql ${planned} as $$
begin
  if masks is not null then perform ${schema}.note_priorities(masks); end if;
  if idle is not null then perform ${schema}.touch(idle); end if;
  if limited is not null then
    update ${schema}.queue w set room_messages = w.room_messages - x.messages, room_bytes = w.room_bytes - x.bytes
    from ${schema}.wanted(items, limited) x where w.id = x.queue;
  end if;
end $$;

-- One step of a client's: stored once, however often it is sent. Without client it is part of a transaction of somebody
-- else's, and was announced.
-- hungry: queues without order in which the client looks for messages, has found none, and has room for all of these. Where
-- nothing came in between and nobody else waits, it has them with this answer, leased, and need not claim.
create function ${schema}.send(of_client uuid, step bigint, known_topology bigint, items json, data bytea, limited integer[],
  hashed boolean, idle integer[], queues integer[], masks json, hungry integer[], lease_ms double precision) returns json
language plpgsql ${planned} as $$
declare
  taken integer[];
  token bigint;
  ranks bigint[];
begin
  if hungry is not null then
    select array_agg(h.id) into taken from unnest(hungry) as h(id)
    where not exists (select from ${schema}.chunk where queue = h.id and leased_until is null offset 0)
      and not exists (select from ${schema}.single where queue = h.id and state = 0 and leased_until is null offset 0)
      and not exists (select from ${schema}.receiver where queue = h.id and waiting and client <> of_client offset 0);
    if taken is not null then token := nextval('${schema.replaceAll("'", "''")}.lease_token'); end if;
  end if;
  if of_client is not null then
    insert into ${schema}.receipt (client, number, lease) values (of_client, step, token) on conflict do nothing;
    if not found then
      -- What came with an answer that was lost is in nobody's hands.
      update ${schema}.chunk set lease = null, leased_until = null where queue = any(queues) and leased_until is not null
        and lease = (select r.lease from ${schema}.receipt r where r.client = of_client and r.number = step);
      return json_build_object('as', 'repeated', 'now', ${schema}.epoch_ms(clock_timestamp()));
    end if;
  end if;
  if known_topology <> (select topology from ${schema}.broker) then
    delete from ${schema}.receipt where client = of_client and number = step;
    return json_build_object('as', 'stale', 'now', ${schema}.epoch_ms(clock_timestamp()));
  end if;
  if of_client is null then
    if limited is not null then
      perform ${schema}.count_room(x.queue, x.messages, x.bytes) from ${schema}.wanted(items, limited) x;
    end if;
    perform ${schema}.accept(items, data, null, hashed, null, null, null);
  else
    ranks := ${schema}.accept(items, data, limited, hashed, taken, token, clock_timestamp() + ${schema}.span(lease_ms));
    if idle is not null then perform ${schema}.touch(idle); end if;
    if masks is not null then perform ${schema}.note_priorities(masks); end if;
  end if;
  return json_build_object('as', 'stored', 'now', ${schema}.epoch_ms(clock_timestamp()),
    'awaited', ${schema}.awaited(queues, of_client), 'taken', taken, 'lease', token, 'ranks', ranks);
end $$;
`
}
