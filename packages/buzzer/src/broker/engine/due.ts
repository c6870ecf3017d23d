/** What the clock brings: scheduled messages, delayed retries, expiry. */
import { recordDeduplicationKey } from '../protocol/index.ts'
import { type AsideRow, asideKinds } from '../storage/aside-store.ts'
import { mark } from '../storage/chunk-format.ts'
import { seenHash } from '../storage/seen-store.ts'
import type { Chunk } from './chunk.ts'
import type { Core } from './core.ts'
import { enqueueRecord } from './enqueue.ts'
import { buryDamaged, expire, expiryOf, readRecord } from './message-life.ts'
import type { Queue } from './queue.ts'

/** Messages that fall due in one commit; the rest follows in the next. */
const dueLimit = 5_000
const expiryLimit = 1_000
const jumpMs = 1_000
/** Later than any message expires, and still a finite number: "look at it when it comes back". */
const farAway = 8.64e15

/** The wall clock jumped: retries wait on the monotonic one, so their due times move with it. */
export function followClock(core: Core, jump: number): void {
  if (Math.abs(jump) < jumpMs) return
  core.counters.clockJumps++
  core.options.report('warn', { jumpMs: Math.round(jump) }, 'the wall clock jumped; retries and locks are not affected')
  core.file.begin()
  core.chunks.shiftHeld(jump)
  core.agenda.nextDue = Math.min(core.aside.nextDue(), core.chunks.nextHeld())
  core.agenda.nextExpiry = Math.min(core.agenda.nextExpiry, core.now)
}

export function bringDue(core: Core): void {
  if (core.agenda.nextDue > core.now) return
  for (const row of core.aside.due(core.now, dueLimit)) {
    const body = core.aside.body(row.sequence)
    core.file.begin()
    core.aside.delete(row.sequence)
    core.liveBytes -= row.bytes
    const queue = core.queuesById.get(row.queue)
    if (queue !== undefined) {
      queue.counts.scheduled--
      queue.counts.bytes -= row.bytes
    }
    if (body?.intact !== true) {
      const [home] = row.destination === null ? [queue] : boundTo(core, row.destination)
      if (home !== undefined) buryDamaged(core, home, row, body?.record ?? Buffer.alloc(0))
      continue
    }
    if (row.destination === null) {
      if (queue !== undefined) enqueueRecord(core, queue, body.record)
    } else publishDue(core, row.destination, body.record)
  }
  for (const [sequence, queueId] of core.chunks.dueHeld(core.now, dueLimit)) {
    core.file.begin()
    core.chunks.unhold(sequence)
    const queue = core.queuesById.get(queueId)
    const place = queue?.place(sequence)
    if (queue === undefined || place === undefined) continue
    const { chunk, index } = place
    const word = chunk.marks[index] as number
    if ((word & mark.held) === 0) continue
    chunk.marks[index] = word & ~mark.held
    core.touch(chunk)
    queue.counts.scheduled--
    queue.counts.ready++
    core.toDispatch.add(queue)
    queue.order.giveBack(chunk, index)
  }
  core.agenda.nextDue = Math.min(core.aside.nextDue(), core.chunks.nextHeld())
}

/** The queues bound to the topics of a destination, whatever they ask of a message. */
function boundTo(core: Core, destination: string): readonly Queue[] {
  const bytes = Buffer.from(destination)
  const target = core.routes.target(bytes, 0, bytes.length)
  if ('queue' in target) return []
  return target.topics.flatMap(topic => core.routes.of(topic)).flatMap(({ queue }) => core.queuesById.get(queue) ?? [])
}

/** A scheduled publish is routed by the bindings of this moment; each queue judges its own window. */
function publishDue(core: Core, destination: string, record: Buffer): void {
  const bytes = Buffer.from(destination)
  const target = core.routes.target(bytes, 0, bytes.length)
  if ('queue' in target) return
  const key = recordDeduplicationKey(record, 0)
  for (const id of core.routes.accepting(target, record, 0)) {
    const queue = core.queuesById.get(id)
    if (queue === undefined) continue
    const windowMs = queue.settings.deduplicationWindowMs
    if (key !== undefined && windowMs > 0) {
      const hash = seenHash(key)
      if (core.seen.has(id, hash, windowMs, core.now)) continue
      core.seen.note(id, hash, windowMs, core.now)
    }
    queue.usedAt = core.monotonic
    enqueueRecord(core, queue, record)
  }
}

/** Ends what has expired, wherever it stands. Returns whether it looked: then `nextExpiry` must be read anew after the writes. */
export function bringExpiry(core: Core): boolean {
  if (!core.agenda.expiryIsDue(core.now, core.monotonic)) return false
  for (const [queueId, lane, id] of core.chunks.expiring(core.now, expiryLimit)) {
    const queue = core.queuesById.get(queueId)
    const chunk = queue?.chunk(lane, id)
    if (queue !== undefined && chunk !== undefined) expireChunk(core, queue, chunk)
  }
  for (const [sequence, kind] of core.aside.expiring(core.now, dueLimit)) {
    const row = core.aside.get(kind === asideKinds.dead ? asideKinds.dead : asideKinds.scheduled, sequence)
    if (row !== undefined) expireAside(core, row)
  }
  for (const [collection, id] of core.records.expire(core.now, expiryLimit)) {
    core.file.begin()
    core.changedRecords.add(JSON.stringify([collection, id]))
  }
  return true
}

export function readNextExpiry(core: Core): void {
  core.agenda.nextExpiry = Math.min(core.chunks.nextExpiry(), core.aside.nextExpiry(), core.records.nextExpiry())
}

function expireChunk(core: Core, queue: Queue, chunk: Chunk): void {
  let next = Number.POSITIVE_INFINITY
  for (let index = 0; index < chunk.count; index++) {
    const word = chunk.marks[index] as number
    if (word & mark.gone) continue
    if (word & (mark.open | mark.parked)) {
      next = Math.min(next, farAway)
      continue
    }
    const place = readRecord(core, chunk, index)
    const expires = expiryOf(queue, chunk, place)
    if (expires > core.now) {
      next = Math.min(next, expires)
      continue
    }
    if (word & mark.held) {
      core.file.begin()
      core.chunks.unhold(chunk.id + index)
      expire(core, queue, chunk, index, place, 'scheduled')
      queue.order.settled(chunk, index)
    } else expire(core, queue, chunk, index, place, 'ready')
  }
  chunk.expires = next
  core.touch(chunk)
  core.toDispatch.add(queue)
}

function expireAside(core: Core, row: AsideRow): void {
  const queue = core.queuesById.get(row.queue)
  const wasDead = row.deadAt !== null
  if (wasDead && queue?.deadOpen.has(row.sequence) === true) return
  core.file.begin()
  const body = core.aside.body(row.sequence)
  core.aside.delete(row.sequence)
  if (!wasDead) core.counters.expired++
  if (queue === undefined) {
    core.liveBytes -= row.bytes
    return
  }
  queue.counts[wasDead ? 'dead' : 'scheduled']--
  if (!wasDead && queue.settings.deadLetterExpired && body !== undefined) {
    const expires = core.now + queue.settings.deadLetterTtlMs
    const dead: AsideRow = {
      ...row,
      due: null,
      expires: Number.isFinite(expires) ? expires : null,
      reason: body.intact ? 'expired' : 'damaged',
      deadAt: core.now,
    }
    core.aside.insert(asideKinds.dead, dead, body.record)
    queue.counts.dead++
    core.toDispatch.add(queue)
    return
  }
  queue.counts.bytes -= row.bytes
  core.liveBytes -= row.bytes
}
