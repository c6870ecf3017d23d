import { gatherEvidence } from './evidence.ts'
import type { HistoryRecord } from './history-record.ts'
import { type Promises, strictPromises } from './promises.ts'
import { atLeastOnce } from './rules/at-least-once.ts'
import { atomicity } from './rules/atomicity.ts'
import { count } from './rules/count.ts'
import { deduplication } from './rules/deduplication.ts'
import { durability } from './rules/durability.ts'
import { exclusion } from './rules/exclusion.ts'
import { fencing } from './rules/fencing.ts'
import { liveness } from './rules/liveness.ts'
import { noInvention } from './rules/no-invention.ts'
import { onceIn } from './rules/once-in.ts'
import { order } from './rules/order.ts'
import type { Rule } from './rules/rule.ts'
import { time } from './rules/time.ts'
import type { HistoryRule, Violation } from './violation.ts'

const rules: Readonly<Record<HistoryRule, Rule>> = {
  durability,
  'no invention': noInvention,
  'at least once': atLeastOnce,
  order,
  exclusion,
  'once in': onceIn,
  fencing,
  atomicity,
  deduplication,
  time,
  count,
  liveness,
}

/**
 * Judges a run by what its processes wrote down. A pure function; an empty result means that no promise was seen broken.
 * Whether a send or a settlement without known outcome happened is told from its effects, and then all of it must have.
 *
 * @param promises what the broker promises; what is left out is as strict as the embedded broker
 * @throws TypeError for a history that cannot be judged: a message id, a call or a record that is used twice
 */
export function checkHistory(history: readonly HistoryRecord[], promises: Promises = {}): readonly Violation[] {
  const full = { ...strictPromises, ...promises }
  const evidence = gatherEvidence(history)
  return (Object.keys(rules) as HistoryRule[]).flatMap(rule =>
    [...rules[rule](evidence, full)].map(what => ({ rule, what })),
  )
}
