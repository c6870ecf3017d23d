/**
 * Makes a file of format 1 as the versions before event logs wrote it: the schema is theirs, word for word, and so is the
 * layout of its records. For the tests of the migration; never changed.
 */
import { crc32 } from 'node:zlib'
import { DatabaseSync } from 'node:sqlite'
import { packKey } from '../../src/broker/storage/message-key.ts'
import { ByteWriter, type DecodedMessage, encodeFirstRecord, recordKeyRange } from '../../src/broker/protocol/index.ts'
import { AsideStore, asideKinds } from '../../src/broker/storage/aside-store.ts'
import { encodeMarks, mark, writeBodies } from '../../src/broker/storage/chunk-format.ts'

const schema = `
create table meta (name text primary key, value) without rowid;
create table queue (id integer primary key, name text not null unique, options text not null);
create table binding (
  topic text not null, queue integer not null, match text not null, exclusive integer not null,
  primary key (topic, queue, match)
) without rowid;
create table chunk (id integer primary key, bodies blob not null);
create table state (
  queue integer not null, lane integer not null, id integer not null, count integer not null, bytes integer not null,
  enqueued_at real not null, expires real, marks blob, keys blob,
  primary key (queue, lane, id)
) without rowid;
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
  lease_owner text, lease_until real, value text not null, indexes text not null,
  primary key (collection, id)
);
create index record_expires on record (expires_at) where expires_at is not null;
create table record_index (
  collection text not null, name text not null, value not null, id text not null,
  primary key (collection, name, value, id)
) without rowid;
`

const madeAt = 1_800_000_000_000

function record(text: string, key?: string): Buffer {
  const writer = new ByteWriter()
  const message: DecodedMessage = {
    id: `id-${text}`,
    attributes: { type: 'test', source: '/ü' },
    headers: { h: text },
    contentType: 'text/plain',
    body: Buffer.from(text),
    priority: 4,
    mandatory: true,
    ...(key === undefined ? {} : { key }),
  }
  encodeFirstRecord(writer, message)
  return Buffer.from(writer.take())
}

/**
 * Writes the file, in the write-ahead mode it would have. It holds: queue `plain` with `a`, `b` (delivered once before) and
 * a `c` that was acknowledged; queue `keyed` with `d` and `e` of key `k`; `later`, due in 2100; `dead` of `plain`, reason
 * `test`; topic `t` bound to `plain`; record `r` of collection `c`, indexed by `at`.
 */
export function writeFormat1(path: string): void {
  const db = new DatabaseSync(path)
  db.exec(`pragma page_size = 4096; pragma auto_vacuum = incremental; pragma application_id = 1113217618;
    pragma journal_mode = wal; begin; ${schema} pragma user_version = 1;
    insert into meta (name, value)
      values ('epoch', 3), ('durability', 'fsync'), ('next_queue', 3), ('next_sequence', 1000100);
    insert into queue (id, name, options) values (1, 'plain', '{}'), (2, 'keyed', '{"orderBy":"key"}');
    insert into binding (topic, queue, match, exclusive) values ('t', 1, '', 0);
    insert into session (id, last_send, refused, local, seen_at) values ('old', 7, '[]', 1, ${madeAt});`)
  insertChunk(db, 1, 4, 100, [record('a'), record('b'), record('c')], [0, 1, mark.gone])
  insertChunk(db, 2, 0, 103, [record('d', 'k'), record('e', 'k')], [0, 0])
  const aside = new AsideStore(db)
  const row = {
    queue: 1,
    enqueuedAt: madeAt,
    due: null,
    expires: null,
    destination: null,
    attempts: 0,
    kept: 0,
    reason: null,
    detail: null,
    deadAt: null,
    deadDeliveries: 0,
  }
  const later = record('later')
  const due = Date.UTC(2100, 0, 1)
  aside.insert(asideKinds.scheduled, { ...row, sequence: 105, messageId: 'id-later', due, bytes: later.length }, later)
  const dead = record('dead')
  const buried = { ...row, sequence: 106, messageId: 'id-dead', attempts: 1, reason: 'test', deadAt: madeAt }
  aside.insert(asideKinds.dead, { ...buried, bytes: dead.length }, dead)
  db.exec(`insert into collection (name, indexes, uniques) values ('c', '["at"]', '[]');
    insert into record (collection, id, version, updated_at, value, indexes)
      values ('c', 'r', 1, ${madeAt}, '{"a":1}', '{"at":5}');
    insert into record_index (collection, name, value, id) values ('c', 'at', 5, 'r')`)
  db.exec('commit')
  db.close()
}

function insertChunk(
  db: DatabaseSync,
  queue: number,
  lane: number,
  id: number,
  records: readonly Buffer[],
  marks: readonly number[],
): void {
  const ends: number[] = []
  for (const one of records) ends.push((ends.at(-1) ?? 0) + one.length)
  const keys = records.map(one => {
    const { keyStart, keyEnd, hasKey } = recordKeyRange(one, 0)
    return packKey(one, keyStart, keyEnd, hasKey, 4)
  })
  const live = records.filter((_, index) => marks[index] !== mark.gone)
  const bodies = writeBodies(
    Buffer.concat(records),
    ends,
    records.map(one => crc32(one)),
    records.length,
  )
  db.prepare('insert into chunk (id, bodies) values (?, ?)').run(id, bodies)
  db.prepare(
    'insert into state (queue, lane, id, count, bytes, enqueued_at, marks, keys) values (?, ?, ?, ?, ?, ?, ?, ?)',
  ).run(
    queue,
    lane,
    id,
    records.length,
    Buffer.concat(live).length,
    madeAt,
    encodeMarks(Uint32Array.from(marks)),
    lane === 0 ? new Uint8Array(Float64Array.from(keys).buffer) : null,
  )
}
