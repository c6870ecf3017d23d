/** The first format that has the tables of logs. */
export const firstLogFormat = 2

/**
 * The tables of the event logs, new in format 2. Source: spec broker 10, streams 10.
 *
 * - `log_chunk` is what one partition got in one commit, in parts of at most 1,000 records or 256 KiB; `bodies` is laid out
 *   as in chunk-format.ts, its records as in protocol/log-record.ts. Written once, deleted whole. All records of a chunk
 *   have one time today; the columns are two so that chunks may be merged.
 * - `log_chunk_place` holds all that is asked of a chunk but its records, so that look-ups read no bodies.
 * - `log_partition` says what is kept: positions from `first` up to, not including, `next`. Chunks below `first`, and all
 *   chunks of a stream that is gone, are rubbish that is swept in steps.
 * - `log_key` has every kept record of a key, on streams with a key index.
 * - `log_answer` keeps the answers to a session's appends until the client has heard them; its newest row stays, for
 *   `last` is the session's last append.
 */
export const logSchema: string = `
create table stream (id integer primary key, name text not null unique, options text not null);
create table log_partition (
  stream integer not null, partition integer not null, first integer not null, next integer not null,
  last_time real not null, bytes integer not null,
  primary key (stream, partition)
) without rowid;
create table log_chunk (
  id integer primary key, stream integer not null, partition integer not null, first integer not null,
  last integer not null, first_time real not null, last_time real not null, bytes integer not null, bodies blob not null
);
create index log_chunk_place on log_chunk (stream, partition, first, last, last_time, bytes);
create table log_key (
  stream integer not null, key text not null, partition integer not null, position integer not null,
  primary key (stream, key, partition, position)
) without rowid;
create table log_seen (
  stream integer not null, hash blob not null, at real not null, partition integer not null, position integer not null,
  time real not null,
  primary key (stream, hash)
) without rowid;
create index log_seen_at on log_seen (stream, at);
create table log_producer (
  stream integer not null, name text not null, epoch integer not null, last_sequence integer not null,
  primary key (stream, name)
) without rowid;
create table log_produced (
  stream integer not null, name text not null, sequence integer not null, partition integer not null,
  position integer not null, time real not null,
  primary key (stream, name, sequence)
) without rowid;
create table log_answer (
  session text not null, last integer not null, answers blob not null,
  primary key (session, last)
);
`
