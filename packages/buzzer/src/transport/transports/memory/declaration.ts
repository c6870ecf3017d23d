import { BuzzerError } from '../../../message/index.ts'
import type { QueueDeclaration, QueueLimits, Topology } from '../../index.ts'
import type { MemoryQueue } from './queue.ts'
import { normalMatch, type Routing } from './routing.ts'

/**
 * Judges a declaration as a whole and changes nothing.
 * @throws BUZZER_TOPOLOGY_CONFLICT, BUZZER_INVALID_NAME, BUZZER_INVALID_OPTION, BUZZER_FILTER_INVALID, BUZZER_QUEUE_NOT_FOUND
 */
export function checkTopology(
  topology: Topology,
  present: { readonly queues: ReadonlyMap<string, MemoryQueue>; readonly routing: Routing },
): void {
  const declared = new Map<string, QueueDeclaration>()
  for (const declaration of topology.queues) {
    const { name } = declaration
    if (name.endsWith('.dead')) {
      throw new BuzzerError(
        'BUZZER_INVALID_NAME',
        `${name} cannot be declared: names ending in .dead are dead-letter queues, which exist with their queues`,
        { details: { queue: name } },
      )
    }
    checkOptions(declaration)
    for (const known of [present.queues.get(name)?.options, declared.get(name)]) {
      if (known !== undefined) checkSame(name, known, declaration)
    }
    declared.set(name, { ...declared.get(name), ...declaration })
  }
  const exclusive = new Map<string, string>()
  for (const { topic, queue, exclusive: isExclusive, match } of topology.bindings) {
    if (!declared.has(queue) && !present.queues.has(queue)) {
      throw new BuzzerError('BUZZER_QUEUE_NOT_FOUND', `topic ${topic} cannot be bound: there is no queue ${queue}`, {
        details: { queue, topic },
      })
    }
    normalMatch(match)
    if (!isExclusive) continue
    const holder = exclusive.get(topic) ?? present.routing.exclusiveQueue(topic)?.name
    if (holder !== undefined && holder !== queue) throw conflict(`topic ${topic}`, 'its one queue', holder, queue)
    exclusive.set(topic, queue)
  }
}

const optionNames = [
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

function checkSame(queue: string, present: QueueLimits, given: QueueLimits): void {
  for (const option of optionNames) {
    const [has, wants] = [present[option], given[option]]
    if (has !== undefined && wants !== undefined && has !== wants) throw conflict(`queue ${queue}`, option, has, wants)
  }
}

function checkOptions(declaration: QueueDeclaration): void {
  const { name, deduplicationWindowMs = 0, maxDeliveries = 1 } = declaration
  if (deduplicationWindowMs > 7 * 24 * 3_600_000) {
    throw invalid(`deduplicationWindowMs ${deduplicationWindowMs} of queue ${name} is above 7 days`, {
      option: 'deduplicationWindowMs',
      value: deduplicationWindowMs,
    })
  }
  if (!Number.isInteger(maxDeliveries) || maxDeliveries < 1) {
    throw invalid(`maxDeliveries ${maxDeliveries} of queue ${name} is not an integer ≥ 1`, {
      option: 'maxDeliveries',
      value: maxDeliveries,
    })
  }
}

function conflict(what: string, option: string, present: unknown, given: unknown): BuzzerError {
  return new BuzzerError(
    'BUZZER_TOPOLOGY_CONFLICT',
    `${what} has ${option} ${JSON.stringify(present)}; the declaration says ${JSON.stringify(given)}. Nothing was changed`,
    { details: { what, option, present, given } },
  )
}

function invalid(message: string, details: Readonly<Record<string, unknown>>): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', message, { details })
}
