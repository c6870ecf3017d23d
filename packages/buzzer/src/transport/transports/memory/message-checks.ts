import { BuzzerError, checkMessageId } from '../../../message/index.ts'
import type { OutgoingMessage } from '../../index.ts'

/**
 * Checks what a transport must be able to rely on, and returns the size of the message: attributes, headers and body.
 * @throws BUZZER_INVALID_OPTION, BUZZER_INVALID_MESSAGE, BUZZER_MESSAGE_TOO_LARGE
 */
export function checkMessage(message: OutgoingMessage, maxMessageBytes: number): number {
  checkMessageId(message.id)
  const { body, priority } = message
  if (!(body instanceof Uint8Array)) {
    throw new BuzzerError('BUZZER_INVALID_MESSAGE', `the body of message ${message.id} is not a Uint8Array`, {
      details: { messageId: message.id },
    })
  }
  if (!Number.isInteger(priority) || priority < 0 || priority > 9) {
    throw new BuzzerError('BUZZER_INVALID_OPTION', `priority ${String(priority)} is not an integer from 0 to 9`, {
      details: { option: 'priority', value: priority },
    })
  }
  const bytes = body.byteLength + textLength(message.attributes) + textLength(message.headers)
  // A UTF-16 unit is at most three bytes, so the exact size is counted only near the limit.
  if (bytes * 3 > maxMessageBytes) {
    const exact = body.byteLength + textBytes(message.attributes) + textBytes(message.headers)
    if (exact > maxMessageBytes) {
      throw new BuzzerError(
        'BUZZER_MESSAGE_TOO_LARGE',
        `message ${message.id} has ${exact} bytes; the limit is ${maxMessageBytes} (maxMessageBytes)`,
        { details: { messageId: message.id, bytes: exact, maxBytes: maxMessageBytes } },
      )
    }
    return exact
  }
  return bytes
}

function textLength(texts: Readonly<Record<string, string>>): number {
  let length = 0
  // `Object.keys` takes a third of the time of `for … in` here: this runs once per message.
  for (const name of Object.keys(texts)) length += name.length + (texts[name] as string).length
  return length
}

function textBytes(texts: Readonly<Record<string, string>>): number {
  let bytes = 0
  for (const name of Object.keys(texts)) bytes += Buffer.byteLength(name) + Buffer.byteLength(texts[name] as string)
  return bytes
}
