import type { JsonObject } from './json.ts'

/** A code of the core. Transports add codes of their own, all beginning with `BUZZER_`. */
export type ErrorCode =
  | 'BUZZER_INVALID_NAME'
  | 'BUZZER_INVALID_OPTION'
  | 'BUZZER_DUPLICATE_QUEUE'
  | 'BUZZER_DUPLICATE_HANDLER'
  | 'BUZZER_QUEUE_STARTED'
  | 'BUZZER_CONFIGURATION'
  | 'BUZZER_UNSUPPORTED'
  | 'BUZZER_TOPOLOGY_CONFLICT'
  | 'BUZZER_FILTER_INVALID'
  | 'BUZZER_WRONG_KIND'
  | 'BUZZER_INVALID_MESSAGE'
  | 'BUZZER_UNDECODABLE'
  | 'BUZZER_MESSAGE_TOO_LARGE'
  | 'BUZZER_UNROUTABLE'
  | 'BUZZER_QUEUE_NOT_FOUND'
  | 'BUZZER_NOT_RUNNING'
  | 'BUZZER_CONTEXT_CLOSED'
  | 'BUZZER_SEND_TIMEOUT'
  | 'BUZZER_SEND_FAILED'
  | 'BUZZER_DISCONNECTED'
  | 'BUZZER_QUEUE_FULL'
  | 'BUZZER_BROKER_FULL'
  | 'BUZZER_BROKER_BLOCKED'
  | 'BUZZER_DISK_FULL'
  | 'BUZZER_BROKER_FAILED'
  | 'BUZZER_OWNERSHIP_LOST'
  | 'BUZZER_PROTOCOL_MISMATCH'
  | 'BUZZER_NOT_A_BROKER_FILE'
  | 'BUZZER_FILE_TOO_NEW'
  | 'BUZZER_FILE_DAMAGED'
  | 'BUZZER_FILE_REPLACED'
  | 'BUZZER_DATABASE_FAILED'
  | 'BUZZER_SCHEMA_TOO_NEW'
  | 'BUZZER_SCHEMA_OUTDATED'
  | 'BUZZER_REQUEST_TIMEOUT'
  | 'BUZZER_REQUEST_FAULT'
  | 'BUZZER_HANDLER_TIMEOUT'
  | 'BUZZER_STOPPING'
  | 'BUZZER_LOCK_LOST'
  | 'BUZZER_ABORTED'
  | 'BUZZER_DEAD_LETTER'
  | 'BUZZER_RETRY_LATER'
  | 'BUZZER_CONFLICT'
  | 'BUZZER_STREAM_NOT_FOUND'
  | 'BUZZER_LOG_CONFLICT'
  | 'BUZZER_LOG_TRIMMED'
  | 'BUZZER_LOG_POSITION'
  | 'BUZZER_PRODUCER_FENCED'
  | 'BUZZER_ALREADY_HANDLED'
  | 'BUZZER_ENLIST_LATE'
  | 'BUZZER_CLAIM_MISSING'
  | 'BUZZER_STORE_NOT_DURABLE'
  | 'BUZZER_OPERATION_UNKNOWN'
  | 'BUZZER_OPERATION_DONE'
  | 'BUZZER_OPERATION_CANCELLED'
  | 'BUZZER_BATCH_FAILED'
  | 'BUZZER_IDEMPOTENCY_KEY_REUSED'
  | 'BUZZER_IDEMPOTENCY_IN_PROGRESS'
  | 'BUZZER_WEBHOOK_REFUSED'

/**
 * Every code with its default answer to "is a second try sensible?".
 * Source: spec bus 1.3, broker, http. `docs/reference/errors.md` explains each; a test compares the two.
 */
export const errorCodes: Readonly<Record<ErrorCode, { readonly retryable: boolean }>> = {
  BUZZER_INVALID_NAME: { retryable: false },
  BUZZER_INVALID_OPTION: { retryable: false },
  BUZZER_DUPLICATE_QUEUE: { retryable: false },
  BUZZER_DUPLICATE_HANDLER: { retryable: false },
  BUZZER_QUEUE_STARTED: { retryable: false },
  BUZZER_CONFIGURATION: { retryable: false },
  BUZZER_UNSUPPORTED: { retryable: false },
  BUZZER_TOPOLOGY_CONFLICT: { retryable: false },
  BUZZER_FILTER_INVALID: { retryable: false },
  BUZZER_WRONG_KIND: { retryable: false },
  BUZZER_INVALID_MESSAGE: { retryable: false },
  BUZZER_UNDECODABLE: { retryable: false },
  BUZZER_MESSAGE_TOO_LARGE: { retryable: false },
  BUZZER_UNROUTABLE: { retryable: false },
  BUZZER_QUEUE_NOT_FOUND: { retryable: false },
  BUZZER_NOT_RUNNING: { retryable: true },
  BUZZER_CONTEXT_CLOSED: { retryable: false },
  BUZZER_SEND_TIMEOUT: { retryable: true },
  BUZZER_SEND_FAILED: { retryable: true },
  BUZZER_DISCONNECTED: { retryable: true },
  BUZZER_QUEUE_FULL: { retryable: true },
  BUZZER_BROKER_FULL: { retryable: true },
  BUZZER_BROKER_BLOCKED: { retryable: true },
  BUZZER_DISK_FULL: { retryable: true },
  BUZZER_BROKER_FAILED: { retryable: true },
  BUZZER_OWNERSHIP_LOST: { retryable: true },
  BUZZER_PROTOCOL_MISMATCH: { retryable: false },
  BUZZER_NOT_A_BROKER_FILE: { retryable: false },
  BUZZER_FILE_TOO_NEW: { retryable: false },
  BUZZER_FILE_DAMAGED: { retryable: false },
  BUZZER_FILE_REPLACED: { retryable: false },
  BUZZER_DATABASE_FAILED: { retryable: true },
  BUZZER_SCHEMA_TOO_NEW: { retryable: false },
  BUZZER_SCHEMA_OUTDATED: { retryable: false },
  BUZZER_REQUEST_TIMEOUT: { retryable: true },
  BUZZER_REQUEST_FAULT: { retryable: true },
  BUZZER_HANDLER_TIMEOUT: { retryable: true },
  BUZZER_STOPPING: { retryable: true },
  BUZZER_LOCK_LOST: { retryable: true },
  BUZZER_ABORTED: { retryable: true },
  BUZZER_DEAD_LETTER: { retryable: false },
  BUZZER_RETRY_LATER: { retryable: true },
  BUZZER_CONFLICT: { retryable: true },
  BUZZER_STREAM_NOT_FOUND: { retryable: false },
  BUZZER_LOG_CONFLICT: { retryable: true },
  BUZZER_LOG_TRIMMED: { retryable: false },
  BUZZER_LOG_POSITION: { retryable: false },
  BUZZER_PRODUCER_FENCED: { retryable: false },
  BUZZER_ALREADY_HANDLED: { retryable: false },
  BUZZER_ENLIST_LATE: { retryable: false },
  BUZZER_CLAIM_MISSING: { retryable: false },
  BUZZER_STORE_NOT_DURABLE: { retryable: false },
  BUZZER_OPERATION_UNKNOWN: { retryable: false },
  BUZZER_OPERATION_DONE: { retryable: false },
  BUZZER_OPERATION_CANCELLED: { retryable: false },
  BUZZER_BATCH_FAILED: { retryable: true },
  BUZZER_IDEMPOTENCY_KEY_REUSED: { retryable: false },
  BUZZER_IDEMPOTENCY_IN_PROGRESS: { retryable: true },
  BUZZER_WEBHOOK_REFUSED: { retryable: true },
}

export interface BuzzerErrorOptions {
  /** What brought it about. */
  cause?: unknown
  /** Whether a second try is sensible. Default: what the registry says of the code; an unknown code is retryable. */
  retryable?: boolean
  /** Structured facts: the offending value, limits, names. */
  details?: Readonly<Record<string, unknown>>
}

/**
 * The base of every error of Buzzer. Recognise errors by `code` (see `hasCode`), never by `instanceof` alone:
 * two copies of the package in one process have two classes.
 */
export class BuzzerError extends Error {
  override readonly name: string = 'BuzzerError'
  readonly code: ErrorCode | `BUZZER_${string}`
  readonly retryable: boolean
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode | `BUZZER_${string}`, message: string, options: BuzzerErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retryable = options.retryable ?? (code in errorCodes ? errorCodes[code as ErrorCode].retryable : true)
    this.details = options.details ?? {}
  }
}

/** Thrown by a handler: straight to the dead letters with this reason, no further retry. */
export class DeadLetterError extends BuzzerError {
  override readonly name = 'DeadLetterError'
  readonly reason: string
  readonly detail: JsonObject | undefined

  constructor(reason: string, options: { cause?: unknown; detail?: JsonObject } = {}) {
    super('BUZZER_DEAD_LETTER', reason, { cause: options.cause })
    this.reason = reason
    this.detail = options.detail
  }
}

/** Thrown by a handler: this attempt failed, come back after `delayMs` (≥ 0). Bounded by the retry policy's rounds. */
export class RetryLaterError extends BuzzerError {
  override readonly name = 'RetryLaterError'
  readonly delayMs: number

  constructor(delayMs: number, options: { cause?: unknown } = {}) {
    super('BUZZER_RETRY_LATER', `the handler asked for a retry in ${delayMs} ms`, { cause: options.cause })
    this.delayMs = delayMs
  }
}

/** The caller's own signal ended the wait. `name` is `AbortError` as elsewhere in the platform; `cause` is the signal's reason. */
export class AbortedError extends BuzzerError {
  override readonly name = 'AbortError'

  constructor(signal: AbortSignal, what: string, details?: Readonly<Record<string, unknown>>) {
    super('BUZZER_ABORTED', `${what} was aborted by its signal`, {
      cause: signal.reason,
      ...(details === undefined ? {} : { details }),
    })
  }
}

/** Whether `error` carries `code`, from whatever copy of the package it comes. */
export function hasCode(error: unknown, code: ErrorCode | `BUZZER_${string}`): boolean {
  return typeof error === 'object' && error !== null && (error as { code?: unknown }).code === code
}

/** Whether `error` is an error of Buzzer, from whatever copy of the package it comes. */
export function isBuzzerError(error: unknown): error is BuzzerError {
  return (
    error instanceof Error &&
    typeof (error as { code?: unknown }).code === 'string' &&
    (error as unknown as { code: string }).code.startsWith('BUZZER_') &&
    typeof (error as { retryable?: unknown }).retryable === 'boolean'
  )
}

/** The first error of the `cause` chain (itself first) that `test` accepts. Stops at a cycle. */
export function findInCauses<T>(error: unknown, test: (link: unknown) => link is T): T | undefined {
  const seen = new Set<unknown>()
  for (let link = error; link !== undefined && link !== null && !seen.has(link); ) {
    if (test(link)) return link
    seen.add(link)
    link = (link as { cause?: unknown }).cause
  }
  return undefined
}

/** Whether `error`, or something along its `cause` chain, carries `code`. */
export function hasCodeInCauses(error: unknown, code: ErrorCode | `BUZZER_${string}`): boolean {
  return findInCauses(error, (link): link is object => hasCode(link, code)) !== undefined
}

/** The rule of spec bus 1.3: the first Buzzer error along the `cause` chain decides; any other error is retryable. */
export function isRetryable(error: unknown): boolean {
  return findInCauses(error, isBuzzerError)?.retryable ?? true
}
