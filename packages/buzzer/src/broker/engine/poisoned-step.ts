import { BuzzerError } from '../../message/index.ts'
import { type WireError, toWireError } from '../protocol/index.ts'
import { fatalCodes, sqliteCode } from '../storage/broker-file.ts'
import type { Session } from './session.ts'

/** Codes of SQLite that blame the values of one statement, not the file: too big, constraint, mismatch, range. */
const valueCodes: ReadonlySet<number> = new Set([18, 19, 20, 25])

/**
 * A step of a client that failed in the middle, in a way nobody planned: its values fit no column, or they found a defect
 * of ours. The transaction is rolled back, the step is condemned, and what came with it is done again without it: one
 * client's nonsense is answered to that client and costs nobody else anything.
 */
export class PoisonedStep extends Error {
  readonly session: Session
  /** Kind and number of the step, unique in its session. */
  readonly step: string

  constructor(session: Session, step: string, cause: unknown) {
    super(`a step of a client failed in the middle: ${String(cause)}`, { cause })
    this.session = session
    this.step = step
  }
}

/** Whether the engine itself may go on after `error`, so that it is the step's own fault. */
function isPoison(error: unknown): boolean {
  if (error instanceof BuzzerError) return !fatalCodes.has(error.code) && error.code !== 'BUZZER_PROTOCOL_MISMATCH'
  const code = sqliteCode(error)
  return code === undefined || valueCodes.has(code)
}

/** What to throw for `error`: the error itself when it concerns the engine or the connection. */
export function poisonOr(session: Session, step: string, error: unknown): unknown {
  return isPoison(error) ? new PoisonedStep(session, step, error) : error
}

/** From here on the step is refused before it begins. */
export function condemn({ session, step, cause }: PoisonedStep): void {
  const words = cause instanceof Error ? cause.message : String(cause)
  const error = new BuzzerError(
    'BUZZER_INVALID_OPTION',
    `the broker cannot do this, and nothing of it was done: ${words}`,
    { retryable: false, cause },
  )
  session.condemned ??= new Map()
  session.condemned.set(step, toWireError(error))
}

/** The verdict over a step that is to be refused, once. */
export function verdictOn(session: Session, step: string): WireError | undefined {
  return session.condemned?.get(step)
}
