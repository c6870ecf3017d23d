import { BuzzerError, isBuzzerError } from 'buzzer'

/** What a server says when it closes a channel, or the client when a connection ends. */
export interface AmqpFailure {
  /** The reply code of AMQP, when the server spoke: 404 not found, 406 precondition failed, 403 refused, … */
  readonly code: number | undefined
  readonly text: string
}

/** Reads code and text from whatever the client library rejected with. */
export function failureOf(error: unknown): AmqpFailure {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown }
  return {
    code: typeof code === 'number' ? code : undefined,
    text: typeof message === 'string' ? serverText(message) : String(error),
  }
}

/** The server's own sentence out of the library's. */
function serverText(message: string): string {
  return /with message "(.*)"/s.exec(message)?.[1] ?? message
}

export function isNotFound(error: unknown): boolean {
  return failureOf(error).code === 404
}

/** An argument that a queue or exchange has with another value than the one declared. */
export interface Inequivalence {
  readonly argument: string
  /** As the server puts it, for example `the value '120' of type 'signedint'`, or `none`. */
  readonly wanted: string
  readonly present: string
}

/** What differs, when the server refused a declaration because something of that name exists already. */
export function inequivalence(error: unknown): Inequivalence | undefined {
  const { code, text } = failureOf(error)
  if (code !== 406) return undefined
  const found = /inequivalent arg '([^']+)'.*?: received (.+?) but current is (.+)$/s.exec(text)
  if (found === null) return undefined
  const [, argument, wanted, present] = found as unknown as [string, string, string, string]
  return { argument, wanted: plain(wanted), present: plain(present) }
}

function plain(value: string): string {
  return /'([^']*)'/.exec(value)?.[1] ?? value
}

/** Nothing was sent; the connection is gone or not there yet. */
export function disconnected(why: string, cause?: unknown): BuzzerError {
  return new BuzzerError('BUZZER_DISCONNECTED', `transport rabbitmq is not connected: ${why}`, { cause })
}

export function queueNotFound(queue: string, cause?: unknown): BuzzerError {
  return new BuzzerError('BUZZER_QUEUE_NOT_FOUND', `there is no queue ${queue}`, { cause, details: { queue } })
}

/** Turns what the library rejected with into an error of ours that names what was tried. */
export function translated(error: unknown, what: string): BuzzerError {
  if (isBuzzerError(error)) return error
  const { code, text } = failureOf(error)
  if (code === undefined) return disconnected(`${what} was cut off (${text})`, error)
  if (code === 403) {
    return new BuzzerError('BUZZER_CONFIGURATION', `the server refuses ${what}: ${text}`, {
      cause: error,
      details: { replyCode: code },
    })
  }
  return new BuzzerError('BUZZER_BROKER_FAILED', `${what} failed: ${text}`, {
    cause: error,
    details: { replyCode: code },
  })
}
