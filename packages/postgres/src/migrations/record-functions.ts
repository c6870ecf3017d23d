import { planned } from './queue-functions/time.ts'

/**
 * The steps of the store. Lists are JSON text, the only form in which `pg`, Drizzle, Kysely and Prisma all pass a list. They
 * are functions for their plans' sake: a plan made while the tables are empty scans them, and would go on scanning when they
 * hold a million rows.
 */
export function recordFunctions(schema: string): string {
  const keys = 'json_to_recordset(keys::json) as k (c text collate "C", i text collate "C")'
  const values =
    'json_to_recordset(vals::json) as x (c text collate "C", n text collate "C", num double precision, txt text collate "C", i text collate "C")'
  const num = "coalesce(x.num, 'Infinity'::double precision)"
  const live = '(r.expires_at is null or r.expires_at > clock_timestamp())'
  const records =
    'json_to_recordset(recs::json) as p (c text collate "C", i text collate "C", v integer, e double precision, x text, d text)'
  const addIndexes = `insert into ${schema}.record_index (collection, name, num, txt, id, uniq)
    select x.c, x.n, ${num}, x.txt, x.i, coalesce(x.n = any(d.uniques), false)
    from ${values} left join ${schema}.collection d on d.name = x.c`
  const lockedRow = 'collection text, id text, version integer, expired boolean, indexes text'
  const readRow = 'id text, value text, version integer, updated_at double precision'
  const readColumns = 'r.id, r.value::text, r.version, floor(extract(epoch from r.updated_at) * 1000)::double precision'
  return `
-- Locks records in the order of their keys.
create function ${schema}.record_lock(keys text) returns table (${lockedRow})
language plpgsql volatile ${planned} as $$
begin
  return query select r.collection, r.id, r.version, not ${live}, r.indexes::text
    from ${keys} join ${schema}.record r on r.collection = k.c and r.id = k.i
    order by r.collection, r.id for update of r;
end $$;

-- Who has these values of unique indexes.
create function ${schema}.record_holders(vals text)
returns table (collection text, name text, num double precision, txt text, id text, expired boolean, indexes text)
language plpgsql volatile ${planned} as $$
begin
  return query select i.collection, i.name, i.num, i.txt, i.id, not ${live}, r.indexes::text
    from ${values}
    join ${schema}.record_index i on i.collection = x.c and i.name = x.n and i.num = ${num} and i.txt = x.txt and i.uniq
    join ${schema}.record r on r.collection = i.collection and r.id = i.id;
end $$;

-- Removes records, and values from indexes.
create function ${schema}.record_remove(keys text, vals text) returns integer
language plpgsql volatile ${planned} as $$
declare
  gone integer;
begin
  delete from ${schema}.record r using ${keys} where r.collection = k.c and r.id = k.i;
  get diagnostics gone = row_count;
  delete from ${schema}.record_index i using ${values}
    where i.collection = x.c and i.name = x.n and i.num = ${num} and i.txt = x.txt and i.id = x.i;
  return gone;
end $$;

-- Puts records where there are none, with their values in indexes; answers those it has put.
create function ${schema}.record_insert(recs text, vals text) returns table (collection text, id text)
language plpgsql volatile ${planned} as $$
#variable_conflict use_column
begin
  return query with put as (
    insert into ${schema}.record (collection, id, version, updated_at, expires_at, indexes, value)
    select p.c, p.i, p.v, clock_timestamp(), to_timestamp(p.e / 1000), p.x::json, p.d::json from ${records}
    on conflict (collection, id) do nothing returning record.collection, record.id
  ), indexed as (
    ${addIndexes} join put on put.collection = x.c and put.id = x.i
  ) select put.collection, put.id from put;
end $$;

-- Puts records over locked ones, and new values into indexes.
create function ${schema}.record_update(recs text, vals text) returns integer
language plpgsql volatile ${planned} as $$
declare
  changed integer;
begin
  update ${schema}.record r
    set version = p.v, updated_at = clock_timestamp(), expires_at = to_timestamp(p.e / 1000), indexes = p.x::json,
      value = p.d::json, lease_owner = null, lease_until = null
    from ${records} where r.collection = p.c and r.id = p.i;
  get diagnostics changed = row_count;
  ${addIndexes};
  return changed;
end $$;

-- Leases what is due. A record that was put anew between reading the index and locking the row is judged again with its new
-- row: by the comparison with its own indexes it is no longer due then, if its place in the index has changed.
create function ${schema}.record_claim(c text, n text, up_to double precision, up_to_text text, most integer,
  lease_ms double precision, owner text) returns table (${readRow})
language plpgsql volatile ${planned} as $$
begin
  return query with due as (
    select i.num, i.txt, r.collection, r.id from ${schema}.record_index i
    join ${schema}.record r on r.collection = i.collection and r.id = i.id
    where i.collection = c and i.name = n and (i.num, i.txt) <= (up_to, up_to_text collate "C") and ${live}
      and (r.lease_until is null or r.lease_until <= clock_timestamp() or r.lease_owner = owner)
      and case when i.num < 'Infinity' then (r.indexes ->> n)::double precision = i.num else (r.indexes ->> n) = i.txt end
    order by i.num, i.txt, i.id limit most for update of r skip locked
  ), claimed as (
    update ${schema}.record r
    set lease_owner = owner, lease_until = clock_timestamp() + lease_ms * interval '1 millisecond'
    from due where r.collection = due.collection and r.id = due.id
    returning r.id as rid, r.value::text as val, r.version as ver,
      floor(extract(epoch from r.updated_at) * 1000)::double precision as upd, due.num, due.txt
  ) select rid, val, ver, upd from claimed order by num, txt collate "C", rid collate "C";
end $$;

create function ${schema}.record_get(c text, i text) returns table (${readRow})
language plpgsql stable ${planned} as $$
begin
  return query select ${readColumns} from ${schema}.record r where r.collection = c and r.id = i and ${live};
end $$;

-- Locks what nobody else is removing.
create function ${schema}.record_expired(most integer) returns table (${lockedRow})
language plpgsql volatile ${planned} as $$
begin
  return query select r.collection, r.id, r.version, true, r.indexes::text from ${schema}.record r
    where r.expires_at <= clock_timestamp() order by r.expires_at limit most for update of r skip locked;
end $$;

-- What a watcher compares.
create function ${schema}.record_versions(keys text) returns table (collection text, id text, version integer, at text)
language plpgsql stable ${planned} as $$
begin
  return query select r.collection, r.id, r.version, extract(epoch from r.updated_at)::text
    from ${keys} join ${schema}.record r on r.collection = k.c and r.id = k.i and ${live};
end $$;
`
}
