import { type Evidence, type Step, wasSeen } from '../evidence.ts'
import { recordsOf } from '../history-record.ts'
import type { Rule } from './rule.ts'

/** Outputs of a settlement with a lost lock never appear, and epochs never go down. */
export const fencing: Rule = function* (evidence, { atomicSettlements }) {
  if (atomicSettlements) {
    for (const step of evidence.steps) {
      const [effect] = effectsOf(step, evidence)
      if (effect === undefined || !step.sources.some(({ isFenced }) => isFenced)) continue
      yield `${effect} appeared, but ${step.what} had lost its lock`
    }
  }
  const seen = recordsOf(evidence.history, 'epoch').toSorted((a, b) => a.at - b.at)
  for (const [index, later] of seen.entries()) {
    // Only looks that did not overlap have an order.
    const higher = seen.slice(0, index).find(look => look.at < later.since && look.epoch > later.epoch)
    if (higher !== undefined) yield `epoch ${later.epoch} was seen by ${later.process} after epoch ${higher.epoch}`
  }
}

/** What became visible of a step beside the end of its sources. */
export function* effectsOf(step: Step, evidence: Evidence): Generator<string> {
  for (const { place } of step.copies) if (wasSeen(evidence, place)) yield `message ${place}`
  for (const record of step.records) if (evidence.presentRecords.has(record)) yield `record ${record}`
}
