import type { ReadRequest } from '../event-log.ts'
import { checkNames, invalidOption } from './invalid-option.ts'

/** A read with its defaults. */
export interface ResolvedRead {
  readonly stream: string
  readonly partition: number
  readonly from: ReadRequest['from']
  readonly maxRecords: number
  readonly maxBytes: number
  readonly waitMs: number
  readonly signal: AbortSignal | undefined
}

const requestNames: ReadonlySet<string> = new Set([
  'stream',
  'partition',
  'from',
  'maxRecords',
  'maxBytes',
  'waitMs',
  'signal',
])

const maxBytesAtMost = 16 * 1024 * 1024

/** Checks a request and fills in the defaults. @throws BUZZER_INVALID_OPTION naming option and value */
export function resolveRead(request: ReadRequest): ResolvedRead {
  checkNames('read', request, requestNames)
  const { stream, partition, from, maxRecords = 1_000, maxBytes = 1024 * 1024, waitMs = 0, signal } = request
  if (typeof stream !== 'string') throw invalidOption('stream', stream, 'the name of a stream')
  within('partition', partition, 0, Number.MAX_SAFE_INTEGER)
  if (typeof from === 'number') within('from', from, 0, Number.MAX_SAFE_INTEGER)
  else if (from !== 'start' && from !== 'end' && !(typeof from === 'object' && from !== null && from.time >= 0)) {
    throw invalidOption('from', from, "a position, 'start', 'end' or { time } in epoch milliseconds")
  }
  within('maxRecords', maxRecords, 1, 10_000)
  within('maxBytes', maxBytes, 1, maxBytesAtMost)
  if (typeof waitMs !== 'number' || !(waitMs >= 0)) throw invalidOption('waitMs', waitMs, 'a number from 0')
  return { stream, partition, from, maxRecords, maxBytes, waitMs, signal }
}

/** Where a trim goes to. @throws BUZZER_INVALID_OPTION */
export function checkTrim(before: number): void {
  within('before', before, 0, Number.MAX_SAFE_INTEGER)
}

function within(option: string, value: number, least: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return
  throw invalidOption(option, value, `a whole number from ${least} to ${most}`)
}
