import type { Migration } from './migration.ts'

/**
 * The tables of messages. Source: spec transports 3.1 to 3.3, ADR 10.
 *
 * - `chunk`: messages that were never delivered, many to a row. Those from `next` on are left; a row is leased as a whole,
 *   and a receiver that wants fewer cuts its part off as a row of its own. Message i of a row has the rank `rank - next + i`.
 * - `single`: messages with a life of their own: scheduled, retried, with a time to live or a key of an ordered queue, and
 *   dead letters (under the negative number of their queue). Queue 0 holds publishes that wait for their time.
 * - `lane`: a key of an ordered queue that has a head. The lease, the count and the pause of the head are the lane's, so
 *   that a message of an ordered queue is written once and deleted once. Key: at most 256 bytes, longer ones by their hash.
 * - `queue.priorities` has a bit for each priority that a message of the queue ever had.
 * - Ranks rise in order of acceptance. Each row draws 1,024 of them, for its messages.
 * - `receipt`: what was committed for a client, so that a step whose answer was lost is not done twice, and the lease by which
 *   its messages were given to that client itself.
 * - `seen`: deduplication keys in slots of time that are emptied as a whole: 0 to 7 of 15 minutes, 8 to 17 of a day.
 * - No index holds what changes while nothing is leased or settled; bodies are stored once, outside, uncompressed.
 */
export const queues: Migration = {
  number: 2,
  name: 'queues',
  sql: schema => {
    const busy =
      'autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0'
    return `
create sequence ${schema}.position increment by 1024;
create sequence ${schema}.lease_token;
create table ${schema}.broker (
  one boolean primary key default true check (one),
  topology bigint not null,
  maintained_at timestamptz not null default '-infinity'
);
insert into ${schema}.broker (topology) values (1);
create table ${schema}.queue (
  id integer generated always as identity primary key,
  name text collate "C" not null unique,
  order_by text,
  max_deliveries integer,
  ttl_ms double precision,
  dead_letter_expired boolean,
  dead_letter_ttl_ms double precision,
  deduplication_window_ms double precision,
  max_messages bigint,
  max_bytes bigint,
  expires_after_idle_ms double precision,
  priorities integer not null default 0,
  room_messages bigint,
  room_bytes bigint,
  used_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);
create table ${schema}.topic (
  name text collate "C" primary key,
  bases json not null
);
create table ${schema}.binding (
  topic text collate "C" not null,
  queue integer not null references ${schema}.queue on delete cascade,
  match text collate "C" not null,
  exclusive boolean not null,
  primary key (topic, queue, match)
);
create index binding_queue on ${schema}.binding (queue);
create table ${schema}.chunk (
  rank bigint primary key,
  queue integer not null,
  priority smallint not null,
  n integer not null,
  next integer not null default 0,
  keyed boolean not null,
  accepted_at timestamptz not null,
  expires_at timestamptz,
  lease bigint,
  leased_until timestamptz,
  done integer not null default 0,
  settled bytea,
  sizes integer[] not null,
  records bytea not null
) with (fillfactor = 70, ${busy}, toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 10000, toast.autovacuum_vacuum_cost_delay = 0);
alter table ${schema}.chunk alter records set storage external;
create index chunk_ready on ${schema}.chunk (queue, priority desc, rank) where leased_until is null;
create index chunk_leased on ${schema}.chunk (queue, leased_until) where leased_until is not null;
create index chunk_expires on ${schema}.chunk (queue, expires_at) where expires_at is not null;
create index chunk_keyed on ${schema}.chunk (queue) where keyed;
create table ${schema}.single (
  rank bigint primary key,
  queue integer not null,
  state smallint not null,
  priority smallint not null,
  key bytea,
  attempt integer not null default 0,
  crashes smallint not null default 0,
  accepted_at timestamptz not null,
  available_at timestamptz not null,
  due_at timestamptz,
  own_expires_at timestamptz,
  expires_at timestamptz,
  lease bigint,
  leased_until timestamptz,
  message_id text collate "C",
  hash uuid,
  reason text,
  detail text,
  dead_at timestamptz,
  died_after integer,
  record bytea not null
) with (fillfactor = 80, ${busy});
comment on column ${schema}.single.state is '0 ready or leased, 1 scheduled by its sender, 2 waits for a retry, 3 parked, 4 behind the head of its key';
alter table ${schema}.single alter record set storage external;
create index single_ready on ${schema}.single (queue, priority desc, rank) where state = 0 and leased_until is null;
create index single_leased on ${schema}.single (queue, leased_until) where leased_until is not null;
create index single_due on ${schema}.single (queue, due_at, rank) where due_at is not null;
create index single_expires on ${schema}.single (queue, expires_at) where expires_at is not null;
create index single_key on ${schema}.single (queue, key, rank) where key is not null and state in (0, 4);
create index single_message on ${schema}.single (message_id) where message_id is not null;
create index single_suspect on ${schema}.single (queue) where crashes >= 2;
create table ${schema}.lane (
  queue integer not null,
  key bytea not null,
  head bigint not null,
  priority smallint not null,
  attempt integer not null default 0,
  crashes smallint not null default 0,
  due_at timestamptz,
  lease bigint,
  leased_until timestamptz,
  primary key (queue, key)
) with (fillfactor = 70, ${busy});
create index lane_ready on ${schema}.lane (queue, priority desc, head) where leased_until is null and due_at is null;
create index lane_leased on ${schema}.lane (queue, leased_until) where leased_until is not null;
create index lane_due on ${schema}.lane (queue, due_at) where due_at is not null;
create index lane_suspect on ${schema}.lane (queue) where crashes >= 2;
create table ${schema}.receipt (
  client uuid not null,
  number bigint not null,
  at timestamptz not null default clock_timestamp(),
  lease bigint,
  primary key (client, number)
) with (${busy});
create table ${schema}.receiver (
  client uuid not null,
  queue integer not null,
  count integer not null,
  waiting boolean not null,
  seen_at timestamptz not null default clock_timestamp(),
  primary key (client, queue)
) with (fillfactor = 50);
create index receiver_queue on ${schema}.receiver (queue);
create table ${schema}.seen (
  slot smallint not null,
  queue integer not null,
  hash uuid not null,
  at timestamptz not null,
  primary key (slot, queue, hash)
) partition by list (slot);
${Array.from({ length: 18 }, (_, slot) => `create table ${schema}.seen_${slot} partition of ${schema}.seen for values in (${slot});`).join('\n')}
`
  },
}
