import { mayBeGone } from '../evidence.ts'
import { isCompletion } from '../handling.ts'
import type { Rule } from './rule.ts'

/** A delivery whose handling did not complete is followed by another one or by a dead letter, or the message is there. */
export const atLeastOnce: Rule = function* (evidence) {
  for (const [place, own] of evidence.handled) {
    if (own.some(isCompletion) || evidence.present.has(place)) continue
    const copy = evidence.copies.get(place)
    if (copy === undefined || mayBeGone(evidence, copy)) continue
    const { how, isFenced } = own.at(-1) ?? {}
    yield `message ${place} was begun, its last handling ended with ${isFenced ? 'a lost lock' : how}, and it is gone`
  }
}
