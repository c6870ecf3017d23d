import { type Evidence, placeOf } from '../evidence.ts'
import { recordsOf } from '../history-record.ts'
import type { Rule } from './rule.ts'

/** Whatever is handled or present was sent, to this queue, with equal id, bytes and key, and was neither refused nor removed. */
export const noInvention: Rule = function* (evidence) {
  for (const record of recordsOf(evidence.history, 'begun', 'present')) {
    if (record.as === 'present' && record.isDamaged === true) continue
    const what = `message ${placeOf(record)} is ${record.as === 'begun' ? 'handled' : 'there'}`
    const copy = evidence.copies.get(placeOf(record))
    if (copy === undefined) yield `${what} and was never sent`
    else if (copy.message.hash !== record.hash) yield `${what} with other bytes than were sent`
    else if (copy.message.key !== record.key) yield `${what} with key ${record.key}, sent was ${copy.message.key}`
    // What settlements send is judged with the settlement.
    else if (copy.outcome === 'fail' && copy.step.sources.length === 0)
      yield `${what}, though ${copy.step.what} was refused`
    else if (isRemovedBefore(evidence, record)) yield `${what} after an operator had removed it`
  }
  for (const id of evidence.presentRecords) {
    const step = evidence.records.get(id)
    if (step === undefined) yield `record ${id} is there and was never written`
    else if (step.outcome === 'fail' && step.sources.length === 0)
      yield `record ${id} is there, though ${step.what} was refused`
  }
}

function isRemovedBefore(
  { operations }: Evidence,
  { queue, id, ...record }: { readonly queue: string; readonly id: string; readonly at?: number },
): boolean {
  return operations.some(
    operation =>
      (operation.op === 'cancel' || operation.op === 'delete') &&
      operation.outcome === 'ok' &&
      operation.queue === queue &&
      operation.ids?.includes(id) === true &&
      operation.endedAt < (record.at ?? Infinity),
  )
}
