/** What logs forget: by age, by size, and in steps what is left of it in the file. Source: spec streams 9. */
import { logRecordKey } from '../protocol/index.ts'
import { readLayout, recordStart } from '../storage/chunk-format.ts'
import type { StoredChunk } from '../storage/log-store.ts'
import type { Core } from './core.ts'
import type { LogPartition, LogStream } from './log-state.ts'

/** Chunks swept with one commit: each may hold 256 KiB, and no commit is to be held up for more than 10 ms. */
const sweptAtOnce = 16
/** Partitions looked at for rubbish with one commit. */
const lookedAtOnce = 256
/** Chunks forgotten by one look at one partition; the next look follows at once. */
const forgottenAtOnce = 1_000
const seenDroppedAtOnce = 1_000
/** Between two steps of it. */
const seenDropMs = 1_000
/** Ages are looked at no more often, and no more rarely. */
const soonestMs = 50
const latestMs = 600_000

/** The next commit looks at all ages. */
export function forgetSoon(core: Core): void {
  core.agenda.forgetAt(core.monotonic)
}

/** Forgets what is over its time or its size. Behind `writeLogs`, so that the newest chunk is a row. */
export function forget(core: Core, grown: Iterable<LogPartition>): void {
  for (const partition of grown) if (isOver(core, partition)) forgetIn(core, partition)
  if (core.agenda.nextForget > core.monotonic) return
  core.agenda.nextForget = Number.POSITIVE_INFINITY
  for (const stream of core.logs.streams.values()) {
    for (const partition of stream.partitions) {
      if (isOver(core, partition)) forgetIn(core, partition)
      else noteAge(core, partition)
    }
    if (stream.hasSeen) dropSeen(core, stream)
  }
}

/** Whether something may go, or nobody knows. */
function isOver(core: Core, { first, next, bytes, oldestTime, stream }: LogPartition): boolean {
  if (first === next) return false
  if (oldestTime === undefined) return true
  const { maxAgeMs, maxBytes } = stream.options.retention
  return oldestTime + maxAgeMs <= core.now || (Number.isFinite(oldestTime) && bytes > maxBytes)
}

/** Moves the first position over the chunks that may go, never over the newest. */
function forgetIn(core: Core, partition: LogPartition): void {
  const { stream, partition: number } = partition
  const { maxAgeMs, maxBytes } = stream.options.retention
  let { first, bytes } = partition
  let oldestTime: number | undefined
  for (let left = forgottenAtOnce; ; left--) {
    const oldest = core.logs.store.placeFrom(stream.id, number, first)
    if (oldest === undefined || oldest.last + 1 >= partition.next) {
      oldestTime = Number.POSITIVE_INFINITY
      break
    }
    oldestTime = oldest.lastTime
    if ((oldest.lastTime + maxAgeMs > core.now && bytes - oldest.bytes < maxBytes) || left === 0) break
    bytes -= oldest.bytes
    first = oldest.last + 1
  }
  moveFirst(core, partition, first)
  partition.oldestTime = oldestTime
  noteAge(core, partition)
}

/** Everything below `first`, which is where a chunk begins, is forgotten from now on and swept by and by. */
export function moveFirst(core: Core, partition: LogPartition, first: number): void {
  if (first <= partition.first) return
  const { stream, partition: number } = partition
  const bytes = core.logs.store.bytesBetween(stream.id, number, partition.first, first)
  core.file.begin()
  partition.first = first
  partition.bytes -= bytes
  core.liveBytes -= bytes
  partition.oldestTime = undefined
  core.logs.dirty.add(partition)
  core.logs.rubbish.set(`${stream.id}/${number}`, { stream: stream.id, partition: number })
}

/** When the oldest chunk is due by age. */
function noteAge(core: Core, { oldestTime, stream }: LogPartition): void {
  const dueAt = (oldestTime ?? Number.POSITIVE_INFINITY) + stream.options.retention.maxAgeMs
  if (!Number.isFinite(dueAt)) return
  core.agenda.forgetAt(core.monotonic + Math.min(Math.max(dueAt - core.now, soonestMs), latestMs))
}

/** Forgets deduplication keys outside of their window; all of them when the stream has none any more. */
function dropSeen(core: Core, stream: LogStream): void {
  const { deduplicationWindowMs } = stream.options
  const oldest = core.logs.notes.oldestSeen(stream.id)
  stream.hasSeen = oldest !== undefined
  if (oldest === undefined) return
  const waitMs = oldest + deduplicationWindowMs - core.now
  if (waitMs <= 0) {
    core.file.begin()
    core.logs.notes.dropSeen(stream.id, core.now - deduplicationWindowMs, seenDroppedAtOnce)
  }
  core.agenda.forgetAt(core.monotonic + Math.min(Math.max(waitMs, seenDropMs), latestMs))
}

/** Deletes a step of what is forgotten. True when there may be more. */
export function sweep(core: Core): boolean {
  const { logs } = core
  let looks = lookedAtOnce
  for (const [name, { stream: id, partition: number }] of logs.rubbish) {
    if (looks-- === 0) return true
    const stream = logs.streamsById.get(id)
    const below = stream === undefined ? Number.MAX_SAFE_INTEGER : (stream.partitions[number]?.first ?? 0)
    const chunks = logs.store.chunksBelow(id, number, below, sweptAtOnce)
    if (chunks.length > 0 || stream === undefined) core.file.begin()
    for (const chunk of chunks) {
      if (stream === undefined || stream.options.keyIndex) forgetKeys(core, id, number, chunk)
      logs.store.deleteChunk(chunk.id)
    }
    if (chunks.length === sweptAtOnce) return true
    if (stream === undefined) logs.store.deletePartition(id, number)
    logs.rubbish.delete(name)
  }
  return false
}

function forgetKeys(core: Core, stream: number, partition: number, { first, bodies }: StoredChunk): void {
  const layout = readLayout(bodies)
  for (let index = 0; index < (layout?.count ?? 0); index++) {
    if (layout === undefined) return
    const key = logRecordKey(bodies, recordStart(bodies, layout, index))
    if (key !== undefined) core.logs.notes.forgetKey(stream, partition, key, first + index)
  }
}
