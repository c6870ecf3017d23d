import { type Evidence, type Fault, movedAt } from '../evidence.ts'
import { type Handling, isUncounted } from '../handling.ts'
import type { FullPromises } from '../promises.ts'
import type { Rule } from './rule.ts'

/**
 * `attempt` rises by one with each counted delivery, by at most one more for each fault: one delivery may have been counted
 * whose handler was never reached. Releases and parking do not count, a redrive begins anew.
 */
export const count: Rule = function* (evidence, promises) {
  if (promises.attempts === 'uncounted') return
  for (const [place, own] of evidence.handled) {
    const limit = promises.maxDeliveries[own[0]?.begun.queue ?? ''] ?? Infinity
    let before: Handling | undefined
    for (const handling of own) {
      const { attempt } = handling.begun
      if (attempt > limit) yield `message ${place} was begun with attempt ${attempt}, the limit is ${limit}`
      const from = before?.begun.at ?? evidence.copies.get(place)?.step.at ?? -Infinity
      const isMoved = movedAt(evidence, handling.begun) <= handling.begun.at
      const last = before?.begun.attempt ?? 0
      const least = before !== undefined && isUncounted(before) ? last : last + 1
      const most =
        promises.attempts === 'rising' ? Infinity : least + lossesBetween(evidence, from, handling.begun.at, promises)
      // One that stands still is told as a duplicate.
      if (!isMoved && attempt < least && !(before !== undefined && attempt === last)) {
        yield `message ${place} was begun with attempt ${attempt} after attempt ${last}`
      } else if (attempt > most) {
        yield `message ${place} went from attempt ${last} to ${attempt}, at most ${most} was possible`
      }
      before = handling
    }
  }
  if (promises.attempts === 'counted') yield* ofWhatIsThere(evidence, promises)
}

function* ofWhatIsThere(evidence: Evidence, promises: FullPromises): Generator<string> {
  for (const [place, copies] of evidence.present) {
    const last = evidence.handled.get(place)?.at(-1)
    for (const record of copies) {
      if (record.attempt === undefined || movedAt(evidence, record) < Infinity) continue
      const begun = last?.begun.attempt ?? 0
      const least = last !== undefined && isUncounted(last) ? begun - 1 : begun
      const from = last?.begun.at ?? evidence.copies.get(place)?.step.at ?? -Infinity
      const most = begun + lossesBetween(evidence, from, Infinity, promises)
      if (record.attempt >= least && record.attempt <= most) continue
      yield `message ${place} counts ${record.attempt} deliveries, between ${least} and ${most} were seen`
    }
  }
}

/** What may have cost a delivery that nobody saw. */
function lossesBetween({ faults }: Evidence, from: number, to: number, { noticesDeathWithinMs }: FullPromises): number {
  const endOf = (fault: Fault): number => (fault.what === 'death' ? fault.to + noticesDeathWithinMs : fault.to)
  return faults.filter(fault => fault.from <= to && endOf(fault) >= from).length
}
