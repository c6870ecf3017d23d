import { recordsOf } from '../history-record.ts'
import type { Rule } from './rule.ts'

/** When faults stop, queues drain and a new send succeeds in time. A history that never became quiet is not judged by it. */
export const liveness: Rule = function* ({ history }, { livesWithinMs, drainMsPerMessage }) {
  const [quiet] = recordsOf(history, 'quiet')
  if (quiet === undefined) return
  const drained = recordsOf(history, 'drained').at(-1)
  if (drained === undefined) yield 'nobody saw the queues drain after the faults had ended'
  else if (drained.left > 0 || drained.at - quiet.at > livesWithinMs + (quiet.waiting ?? 0) * drainMsPerMessage) {
    yield `${drained.left} messages were left ${Math.round(drained.at - quiet.at)} ms after the faults had ended`
  }
  const probe = recordsOf(history, 'probe').at(-1)
  if (probe === undefined || probe.outcome !== 'ok' || probe.at - quiet.at > livesWithinMs) {
    yield `no send succeeded within ${livesWithinMs} ms after the faults had ended`
  }
}
