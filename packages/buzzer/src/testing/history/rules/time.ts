import { isFaultBetween } from '../evidence.ts'
import { recordsOf } from '../history-record.ts'
import type { Rule } from './rule.ts'

/** The broker judged by one clock and the handler's record tells another, if a jump fell so close before it. */
const jumpMs = 1_000

/** Nothing before its due time, nothing after its expiry, no retry before its delay is over. */
export const time: Rule = function* (evidence, { earlyByMs, expiredByMs }) {
  const jumps = recordsOf(evidence.history, 'jumped')
  /** The clock has been there once: a message that comes again need not wait until a clock that was set back is there again. */
  const wasDue = new Set<string>()
  for (const { begun, place } of evidence.handlings) {
    const { due, expires } = evidence.copies.get(place)?.message ?? {}
    const isDue = due === undefined || begun.wall >= due - earlyByMs
    if (isDue) wasDue.add(place)
    if (jumps.some(({ at }) => at <= begun.at && begun.at - at < jumpMs)) continue
    if (!isDue && !wasDue.has(place)) yield `message ${place} began ${due - begun.wall} ms before it was due`
    const lateMs = begun.wall - (expires ?? Infinity)
    // What was handed out in time is locked, and may begin late in a process that was stopped meanwhile.
    if (lateMs > expiredByMs && !isFaultBetween(evidence, begun.at - lateMs, begun.at)) {
      yield `message ${place} began ${lateMs} ms after it had expired`
    }
  }
  for (const [place, own] of evidence.handled) {
    for (const [index, { answer, isFenced }] of own.entries()) {
      const next = own[index + 1]
      if (next === undefined || answer?.delayMs === undefined || isFenced) continue
      const earlyMs = answer.at + answer.delayMs - next.begun.at
      // A retry that a fault undid is a lost lock.
      if (earlyMs <= earlyByMs || isFaultBetween(evidence, answer.at, next.begun.at)) continue
      yield `message ${place} came back ${earlyMs} ms before the delay of its retry was over`
    }
  }
}
