import { BuzzerError } from '../../message/index.ts'
import { checkPathOption } from '../process/broker-path.ts'

/** Options of `embedded()`. Source: spec broker 1. */
export interface EmbeddedOptions {
  /** The broker's file; missing folders are made. All processes that name the same file share one broker. */
  readonly path: string
  /**
   * `fsync`: a promise resolves after its commit was synced, so it survives power loss. `os`: it survives the death of
   * every process, not power loss. Default `fsync`.
   */
  readonly durability?: 'fsync' | 'os'
  /** `never`: this process is a client only and waits for another one that hosts. Default `auto`. */
  readonly host?: 'auto' | 'never'
  /** `connect` then rejects with `BUZZER_DISCONNECTED`. Default 10,000. */
  readonly connectTimeoutMs?: number
  /** A session silent for so long has lost its locks. Default 30,000. */
  readonly lockMs?: number
  /** An event loop blocked for so long counts as dead. Default 300,000. */
  readonly stallMs?: number
  /** After a takeover, how long sessions may come back to their open deliveries. Default 2,000. */
  readonly reclaimMs?: number
  /** Attributes, headers and body of one message. Default 1 MiB, at most 64 MiB. */
  readonly maxMessageBytes?: number
  /** Live data beyond which sends are refused with `BUZZER_BROKER_FULL`. Default 10 GiB. */
  readonly maxFileBytes?: number
  /** Accepted from senders and not yet committed; beyond it `send` waits. Default 64 MiB. */
  readonly maxPendingBytes?: number
  /** What a declaration that differs from the present options does. `update`: the newer one wins. Default `refuse`. */
  readonly onTopologyConflict?: 'refuse' | 'update'
}

export type ResolvedOptions = Required<EmbeddedOptions>

const mebibyte = 1024 * 1024

const defaults = {
  durability: 'fsync',
  host: 'auto',
  connectTimeoutMs: 10_000,
  lockMs: 30_000,
  stallMs: 300_000,
  reclaimMs: 2_000,
  maxMessageBytes: mebibyte,
  maxFileBytes: 10 * 1024 * mebibyte,
  maxPendingBytes: 64 * mebibyte,
  onTopologyConflict: 'refuse',
} as const satisfies Omit<ResolvedOptions, 'path'>

const choices = {
  durability: ['fsync', 'os'],
  host: ['auto', 'never'],
  onTopologyConflict: ['refuse', 'update'],
} as const

/** Smallest and largest value. A lock must outlive a few beats, and a beat a busy machine. */
const ranges = {
  connectTimeoutMs: [1, 2 ** 31 - 1],
  lockMs: [100, 24 * 3_600_000],
  stallMs: [100, 2 ** 31 - 1],
  reclaimMs: [0, 3_600_000],
  maxMessageBytes: [1, 64 * mebibyte],
  maxFileBytes: [mebibyte, Number.MAX_SAFE_INTEGER],
  maxPendingBytes: [1, 1024 * mebibyte],
} as const

/** Fills in the defaults. @throws BUZZER_INVALID_OPTION naming option, value and what is allowed */
export function resolveOptions(given: EmbeddedOptions): ResolvedOptions {
  if (typeof given !== 'object' || given === null)
    throw invalid('path', given, 'embedded() takes an object with a path')
  const path = checkPathOption(given.path)
  const values: Record<string, unknown> = { ...defaults, path }
  for (const [name, value] of Object.entries(given)) {
    if (name === 'path' || value === undefined) continue
    if (!(name in defaults)) throw invalid(name, value, `embedded() knows path, ${Object.keys(defaults).join(', ')}`)
    values[name] = value
  }
  for (const [name, allowed] of Object.entries(choices)) {
    if (!(allowed as readonly unknown[]).includes(values[name])) {
      throw invalid(name, values[name], `it is one of ${allowed.map(choice => `'${choice}'`).join(', ')}`)
    }
  }
  for (const [name, [least, most]] of Object.entries(ranges)) {
    const value = values[name]
    if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > most) {
      throw invalid(name, value, `it is a whole number from ${least} to ${most}`)
    }
  }
  return values as unknown as ResolvedOptions
}

function invalid(option: string, value: unknown, allowed: string): BuzzerError {
  const shown = typeof value === 'string' ? JSON.stringify(value) : String(value)
  return new BuzzerError('BUZZER_INVALID_OPTION', `${option}: ${shown} is not possible; ${allowed}`, {
    details: { option, value },
  })
}
