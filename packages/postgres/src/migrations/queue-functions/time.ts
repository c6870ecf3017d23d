/**
 * Appended to a function whose statements must look rows up by index, one by one, whatever the tables held when they were
 * planned: the only join is a loop over what is given, and a look-up costs next to nothing.
 */
export const planned: string = [
  'set enable_seqscan = off',
  'set enable_bitmapscan = off',
  'set enable_hashjoin = off',
  'set enable_mergejoin = off',
  'set enable_material = off',
  'set random_page_cost = 0.01',
  'set plan_cache_mode = force_generic_plan',
  'set jit = off',
].join(' ')

/** Instants and spans in milliseconds, and the slots of time of the deduplication window. */
export function timeSql(schema: string): string {
  return `
create function ${schema}.instant(ms double precision) returns timestamptz language sql immutable
as $$ select case when ms is not null then to_timestamp(least(greatest(ms, 0), 8.64e15) / 1000) end $$;

create function ${schema}.span(ms double precision) returns interval language sql immutable
as $$ select case when ms is not null then least(ms, 1e14) * interval '1 millisecond' end $$;

-- Stable, as extract is, or it would not be made part of the statements that use it.
create function ${schema}.epoch_ms(at timestamptz) returns double precision language sql stable
as $$ select (extract(epoch from at) * 1000)::double precision $$;

-- The slots that hold what was seen within a window, the present one first and at least two of them. See the table seen.
create function ${schema}.slots(window_ms double precision, now_at timestamptz) returns smallint[] language sql immutable
as $$
  select case when window_ms <= 3600000
    then array(select mod(floor(extract(epoch from now_at) / 900)::bigint - i, 8)::smallint
               from generate_series(0, greatest(1, ceil(window_ms / 900000)::integer)) i order by i)
    else array(select (8 + mod(floor(extract(epoch from now_at) / 86400)::bigint - i, 10))::smallint
               from generate_series(0, greatest(1, ceil(window_ms / 86400000)::integer)) i order by i)
  end
$$;
`
}
