import { crc32 } from 'node:zlib'
import type { DatabaseSync } from 'node:sqlite'
import { logRecordKey } from '../protocol/index.ts'
import type { FileProblem } from './check-file.ts'
import { readLayout, recordIntact, recordStart, writeBodies } from './chunk-format.ts'
import { attempt, copyTable, reachableKeys } from './damaged-table.ts'
import { firstLogFormat } from './log-schema.ts'
import { LogNoteStore } from './log-note-store.ts'
import { LogStore, type PartitionRow } from './log-store.ts'
import { type Cell, prepare } from './statement.ts'

/** A run of whole records as it lies in its chunk: from one index up to, not including, the other. */
type Run = readonly [from: number, to: number]

/**
 * Copies what can be read of the logs. Records keep their positions; a damaged one is left out and reported, and its
 * neighbours stay readable around the gap. Key indexes are made anew. Returns the number of records copied.
 */
export function salvageLogs(from: DatabaseSync, to: DatabaseSync, problems: FileProblem[]): number {
  const version = attempt(() => prepare<readonly [number]>(from, 'pragma user_version').first()?.[0]) ?? 0
  if (version < firstLogFormat) return 0
  copyTable(from, to, 'stream', ['id', 'name', 'options'], problems)
  to.exec("update stream set options = '{}' where not json_valid(options)")
  copyTable(from, to, 'log_producer', ['stream', 'name', 'epoch', 'last_sequence'], problems)
  const place = ['partition', 'position', 'time'] as const
  copyTable(from, to, 'log_produced', ['stream', 'name', 'sequence', ...place], problems)
  copyTable(from, to, 'log_seen', ['stream', 'hash', 'at', ...place], problems)
  to.exec("insert or replace into meta (name, value) select 'next_stream', coalesce(max(id), 0) + 1 from stream")
  const target = new LogStore(to)
  const notes = new LogNoteStore(to)
  const options = new Map(
    target
      .streams()
      .map(({ id, options: text }) => [id, JSON.parse(text) as { keyIndex?: boolean; partitions?: number }]),
  )
  const rows = new Map<string, { -readonly [K in keyof PartitionRow]: number }>()
  const partitions = 'select stream, partition, first, next, last_time from log_partition'
  for (const [stream, partition, first, next, lastTime] of attempt(() =>
    prepare<readonly [number, number, number, number, number]>(from, partitions).all(),
  ) ?? []) {
    if (options.has(stream)) rows.set(`${stream}/${partition}`, { stream, partition, first, next, lastTime, bytes: 0 })
  }
  for (const [stream, { partitions = 1 }] of options) {
    for (let partition = 0; partition < partitions; partition++) {
      const name = `${stream}/${partition}`
      if (!rows.has(name)) rows.set(name, { stream, partition, first: 1, next: 1, lastTime: 0, bytes: 0 })
    }
  }
  const read = prepare<readonly [number, number, number, number, number, Uint8Array]>(
    from,
    'select stream, partition, first, last, last_time, bodies from log_chunk where id = ?',
  )
  let records = 0
  for (const id of reachableKeys(from, 'log_chunk', 'id', problems)) {
    const chunk = attempt(() => read.first(id))
    if (chunk === undefined) {
      const where = attempt(() => prepare<readonly Cell[]>(from, placeOfChunk).first(id))?.join('/')
      problems.push({ kind: 'structure', where: `log chunk ${where ?? id}`, detail: 'its records cannot be read' })
      continue
    }
    const [stream, partition, first, last, lastTime, stored] = chunk
    const row = rows.get(`${stream}/${partition}`)
    if (row === undefined || first < row.first) continue
    const bodies = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength)
    for (const [start, end] of wholeRuns(bodies, first, last, problems, `log ${stream}/${partition}`)) {
      const part = cut(bodies, start, end)
      const at = first + start
      target.insertChunk(
        stream,
        partition,
        { first: at, last: first + end - 1, lastTime, bytes: part.bytes },
        part.bodies,
      )
      if (options.get(stream)?.keyIndex === true) {
        for (const [index, key] of part.keys.entries()) {
          if (key !== undefined) notes.noteKey(stream, partition, key, at + index)
        }
      }
      row.bytes += part.bytes
      records += end - start
    }
    row.next = Math.max(row.next, last + 1)
    row.lastTime = Math.max(row.lastTime, lastTime)
  }
  for (const row of rows.values()) target.putPartition(row)
  to.exec("insert or replace into meta (name, value) values ('log_gaps', 1)")
  return records
}

const placeOfChunk = 'select stream, partition, first, last from log_chunk where id = ?'

function wholeRuns(
  bodies: Buffer,
  first: number,
  last: number,
  problems: FileProblem[],
  where: string,
): readonly Run[] {
  const layout = readLayout(bodies)
  if (layout === undefined || layout.count !== last - first + 1) {
    problems.push({ kind: 'structure', where, detail: `positions ${first} to ${last} cannot be read` })
    return []
  }
  const runs: Run[] = []
  let start = 0
  for (let index = 0; index <= layout.count; index++) {
    if (index < layout.count && recordIntact(bodies, layout, index)) continue
    if (index > start) runs.push([start, index])
    start = index + 1
    if (index === layout.count) break
    const detail = `the record at position ${first + index} is damaged and was left out`
    problems.push({ kind: 'checksum', where, detail })
  }
  return runs
}

function cut(
  bodies: Buffer,
  start: number,
  end: number,
): { readonly bodies: Buffer; readonly bytes: number; readonly keys: readonly (string | undefined)[] } {
  const layout = readLayout(bodies)
  if (layout === undefined) throw new Error('a run of records has no layout')
  const ends: number[] = []
  const crcs: number[] = []
  const keys: (string | undefined)[] = []
  const from = recordStart(bodies, layout, start)
  for (let index = start; index < end; index++) {
    const recordFrom = recordStart(bodies, layout, index)
    const recordEnd = recordStart(bodies, layout, index + 1)
    ends.push(recordEnd - from)
    crcs.push(crc32(bodies.subarray(recordFrom, recordEnd)))
    keys.push(logRecordKey(bodies, recordFrom))
  }
  const records = bodies.subarray(from, recordStart(bodies, layout, end))
  return { bodies: writeBodies(records, ends, crcs, end - start), bytes: records.length, keys }
}
