import { BuzzerError } from '../../message/index.ts'
import type { WireError } from '../protocol/index.ts'

/** Nobody welcomed the session in time. `ownerPid`: who holds the file and does not answer, where known. */
export function unreachable(path: string, afterMs: number, ownerPid: number | undefined): BuzzerError {
  const owner = ownerPid === undefined ? 'no process hosts it' : `its owner, process ${ownerPid}, does not answer`
  return new BuzzerError('BUZZER_DISCONNECTED', `no connection to the broker ${path} after ${afterMs} ms: ${owner}`, {
    details: { path, afterMs, ...(ownerPid === undefined ? {} : { ownerPid }) },
  })
}

/** Another engine may serve what this one could not, but none will speak another protocol. */
export function refusesForGood(error: WireError): boolean {
  return error.code === 'BUZZER_PROTOCOL_MISMATCH' && !error.retryable
}

/** The same error for one who waits for a send or an append: whether it may have been stored all the same. */
export function withOutcome(error: BuzzerError, outcome: 'not-stored' | 'unknown'): BuzzerError {
  return new BuzzerError(error.code, error.message, {
    cause: error,
    retryable: error.retryable,
    details: { ...error.details, outcome },
  })
}
