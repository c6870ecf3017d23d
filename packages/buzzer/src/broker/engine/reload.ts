/** Builds what is in memory from the file: at the start, and when a transaction was rolled back. */
import type { QueueLimits } from '../../transport/index.ts'
import { asideKinds } from '../storage/aside-store.ts'
import type { TouchedChunk } from '../storage/chunk-store.ts'
import { mark } from '../storage/chunk-format.ts'
import { isSparse } from './compact.ts'
import type { Core } from './core.ts'
import { forgetSoon } from './log-keeping.ts'
import { freeUnclaimed } from './message-life.ts'
import { Queue } from './queue.ts'
import { makeBinding } from './routes.ts'

/** Reads queues, bindings and counts. Receivers of queues that are known stay. */
export function reload(core: Core): void {
  core.queues.clear()
  const known = new Map(core.queuesById)
  core.queuesById.clear()
  for (const row of core.topology.queues()) {
    const declared = JSON.parse(row.options) as QueueLimits
    const queue = known.get(row.id) ?? new Queue(row.id, row.name, declared, core.chunks)
    queue.setOptions(declared)
    queue.usedAt = core.monotonic
    Object.assign(queue.counts, { ready: 0, locked: 0, scheduled: 0, parked: 0, dead: 0, bytes: 0 })
    core.queues.set(queue.name, queue)
    core.queuesById.set(queue.id, queue)
    core.toDispatch.add(queue)
  }
  core.routes.clear()
  for (const { topic, queue, match, exclusive } of core.topology.bindings()) {
    core.routes.add(makeBinding(topic, queue, exclusive, match === '' ? undefined : JSON.parse(match)))
  }
  readCounts(core)
  core.liveBytes += core.logs.reload()
  forgetSoon(core)
  core.records.reload()
  core.resetSequences()
  readAgenda(core)
}

function noteTouched(core: Core, { queue, lane, id, count, live, open }: TouchedChunk): void {
  if (open > 0) core.openBefore.push([queue, lane, id])
  if (isSparse(live, count)) core.sparse.set(id, { queue, lane })
}

function readCounts(core: Core): void {
  core.liveBytes = 0
  core.openBefore = []
  const lanes = new Map<number, Set<number>>()
  for (const { queue: id, lane, ready, open, held, parked, bytes } of core.chunks.summaries(chunk =>
    noteTouched(core, chunk),
  )) {
    const queue = core.queuesById.get(id)
    if (queue === undefined) continue
    queue.counts.ready += ready
    queue.counts.locked += open
    queue.counts.scheduled += held
    queue.counts.parked += parked
    queue.counts.bytes += bytes
    core.liveBytes += bytes
    const known = lanes.get(id)
    if (known === undefined) lanes.set(id, new Set([lane]))
    else known.add(lane)
  }
  for (const [id, kind, count, bytes] of core.aside.counts()) {
    core.liveBytes += bytes
    const queue = core.queuesById.get(id)
    if (queue === undefined) continue
    if (kind === asideKinds.dead) queue.counts.dead += count
    else queue.counts.scheduled += count
    queue.counts.bytes += bytes
  }
  for (const queue of core.queuesById.values()) queue.reload(lanes.get(queue.id) ?? new Set())
}

function readAgenda(core: Core): void {
  core.agenda.nextDue = Math.min(core.aside.nextDue(), core.chunks.nextHeld())
  core.agenda.nextExpiry = Math.min(core.chunks.nextExpiry(), core.aside.nextExpiry(), core.records.nextExpiry())
}

/** After a rollback: the open deliveries of this engine are found again in the chunks as the file has them. */
export function relinkDeliveries(core: Core): void {
  const { deliveries } = core
  for (const queue of core.queues.values()) queue.deadOpen.clear()
  for (const { queue, sequence } of core.deadReturns) queue.deadOpen.add(sequence)
  for (const slot of deliveries.slots(() => true)) {
    const { queue } = deliveries.receiver(slot)
    const old = deliveries.chunk(slot)
    const index = deliveries.index(slot)
    if (old === undefined) {
      queue.deadOpen.add(index)
      continue
    }
    const place = queue.place(old.id + index)
    const word = place === undefined ? 0 : (place.chunk.marks[place.index] as number)
    if (place === undefined || (word & mark.open) === 0) {
      deliveries.free(slot)
      continue
    }
    place.chunk.marks[place.index] = word | mark.ours
    place.chunk.open++
    if ((word & mark.deaths) >= 2 * mark.deathUnit) queue.suspectsOpen++
    deliveries.relink(slot, place.chunk)
  }
  deliveries.confirm()
}

/**
 * The window for sessions of the owner before is over: what nobody came back to is ready again. It counts, unless that owner
 * closed in good order and all have returned: then it never reached anybody.
 */
export function endReclaim(core: Core, why: 'all-returned' | 'time-is-up'): void {
  const ending = core.file.handedOver && why === 'all-returned' ? 'release' : 'session-ended'
  core.reclaiming = false
  for (const [queueId, lane, id] of core.openBefore) {
    const queue = core.queuesById.get(queueId)
    const chunk = queue?.chunk(lane, id)
    if (queue !== undefined && chunk !== undefined) freeUnclaimed(core, queue, chunk, ending)
  }
  core.openBefore = []
  for (const queue of core.queuesById.values()) core.toDispatch.add(queue)
}
