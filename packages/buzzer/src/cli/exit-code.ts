import { isBuzzerError } from '../message/index.ts'

/** Exit codes of the command. Source: spec dashboard 9. */
export const exitCodes = {
  done: 0,
  /** It was tried and failed, or a check found a problem. */
  failed: 1,
  /** It could not begin: usage, no file, nobody there, no right. */
  notBegun: 2,
  notFound: 3,
  timedOut: 4,
  interrupted: 130,
} as const

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

/** An error of the command itself, with the exit code it stands for. The message says what to do. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly exitCode: ExitCode

  constructor(exitCode: ExitCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.exitCode = exitCode
  }
}

const byCode: Readonly<Record<string, ExitCode>> = {
  BUZZER_QUEUE_NOT_FOUND: exitCodes.notFound,
  BUZZER_SEND_TIMEOUT: exitCodes.timedOut,
  BUZZER_ABORTED: exitCodes.interrupted,
  BUZZER_DISCONNECTED: exitCodes.notBegun,
  BUZZER_CONFIGURATION: exitCodes.notBegun,
  BUZZER_INVALID_OPTION: exitCodes.notBegun,
  BUZZER_INVALID_NAME: exitCodes.notBegun,
  BUZZER_NOT_A_BROKER_FILE: exitCodes.notBegun,
  BUZZER_FILE_TOO_NEW: exitCodes.notBegun,
  BUZZER_FILE_DAMAGED: exitCodes.notBegun,
  BUZZER_PROTOCOL_MISMATCH: exitCodes.notBegun,
}

export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CommandError) return error.exitCode
  return isBuzzerError(error) ? (byCode[error.code] ?? exitCodes.failed) : exitCodes.failed
}

/** One line; with `verbose` the causes and their stacks too. */
export function describeError(error: unknown, detail: 'line' | 'verbose'): string {
  const code = isBuzzerError(error) ? ` ${error.code}` : ''
  const message = error instanceof Error ? error.message : String(error)
  let text = `error${code}: ${message}\n`
  if (detail === 'line') return text
  for (let link = error; link instanceof Error; link = link.cause) text += `${link.stack}\n`
  return text
}
