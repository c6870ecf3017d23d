import { type Evidence, isFaultBetween, movedAt } from '../evidence.ts'
import { recordsOf } from '../history-record.ts'
import { type Handling, isCompletion, isUncounted } from '../handling.ts'
import type { FullPromises } from '../promises.ts'
import type { Rule } from './rule.ts'

/**
 * An id sent once is stored once: without faults there are no duplicates at all, with faults only redeliveries, counted,
 * of a delivery whose settlement did not become durable.
 */
export const onceIn: Rule = function* (evidence, promises) {
  if (promises.duplicates === 'allowed') return
  const isExcused = (place: string, until: number): boolean =>
    promises.duplicates === 'after-faults' &&
    isFaultBetween(evidence, evidence.copies.get(place)?.step.at ?? -Infinity, until)

  // What is there was written down after that, and not in one moment.
  const lookedAt = recordsOf(evidence.history, 'drained').at(-1)?.at ?? Infinity
  for (const [place, copies] of evidence.present) {
    if (isExcused(place, Infinity)) continue
    if (copies.length > 1) yield `message ${place} is there ${copies.length} times`
    const last = evidence.handled.get(place)?.at(-1)
    if (last === undefined || last.endedAt >= lookedAt) continue
    if (isCompletion(last) && !mayBeUndone(last, Infinity, evidence, promises)) {
      yield `message ${place} was acknowledged and is still there, without a fault since`
    }
  }
  for (const [place, own] of evidence.handled) {
    for (const [index, next] of own.entries()) {
      const before = own[index - 1]
      if (before === undefined || isExcused(place, next.begun.at)) continue
      yield* again(place, before, next, evidence, promises)
    }
  }
}

function* again(
  place: string,
  before: Handling,
  next: Handling,
  evidence: Evidence,
  promises: FullPromises,
): Generator<string> {
  const wasMoved = movedAt(evidence, next.begun) <= next.begun.at
  if (
    promises.attempts !== 'uncounted' &&
    next.begun.attempt === before.begun.attempt &&
    !isUncounted(before) &&
    !wasMoved
  ) {
    yield `message ${place} was begun twice with attempt ${next.begun.attempt}`
  } else if (
    (isCompletion(before) || (before.how === 'dead-letter' && !before.isFenced)) &&
    !wasMoved &&
    !mayBeUndone(before, next.begun.at, evidence, promises)
  ) {
    yield `message ${place} was begun again after its ${before.how}, without a fault that could have undone it`
  }
}

/** Whether a fault may have kept the settlement from becoming durable. */
function mayBeUndone(
  handling: Handling,
  until: number,
  evidence: Evidence,
  { settlesWithinMs }: FullPromises,
): boolean {
  return isFaultBetween(evidence, handling.begun.at, Math.min(until, handling.endedAt + settlesWithinMs))
}
