import { BuzzerError, checkHeaders, checkMessageId } from '../message/index.ts'
import type { HandlerOptions, MessageOptions, QueueOptions, RetryPolicy } from './options.ts'

/** A `BUZZER_INVALID_OPTION` that names the option and the value. */
export function invalidOption(option: string, value: unknown, rule: string): BuzzerError {
  const shown = typeof value === 'string' ? JSON.stringify(value) : String(value)
  return new BuzzerError('BUZZER_INVALID_OPTION', `option ${option} is ${shown}: ${rule}`, {
    details: { option, value },
  })
}

/** Rejects option names that nobody reads, so that a misspelt option is an error and not a silent default. */
export function checkNames(what: string, options: object, known: ReadonlySet<string>): void {
  for (const name of Object.keys(options)) {
    if (!known.has(name)) {
      throw new BuzzerError(
        'BUZZER_INVALID_OPTION',
        `${what} has no option ${JSON.stringify(name)}; it has ${[...known].join(', ')}`,
        { details: { option: name } },
      )
    }
  }
}

/** A number ≥ `least` (and ≤ `most`), or absent. */
export function checkNumber(
  option: string,
  value: unknown,
  least: number,
  most: number = Number.POSITIVE_INFINITY,
): void {
  if (value === undefined) return
  if (typeof value !== 'number' || Number.isNaN(value) || value < least || value > most) {
    throw invalidOption(
      option,
      value,
      most === Number.POSITIVE_INFINITY ? `a number ≥ ${least}` : `${least} to ${most}`,
    )
  }
}

export function checkWhole(option: string, value: unknown, least: number): void {
  if (value !== undefined && (!Number.isSafeInteger(value) || (value as number) < least)) {
    throw invalidOption(option, value, `a whole number ≥ ${least}`)
  }
}

export function checkOneOf(option: string, value: unknown, allowed: readonly string[]): void {
  if (value !== undefined && !allowed.includes(value as string)) {
    throw invalidOption(option, value, `one of ${allowed.map(one => `'${one}'`).join(', ')}`)
  }
}

const retryNames = new Set(['immediate', 'delayedMs', 'jitter', 'maxDeliveries', 'decide'])
const breakerNames = new Set(['failureRate', 'minimum', 'windowMs', 'resetMs', 'probes', 'counts'])
const handlerNames = new Set(['retry', 'timeoutMs', 'deduplicate', 'match'])
const batchNames = new Set(['maxSize', 'maxWaitMs', 'groupBy'])
const queueNames = new Set(
  (
    'concurrency prefetch orderBy retry timeoutMs batch rateLimit circuitBreaker deduplicate onUnknownMessage onExpired ' +
    'ttlMs deadLetterTtlMs maxMessages maxBytes rawContract perInstance'
  ).split(' '),
)

function checkRetry(retry: RetryPolicy | 'none' | undefined): void {
  if (retry === undefined || retry === 'none') return
  if (typeof retry !== 'object' || retry === null) throw invalidOption('retry', retry, "a retry policy or 'none'")
  checkNames('retry', retry, retryNames)
  checkWhole('retry.immediate', retry.immediate, 0)
  checkNumber('retry.jitter', retry.jitter, 0, 1)
  checkWhole('retry.maxDeliveries', retry.maxDeliveries, 1)
  if (retry.delayedMs !== undefined) {
    if (!Array.isArray(retry.delayedMs)) throw invalidOption('retry.delayedMs', retry.delayedMs, 'a list of numbers')
    for (const ms of retry.delayedMs) checkNumber('retry.delayedMs', ms, 0)
  }
}

function checkDeduplicate(deduplicate: QueueOptions['deduplicate']): void {
  if (deduplicate === undefined || deduplicate === 'none' || deduplicate === 'id') return
  checkNames('deduplicate', deduplicate, new Set(['windowMs', 'by', 'at']))
  checkNumber('deduplicate.windowMs', deduplicate.windowMs, 1)
  checkOneOf('deduplicate.at', deduplicate.at, ['receive', 'send'])
  if (deduplicate.at === 'send' && deduplicate.by !== undefined) {
    throw invalidOption(
      'deduplicate.by',
      deduplicate.by,
      'at the send the broker judges the id: give the sends a messageId',
    )
  }
}

/** Checks the options of a handler. @throws BUZZER_INVALID_OPTION */
export function checkHandlerOptions(options: HandlerOptions, batch: 'single' | 'batch'): void {
  checkNames('handle', options, batch === 'batch' ? new Set([...handlerNames, ...batchNames]) : handlerNames)
  checkRetry(options.retry)
  checkNumber('timeoutMs', options.timeoutMs, 1)
  checkDeduplicate(options.deduplicate)
  if (batch === 'batch') checkBatch(options)
}

function checkBatch(batch: QueueOptions['batch'] & object): void {
  checkWhole('batch.maxSize', batch.maxSize, 1)
  checkNumber('batch.maxWaitMs', batch.maxWaitMs, 0)
  checkOneOf('batch.groupBy', batch.groupBy, ['key'])
}

/** Checks the options of a queue. @throws BUZZER_INVALID_OPTION naming the option */
export function checkQueueOptions(options: QueueOptions): void {
  checkNames('queue', options, queueNames)
  checkWhole('concurrency', options.concurrency, 1)
  checkWhole('prefetch', options.prefetch, 1)
  checkOneOf('orderBy', options.orderBy, ['none', 'queue', 'key'])
  if (options.orderBy === 'queue' && options.concurrency !== undefined && options.concurrency !== 1) {
    throw invalidOption('concurrency', options.concurrency, "with orderBy 'queue' it is always 1")
  }
  checkRetry(options.retry)
  checkNumber('timeoutMs', options.timeoutMs, 1)
  if (options.batch !== undefined) {
    checkNames('batch', options.batch, batchNames)
    checkBatch(options.batch)
  }
  checkRateLimit(options.rateLimit)
  if (options.circuitBreaker !== undefined && options.circuitBreaker !== 'none') {
    const breaker = options.circuitBreaker
    checkNames('circuitBreaker', breaker, breakerNames)
    checkNumber('circuitBreaker.failureRate', breaker.failureRate, 0, 1)
    checkWhole('circuitBreaker.minimum', breaker.minimum, 1)
    checkNumber('circuitBreaker.windowMs', breaker.windowMs, 1)
    checkWhole('circuitBreaker.probes', breaker.probes, 1)
    if (breaker.resetMs?.length === 0) throw invalidOption('circuitBreaker.resetMs', '[]', 'at least one wait')
  }
  checkDeduplicate(options.deduplicate)
  checkOneOf('onUnknownMessage', options.onUnknownMessage, ['dead-letter', 'discard'])
  checkOneOf('onExpired', options.onExpired, ['discard', 'dead-letter'])
  checkNumber('ttlMs', options.ttlMs, 1)
  checkNumber('deadLetterTtlMs', options.deadLetterTtlMs, 1)
  checkWhole('maxMessages', options.maxMessages, 1)
  checkWhole('maxBytes', options.maxBytes, 1)
}

/** @throws BUZZER_INVALID_OPTION */
export function checkRateLimit(limit: QueueOptions['rateLimit']): void {
  if (limit === undefined) return
  checkNames('rateLimit', limit, new Set(['max', 'perMs']))
  checkWhole('rateLimit.max', limit.max, 1)
  checkNumber('rateLimit.perMs', limit.perMs, 1)
}

/** Checks the options of one publish or send. `to`, `timeoutMs` belong to sends and requests. @throws BUZZER_INVALID_OPTION */
export function checkMessageOptions(options: MessageOptions<unknown>): void {
  for (const name in options) {
    const value: unknown = options[name as keyof typeof options]
    if (value === undefined) continue
    switch (name) {
      case 'delayMs':
        checkNumber('delayMs', value, 0)
        if (options.deliverAt !== undefined)
          throw invalidOption('delayMs', value, 'give delayMs or deliverAt, not both')
        break
      case 'deliverAt':
        if (!(value instanceof Date) || Number.isNaN(value.getTime())) {
          throw invalidOption('deliverAt', value, 'a valid Date')
        }
        break
      case 'ttlMs':
        if (typeof value !== 'number' || !(value > 0)) throw invalidOption('ttlMs', value, 'a number > 0')
        break
      case 'key':
        checkKey(value)
        break
      case 'correlationId':
        if (typeof value !== 'string' || value === '') throw invalidOption('correlationId', value, 'a non-empty string')
        break
      case 'headers':
        if (typeof value !== 'object' || value === null) throw invalidOption('headers', value, 'an object of strings')
        checkHeaders(value as Record<string, string>)
        break
      case 'messageId':
        checkMessageId(value as string)
        break
      case 'priority':
        if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > 9) {
          throw invalidOption('priority', value, 'a whole number from 0 to 9')
        }
        break
      case 'newConversation':
      case 'mandatory':
        if (value !== true) throw invalidOption(name, value, 'true, or left out')
        break
      case 'tx':
      case 'signal':
      case 'to':
      case 'timeoutMs':
        break
      default:
        throw invalidOption(name, value, 'publish and send have no such option')
    }
  }
}

/** Checks an ordering key and returns it. @throws BUZZER_INVALID_OPTION */
export function checkKey(key: unknown): string {
  if (typeof key !== 'string' || key.length === 0 || key.length > 128) {
    throw invalidOption('key', key, '1 to 128 characters')
  }
  return key
}
