/** How a channel ended: `error` is `undefined` when all went well. */
export interface Outcome {
  readonly error: unknown
}

interface ChannelErrorOptions {
  cause?: unknown
  details?: Readonly<Record<string, unknown>>
}

/** The shape of every error of Buzzer (`code`, `retryable`, `details`), restated here because channels import nothing. */
abstract class ChannelError extends Error {
  abstract readonly code: `BUZZER_${string}`
  abstract readonly retryable: boolean
  /** Structured facts: names, limits, values. */
  readonly details: Readonly<Record<string, unknown>>

  constructor(message: string, options: ChannelErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.details = options.details ?? {}
  }
}

/** The channel takes or gives nothing more. `cause` is the error it was completed with, if there is one. */
export class ChannelClosedError extends ChannelError {
  override readonly name = 'ChannelClosedError'
  readonly code = 'BUZZER_CHANNEL_CLOSED'
  readonly retryable = false

  constructor(message = 'the channel is closed', options: ChannelErrorOptions = {}) {
    super(message, options)
  }
}

/** A second thread tried to use a side of a worker channel that another thread holds. */
export class ChannelSideTakenError extends ChannelError {
  override readonly name = 'ChannelSideTakenError'
  readonly code = 'BUZZER_CHANNEL_SIDE_TAKEN'
  readonly retryable = false
}

/** The thread at the other end of a worker channel is gone. `details` names thread and exit code. */
export class ChannelPeerLostError extends ChannelError {
  override readonly name = 'ChannelPeerLostError'
  readonly code = 'BUZZER_CHANNEL_PEER_LOST'
  readonly retryable = false
}

/** What feeds a channel was closed before its end, so the data may be cut short. */
export class ChannelSourceClosedError extends ChannelError {
  override readonly name = 'ChannelSourceClosedError'
  readonly code = 'BUZZER_CHANNEL_SOURCE_CLOSED'
  readonly retryable = false
}

function isAbortError(error: unknown): boolean {
  return typeof error === 'object' && error !== null && (error as { name?: unknown }).name === 'AbortError'
}

/** What `read`, `write` and `select` reject with once the channel has this outcome (spec channels 2.2). */
export function closedError(outcome: Outcome, name?: string): unknown {
  const { error } = outcome
  if (isAbortError(error)) return error
  const channel = name === undefined ? 'the channel' : `channel "${name}"`
  if (error === undefined) return new ChannelClosedError(`${channel} is closed`)
  const why = error instanceof Error ? error.message : typeof error === 'string' ? error : typeof error
  return new ChannelClosedError(`${channel} is closed, it failed: ${why}`, { cause: error })
}

/** The reason of an `abort()` that names none. */
export function defaultAbortReason(name: string): DOMException {
  return new DOMException(`channel "${name}" was aborted`, 'AbortError')
}
