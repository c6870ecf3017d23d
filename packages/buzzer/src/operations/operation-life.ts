import type { OperationProgress } from './operation.ts'
import { type OperationRecord, withEvent } from './operation-record.ts'
import { operationFailed, operationTimedOut, type Problem } from './problem.ts'
import type { OperationResult } from './result.ts'

/**
 * The life of an operation as a pure function of its record and one turn:
 *
 *     accepted ─start→ running ─succeeded→ succeeded     cancel: accepted, retrying → cancelled; running → cancelRequested
 *        │               │ ↖─start─┐                     expire: accepted, retrying → expired
 *        └─expire→    retry-later → retrying             time-out: anything not done → failed
 *                        └─fail→ failed ─redriven→ accepted
 *
 * Every other terminal state is final: a turn that comes late changes nothing, and the same record is returned.
 * Source: spec http 2.
 */
export type OperationTurn =
  /** A handler run begins. `attempt` counts from 1 since the last redrive. */
  | { readonly as: 'start'; readonly attempt: number; readonly redrives: number }
  | { readonly as: 'retry-later'; readonly attempt: number; readonly delayMs: number }
  /** The command's handler succeeded. Ends the operation only with `completion: 'handler'`. */
  | { readonly as: 'handled'; readonly result: OperationResult }
  | { readonly as: 'succeed'; readonly result: OperationResult }
  | { readonly as: 'fail'; readonly problem?: Partial<Problem> }
  | { readonly as: 'cancel' }
  /** The handler gave up after it was asked to. */
  | { readonly as: 'cancelled' }
  /** Its time to live is over. Changes nothing while a handler runs. */
  | { readonly as: 'expire' }
  /** `withinMs` is over. */
  | { readonly as: 'time-out' }
  | { readonly as: 'redriven'; readonly redrives: number }
  | { readonly as: 'progress'; readonly progress: OperationProgress }

/** The record after `turn`, or the very same record when the turn changes nothing. */
export function takeTurn(record: OperationRecord, turn: OperationTurn, nowMs: number): OperationRecord {
  const { operation } = record
  if (record.tombstone) return record
  if (operation.done) return turn.as === 'redriven' ? reopen(record, turn.redrives, nowMs) : record
  const now = new Date(nowMs).toISOString()
  switch (turn.as) {
    case 'start': {
      if (operation.cancelRequested) return end(record, 'cancelled', now)
      const next = withEvent(record, 'status', {
        status: 'running',
        // A deferred message counts its attempts anew; what has run has run.
        attempt: Math.max(operation.attempt, record.attemptsBefore + turn.attempt),
        startedAt: operation.startedAt ?? now,
      })
      return without({ ...next, redrives: turn.redrives }, 'retryAtMs')
    }
    case 'retry-later': {
      if (operation.cancelRequested) return end(record, 'cancelled', now)
      if (isPast(operation.expiresAt, nowMs)) return end(record, 'expired', now)
      return { ...withEvent(record, 'status', { status: 'retrying' }), retryAtMs: nowMs + turn.delayMs }
    }
    case 'handled':
      return record.completion.as === 'handler' ? succeed(record, turn.result, now) : record
    case 'succeed':
      return succeed(record, turn.result, now)
    case 'fail':
      return fail(record, operationFailed(operation.attempt, turn.problem), now)
    case 'cancel':
      if (operation.status !== 'running') return end(record, 'cancelled', now)
      return operation.cancelRequested ? record : withEvent(record, 'status', { cancelRequested: true })
    case 'cancelled':
      return end(record, 'cancelled', now)
    case 'expire':
      return operation.status === 'running' ? record : end(record, 'expired', now)
    case 'time-out':
      return fail(record, operationTimedOut(operation.attempt), now)
    case 'redriven':
      return record
    case 'progress':
      return withEvent(record, 'progress', { progress: turn.progress })
    default:
      return turn satisfies never
  }
}

/** What the passing of time alone does to an operation now. */
export function dueTurns(record: OperationRecord, nowMs: number): OperationTurn[] {
  const { status, done, expiresAt } = record.operation
  if (done) return []
  if (status !== 'running' && isPast(expiresAt, nowMs)) return [{ as: 'expire' }]
  return record.deadlineMs !== undefined && nowMs >= record.deadlineMs ? [{ as: 'time-out' }] : []
}

/** Whether a message of this operation must be acknowledged without calling its handler. */
export function mustNotRun(record: OperationRecord): boolean {
  const { status } = record.operation
  return status === 'cancelled' || status === 'expired' || status === 'succeeded'
}

function succeed(record: OperationRecord, result: OperationResult, now: string): OperationRecord {
  return withEvent(record, 'done', { status: 'succeeded', done: true, finishedAt: now, ...result })
}

function fail(record: OperationRecord, error: Problem, now: string): OperationRecord {
  return without(withEvent(record, 'done', { status: 'failed', done: true, finishedAt: now, error }), 'retryAtMs')
}

function end(record: OperationRecord, status: 'cancelled' | 'expired', now: string): OperationRecord {
  return without(withEvent(record, 'done', { status, done: true, finishedAt: now }), 'retryAtMs')
}

/** Only a failed operation is opened again, and only once per redrive: the handler's start and the operator may both tell. */
function reopen(record: OperationRecord, redrives: number, nowMs: number): OperationRecord {
  if (record.operation.status !== 'failed' || redrives <= record.redrives) return record
  const next = withEvent(
    record,
    'status',
    {
      status: 'accepted',
      done: false,
      ...(record.ttlMs === undefined ? {} : { expiresAt: new Date(nowMs + record.ttlMs).toISOString() }),
    },
    ['finishedAt', 'error', 'cancelRequested'],
  )
  return without(
    {
      ...next,
      redrives,
      attemptsBefore: record.operation.attempt,
      // Its next end is another event, of which the receiver hears again.
      ...(record.callback === undefined ? {} : { callback: { ...record.callback, state: 'waiting' } }),
    },
    'deadlineMs',
  )
}

function without(record: OperationRecord, name: 'retryAtMs' | 'deadlineMs'): OperationRecord {
  const { [name]: _dropped, ...rest } = record
  return rest
}

function isPast(time: string | undefined, nowMs: number): boolean {
  return time !== undefined && nowMs >= Date.parse(time)
}
