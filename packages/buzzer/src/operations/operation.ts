import type { JsonValue } from '../message/index.ts'
import type { Problem } from './problem.ts'

/**
 * - `accepted`: durable, not started · `running`: its handler runs, or (with `completion` other than `'handler'`) has run
 * - `retrying`: waits for a delayed retry · `succeeded`, `cancelled`, `expired`: final · `failed`: final unless redriven
 */
export type OperationStatus = 'accepted' | 'running' | 'retrying' | 'succeeded' | 'failed' | 'cancelled' | 'expired'

/** One accepted command as the outside may see it. Times are ISO 8601 in UTC. Source: spec http 1. */
export interface Operation {
  /** UUIDv7; also the message id of the command and the conversation id of all that follows from it. */
  readonly id: string
  /** Wire type of the command. */
  readonly command: string
  readonly status: OperationStatus
  /** Whether `status` is final. */
  readonly done: boolean
  /** 1 at acceptance, +1 with each recorded change. */
  readonly version: number
  /** Handler runs so far; 0 until the handler first starts. */
  readonly attempt: number
  readonly createdAt: string
  readonly startedAt?: string
  readonly finishedAt?: string
  /** Not started by then: `expired`. */
  readonly expiresAt?: string
  readonly progress?: OperationProgress
  readonly cancelRequested?: true
  /** What the handler returned, when the operation succeeded with a value. */
  readonly result?: JsonValue
  /** Why a succeeded operation shows no result although there was one. */
  readonly resultOmitted?: 'too-large' | 'not-json'
  readonly error?: Problem
}

export interface OperationProgress {
  /** 0–100. */
  readonly percent?: number
  readonly done?: number
  readonly total?: number
  /** At most 500 characters. */
  readonly note?: string
  readonly at: string
}

/** A recorded change: the operation as it was at `version`. `done` is the last of a finished operation. */
export interface OperationEvent {
  readonly version: number
  readonly type: 'status' | 'progress' | 'done'
  readonly operation: Operation
}
