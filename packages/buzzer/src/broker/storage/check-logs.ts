import type { DatabaseSync } from 'node:sqlite'
import { logRecordKey } from '../protocol/index.ts'
import type { Note } from './check-file.ts'
import { readLayout, recordIntact, recordStart } from './chunk-format.ts'
import { prepare } from './statement.ts'

/** What is kept of one partition, counted from its chunks. */
interface Count {
  bytes: number
  keys: number
  /** Position and time of the last record looked at. */
  last: number
  lastTime: number
}

/**
 * Looks through the logs of a file: chunks against their checksums, their places and their partition, positions and times
 * in order, key indexes against records. What is below the first position waits to be swept and is not looked at.
 */
export function checkLogs(db: DatabaseSync, note: Note): void {
  const names = new Map(prepare<readonly [number, string]>(db, 'select id, name from stream').all())
  const keyed = new Set(
    prepare<readonly [number, string]>(db, 'select id, options from stream')
      .all()
      .filter(([, options]) => (JSON.parse(options) as { keyIndex?: boolean }).keyIndex === true)
      .map(([id]) => id),
  )
  // What could not be salvaged is a gap, and was told of then.
  const salvaged = prepare<readonly [number]>(db, "select 1 from meta where name = 'log_gaps'").first() !== undefined
  const keys = prepare<readonly [number]>(
    db,
    'select count(*) from log_key where stream = ? and partition = ? and position >= ?',
  )
  const partitions = prepare<readonly [number, number, number, number, number]>(
    db,
    'select stream, partition, first, next, bytes from log_partition order by stream, partition',
  ).all()
  for (const [stream, partition, first, next, bytes] of partitions) {
    const name = names.get(stream)
    if (name === undefined) continue
    const where = `log ${name}/${partition}`
    const count = countPartition(db, stream, partition, first, where, salvaged, note)
    if (count.bytes !== bytes) note('state', where, `it counts ${bytes} bytes and holds ${count.bytes}`)
    if (count.last >= next || (!salvaged && count.last + 1 < next)) {
      note('sequence', where, `its last record is ${count.last}, the next is to be ${next}`)
    }
    const indexed = keys.first(stream, partition, first)?.[0] ?? 0
    if (keyed.has(stream) && indexed !== count.keys) {
      note('state', where, `its key index has ${indexed} entries for ${count.keys} records with keys`)
    }
  }
  for (const [stream, partition] of prepare<readonly [number, number]>(
    db,
    `select distinct stream, partition from log_chunk where (stream, partition) not in
     (select stream, partition from log_partition)`,
  ).all()) {
    note('state', `log ${names.get(stream) ?? stream}/${partition}`, 'it has records and no partition')
  }
}

function countPartition(
  db: DatabaseSync,
  stream: number,
  partition: number,
  from: number,
  where: string,
  salvaged: boolean,
  note: Note,
): Count {
  const count: Count = { bytes: 0, keys: 0, last: from - 1, lastTime: 0 }
  const chunks = prepare<readonly [number, number, number, number, number, Uint8Array]>(
    db,
    `select first, last, first_time, last_time, bytes, bodies from log_chunk
     where stream = ? and partition = ? and first >= ? order by first`,
  )
  for (const [first, last, firstTime, lastTime, bytes, stored] of chunks.each(stream, partition, from)) {
    const place = `${where}, positions ${first} to ${last}`
    if (first <= count.last) note('sequence', place, `they begin at or before ${count.last}, which is taken`)
    if (first > count.last + 1 && !salvaged) note('sequence', place, `those from ${count.last + 1} on are missing`)
    if (firstTime < count.lastTime || lastTime < firstTime) note('sequence', place, 'their time goes back')
    count.last = last
    count.lastTime = lastTime
    count.bytes += bytes
    const bodies = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength)
    const layout = readLayout(bodies)
    if (layout === undefined || layout.count !== last - first + 1) {
      note('state', place, 'its records do not fit its place')
      continue
    }
    let held = 0
    for (let index = 0; index < layout.count; index++) {
      if (!recordIntact(bodies, layout, index)) {
        note('checksum', where, `the record at position ${first + index} is damaged`)
      } else if (logRecordKey(bodies, recordStart(bodies, layout, index)) !== undefined) count.keys++
      held += recordStart(bodies, layout, index + 1) - recordStart(bodies, layout, index)
    }
    if (held !== bytes) note('state', place, `it counts ${bytes} bytes and holds ${held}`)
  }
  return count
}
