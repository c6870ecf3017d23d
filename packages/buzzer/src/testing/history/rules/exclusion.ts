import { type Evidence, type Fault, placeOf } from '../evidence.ts'
import type { Handling } from '../handling.ts'
import type { FullPromises } from '../promises.ts'
import { laneOf } from './lane.ts'
import type { Rule } from './rule.ts'

/**
 * Two handlings of one message, or of one key, overlap only if the earlier one's process was dead, was stopped beyond its
 * lock, or was cut off from the broker.
 */
export const exclusion: Rule = function* (evidence, promises) {
  if (promises.exclusion === 'none') return
  for (const [place, own] of evidence.handled) yield* overlaps(`message ${place}`, own, evidence, promises)
  if (promises.exclusion !== 'key') return
  const lanes = Map.groupBy(evidence.handlings, ({ begun }) => laneOf(begun, promises))
  for (const [lane, own] of lanes) {
    if (lane === undefined) continue
    for (const what of overlaps(`lane ${lane}`, own, evidence, promises)) yield what
  }
}

function* overlaps(
  what: string,
  own: readonly Handling[],
  evidence: Evidence,
  promises: FullPromises,
): Generator<string> {
  let running: readonly Handling[] = []
  for (const next of own) {
    const { at } = next.begun
    running = running.filter(({ endedAt }) => endedAt > at)
    // One sentence a pair; of a lane only pairs of different messages, the others are told with their message.
    for (const { begun } of running.filter(earlier => !hasLostLock(earlier, at, evidence.faults, promises))) {
      if (what.startsWith('lane') && placeOf(begun) === next.place) continue
      yield `${what}: ${next.begun.id} began in ${next.begun.process} while ${begun.id} ran in ${begun.process}`
    }
    running = [...running, next]
  }
}

/** Whether the broker may have taken the lock away before `at`. */
function hasLostLock(
  { begun, endedAt }: Handling,
  at: number,
  faults: readonly Fault[],
  { lockMs, stallMs }: FullPromises,
): boolean {
  return faults.some(({ what, process, from, to }) => {
    if (process !== undefined && process !== begun.process) return false
    // Beats stop with the process: its silence may have begun before the handling did.
    const silentMs = Math.min(at, to) - from
    switch (what) {
      case 'death':
        return from <= at && endedAt <= at
      case 'cut':
        return from >= begun.at && from <= at
      case 'stop':
        return from <= at && to >= begun.at && silentMs >= lockMs
      case 'stall':
        return from <= at && to >= begun.at && silentMs >= stallMs
      default:
        return what satisfies never
    }
  })
}
