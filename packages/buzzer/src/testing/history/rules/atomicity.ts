import { type Evidence, mayBeGone, type Step, wasSeen } from '../evidence.ts'
import { type Handling, isCompletion } from '../handling.ts'
import { effectsOf } from './fencing.ts'
import type { Rule } from './rule.ts'

/** Of one settlement, group, array or fan-out: all effects or none. */
export const atomicity: Rule = function* (evidence, { atomicSends, atomicSettlements }) {
  for (const step of evidence.steps) {
    const isSend = step.sources.length === 0
    if (!(isSend ? atomicSends : atomicSettlements)) continue
    const [effect] = effectsOf(step, evidence)
    if (step.sources.some(({ isPartial }) => isPartial)) {
      if (effect !== undefined) yield `${step.what} never became whole, and ${effect} appeared`
      continue
    }
    const gone = step.sources.find(source => wasSettledBy(step, source, evidence))
    // A confirmed send is a matter of durability, a settlement without lock one of fencing.
    if (step.outcome !== 'unknown' || (effect === undefined && gone === undefined)) continue
    const sign = effect ?? `the end of ${gone?.place}`
    for (const missing of missingOf(step, evidence)) yield `of ${step.what} there is ${sign}, and not ${missing}`
    for (const source of step.sources) {
      if (isUnsettled(source, evidence)) yield `of ${step.what} there is ${sign}, and ${source.place} is not settled`
    }
  }
}

function* missingOf(step: Step, evidence: Evidence): Generator<string> {
  for (const copy of step.copies) {
    if (!wasSeen(evidence, copy.place) && !mayBeGone(evidence, copy)) yield `message ${copy.place}`
  }
  for (const record of step.records) if (!evidence.presentRecords.has(record)) yield `record ${record}`
}

/** The message is gone, and nothing but this step can have done it. */
function wasSettledBy(step: Step, source: Handling, evidence: Evidence): boolean {
  const copy = evidence.copies.get(source.place)
  if (copy === undefined || evidence.present.has(source.place) || mayBeGone(evidence, copy)) return false
  const completions = (evidence.handled.get(source.place) ?? []).filter(isCompletion)
  return completions.length === 1 && step.sources.includes(completions[0] as Handling)
}

/** The message was delivered once more, or is there, and not as the settlement asked. */
function isUnsettled(source: Handling, evidence: Evidence): boolean {
  const isDead = source.how === 'dead-letter'
  const later = (evidence.handled.get(source.place) ?? []).some(({ begun }) => begun.at > source.endedAt)
  const there = (evidence.present.get(source.place) ?? []).some(({ state }) => !isDead || state !== 'dead')
  const endsIt = source.how === 'ack' || isDead
  return endsIt && ((later && !isRedriven(source, evidence)) || there)
}

function isRedriven(source: Handling, { operations }: Evidence): boolean {
  return operations.some(
    ({ op, queue, ids }) =>
      op === 'redrive' && queue === source.begun.queue && (ids?.includes(source.begun.id) ?? true),
  )
}
