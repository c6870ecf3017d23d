import { BuzzerError } from '../../message/index.ts'
import type { OrderBy, QueueLimits } from '../../transport/index.ts'

/** The options of a queue with their defaults. `Infinity`: none. Source: spec broker 3. */
export interface QueueSettings {
  readonly orderBy: OrderBy
  readonly maxDeliveries: number
  readonly ttlMs: number
  readonly deadLetterExpired: boolean
  readonly deadLetterTtlMs: number
  readonly deduplicationWindowMs: number
  readonly maxMessages: number
  readonly maxBytes: number
  readonly expiresAfterIdleMs: number
}

export function toSettings(options: QueueLimits): QueueSettings {
  const none = Number.POSITIVE_INFINITY
  return {
    orderBy: options.orderBy ?? 'none',
    maxDeliveries: options.maxDeliveries ?? 10,
    ttlMs: options.ttlMs ?? none,
    deadLetterExpired: options.deadLetterExpired ?? false,
    deadLetterTtlMs: options.deadLetterTtlMs ?? none,
    deduplicationWindowMs: options.deduplicationWindowMs ?? 0,
    maxMessages: options.maxMessages ?? none,
    maxBytes: options.maxBytes ?? none,
    expiresAfterIdleMs: options.expiresAfterIdleMs ?? none,
  }
}

const names = [
  'orderBy',
  'maxDeliveries',
  'ttlMs',
  'deadLetterExpired',
  'deadLetterTtlMs',
  'deduplicationWindowMs',
  'maxMessages',
  'maxBytes',
  'expiresAfterIdleMs',
] as const satisfies readonly (keyof QueueLimits)[]

const maxWindowMs = 7 * 24 * 3_600_000

function problem(name: (typeof names)[number], value: unknown): string | undefined {
  switch (name) {
    case 'orderBy':
      return value === 'none' || value === 'queue' || value === 'key' ? undefined : "'none', 'queue' or 'key'"
    case 'deadLetterExpired':
      return typeof value === 'boolean' ? undefined : 'true or false'
    case 'maxDeliveries':
    case 'maxMessages':
    case 'maxBytes':
      return Number.isInteger(value) && (value as number) >= 1 ? undefined : 'a whole number from 1'
    case 'deduplicationWindowMs':
      return typeof value === 'number' && value >= 0 && value <= maxWindowMs ? undefined : '0 to 7 days in milliseconds'
    case 'ttlMs':
    case 'deadLetterTtlMs':
    case 'expiresAfterIdleMs':
      return typeof value === 'number' && value > 0 && Number.isFinite(value) ? undefined : 'milliseconds above 0'
    default:
      return name satisfies never
  }
}

/**
 * The options given in `declaration`, checked; what is absent or undefined is left out.
 * @throws BUZZER_INVALID_OPTION for a value that is not possible, and for an option that is none
 */
export function givenOptions(queue: string, declaration: QueueLimits): QueueLimits {
  for (const [name, value] of Object.entries(declaration)) {
    if (name === 'name' || (names as readonly string[]).includes(name)) continue
    throw new BuzzerError(
      'BUZZER_INVALID_OPTION',
      `queue ${JSON.stringify(queue)}: ${JSON.stringify(name)} is no option of a queue; there are ${names.join(', ')}`,
      { details: { queue, option: name, value } },
    )
  }
  const given: Record<string, unknown> = {}
  for (const name of names) {
    const value = declaration[name]
    if (value === undefined || value === null) continue
    const expected = problem(name, value)
    if (expected !== undefined) {
      throw new BuzzerError(
        'BUZZER_INVALID_OPTION',
        `queue ${JSON.stringify(queue)}: ${name} is ${JSON.stringify(value)}, expected ${expected}`,
        { details: { queue, option: name, value } },
      )
    }
    given[name] = value
  }
  return given
}

/**
 * What holds when `given` is declared on top of `known`: what is left out never conflicts.
 * @throws BUZZER_TOPOLOGY_CONFLICT naming queue, option and both values
 */
export function mergeOptions(
  queue: string,
  known: QueueLimits,
  given: QueueLimits,
  onConflict: 'refuse' | 'update',
): QueueLimits {
  for (const name of names) {
    const before = known[name]
    const now = given[name]
    if (onConflict === 'update' || before === undefined || now === undefined || before === now) continue
    throw new BuzzerError(
      'BUZZER_TOPOLOGY_CONFLICT',
      `queue ${JSON.stringify(queue)} exists with ${name} ${JSON.stringify(before)}, declared now with ${JSON.stringify(now)}; ` +
        "alter it on purpose (admin.alter), or connect with onTopologyConflict: 'update'",
      { details: { queue, option: name, existing: before, declared: now } },
    )
  }
  return { ...known, ...given }
}
