import { mayBeGone, wasSeen } from '../evidence.ts'
import type { Rule } from './rule.ts'

/** Every confirmed send is in the end handled, dead-lettered, expired by its own time, removed by an operator, or there. */
export const durability: Rule = function* (evidence) {
  for (const { what, outcome, sources, copies, records } of evidence.steps) {
    if (sources.length > 0) continue
    for (const copy of copies) {
      if (copy.outcome !== 'ok' || wasSeen(evidence, copy.place) || mayBeGone(evidence, copy)) continue
      yield `message ${copy.place} was confirmed (${what}), and is neither handled nor there`
    }
    for (const record of outcome === 'ok' ? records : []) {
      if (!evidence.presentRecords.has(record)) yield `record ${record} was confirmed (${what}), and is not there`
    }
  }
}
