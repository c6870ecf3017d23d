import type { AnyEventContract, JsonValue, Out } from '../message/index.ts'
import { BuzzerError } from '../message/index.ts'
import type { RecordedCompletion } from './operation-record.ts'
import type { Problem } from './problem.ts'

/**
 * What ends an operation. `handler` (default): the command's handler succeeds. `manual`: only `operations.finish`.
 * Source: spec http 2.8.
 */
export type Completion<E extends AnyEventContract = AnyEventContract> = 'handler' | 'manual' | EventCompletion<E>

/**
 * An event of the same conversation ends the operation, from whatever handler, saga or process. The first wins; repeats
 * and late ones are ignored. A dead letter of the command still fails it.
 */
export interface EventCompletion<E extends AnyEventContract = AnyEventContract> {
  readonly on: E | readonly E[]
  /** Events that fail it. Default: none. */
  readonly failOn?: readonly AnyEventContract[]
  /** The operation's result, from a completing event. Default: no result. */
  readonly result?: (event: Out<E>) => JsonValue
  /** What the outside is told of a failing event. Default: nothing beyond "it failed". */
  readonly error?: (event: never) => Partial<Problem>
  /** No completing event by then: `failed` as `operation-timed-out`. Counted from acceptance. Default: none. */
  readonly withinMs?: number
}

/** An `EventCompletion` in one shape, with its types spelled out. */
export interface EventEnding {
  readonly on: readonly AnyEventContract[]
  readonly failOn: readonly AnyEventContract[]
  readonly result: ((event: unknown) => JsonValue) | undefined
  readonly error: ((event: unknown) => Partial<Problem>) | undefined
  readonly withinMs: number | undefined
}

/** Checks a completion as a user gave it. @throws BUZZER_INVALID_OPTION */
export function readCompletion(completion: Completion<never> | undefined): 'handler' | 'manual' | EventEnding {
  if (completion === undefined || completion === 'handler') return 'handler'
  if (completion === 'manual') return completion
  if (typeof completion !== 'object' || completion === null) {
    throw invalid(`completion ${JSON.stringify(completion)} is none of 'handler', 'manual' and { on: … }`)
  }
  const given = completion as EventCompletion
  const on: readonly AnyEventContract[] = Array.isArray(given.on)
    ? (given.on as readonly AnyEventContract[])
    : [given.on as AnyEventContract]
  const failOn = given.failOn ?? []
  if (on.length === 0) throw invalid('completion.on names no event')
  for (const contract of [...on, ...failOn]) {
    if ((contract as { kind?: unknown } | undefined)?.kind !== 'event') {
      throw invalid('completion.on and completion.failOn take event contracts only')
    }
  }
  const { withinMs } = given
  if (withinMs !== undefined && !(Number.isFinite(withinMs) && withinMs > 0)) {
    throw invalid(`completion.withinMs ${String(withinMs)} is not a number of milliseconds above 0`)
  }
  return {
    on,
    failOn,
    result: given.result,
    error: given.error as EventEnding['error'],
    withinMs,
  }
}

/** What of a completion is written into the record, so that other processes know it. */
export function recordCompletion(ending: 'handler' | 'manual' | EventEnding): RecordedCompletion {
  if (typeof ending === 'string') return { as: ending }
  return { as: 'event', on: ending.on.map(c => c.type), failOn: ending.failOn.map(c => c.type) }
}

function invalid(message: string): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', message, { details: { option: 'completion' } })
}
