import { BuzzerError } from 'buzzer'
import type { QueueDeclaration } from 'buzzer/transport'
import type { ResolvedOptions } from './options.ts'
import { type ServerBehaviour, unsupported } from './server-version.ts'

export type QueueArguments = Readonly<Record<string, string | number | boolean>>

/** The bus counts deliveries itself; no server, old or new, shall interfere. Source: spec transports 2.1. */
export const outOfReachDeliveries = 1_000_000

/** Our option behind each argument, for messages that a user can act on. */
const optionOf: Readonly<Record<string, string>> = {
  'x-message-ttl': 'ttlMs',
  'x-max-length': 'maxMessages',
  'x-max-length-bytes': 'maxBytes',
  'x-expires': 'expiresAfterIdleMs',
  'x-single-active-consumer': 'orderBy',
  'x-queue-type': 'queueType',
  'x-delivery-limit': 'maxDeliveries',
}

/** The option that an argument of the server stands for; the argument itself when there is none. */
export function optionNamed(argument: string): string {
  return optionOf[argument] ?? argument
}

/**
 * Refuses what RabbitMQ cannot do for a queue, before anything is made.
 * @throws BUZZER_UNSUPPORTED, BUZZER_INVALID_OPTION
 */
export function checkDeclaration(
  declaration: QueueDeclaration,
  options: ResolvedOptions,
  behaviour: ServerBehaviour,
): void {
  const { name, maxDeliveries = outOfReachDeliveries, deduplicationWindowMs = 0 } = declaration
  const refuse = (feature: string, nearest: string): BuzzerError =>
    unsupported(`queue ${name}: there is no ${feature}; nearest alternative: ${nearest}`, {
      queue: name,
      feature,
      nearest,
    })
  if (maxDeliveries < outOfReachDeliveries) {
    throw refuse(
      `maxDeliveries of ${maxDeliveries}: the server would drop the message without a word`,
      'the retry policy of the bus, which counts',
    )
  }
  if (deduplicationWindowMs > 0)
    throw refuse('deduplication at the send', "deduplicate: { at: 'receive' } with a store")
  if (declaration.deadLetterExpired === true) throw refuse('dead letters for what expires', "onExpired: 'discard'")
  for (const option of ['ttlMs', 'deadLetterTtlMs', 'maxMessages', 'maxBytes', 'expiresAfterIdleMs'] as const) {
    const value = declaration[option]
    if (value === undefined) continue
    if (!Number.isInteger(value) || value < 1) {
      throw new BuzzerError(
        'BUZZER_INVALID_OPTION',
        `queue ${name}: ${option} ${value} is not a whole number of at least 1`,
        {
          details: { queue: name, option, value },
        },
      )
    }
    // The server keeps times in 32 bits.
    if (option.endsWith('Ms') && value > 2 ** 32 - 1)
      throw refuse(`${option} of ${value} ms, which is more than 49 days`, 'a shorter time')
  }
  if ('x-consumer-timeout' in options.queueArguments && !behaviour.consumerTimeoutPerQueue) {
    throw unsupported(
      `x-consumer-timeout of a queue needs RabbitMQ 3.12; the server is ${behaviour.version}. Nearest alternative: consumer_timeout in the server's configuration`,
      { found: behaviour.version, needed: '3.12' },
    )
  }
}

/**
 * The arguments of a queue: only such that every version of the server reads alike, since re-declaring with others fails.
 * Everything else belongs in a policy of the operator.
 */
export function queueArguments(
  declaration: QueueDeclaration,
  options: ResolvedOptions,
  singleActiveConsumer: boolean,
): QueueArguments {
  const { ttlMs, maxMessages, maxBytes, expiresAfterIdleMs } = declaration
  const limited = maxMessages !== undefined || maxBytes !== undefined
  return {
    ...options.queueArguments,
    'x-queue-type': options.queueType,
    ...(options.queueType === 'quorum' ? { 'x-delivery-limit': outOfReachDeliveries } : {}),
    ...(singleActiveConsumer ? { 'x-single-active-consumer': true } : {}),
    ...(ttlMs === undefined ? {} : { 'x-message-ttl': ttlMs }),
    ...(maxMessages === undefined ? {} : { 'x-max-length': maxMessages }),
    ...(maxBytes === undefined ? {} : { 'x-max-length-bytes': maxBytes }),
    ...(limited ? { 'x-overflow': 'reject-publish' } : {}),
    ...(expiresAfterIdleMs === undefined ? {} : { 'x-expires': expiresAfterIdleMs }),
  }
}

/** Only a name: the queue is to exist as it is, or with the defaults. */
export function isByNameAlone(declaration: QueueDeclaration): boolean {
  return Object.entries(declaration).every(([option, value]) => option === 'name' || value === undefined)
}
