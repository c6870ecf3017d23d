import { planned } from './time.ts'

/**
 * Settlements. An action `a` is 0 ack, 1 retry after `d` ms, 2 release, 3 dead letter for the reason `w` with the detail `t`,
 * 4 park. In a manifest: `c` chunks (f: 0 goes on, 1 ends, 2 given back whole), `m` messages of chunks that become singles,
 * `s` singles, `k` heads of keys, `x` ids of schedules to cancel.
 */
export function settleSql(schema: string): string {
  const chunks = `rows from (json_to_recordset(p->'c') as (r bigint, l bigint, f smallint, e integer, b text)) with ordinality as i(r, l, f, e, b, ord)`
  const members = `json_to_recordset(p->'m') as i(r bigint, l bigint, i integer, a smallint, d double precision, w text, t text)`
  const singles = `rows from (json_to_recordset(p->'s') as (r bigint, l bigint, a smallint, d double precision, w text, t text)) with ordinality as i(r, l, a, d, w, t, ord)`
  const heads = `rows from (json_to_recordset(p->'k') as (q integer, k text, r bigint, l bigint, a smallint, d double precision, w text, t text)) with ordinality as i(q, k, r, l, a, d, w, t, ord)`
  // The rows that a manifest names, as far as their lease is held.
  const heldChunks = `${chunks} cross join lateral (
      select ctid as at, * from ${schema}.chunk where rank = i.r and lease = i.l offset 0) c`
  const heldMembers = `${members} cross join lateral (
      select * from ${schema}.chunk where rank = i.r and lease = i.l offset 0) c`
  const heldSingles = `${singles} cross join lateral (
      select ctid as at, rank, queue, attempt from ${schema}.single where rank = i.r and lease = i.l offset 0) s`
  const heldHeads = `${heads} cross join lateral (
      select ctid as at, queue, key, head, attempt from ${schema}.lane
      where queue = i.q and key = decode(i.k, 'base64') and lease = i.l offset 0) o`
  const most = 'coalesce(w.max_deliveries, 10)'
  return `
-- Ends schedules that still wait for their time; their deduplication keys are free again.
create function ${schema}.cancel(ids text[]) returns bigint language plpgsql ${planned} as $$
#variable_conflict use_column
declare
  ended record;
  total bigint := 0;
begin
  for ended in delete from ${schema}.single where message_id = any(ids) and state = 1 and due_at > clock_timestamp() returning queue, hash loop
    total := total + 1;
    if ended.hash is not null then
      delete from ${schema}.seen where slot between 0 and 17 and queue = ended.queue and hash = ended.hash;
    end if;
  end loop;
  return total;
end $$;

-- Which of the leases named are not held any more, by their place in the manifest. Locks the others.
create function ${schema}.lost(p json) returns json language plpgsql ${planned} as $$
#variable_conflict use_column
declare
  lost_chunks bigint[];
  lost_singles bigint[];
  lost_heads bigint[];
begin
  if p->'c' is not null then
    select array_agg(i.ord) filter (where c.is_held is null) into lost_chunks from (select * from ${chunks} order by i.r) i
    left join lateral (select true as is_held from ${schema}.chunk where rank = i.r and lease = i.l for update) c on true;
  end if;
  if p->'s' is not null then
    select array_agg(i.ord) filter (where s.is_held is null) into lost_singles from (select * from ${singles} order by i.r) i
    left join lateral (select true as is_held from ${schema}.single where rank = i.r and lease = i.l for update) s on true;
  end if;
  if p->'k' is not null then
    select array_agg(i.ord) filter (where o.is_held is null) into lost_heads
    from (select ord, q, l, decode(k, 'base64') as key from ${heads} order by q, key) i
    left join lateral (select true as is_held from ${schema}.lane where queue = i.q and key = i.key and lease = i.l for update) o on true;
  end if;
  if lost_chunks is null and lost_singles is null and lost_heads is null then return null; end if;
  return json_build_object('c', lost_chunks, 's', lost_singles, 'k', lost_heads);
end $$;

create function ${schema}.settle_chunks(p json) returns void language plpgsql ${planned} as $$
#variable_conflict use_column
declare
  one record;
begin
  if p->'m' is not null then
    insert into ${schema}.single (rank, queue, state, priority, attempt, accepted_at, available_at, due_at, expires_at, record)
    select c.rank - c.next + i.i, c.queue, case when i.a = 4 then 3 when i.a = 1 and i.d > 0 then 2 else 0 end, c.priority,
      case when i.a = 2 then 0 else 1 end, c.accepted_at, c.accepted_at,
      case when i.a = 1 and i.d > 0 then clock_timestamp() + ${schema}.span(i.d) end, c.expires_at,
      substring(c.records from (select coalesce(sum(size), 0)::integer from unnest(c.sizes[:i.i]) size) + 1 for c.sizes[i.i + 1])
    from ${heldMembers};
    for one in
      select c.rank - c.next + i.i as rank, i.a, i.w, i.t, ${most} as most from ${heldMembers}
      join ${schema}.queue w on w.id = c.queue
      where i.a = 3 or i.a = 1 and ${most} <= 1
    loop
      if one.a = 3 then perform ${schema}.bury(array[one.rank], one.w, one.t, null);
      else
        perform ${schema}.bury(array[one.rank], 'max-deliveries-exceeded',
          json_build_object('ended', 'retry', 'maxDeliveries', one.most)::text, null);
      end if;
    end loop;
  end if;
  delete from ${schema}.chunk d using ${heldChunks} where d.ctid = c.at and i.f = 1;
  update ${schema}.chunk d set
    lease = case when i.f = 2 then null else c.lease end,
    leased_until = case when i.f = 2 then null else c.leased_until end,
    done = i.e, settled = case when i.f = 2 then null else decode(i.b, 'base64') end
  from ${heldChunks} where d.ctid = c.at and i.f in (0, 2);
end $$;

create function ${schema}.settle_singles(p json) returns void language plpgsql ${planned} as $$
#variable_conflict use_column
declare
  one record;
begin
  for one in
    select s.rank, i.a, i.w, i.t, ${most} as most from ${heldSingles} join ${schema}.queue w on w.id = s.queue
    where i.a = 3 or i.a = 1 and s.attempt >= ${most}
  loop
    if one.a = 3 then perform ${schema}.bury(array[one.rank], one.w, one.t, null);
    else
      perform ${schema}.bury(array[one.rank], 'max-deliveries-exceeded',
        json_build_object('ended', 'retry', 'maxDeliveries', one.most)::text, null);
    end if;
  end loop;
  delete from ${schema}.single d using ${heldSingles} where d.ctid = s.at and i.a = 0;
  update ${schema}.single d set
    lease = null, leased_until = null,
    attempt = case when i.a = 2 then s.attempt - 1 else s.attempt end,
    crashes = case when i.a = 2 then d.crashes else 0 end,
    state = case when i.a = 4 or s.queue < 0 and (i.a = 3 or i.a = 1 and s.attempt >= 10) then 3
      when i.a = 1 and i.d > 0 then 2 else 0 end,
    due_at = case when i.a = 1 and i.d > 0 and not (s.queue < 0 and s.attempt >= 10) then clock_timestamp() + ${schema}.span(i.d) end
  from ${heldSingles} where d.ctid = s.at and i.a > 0;
end $$;

create function ${schema}.settle_heads(p json) returns void language plpgsql ${planned} as $$
#variable_conflict use_column
declare
  lot record;
  one record;
begin
  for lot in
    select i.q as queue, array_agg(o.key) as keys, array_agg(o.head) filter (where i.a = 0) as acked, bool_or(i.a <> 0) as is_mixed
    from ${heldHeads} group by i.q order by i.q
  loop
    if lot.is_mixed then
      for one in
        select o.head, o.attempt, i.a, i.w, i.t, ${most} as most from ${heldHeads} join ${schema}.queue w on w.id = i.q
        where i.q = lot.queue and (i.a in (3, 4) or i.a = 1 and o.attempt >= ${most})
      loop
        if one.a = 4 then update ${schema}.single set state = 3, attempt = one.attempt where rank = one.head;
        elsif one.a = 3 then perform ${schema}.bury(array[one.head], one.w, one.t, one.attempt);
        else
          perform ${schema}.bury(array[one.head], 'max-deliveries-exceeded',
            json_build_object('ended', 'retry', 'maxDeliveries', one.most)::text, one.attempt);
        end if;
      end loop;
      update ${schema}.lane d set lease = null, leased_until = null,
        attempt = case when i.a = 2 then o.attempt - 1 else o.attempt end,
        crashes = case when i.a = 2 then d.crashes else 0 end,
        due_at = case when i.a = 1 and i.d > 0 then clock_timestamp() + ${schema}.span(i.d) end
      from ${heldHeads} where i.q = lot.queue and d.ctid = o.at and i.a in (1, 2);
    end if;
    delete from ${schema}.single where rank = any(lot.acked);
    -- Those whose head is still there stay as they are.
    perform ${schema}.advance(lot.queue, lot.keys);
  end loop;
end $$;

-- One step of a client's: everything or nothing. Guarded: nothing at all when one of the leases is lost; else what is held.
create function ${schema}.settle(of_client uuid, step bigint, known_topology bigint, is_guarded boolean, p json, items json,
  data bytea, limited integer[], hashed boolean, idle integer[], queues integer[], masks json) returns json language plpgsql ${planned} as $$
declare
  gone json;
begin
  if step is not null then
    insert into ${schema}.receipt (client, number) values (of_client, step) on conflict do nothing;
    if not found then return json_build_object('as', 'repeated', 'now', ${schema}.epoch_ms(clock_timestamp())); end if;
  end if;
  if items is not null and known_topology <> (select topology from ${schema}.broker) then
    delete from ${schema}.receipt where client = of_client and number = step;
    return json_build_object('as', 'stale', 'now', ${schema}.epoch_ms(clock_timestamp()));
  end if;
  gone := ${schema}.lost(p);
  if is_guarded and gone is not null then
    delete from ${schema}.receipt where client = of_client and number = step;
    return json_build_object('as', 'lost', 'lost', gone, 'now', ${schema}.epoch_ms(clock_timestamp()));
  end if;
  if p->'c' is not null then perform ${schema}.settle_chunks(p); end if;
  if p->'s' is not null then perform ${schema}.settle_singles(p); end if;
  if p->'k' is not null then perform ${schema}.settle_heads(p); end if;
  if p->'x' is not null then perform ${schema}.cancel(array(select json_array_elements_text(p->'x'))); end if;
  if items is not null then perform ${schema}.accept(items, data, limited, hashed, null, null, null); end if;
  if idle is not null then perform ${schema}.touch(idle); end if;
  if masks is not null then perform ${schema}.note_priorities(masks); end if;
  return json_build_object('as', 'settled', 'lost', gone, 'now', ${schema}.epoch_ms(clock_timestamp()),
    'awaited', ${schema}.awaited(queues, of_client));
end $$;

-- Leases go on, and receivers are seen to live.
create function ${schema}.renew(of_client uuid, p json, lease_ms double precision, receivers json) returns json
language plpgsql ${planned} as $$
#variable_conflict use_column
declare
  gone json := ${schema}.lost(p);
  until timestamptz := clock_timestamp() + ${schema}.span(lease_ms);
begin
  if p->'c' is not null then
    update ${schema}.chunk d set leased_until = until from ${heldChunks} where d.ctid = c.at;
  end if;
  if p->'s' is not null then
    update ${schema}.single d set leased_until = until from ${heldSingles} where d.ctid = s.at;
  end if;
  if p->'k' is not null then
    update ${schema}.lane d set leased_until = until from ${heldHeads} where d.ctid = o.at;
  end if;
  insert into ${schema}.receiver (client, queue, count, waiting)
    select of_client, r.q, r.n, false from json_to_recordset(receivers) as r(q integer, n integer) order by r.q
    on conflict (client, queue) do update set count = excluded.count, seen_at = clock_timestamp();
  return json_build_object('lost', gone, 'topology', (select topology from ${schema}.broker),
    'now', ${schema}.epoch_ms(clock_timestamp()));
end $$;

-- What falls due for nobody in particular; at most every two seconds, by whichever client comes.
create function ${schema}.maintain(alive_ms double precision) returns boolean language plpgsql ${planned} as $$
#variable_conflict use_column
declare
  now_at timestamptz := clock_timestamp();
  one record;
  is_gone boolean := false;
begin
  update ${schema}.broker set maintained_at = now_at where one in (
    select one from ${schema}.broker where maintained_at < now_at - interval '2 seconds' for update skip locked);
  if not found then return false; end if;
  for one in select id, expires_after_idle_ms as idle_ms, used_at from ${schema}.queue order by id loop
    if exists (select from ${schema}.single where queue = one.id and expires_at <= now_at and leased_until is null)
      or exists (select from ${schema}.chunk where queue = one.id and expires_at <= now_at and leased_until is null) then
      perform ${schema}.expire(one.id);
    end if;
    if exists (select from ${schema}.single where queue = -one.id and expires_at <= now_at and leased_until is null) then
      perform ${schema}.expire(-one.id);
    end if;
    if exists (select from ${schema}.chunk where queue = one.id and leased_until <= now_at)
      or exists (select from ${schema}.single where queue = one.id and leased_until <= now_at)
      or exists (select from ${schema}.lane where queue = one.id and leased_until <= now_at) then
      perform ${schema}.reclaim(one.id);
    end if;
    if exists (select from ${schema}.single where queue = -one.id and leased_until <= now_at) then
      perform ${schema}.reclaim(-one.id);
    end if;
  end loop;
  delete from ${schema}.receiver where seen_at < now_at - 4 * ${schema}.span(alive_ms);
  delete from ${schema}.receipt where ctid in (
    select ctid from ${schema}.receipt where at < now_at - interval '1 day' limit 10000);
  return ${schema}.drop_idle(alive_ms);
end $$;

-- Deletes a queue with all it holds.
create function ${schema}.drop_queue(of_queue integer) returns void language sql ${planned} as $$
  delete from ${schema}.chunk where queue = of_queue;
  delete from ${schema}.single where queue in (of_queue, -of_queue);
  delete from ${schema}.lane where queue = of_queue;
  delete from ${schema}.receiver where queue in (of_queue, -of_queue);
  delete from ${schema}.seen where slot between 0 and 17 and queue = of_queue;
  delete from ${schema}.queue where id = of_queue;
  update ${schema}.broker set topology = topology + 1;
$$;

-- Deletes the queues that nobody used for as long as they say. True when there were any.
create function ${schema}.drop_idle(alive_ms double precision) returns boolean language plpgsql ${planned} as $$
#variable_conflict use_column
declare
  doomed integer;
  is_any boolean := false;
begin
  for doomed in
    select w.id from ${schema}.queue w
    where w.expires_after_idle_ms is not null and w.used_at < clock_timestamp() - ${schema}.span(w.expires_after_idle_ms)
      and not exists (select from ${schema}.receiver r where r.queue in (w.id, -w.id) and r.seen_at > clock_timestamp() - ${schema}.span(alive_ms))
    order by w.id for update skip locked
  loop
    perform ${schema}.drop_queue(doomed);
    is_any := true;
  end loop;
  return is_any;
end $$;
`
}
