import type { DatabaseSync } from 'node:sqlite'
import { definitionCrcSchema, sealDefinitions } from './definitions.ts'
import { logSchema } from './log-schema.ts'

/** "BZZR". */
export const applicationId = 0x425a5a52
/** `user_version` of the files this code writes. */
export const formatVersion = 3
/** The first format whose definitions and records of the store have checksums. */
export const firstCrcFormat = 3
/** The first format whose chunks have their keys in a table of their own. */
const firstKeysTableFormat = 3

/** What makes a file of format `index + 1` one of the next: in one transaction, when an older file is opened. */
export const migrations: readonly string[] = [
  // The event logs. Records of messages may have the layout of protocol/record-layout.ts from now on; those in the file
  // stay as they are: both are read.
  logSchema,
  // Checksums for definitions, and for records of the store; records written before have none. Keys leave the rows of `state`.
  `alter table record add column crc integer;
   create table chunk_keys (id integer primary key, keys blob not null);
   insert into chunk_keys select id, keys from state where keys is not null;
   alter table state drop column keys;
   ${definitionCrcSchema} ${sealDefinitions}`,
]

/**
 * Format 3. The tables of the logs are in log-schema.ts.
 *
 * - `chunk` holds what is written once: the records of messages that one queue got in one commit. `state` holds what
 *   changes: one mark per message (see chunk-format.ts). Apart, because an UPDATE rewrites a row with its overflow pages.
 *   `id` is the sequence of the first message; message `i` of a chunk has sequence `id + i`.
 * - `lane` is the priority of the messages in queues without order, 0 in ordered queues.
 * - `chunk_keys` are the keys of chunks ordered by key. Not in `state`: a search in a table without rowids reads each row that
 *   it compares to its end, 45 µs instead of 5 with keys in them.
 * - `held` are delayed retries: the message stays in its chunk, marked.
 * - `aside` are messages outside the chunks: scheduled (kind 1; queue 0 when bound for a topic) and dead (kind 2).
 * - `session` rows with `local` = 1 belong to sessions that cannot come back with open deliveries.
 * - `crc` of `queue`, `binding`, `collection` and `stream`: see definitions.ts.
 * - `record.crc` is over version, collection, id and value; null in rows that are older than format 3.
 * - `seen` are hashes of deduplication keys, in buckets of time that are dropped whole.
 */
export const schema: string = `
create table meta (name text primary key, value) without rowid;
create table queue (id integer primary key, name text not null unique, options text not null);
create table binding (
  topic text not null, queue integer not null, match text not null, exclusive integer not null,
  primary key (topic, queue, match)
) without rowid;
create table chunk (id integer primary key, bodies blob not null);
create table state (
  queue integer not null, lane integer not null, id integer not null, count integer not null, bytes integer not null,
  enqueued_at real not null, expires real, marks blob,
  primary key (queue, lane, id)
) without rowid;
create table chunk_keys (id integer primary key, keys blob not null);
create index state_expires on state (expires) where expires is not null;
create table held (sequence integer primary key, queue integer not null, due real not null, wait real not null);
create index held_due on held (due);
create table aside (
  sequence integer primary key, kind integer not null, queue integer not null, message_id text not null,
  enqueued_at real not null, due real, expires real, bytes integer not null, destination text,
  attempts integer not null, reason text, detail text, dead_at real, dead_deliveries integer not null default 0,
  kept integer not null default 0
);
create index aside_queue on aside (queue, kind, sequence);
create index aside_due on aside (due, sequence) where due is not null;
create index aside_expires on aside (expires) where expires is not null;
create index aside_scheduled on aside (message_id) where kind = 1;
create table aside_body (sequence integer primary key, record blob not null, crc integer not null);
create table seen (
  queue integer not null, bucket integer not null, hash blob not null, at real not null,
  primary key (queue, bucket, hash)
) without rowid;
create table session (
  id text primary key, last_send integer not null, refused text not null, local integer not null, seen_at real not null
) without rowid;
create table collection (name text primary key, indexes text not null, uniques text not null) without rowid;
create table record (
  collection text not null, id text not null, version integer not null, updated_at real not null, expires_at real,
  lease_owner text, lease_until real, value text not null, indexes text not null, crc integer,
  primary key (collection, id)
);
create index record_expires on record (expires_at) where expires_at is not null;
create table record_index (
  collection text not null, name text not null, value not null, id text not null,
  primary key (collection, name, value, id)
) without rowid;
${logSchema}
${definitionCrcSchema}`

/** Gives a connection that only reads the tables of the present format, whatever format the file has. */
export function readAsPresent(db: DatabaseSync, version: number): void {
  if (version >= firstKeysTableFormat) return
  db.exec(`create temp table chunk_keys (id integer primary key, keys blob not null);
    insert into chunk_keys select id, keys from state where keys is not null`)
}
