import type { MessageTracker, MessageTurn, TrackedMessage } from '../bus/index.ts'
import { BuzzerError, findInCauses, hasCode, type Logger } from '../message/index.ts'
import type { StateChange } from '../store/index.ts'
import { mustNotRun, type OperationTurn } from './operation-life.ts'
import { type OperationRecord, putRecord } from './operation-record.ts'
import { type StoredOperation, takeTurns } from './operation-records.ts'
import { readResult } from './result.ts'
import type { Tracking } from './tracking.ts'

/** The reserved header of a command that has an operation; its value is the operation's id. */
export const operationHeader = 'buzzer-operation'

interface Run {
  /** The record as this process last knew it; `undefined`: unknown to the store. */
  stored: StoredOperation | undefined
  readonly cancel: AbortController
  watch: Disposable | undefined
  /** Progress taken out for a turn whose settlement is still open. */
  progress: OperationTurn[]
  /** Asked before for this run: somebody else changed the record meanwhile, so it must be read anew. */
  asked: boolean
}

/** The broker answers a settlement within moments; this many may be under way. */
const maxSettling = 1_000

/**
 * Follows the commands of operations through the bus. One per bus and process; needs no gateway. Messages without the
 * header cost no store access. Source: spec http 2.
 */
export function operationTracker(tracking: () => Tracking | undefined): MessageTracker {
  const runs = new Map<string, Run>()
  // Given to the broker, perhaps not yet accepted by it: asked again, the turn must not lose the progress it has taken.
  const settling = new Map<string, Run>()

  const runOf = (key: string): Run => {
    let run = runs.get(key)
    settling.delete(key)
    if (run === undefined) {
      run = { stored: undefined, cancel: new AbortController(), watch: undefined, progress: [], asked: false }
      runs.set(key, run)
    }
    return run
  }

  const end = (key: string): void => {
    const run = runs.get(key)
    if (run === undefined) return
    run.watch?.[Symbol.dispose]()
    run.watch = undefined
    runs.delete(key)
    settling.set(key, run)
    if (settling.size > maxSettling) settling.delete(settling.keys().next().value as string)
  }

  return {
    name: 'operations',

    concerns: message => message.headers[operationHeader] !== undefined,

    async starting(message, attempt) {
      const use = tracking()
      const id = message.headers[operationHeader]
      if (use === undefined || id === undefined) return {}
      const key = runKey(message)
      const run = runOf(key)
      // Watched before the record is read, so that no request to cancel falls between.
      run.watch ??= await use.watch.subscribe(id, stored => {
        if (stored === undefined) return
        run.stored = newer(run.stored, stored)
        abortIfAsked(run, id)
      })
      const { redrives } = message
      const progress = use.progress.takePending(id)
      const stored = await use.records.take(
        id,
        record => (mustNotRun(record) ? [] : startOf(record, attempt, redrives, progress)),
        run.stored,
      )
      if (stored === undefined) {
        use.unknown(id)
        return {}
      }
      use.changed(id, stored)
      if (mustNotRun(stored.record)) {
        end(key)
        return 'skip'
      }
      run.stored = newer(run.stored, stored)
      run.asked = false
      abortIfAsked(run, id)
      return { signal: run.cancel.signal }
    },

    async turn(message, turn) {
      const use = tracking()
      const id = message.headers[operationHeader]
      if (use === undefined || id === undefined) return []
      if (turn.as === 'immediate-retry') return [] // the next start records it
      const key = runKey(message)
      const run = settling.get(key) ?? runOf(key)
      if (run.stored === undefined || run.asked) run.stored = await use.records.get(id)
      run.asked = true
      run.progress.push(...use.progress.takePending(id))
      const { stored } = run
      if (stored === undefined) {
        use.unknown(id)
        return []
      }
      const turns = [...run.progress, ...turnsOf(turn, stored.record, use.logger)]
      const next = takeTurns(stored.record, turns, use.clock.now())
      if (next === stored.record) return []
      use.noticed(next)
      const change: StateChange = putRecord(next, stored.storeVersion)
      return [change]
    },

    settled(message) {
      const use = tracking()
      const id = message.headers[operationHeader]
      end(runKey(message))
      if (id !== undefined) use?.watch.touch(id)
    },

    async redriven(message) {
      const use = tracking()
      const id = message.headers[operationHeader]
      if (use === undefined || id === undefined) return
      // The message as it lay in the dead letters: this redrive is one more than it counts.
      const stored = await use.records.take(id, record => [{ as: 'redriven', redrives: record.redrives + 1 }])
      if (stored !== undefined) use.changed(id, stored)
    },

    async progress(message, report) {
      const id = message.headers[operationHeader] ?? message.conversationId
      await tracking()?.progress.report(id, report)
    },
  }
}

function runKey(message: TrackedMessage): string {
  return `${message.queue} ${message.id}`
}

function newer(known: StoredOperation | undefined, read: StoredOperation): StoredOperation {
  return known !== undefined && known.storeVersion > read.storeVersion ? known : read
}

function abortIfAsked(run: Run, id: string): void {
  const { cancelRequested, done } = run.stored?.record.operation ?? {}
  if (!cancelRequested || done || run.cancel.signal.aborted) return
  run.cancel.abort(
    new BuzzerError('BUZZER_OPERATION_CANCELLED', `operation ${id} was asked to cancel`, {
      details: { operation: id },
    }),
  )
}

/** A start, with the redrive before it where the operator's process could not tell of it. */
function startOf(
  record: OperationRecord,
  attempt: number,
  redrives: number,
  progress: readonly OperationTurn[],
): OperationTurn[] {
  const start: OperationTurn = { as: 'start', attempt, redrives: Math.max(redrives, record.redrives) }
  if (record.operation.status === 'failed' && redrives > record.redrives) return [{ as: 'redriven', redrives }, start]
  return [...progress, start]
}

function turnsOf(
  turn: Exclude<MessageTurn, { as: 'immediate-retry' }>,
  record: OperationRecord,
  logger: Logger,
): OperationTurn[] {
  switch (turn.as) {
    case 'delayed-retry':
      return [{ as: 'retry-later', attempt: turn.attempt, delayMs: turn.delayMs }]
    case 'succeeded': {
      const result = readResult(turn.result, record.settings.maxResultBytes)
      if (result.resultOmitted !== undefined && record.completion.as === 'handler') {
        logger.warn(
          {
            operation: record.operation.id,
            reason: result.resultOmitted,
            maxResultBytes: record.settings.maxResultBytes,
          },
          'the result of an operation is left out; keep large results yourself and give their URL',
        )
      }
      return [{ as: 'handled', result }]
    }
    case 'dead-lettered': {
      const said = findInCauses(turn.error, isDeadLetterError)
      return [said === undefined ? { as: 'fail' } : { as: 'fail', problem: { detail: said.reason } }]
    }
    case 'cancelled':
      return [{ as: 'cancelled' }]
    case 'expired':
      return [{ as: 'expire' }]
    default:
      return turn satisfies never
  }
}

/** Only what the developer wrote for others: message and stack of any other error may hold secrets. Source: spec http 2.4. */
function isDeadLetterError(error: unknown): error is { reason: string } {
  return hasCode(error, 'BUZZER_DEAD_LETTER') && typeof (error as { reason?: unknown }).reason === 'string'
}
