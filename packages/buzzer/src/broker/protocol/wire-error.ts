import { BuzzerError } from '../../message/index.ts'

/** An error as it crosses a frame. The stack stays where it was made. */
export interface WireError {
  readonly code: string
  readonly message: string
  readonly retryable: boolean
  readonly details: Readonly<Record<string, unknown>>
}

/** Any error as a `WireError`; one that is not of Buzzer becomes `BUZZER_BROKER_FAILED`. */
export function toWireError(error: unknown): WireError {
  const known = error as Partial<WireError>
  if (error instanceof Error && typeof known.code === 'string' && known.code.startsWith('BUZZER_')) {
    return {
      code: known.code,
      message: error.message,
      retryable: known.retryable ?? true,
      details: known.details ?? {},
    }
  }
  const message = error instanceof Error ? error.message : String(error)
  return { code: 'BUZZER_BROKER_FAILED', message: `the broker failed: ${message}`, retryable: true, details: {} }
}

export function fromWireError(error: WireError): BuzzerError {
  return new BuzzerError(error.code as `BUZZER_${string}`, error.message, {
    retryable: error.retryable,
    details: error.details,
  })
}
