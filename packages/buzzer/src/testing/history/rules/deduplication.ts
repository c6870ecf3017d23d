import { type Copy, type Evidence, wasSeen } from '../evidence.ts'
import type { Rule } from './rule.ts'

/** Of equal keys in a window exactly one is stored. That it is one at least, `durability` says. */
export const deduplication: Rule = function* (evidence) {
  for (const equal of evidence.equals.values()) {
    const stored = equal.filter(({ place }) => wasSeen(evidence, place))
    for (const [index, later] of stored.entries()) {
      const earlier = stored.slice(0, index).find(other => isInOneWindow(other, later, evidence))
      if (earlier === undefined) continue
      const { deduplicate } = later.message
      yield `messages ${earlier.place} and ${later.place} have key ${deduplicate?.key}, within ${deduplicate?.windowMs} ms, and both are stored`
    }
  }
}

/** Whenever in their calls the two were accepted, it was within the window; and no cancellation made the key free again. */
function isInOneWindow(a: Copy, b: Copy, evidence: Evidence): boolean {
  const spanMs = Math.max(acceptedBy(a, evidence), acceptedBy(b, evidence)) - Math.min(a.step.at, b.step.at)
  const isCancelled = evidence.operations.some(
    ({ op, ids }) => op === 'cancel' && (ids?.includes(a.message.id) || ids?.includes(b.message.id)),
  )
  return spanMs <= (b.message.deduplicate?.windowMs ?? 0) && !isCancelled
}

function acceptedBy({ step, place }: Copy, { handled }: Evidence): number {
  return Math.min(step.endedAt, handled.get(place)?.[0]?.begun.at ?? Infinity)
}
