/** What is looked at from time to time: silent sessions, windows that end, queues nobody uses. */
import { BuzzerError } from '../../message/index.ts'
import type { Core } from './core.ts'
import type { Queue } from './queue.ts'
import { endReclaim } from './reload.ts'
import { endSession } from './sessions.ts'
import { endDeliveries } from './settle.ts'
import type { Session } from './session.ts'
import { deleteQueue } from './topology.ts'

const seenDropMs = 60_000

/** Begins, or goes without, the window for sessions of the owner before. */
export function watchReclaim(core: Core): void {
  if (core.reclaiming && core.openBefore.length > 0) core.agenda.watchAt(core.reclaimUntil)
  else endReclaim(core, 'time-is-up')
  core.agenda.watchAt(core.monotonic)
}

/** Does what is due by the monotonic clock and says when to look again. */
export function lookAround(core: Core): void {
  const { agenda, monotonic } = core
  if (agenda.nextWatch > monotonic) return
  // Late by more than a beat: it was this process that stood still. Everyone gets a full term before being judged.
  const { lockMs } = core.options
  const stoodStill = monotonic - core.lookedAt > lockMs / 2 + lockMs / 5 && core.lookedAt > 0
  core.lookedAt = monotonic
  let next = monotonic + lockMs / 5
  if (core.reclaiming) {
    if (monotonic >= core.reclaimUntil) endReclaim(core, 'time-is-up')
    else next = Math.min(next, core.reclaimUntil)
  }
  for (const session of core.sessions.values()) {
    if (stoodStill) session.heardAt = monotonic
    if (session.goneAt <= monotonic) endSession(core, session, 'session-ended')
    else if (monotonic - session.heardAt > lockMs) giveUp(core, session)
    next = Math.min(next, session.goneAt)
  }
  for (const due of core.deadReturns) {
    if (due.at > monotonic) next = Math.min(next, due.at)
    else {
      due.queue.deadOpen.delete(due.sequence)
      core.toDispatch.add(due.queue)
    }
  }
  core.deadReturns = core.deadReturns.filter(({ at }) => at > monotonic)
  for (const queue of core.queues.values()) next = Math.min(next, lookAtQueue(core, queue))
  if (core.sessions.size === 0 && next === monotonic + lockMs / 5) next = Number.POSITIVE_INFINITY
  agenda.nextWatch = next
}

/** A session silent beyond `lockMs`: its locks fall, and its connection ends, so that nothing new goes to it meanwhile. */
function giveUp(core: Core, session: Session): void {
  for (const receiver of session.receivers.values()) receiver.state = 'paused'
  endDeliveries(core, session, 'lock-lost', () => true)
  const { connection } = session
  session.connection = undefined
  session.goneAt = core.monotonic
  connection?.close()
}

/** Deletes a queue that nobody has used for too long. Returns when to look again. */
function lookAtQueue(core: Core, queue: Queue): number {
  const { expiresAfterIdleMs, deduplicationWindowMs } = queue.settings
  if (deduplicationWindowMs > 0 && core.monotonic - queue.seenDroppedAt >= seenDropMs) {
    queue.seenDroppedAt = core.monotonic
    core.file.begin()
    core.seen.dropOld(queue.id, deduplicationWindowMs, core.now)
  }
  if (!Number.isFinite(expiresAfterIdleMs)) return Number.POSITIVE_INFINITY
  if (queue.receivers.length > 0 || queue.deadReceivers.length > 0) {
    queue.usedAt = core.monotonic
    return core.monotonic + expiresAfterIdleMs
  }
  const at = queue.usedAt + expiresAfterIdleMs
  if (at > core.monotonic) return at
  const error = new BuzzerError(
    'BUZZER_QUEUE_NOT_FOUND',
    `queue ${JSON.stringify(queue.name)} was not used and is gone`,
    {
      details: { queue: queue.name },
    },
  )
  deleteQueue(core, queue, error)
  return Number.POSITIVE_INFINITY
}
