import type { Bus } from '../bus/index.ts'
import { BuzzerError } from '../message/index.ts'
import type { OperationSettings } from './operation-record.ts'

/** How long finished operations stay. All in milliseconds. */
export interface Retention {
  /** Succeeded, cancelled and expired ones are readable that long. Default 7 days. */
  readonly succeededMs?: number
  /** Failed ones. Default 30 days. */
  readonly failedMs?: number
  /** How long after that it is still known that there was one. Default 30 days. */
  readonly tombstoneMs?: number
}

/** Options of `createOperations`. Source: spec http 1. */
export interface OperationsOptions {
  /** Operations live in its store. */
  readonly bus: Bus
  readonly retention?: Retention
  /** Progress is recorded at most once per operation in that time. Default 250. */
  readonly progressIntervalMs?: number
  /** A larger result, as JSON in UTF-8, is left out. Default 65,536. */
  readonly maxResultBytes?: number
  /** Take a store that does not outlive the process, for tests. Default `false`: refused. */
  readonly volatile?: boolean
}

const dayMs = 86_400_000
const known = new Set(['bus', 'retention', 'progressIntervalMs', 'maxResultBytes', 'volatile'])

/** The settings in one shape. @throws BUZZER_INVALID_OPTION */
export function readSettings(options: OperationsOptions): OperationSettings {
  for (const name of Object.keys(options)) {
    if (!known.has(name)) throw invalid(name, `createOperations has no option ${name}`)
  }
  return {
    ...readRetention(options.retention),
    progressIntervalMs: number('progressIntervalMs', options.progressIntervalMs, 250),
    maxResultBytes: number('maxResultBytes', options.maxResultBytes, 65_536),
  }
}

/** @throws BUZZER_INVALID_OPTION */
export function readRetention(
  retention: Retention = {},
  defaults: Required<Retention> = { succeededMs: 7 * dayMs, failedMs: 30 * dayMs, tombstoneMs: 30 * dayMs },
): Required<Retention> {
  return {
    succeededMs: number('retention.succeededMs', retention.succeededMs, defaults.succeededMs),
    failedMs: number('retention.failedMs', retention.failedMs, defaults.failedMs),
    tombstoneMs: number('retention.tombstoneMs', retention.tombstoneMs, defaults.tombstoneMs),
  }
}

function number(option: string, value: number | undefined, byDefault: number): number {
  if (value === undefined) return byDefault
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return value
  throw invalid(option, `${option} ${String(value)} is not a number of at least 0`)
}

function invalid(option: string, message: string): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', message, { details: { option } })
}
