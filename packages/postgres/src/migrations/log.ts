import { logFunctions } from './log-functions.ts'
import type { Migration } from './migration.ts'

/**
 * The event log. Source: spec streams 10, ADR 11.
 *
 * - The records of a stream lie in **segments**: tables named `log_<stream>_<segment>`, into which rows are only ever
 *   inserted, and which are dropped as a whole. A row, a *chunk*, is what one append brought to one partition: at most
 *   1,000 records or 256 KiB; its key is (partition, position of the first record).
 * - `log_partition` has one row per partition. An append locks it until its commit, which makes positions dense and in the
 *   order of commits, and does not change it: the next position follows from the newest chunk. So appending leaves no dead
 *   row behind, whoever holds the vacuum horizon back.
 * - `base_…`: where the present segment of a partition begins. `first_…`: what is kept. `…_bytes` count from the beginning
 *   of the partition.
 * - `log_span`: where a partition begins in each segment. `log_segment`: the tables that are there, the next one ahead of
 *   its time.
 * - `log_staged`: what was appended in transactions of callers and has no position yet.
 * - Times are epoch milliseconds. Keys and names of producers are bytes, for text has no NUL.
 */
export const log: Migration = {
  number: 4,
  name: 'log',
  sql: schema => `
create table ${schema}.log_stream (
  id integer generated always as identity primary key,
  name text collate "C" not null unique,
  given json not null,
  version integer not null,
  segment integer not null,
  segment_bytes bigint not null,
  segment_time bigint not null
);
create table ${schema}.log_partition (
  stream integer not null,
  partition integer not null,
  version integer not null,
  segment integer not null,
  base_position bigint not null,
  base_bytes bigint not null,
  base_time bigint not null,
  first_position bigint not null,
  first_bytes bigint not null,
  primary key (stream, partition)
) with (fillfactor = 50);
create table ${schema}.log_segment (
  stream integer not null,
  segment integer not null,
  primary key (stream, segment)
);
create table ${schema}.log_span (
  stream integer not null,
  partition integer not null,
  segment integer not null,
  position bigint not null,
  time bigint not null,
  primary key (stream, partition, segment)
);
create table ${schema}.log_staged (
  id bigint generated always as identity primary key,
  stream integer not null,
  partition integer not null,
  deduplication_key text,
  body bytea not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
alter table ${schema}.log_staged alter column body set storage external;
create table ${schema}.log_key (
  stream integer not null,
  partition integer not null,
  key bytea not null,
  position bigint not null,
  primary key (stream, partition, key)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
create table ${schema}.log_seen (
  stream integer not null,
  key text collate "C" not null,
  partition integer not null,
  position bigint not null,
  time bigint not null,
  seen_at bigint not null,
  primary key (stream, key)
);
create index log_seen_at on ${schema}.log_seen (stream, seen_at);
create table ${schema}.log_producer (
  stream integer not null,
  name bytea not null,
  epoch bigint not null,
  last_sequence bigint not null,
  batches bigint not null,
  primary key (stream, name)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
create table ${schema}.log_produced (
  stream integer not null,
  name bytea not null,
  batch bigint not null,
  sequence bigint not null,
  partition integer not null,
  position bigint not null,
  time bigint not null,
  primary key (stream, name, sequence)
);
create index log_produced_batch on ${schema}.log_produced (stream, name, batch);
${logFunctions(schema)}
`,
}
