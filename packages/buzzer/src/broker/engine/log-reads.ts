import { BuzzerError } from '../../message/index.ts'
import { logPosition, logTrimmed, type ReadResult } from '../../transport/index.ts'
import { beginRecords, endRecords, type Request, toWireError, writeFailure, writeLogRecord } from '../protocol/index.ts'
import { sqliteCode } from '../storage/broker-file.ts'
import { readLayout, recordIntact, recordStart } from '../storage/chunk-format.ts'
import type { Core } from './core.ts'
import type { LogPartition } from './log-state.ts'
import type { Session } from './session.ts'

/** A connection that has so much unsent is given no further records until it has taken some. */
const maxUnsentBytes = 1024 * 1024
/** Reads of one session that may wait; more is a client gone wild. */
const maxWaiting = 10_000

/** A read of a session, from its request to its answer. */
export interface LogRead {
  readonly session: Session
  readonly requestId: number
  readonly request: Extract<Request, { call: 'log-read' }>
  /** Where it waits, once that is known. */
  position: number | undefined
  /** `log-unread` came: it is answered with whatever there is. */
  ended: boolean
}

/** Notes a read; it is answered from what the commit of the moment leaves, after that. */
export function beginRead(core: Core, session: Session, requestId: number, request: LogRead['request']): void {
  if (session.reads.size >= maxWaiting) {
    throw new BuzzerError('BUZZER_BROKER_FULL', `${maxWaiting} reads of this transport wait already`, {
      details: { limit: maxWaiting },
    })
  }
  // Asked again after a rolled back transaction.
  const before = session.reads.get(request.readId)
  if (before !== undefined) forget(core, before)
  const read: LogRead = { session, requestId, request, position: undefined, ended: false }
  session.reads.set(request.readId, read)
  core.readsToServe.add(read)
}

export function endRead(core: Core, session: Session, readId: number): void {
  const read = session.reads.get(readId)
  if (read === undefined) return
  read.ended = true
  core.readsToServe.add(read)
}

/** The connection is gone: its client asks again over the next. */
export function dropReads(core: Core, session: Session): void {
  for (const read of session.reads.values()) forget(core, read)
}

function forget(core: Core, read: LogRead): void {
  const { session, request } = read
  if (session.reads.get(request.readId) === read) session.reads.delete(request.readId)
  core.readsToServe.delete(read)
  const name = placeName(request.stream, request.partition)
  const waiting = core.readsWaiting.get(name)
  waiting?.delete(read)
  if (waiting?.size === 0) core.readsWaiting.delete(name)
}

/** Wakes the reads that wait for this partition. */
export function wakeReads(core: Core, stream: string, partition: number): void {
  for (const read of core.readsWaiting.get(placeName(stream, partition)) ?? []) core.readsToServe.add(read)
}

/** The connection takes frames again. */
export function resumeReads(core: Core, session: Session): void {
  for (const read of session.reads.values()) core.readsToServe.add(read)
}

/** Answers what can be answered. After the commit, so that nobody reads what may still be undone. */
export function serveReads(core: Core): void {
  for (const read of core.readsToServe) {
    core.readsToServe.delete(read)
    const { session } = read
    const { connection, out } = session
    if (connection === undefined) continue
    if (out.length > maxUnsentBytes) {
      // Its own answers of this round fill the frame: the rest comes with the next.
      core.readsToServe.add(read)
      core.options.onWork()
      return
    }
    // `drained` brings it back.
    if (connection.bufferedBytes > maxUnsentBytes) continue
    serve(core, read)
  }
}

function serve(core: Core, read: LogRead): void {
  const { session, requestId, request } = read
  const mark = session.out.length
  try {
    const partition = core.logs.partition(request.stream, request.partition)
    read.position ??= resolve(core, partition, request.from)
    const { position } = read
    const { first, next: end } = partition
    if (position < first) throw logTrimmed(request.stream, request.partition, position, first)
    if (position > end) throw logPosition(request.stream, request.partition, position, end)
    if (position === end && request.wait === true && !read.ended) return wait(core, read)
    writeRecords(core, read, partition, position)
  } catch (error) {
    if (!(error instanceof BuzzerError) || sqliteCode(error) !== undefined) throw error
    session.out.rewind(mark)
    writeFailure(session.out, requestId, toWireError(error))
  }
  forget(core, read)
}

function wait(core: Core, read: LogRead): void {
  const name = placeName(read.request.stream, read.request.partition)
  const waiting = core.readsWaiting.get(name)
  if (waiting === undefined) core.readsWaiting.set(name, new Set([read]))
  else waiting.add(read)
}

function resolve(core: Core, partition: LogPartition, from: LogRead['request']['from']): number {
  if (typeof from === 'number') return from
  if (from === 'start') return partition.first
  if (from === 'end') return partition.next
  return positionOf(core, partition, from.time)
}

/** The first position whose time is at or after `time`: a search over positions that reads no records. */
function positionOf(core: Core, partition: LogPartition, time: number): number {
  const { stream, partition: number } = partition
  let low = partition.first
  let high = partition.next
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    const place = core.logs.store.placeAt(stream.id, number, middle)
    // All records of a chunk have one time.
    if (place === undefined || place.last < low || place.lastTime < time) low = Math.max(place?.last ?? 0, middle) + 1
    else high = Math.max(low, place.first)
  }
  return Math.min(low, partition.next)
}

function writeRecords(core: Core, read: LogRead, partition: LogPartition, from: number): void {
  const { session, requestId, request } = read
  const { first, next: end, stream, partition: number } = partition
  const start = beginRecords(session.out, requestId)
  let position = from
  let count = 0
  let bytes = 0
  reading: while (position < end) {
    const at = core.logs.store.placeAt(stream.id, number, position)
    const place = at !== undefined && at.last >= position ? at : core.logs.store.placeFrom(stream.id, number, position)
    if (place === undefined) {
      position = end
      break
    }
    position = Math.max(position, place.first)
    const chunk = core.logs.store.chunk(stream.id, number, place.first)
    const layout = chunk === undefined ? undefined : readLayout(chunk.bodies)
    for (; position <= place.last; position++) {
      const index = position - place.first
      if (chunk === undefined || layout === undefined || !recordIntact(chunk.bodies, layout, index)) {
        // What is whole before it goes out; who reads on from there meets the damage.
        if (count > 0) break reading
        throw damaged(request.stream, number, position)
      }
      const recordFrom = recordStart(chunk.bodies, layout, index)
      const recordEnd = recordStart(chunk.bodies, layout, index + 1)
      bytes += recordEnd - recordFrom
      if (count >= request.maxRecords || (count > 0 && bytes > request.maxBytes)) break reading
      writeLogRecord(session.out, position, chunk.bodies, recordFrom, recordEnd)
      count++
    }
  }
  endRecords(session.out, start, { next: position, first, end } satisfies Omit<ReadResult, 'records'>, count)
}

function damaged(stream: string, partition: number, position: number): BuzzerError {
  return new BuzzerError(
    'BUZZER_FILE_DAMAGED',
    `the record at position ${position} of ${stream}/${partition} is damaged; those around it can be read. Check the file, restore a backup or salvage it`,
    { details: { stream, partition, position } },
  )
}

function placeName(stream: string, partition: number): string {
  return `${partition}/${stream}`
}
