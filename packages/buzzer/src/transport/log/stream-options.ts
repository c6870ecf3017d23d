import { BuzzerError, checkName } from '../../message/index.ts'
import type { StreamOptions, StreamTopology } from '../event-log.ts'
import { checkNames, invalidOption } from './invalid-option.ts'

/** Most partitions of one stream. */
export const maxPartitions = 10_000

const dayMs = 24 * 3_600_000
const maxWindowMs = 7 * dayMs

/** What a stream has that was declared by name alone. Source: spec streams 1 and 9. */
export const defaultStreamOptions: StreamOptions = Object.freeze({
  partitions: 1,
  keyIndex: false,
  deduplicationWindowMs: 0,
  retention: Object.freeze({ maxAgeMs: 7 * dayMs, maxBytes: Number.POSITIVE_INFINITY }),
})

const optionNames: ReadonlySet<string> = new Set(['partitions', 'keyIndex', 'deduplicationWindowMs', 'retention'])
const topologyNames: ReadonlySet<string> = new Set(['name', ...optionNames])
const alterableNames: ReadonlySet<string> = new Set(['deduplicationWindowMs', 'retention'])
const retentionNames: ReadonlySet<string> = new Set(['maxAgeMs', 'maxBytes'])

/** Options of a stream as they were given: what nobody gave is absent, and so in nobody's way. */
export type GivenStreamOptions = Omit<StreamTopology, 'name'>

/** Fills in the defaults. */
export function resolveStreamOptions(given: GivenStreamOptions): StreamOptions {
  const defaults = defaultStreamOptions
  return {
    partitions: given.partitions ?? defaults.partitions,
    keyIndex: given.keyIndex ?? defaults.keyIndex,
    deduplicationWindowMs: given.deduplicationWindowMs ?? defaults.deduplicationWindowMs,
    retention: {
      maxAgeMs: given.retention?.maxAgeMs ?? defaults.retention.maxAgeMs,
      maxBytes: given.retention?.maxBytes ?? defaults.retention.maxBytes,
    },
  }
}

/**
 * Checks a declaration for itself, whatever there is already.
 * @throws BUZZER_INVALID_NAME, BUZZER_INVALID_OPTION naming option and value
 */
export function checkStreamTopology(topology: StreamTopology): void {
  checkNames('stream', topology, topologyNames)
  checkName('stream', topology.name)
  const { name: _, ...options } = topology
  checkStreamOptions(options)
}

/** @throws BUZZER_INVALID_OPTION naming option and value */
export function checkStreamOptions(given: GivenStreamOptions): void {
  checkNames('stream', given, optionNames)
  const { partitions, keyIndex, deduplicationWindowMs, retention } = given
  if (partitions !== undefined) checkPartitions(partitions)
  if (keyIndex !== undefined && typeof keyIndex !== 'boolean')
    throw invalidOption('keyIndex', keyIndex, 'true or false')
  if (deduplicationWindowMs !== undefined) {
    const fits = Number.isInteger(deduplicationWindowMs) && deduplicationWindowMs >= 0
    if (!fits || deduplicationWindowMs > maxWindowMs) {
      throw invalidOption('deduplicationWindowMs', deduplicationWindowMs, `a whole number from 0 to ${maxWindowMs}`)
    }
  }
  if (retention !== undefined) checkNames('retention', retention, retentionNames)
  for (const option of ['maxAgeMs', 'maxBytes'] as const) {
    const value = retention?.[option]
    if (value === undefined || value === Number.POSITIVE_INFINITY) continue
    if (!Number.isSafeInteger(value) || value < 1) {
      throw invalidOption(`retention.${option}`, value, 'a whole number from 1, or Infinity')
    }
  }
}

/** What `alter` may change. @throws BUZZER_INVALID_OPTION naming option and value */
export function checkAlteration(options: Pick<StreamTopology, 'deduplicationWindowMs' | 'retention'>): void {
  checkNames('alter', options, alterableNames)
  checkStreamOptions(options)
}

/** @throws BUZZER_INVALID_OPTION */
export function checkPartitions(partitions: number): void {
  if (Number.isInteger(partitions) && partitions >= 1 && partitions <= maxPartitions) return
  throw invalidOption('partitions', partitions, `a whole number from 1 to ${maxPartitions}`)
}

/**
 * What was given before together with what is given now.
 * @param onConflict `update`: the newer value of `retention` and of the window wins; the others never change so
 * @throws BUZZER_TOPOLOGY_CONFLICT naming stream, option and both values
 */
export function mergeStreamOptions(
  stream: string,
  before: GivenStreamOptions,
  now: GivenStreamOptions,
  onConflict: 'refuse' | 'update' = 'refuse',
): GivenStreamOptions {
  const resolved = resolveStreamOptions(before)
  // A stream exists with the number of partitions and the index it was made with, given or not.
  const partitions = agreed(stream, 'partitions', resolved.partitions, now.partitions, 'refuse')
  const keyIndex = agreed(stream, 'keyIndex', resolved.keyIndex, now.keyIndex, 'refuse')
  const window = agreed(
    stream,
    'deduplicationWindowMs',
    before.deduplicationWindowMs,
    now.deduplicationWindowMs,
    onConflict,
  )
  const { retention: old } = before
  const { retention: fresh } = now
  const maxAgeMs = agreed(stream, 'retention.maxAgeMs', old?.maxAgeMs, fresh?.maxAgeMs, onConflict)
  const maxBytes = agreed(stream, 'retention.maxBytes', old?.maxBytes, fresh?.maxBytes, onConflict)
  return {
    ...(partitions === undefined ? {} : { partitions }),
    ...(keyIndex === undefined ? {} : { keyIndex }),
    ...(window === undefined ? {} : { deduplicationWindowMs: window }),
    ...(maxAgeMs === undefined && maxBytes === undefined
      ? {}
      : {
          retention: {
            ...(maxAgeMs === undefined ? {} : { maxAgeMs }),
            ...(maxBytes === undefined ? {} : { maxBytes }),
          },
        }),
  }
}

function agreed<T>(
  stream: string,
  option: string,
  before: T | undefined,
  now: T | undefined,
  onConflict: 'refuse' | 'update',
): T | undefined {
  if (now === undefined) return before
  if (before === undefined || before === now || onConflict === 'update') return now
  throw new BuzzerError(
    'BUZZER_TOPOLOGY_CONFLICT',
    `stream ${JSON.stringify(stream)} has ${option} ${String(before)}; it was declared with ${String(now)}. Leave the option out to take what is there, or change the stream on purpose`,
    { details: { stream, option, existing: before, declared: now } },
  )
}

/** Keys may go elsewhere when partitions are added: the caller must say that it knows. @throws BUZZER_INVALID_OPTION */
export function checkKeysMayMove(options: { readonly keysMayMove: true }): void {
  if ((options as { keysMayMove?: unknown } | undefined)?.keysMayMove === true) return
  throw invalidOption('keysMayMove', undefined, 'to be true: keys may go to other partitions from then on')
}
