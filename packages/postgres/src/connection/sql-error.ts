import { BuzzerError, isBuzzerError } from 'buzzer'
import { sqlStateOf } from '../sql-state.ts'

/** Raised by our own functions: see the migration `queues`. */
export const queueFullState = 'BZ001'

/** Classes in which a second try is sensible: connection, resources, operator intervention, rolled back. Spec transports 3.5. */
const retryableClasses = new Set(['08', '53', '57', '40', '55', '58', 'XX'])
/** Wrong credentials, unknown database, missing right or object: trying again is senseless until somebody acts. */
const fatalClasses = new Set(['28', '3D', '3F', '42', '0A'])
/** The transaction is gone although the connection lives; the same statement may be sent again. */
const repeatableStates = new Set(['40001', '40P01', '55P03', '57014'])
const readOnlyState = '25006'

/** Whether the server says that the connection is at its end, or that it can serve none. */
export function isConnectionLoss(error: unknown): boolean {
  const state = sqlStateOf(error)
  if (state === undefined) return false
  return state.startsWith('08') || state.startsWith('57P') || state === '25P03' || state === '53300'
}

/** Whether the very same step may be tried again on a living connection. */
export function isRepeatable(error: unknown): boolean {
  const state = sqlStateOf(error)
  return state !== undefined && repeatableStates.has(state)
}

/**
 * An error of the driver or the server as one of ours, with `details.sqlState` and the driver's error as cause.
 *
 * - `BUZZER_DISCONNECTED` (retryable): no connection, none free, server going down or starting.
 * - `BUZZER_DISK_FULL` (retryable): SQLSTATE 53100.
 * - `BUZZER_DATABASE_FAILED`: all else; retryable in classes 08, 40, 53, 55, 57, 58 and on a read-only standby, else not.
 *
 * Source: spec transports 3.5 (RP13).
 */
export function databaseError(error: unknown, details: Readonly<Record<string, unknown>> = {}): BuzzerError {
  if (isBuzzerError(error)) return error
  const state = sqlStateOf(error)
  const text = error instanceof Error ? error.message : String(error)
  const all = { ...(state === undefined ? {} : { sqlState: state }), ...details }
  const options = { cause: error, details: all }
  if (state === undefined || isConnectionLoss(error))
    return new BuzzerError('BUZZER_DISCONNECTED', `PostgreSQL is away: ${text}`, options)
  if (state === '53100') return new BuzzerError('BUZZER_DISK_FULL', `PostgreSQL has no disk space: ${text}`, options)
  if (state === readOnlyState) {
    const message = `PostgreSQL is read-only, as a standby is; connect to the primary (${text})`
    return new BuzzerError('BUZZER_DATABASE_FAILED', message, { ...options, retryable: true })
  }
  return new BuzzerError('BUZZER_DATABASE_FAILED', `PostgreSQL refused (SQLSTATE ${state}): ${text}`, {
    ...options,
    retryable: retryableClasses.has(state.slice(0, 2)),
  })
}

/** An error of a connection attempt: not retryable when the server, or the address, will not let us in as we are. */
export function connectionError(error: unknown): BuzzerError {
  if (isBuzzerError(error)) return error
  const state = sqlStateOf(error)
  const text = error instanceof Error ? error.message || String((error as { code?: unknown }).code) : String(error)
  const isFatal =
    (state !== undefined && fatalClasses.has(state.slice(0, 2))) ||
    /does not support SSL|password|certificate|SASL/i.test(text)
  return isFatal
    ? new BuzzerError('BUZZER_DATABASE_FAILED', `PostgreSQL does not let us in: ${text}`, {
        cause: error,
        retryable: false,
        details: state === undefined ? {} : { sqlState: state },
      })
    : new BuzzerError('BUZZER_DISCONNECTED', `PostgreSQL cannot be reached: ${text}`, {
        cause: error,
        details: state === undefined ? {} : { sqlState: state },
      })
}
