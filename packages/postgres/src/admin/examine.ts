import type { Finding } from 'buzzer/transport'
import { rowsOf, type SqlHandle } from '../sql-handle.ts'

const minuteMs = 60_000

/** What holds up vacuum, and with it the speed of every queue: for `buzzer doctor`. Source: spec transports 3.3. */
export async function examine(handle: SqlHandle, schema: string, quotedSchema: string): Promise<readonly Finding[]> {
  const [server] = await rowsOf<{
    version: string
    fsync: string
    commit: string
    oldest_ms: number | null
    oldest_who: string | null
    slots: string | null
    connections: number
    limit: number
    prepared: number
    autovacuum: boolean
  }>(
    handle,
    `select current_setting('server_version') as version, current_setting('fsync') as fsync,
      current_setting('synchronous_commit') as commit, current_setting('autovacuum')::boolean as autovacuum, old.ms as oldest_ms, old.who as oldest_who,
      (select string_agg(slot_name, ', ') from pg_catalog.pg_replication_slots
        where not active or pg_catalog.age(coalesce(xmin, catalog_xmin)) > 10000000) as slots,
      (select count(*)::integer from pg_catalog.pg_stat_activity where backend_type = 'client backend') as connections,
      current_setting('max_connections')::integer as limit,
      (select count(*)::integer from pg_catalog.pg_prepared_xacts where prepared < clock_timestamp() - interval '1 minute') as prepared
    from (select 1) one left join lateral (
      select (extract(epoch from clock_timestamp() - xact_start) * 1000)::float8 as ms,
        coalesce(nullif(application_name, ''), 'a client without name') || ' (process ' || pid || ', ' || state || ')' as who
      from pg_catalog.pg_stat_activity where xact_start is not null and pid <> pg_catalog.pg_backend_pid()
        and (backend_xid is not null or backend_xmin is not null) and backend_type = 'client backend'
      order by xact_start limit 1
    ) old on true`,
  )
  const tables = await rowsOf<{ name: string; live: number; dead: number; bytes: number }>(
    handle,
    `select relname as name, n_live_tup::float8 as live, n_dead_tup::float8 as dead, pg_catalog.pg_total_relation_size(relid)::float8 as bytes
    from pg_catalog.pg_stat_user_tables where schemaname = $1::text and relname in ('chunk', 'single', 'lane', 'receipt', 'record')
    order by relname`,
    [schema],
  )
  const [lag] = await rowsOf<{ ms: number }>(
    handle,
    `select (extract(epoch from clock_timestamp() - maintained_at) * 1000)::float8 as ms from ${quotedSchema}.broker where maintained_at > '-infinity'`,
  )
  if (server === undefined) return []
  const oldestMs = server.oldest_ms ?? 0
  const isDurable = server.fsync === 'on' && server.commit !== 'off'
  const busy = server.connections / server.limit
  return [
    {
      what: 'server version',
      verdict: Number.parseInt(server.version, 10) >= 14 ? 'ok' : 'problem',
      detail: server.version,
    },
    {
      what: 'durability',
      verdict: isDurable ? 'ok' : 'problem',
      detail: `fsync ${server.fsync}, synchronous_commit ${server.commit}${isDurable ? '' : ': what was accepted can be lost in a crash of the server'}`,
    },
    {
      what: 'autovacuum',
      verdict: server.autovacuum ? 'ok' : 'problem',
      detail: server.autovacuum ? 'on' : 'off: nothing removes what was settled, and every claim gets slower',
    },
    {
      what: 'oldest transaction',
      verdict: oldestMs < minuteMs ? 'ok' : oldestMs < 30 * minuteMs ? 'warning' : 'problem',
      detail:
        oldestMs < minuteMs
          ? `${Math.round(oldestMs)} ms`
          : `${Math.round(oldestMs / minuteMs)} min: ${server.oldest_who} keeps vacuum from removing what was settled since`,
    },
    {
      what: 'replication slots and prepared transactions',
      verdict: server.slots === null && server.prepared === 0 ? 'ok' : 'warning',
      detail:
        server.slots === null && server.prepared === 0
          ? 'none holds vacuum back'
          : `${server.slots ?? 'no slot'}, ${server.prepared} prepared: they hold vacuum back`,
    },
    {
      what: 'connections',
      verdict: busy < 0.8 ? 'ok' : 'warning',
      detail: `${server.connections} of ${server.limit}`,
    },
    {
      what: 'upkeep',
      verdict: (lag?.ms ?? 0) < minuteMs ? 'ok' : 'warning',
      detail: lag === undefined ? 'not yet' : `${Math.round(lag.ms)} ms ago`,
    },
    ...tables.map(({ name, live, dead, bytes }): Finding => {
      const isBloated = dead > 100_000 && dead > 5 * live
      return {
        what: `table ${name}`,
        verdict: isBloated ? 'warning' : 'ok',
        detail: `${live} rows, ${dead} dead ones, ${Math.round(bytes / 1024)} KiB${isBloated ? ': autovacuum does not keep up' : ''}`,
      }
    }),
  ]
}
