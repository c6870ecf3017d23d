import { BuzzerError, checkMessageId } from 'buzzer'
import type { OutgoingMessage } from 'buzzer/transport'

/**
 * What the table can take: judged at the call, before anything is stored.
 * @throws BUZZER_INVALID_OPTION, BUZZER_INVALID_MESSAGE, BUZZER_MESSAGE_TOO_LARGE (both sizes)
 */
export function checkMessage(message: OutgoingMessage, maxMessageBytes: number): void {
  const { id, body, priority, deliverAt, expiresAt, attributes, headers } = message
  checkMessageId(id)
  if (!(body instanceof Uint8Array)) {
    throw new BuzzerError('BUZZER_INVALID_MESSAGE', `the body of message ${id} is not a Uint8Array`, {
      details: { messageId: id },
    })
  }
  if (!Number.isInteger(priority) || priority < 0 || priority > 9)
    throw invalid('priority', priority, 'an integer from 0 to 9')
  checkTime('deliverAt', deliverAt)
  checkTime('expiresAt', expiresAt)
  // A UTF-16 unit is at most three bytes, so the exact size is counted only near the limit.
  if (body.byteLength + 3 * (textLength(id, attributes) + textLength(id, headers)) <= maxMessageBytes) return
  const bytes = body.byteLength + textBytes(attributes) + textBytes(headers)
  if (bytes > maxMessageBytes) {
    throw new BuzzerError(
      'BUZZER_MESSAGE_TOO_LARGE',
      `message ${id} has ${bytes} bytes in attributes, headers and body; the limit is ${maxMessageBytes} (maxMessageBytes)`,
      { details: { messageId: id, bytes, maxBytes: maxMessageBytes } },
    )
  }
}

function checkTime(option: string, value: number | undefined): void {
  if (value !== undefined && (typeof value !== 'number' || Number.isNaN(value)))
    throw invalid(option, value, 'a number of milliseconds')
}

/** @throws BUZZER_INVALID_MESSAGE for what is no text */
function textLength(id: string, texts: Readonly<Record<string, string>>): number {
  let length = 0
  for (const name of Object.keys(texts)) {
    const value = texts[name]
    if (typeof value !== 'string') {
      throw new BuzzerError('BUZZER_INVALID_MESSAGE', `${name} of message ${id} is ${typeof value}, not a string`, {
        details: { messageId: id, name },
      })
    }
    length += name.length + value.length
  }
  return length
}

function textBytes(texts: Readonly<Record<string, string>>): number {
  let bytes = 0
  for (const name of Object.keys(texts)) bytes += Buffer.byteLength(name) + Buffer.byteLength(texts[name] as string)
  return bytes
}

function invalid(option: string, value: unknown, wanted: string): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', `${option} ${String(value)} is not ${wanted}`, {
    details: { option, value },
  })
}
