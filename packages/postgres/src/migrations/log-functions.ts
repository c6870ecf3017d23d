/**
 * The log's functions, for the names of segments are known to the database alone, and for one round trip where a step
 * needs several looks. Lists are JSON text; bodies are one run of bytes of which rows name their parts.
 *
 * Those that make and drop tables run with the rights of the schema's owner, so that programs need no right to create; only
 * roles to whom it is granted may call them.
 */
export function logFunctions(schema: string): string {
  const text = `'${schema.replaceAll("'", "''")}'`
  return `
create function ${schema}.log_table(stream integer, segment integer) returns text
language sql immutable as $$ select ${text} || '.log_' || stream || '_' || segment $$;

create function ${schema}.log_open_segment(s integer, n integer) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  tab text := ${schema}.log_table(s, n);
  role record;
begin
  insert into ${schema}.log_segment (stream, segment) values (s, n) on conflict do nothing;
  if not found then return false; end if;
  execute 'create table ' || tab || ' (
    partition integer not null,
    position bigint not null,
    records integer not null,
    time bigint not null,
    before bigint not null,
    bytes bigint not null,
    writer uuid,
    step bigint,
    body bytea not null,
    primary key (partition, position)
  )';
  execute 'alter table ' || tab || ' alter column body set storage external';
  -- Whoever may append to the log may append to its new segment.
  for role in
    select distinct a.grantee from pg_class c, aclexplode(c.relacl) a
    where c.oid = to_regclass(${text} || '.log_span') and a.privilege_type = 'INSERT' and a.grantee <> c.relowner
  loop
    execute 'grant select, insert on ' || tab || ' to ' ||
      case when role.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(role.grantee)) end;
  end loop;
  return true;
end $$;
revoke all on function ${schema}.log_open_segment(integer, integer) from public;

-- Answers whether it is gone; false when readers are in the way for longer than a moment.
create function ${schema}.log_drop_segment(s integer, n integer) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
begin
  execute 'drop table if exists ' || ${schema}.log_table(s, n);
  delete from ${schema}.log_segment where stream = s and segment = n;
  delete from ${schema}.log_span where stream = s and segment = n;
  return true;
exception when lock_not_available then
  return false;
end $$;
revoke all on function ${schema}.log_drop_segment(integer, integer) from public;

-- The newest chunk of a partition, or where its segment begins.
create function ${schema}.log_newest(p ${schema}.log_partition,
  out "end" bigint, out total bigint, out last_time bigint)
language plpgsql stable as $$
begin
  execute 'select position + records, before + bytes, time from ' || ${schema}.log_table(p.stream, p.segment) ||
    ' where partition = $1 order by position desc limit 1' into "end", total, last_time using p.partition;
  if "end" is null then
    "end" := p.base_position;
    total := p.base_bytes;
    last_time := p.base_time;
  end if;
end $$;

-- Locks partitions in the order of their names until the end of the transaction, then looks: what was committed while we
-- waited is seen. $1: [{s, p}]
create function ${schema}.log_lock(keys text)
returns table (stream integer, partition integer, version integer, segment integer, "end" double precision,
  total double precision, last_time double precision, first double precision, now double precision)
language plpgsql volatile as $$
declare
  p ${schema}.log_partition;
begin
  for p in
    select l.* from ${schema}.log_partition l
    join json_to_recordset(keys::json) as k (s integer, p integer) on l.stream = k.s and l.partition = k.p
    order by l.stream, l.partition for update of l
  loop
    return query select p.stream, p.partition, p.version, p.segment, n."end"::double precision, n.total::double precision,
      n.last_time::double precision, p.first_position::double precision,
      floor(extract(epoch from clock_timestamp()) * 1000)::double precision
      from ${schema}.log_newest(p) n;
  end loop;
end $$;

-- $1: [{s, g, p, o, n, t, b, z, f, l}]: stream, segment, partition, position, records, time, bytes before, bytes,
-- and the part of the bodies from f (1 is the first byte) with length l. Answers the rows written.
create function ${schema}.log_insert(rows text, bodies bytea, writer uuid, step bigint) returns integer
language plpgsql volatile as $$
declare
  target record;
  written integer := 0;
  n integer;
begin
  for target in select distinct r.s, r.g from json_to_recordset(rows::json) as r (s integer, g integer) loop
    execute 'insert into ' || ${schema}.log_table(target.s, target.g) ||
      ' (partition, position, records, time, before, bytes, writer, step, body)
       select r.p, r.o, r.n, r.t, r.b, r.z, $3, $4, substr($2, r.f, r.l)
       from json_to_recordset($1::json) as r (s integer, g integer, p integer, o bigint, n integer, t bigint, b bigint,
         z bigint, f integer, l integer)
       where r.s = $5 and r.g = $6'
      using rows, bodies, writer, step, target.s, target.g;
    get diagnostics n = row_count;
    written := written + n;
  end loop;
  return written;
end $$;

-- Whether a step of a writer is among the chunks of a partition from a position on.
create function ${schema}.log_has_step(s integer, n integer, p integer, since bigint, w uuid, st bigint) returns boolean
language plpgsql stable as $$
declare
  found_it boolean;
begin
  execute 'select exists (select 1 from ' || ${schema}.log_table(s, n) ||
    ' where partition = $1 and position >= $2 and writer = $3 and step = $4)' into found_it using p, since, w, st;
  return found_it;
end $$;

-- The first chunk of a partition that is kept and whose time is at or after an instant: its position; null: none.
-- Times rise with positions, so it is found by halving.
create function ${schema}.log_at_time(p ${schema}.log_partition, "end" bigint, instant bigint) returns bigint
language plpgsql stable as $$
declare
  low bigint := p.first_position;
  high bigint := "end";
  middle bigint;
  seg integer;
  at bigint;
  t bigint;
begin
  while low < high loop
    middle := (low + high) / 2;
    -- The chunk that holds the middle.
    select x.segment into seg from ${schema}.log_span x
      where x.stream = p.stream and x.partition = p.partition and x.position <= middle
      order by x.position desc, x.segment desc limit 1;
    execute 'select position, time from ' || ${schema}.log_table(p.stream, seg) ||
      ' where partition = $1 and position <= $2 order by position desc limit 1' into at, t using p.partition, middle;
    if t >= instant then
      high := at;
    else
      low := middle + 1;
    end if;
  end loop;
  return case when low < "end" then low end;
end $$;

-- One look at a partition, of one snapshot. The first row has no body: what is kept, the end, and where the read begins.
-- kind: position, start, end or time. The span of a position tells its segment; a read goes on in the next ones.
create function ${schema}.log_read(name_of text, part integer, kind text, place bigint, max_records integer,
  max_bytes bigint)
returns table (first double precision, "end" double precision, start double precision, "position" double precision,
  records integer, "time" double precision, body bytea)
language plpgsql stable as $$
declare
  p ${schema}.log_partition;
  e bigint;
  begin_at bigint;
  seg integer;
  offset_bytes bigint;
  left_records integer := max_records;
  r record;
begin
  select l.* into p from ${schema}.log_stream s join ${schema}.log_partition l on l.stream = s.id
    where s.name = name_of and l.partition = part;
  if not found then return; end if;
  select n."end" into e from ${schema}.log_newest(p) n;
  begin_at := case kind when 'start' then p.first_position when 'end' then e when 'position' then place
    else coalesce(${schema}.log_at_time(p, e, place), e) end;
  return query select p.first_position::double precision, e::double precision, begin_at::double precision,
    null::double precision, null::integer, null::double precision, null::bytea;
  if begin_at < p.first_position or begin_at >= e then return; end if;
  for seg in
    select x.segment from ${schema}.log_span x
    where x.stream = p.stream and x.partition = p.partition and x.segment >= (
      select y.segment from ${schema}.log_span y
      where y.stream = p.stream and y.partition = p.partition and y.position <= begin_at
      order by y.position desc, y.segment desc limit 1)
    order by x.segment
  loop
    -- Positions are dense: no more rows than records are looked at. A chunk has at most 1,000 records.
    for r in execute 'select c.position, c.records, c.time, c.before, c.body from ' ||
      ${schema}.log_table(p.stream, seg) || ' c
      where c.partition = $1 and c.position > $2 - 1000 and c.position + c.records > $2 and c.position < $2 + $3
      order by c.position' using part, begin_at, left_records
    loop
      offset_bytes := coalesce(offset_bytes, r.before);
      if r.before - offset_bytes >= max_bytes then return; end if;
      return query select null::double precision, null::double precision, null::double precision,
        r.position::double precision, r.records, r.time::double precision, r.body;
      left_records := left_records - (r.position + r.records - greatest(begin_at, r.position))::integer;
      begin_at := r.position + r.records;
    end loop;
    if left_records <= 0 then return; end if;
  end loop;
end $$;

-- What waiting readers look at. $1: [{n, p}]: stream, partition.
create function ${schema}.log_ends(keys text)
returns table (name text, partition integer, first double precision, "end" double precision)
language sql stable as $$
  select s.name, l.partition, l.first_position::double precision, n."end"::double precision
  from json_to_recordset(keys::json) as k (n text collate "C", p integer)
  join ${schema}.log_stream s on s.name = k.n
  join ${schema}.log_partition l on l.stream = s.id and l.partition = k.p
  cross join lateral ${schema}.log_newest(l) n
$$;

-- Moves the first kept position of the partitions of a stream (of one, when part is given) behind what is too old, too
-- much, or below a position; whole chunks, never the newest. A partition that somebody appends to is waited for.
create function ${schema}.log_forget(s integer, part integer, max_age bigint, max_bytes bigint, below bigint)
returns integer language plpgsql volatile as $$
declare
  p ${schema}.log_partition;
  e record;
  now_ms bigint := floor(extract(epoch from clock_timestamp()) * 1000);
  seg integer;
  at bigint;
  at_bytes bigint;
  moved integer := 0;
begin
  for p in
    select l.* from ${schema}.log_partition l where l.stream = s and (part is null or l.partition = part)
    order by l.partition for update
  loop
    select * into e from ${schema}.log_newest(p);
    if e."end" <= p.first_position then continue; end if;
    at := null;
    for seg in
      select x.segment from ${schema}.log_span x
      where x.stream = s and x.partition = p.partition and x.segment >= (
        select y.segment from ${schema}.log_span y
        where y.stream = s and y.partition = p.partition and y.position <= p.first_position
        order by y.position desc, y.segment desc limit 1)
      order by x.segment
    loop
      execute 'select position, before from ' || ${schema}.log_table(s, seg) || '
        where partition = $1 and position >= $2 and (position + records >= $3 or not (
          (time + $4 <= $5) is true or ($6 - before - bytes >= $7) is true or (position + records <= $8) is true))
        order by position limit 1'
        into at, at_bytes
        using p.partition, p.first_position, e."end", max_age, now_ms, e.total, max_bytes, below;
      exit when at is not null;
    end loop;
    if at > p.first_position then
      update ${schema}.log_partition set first_position = at, first_bytes = at_bytes
        where stream = s and partition = p.partition;
      moved := moved + 1;
    end if;
  end loop;
  return moved;
end $$;

-- Goes over to the next segment, which is there already, in all partitions at once.
create function ${schema}.log_rotate(s integer, from_segment integer) returns boolean
language plpgsql volatile as $$
declare
  p ${schema}.log_partition;
  e record;
  bytes bigint := 0;
begin
  perform 1 from ${schema}.log_partition l where l.stream = s order by l.partition for update;
  update ${schema}.log_stream set segment = from_segment + 1 where id = s and segment = from_segment;
  if not found then return false; end if;
  for p in select l.* from ${schema}.log_partition l where l.stream = s order by l.partition loop
    select * into e from ${schema}.log_newest(p);
    insert into ${schema}.log_span (stream, partition, segment, position, time)
      values (s, p.partition, from_segment + 1, e."end", e.last_time);
    update ${schema}.log_partition set segment = from_segment + 1, base_position = e."end", base_bytes = e.total,
      base_time = e.last_time where stream = s and partition = p.partition;
    bytes := bytes + e.total;
  end loop;
  update ${schema}.log_stream set segment_bytes = bytes,
    segment_time = floor(extract(epoch from clock_timestamp()) * 1000) where id = s;
  return true;
end $$;

-- Partitions of a stream from a number on, in the present segment.
create function ${schema}.log_add_partitions(s integer, from_number integer, up_to integer) returns void
language sql volatile as $$
  insert into ${schema}.log_partition (stream, partition, version, segment, base_position, base_bytes, base_time,
    first_position, first_bytes)
  select id, n, version, segment, 1, 0, 0, 1, 0
  from ${schema}.log_stream, generate_series(from_number, up_to - 1) n where id = s;
  insert into ${schema}.log_span (stream, partition, segment, position, time)
  select id, n, segment, 1, 0 from ${schema}.log_stream, generate_series(from_number, up_to - 1) n where id = s;
$$;

create function ${schema}.log_describe(name_of text)
returns table (name text, given text, partition integer, first double precision, "end" double precision,
  bytes double precision, first_time double precision, last_time double precision)
language plpgsql stable as $$
declare
  s record;
  p ${schema}.log_partition;
  e record;
  seg integer;
  t bigint;
begin
  for s in select l.id, l.name, l.given from ${schema}.log_stream l where name_of is null or l.name = name_of
    order by l.name
  loop
    for p in select l.* from ${schema}.log_partition l where l.stream = s.id order by l.partition loop
      select * into e from ${schema}.log_newest(p);
      t := null;
      if e."end" > p.first_position then
        select x.segment into seg from ${schema}.log_span x
          where x.stream = s.id and x.partition = p.partition and x.position <= p.first_position
          order by x.position desc, x.segment desc limit 1;
        execute 'select time from ' || ${schema}.log_table(s.id, seg) ||
          ' where partition = $1 and position >= $2 order by position limit 1'
          into t using p.partition, p.first_position;
      end if;
      return query select s.name, s.given::text, p.partition, p.first_position::double precision,
        e."end"::double precision, (e.total - p.first_bytes)::double precision, t::double precision,
        case when t is not null then e.last_time::double precision end;
    end loop;
  end loop;
end $$;
`
}
