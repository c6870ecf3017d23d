import { BuzzerError } from './errors.ts'

/** The user's own headers: at most 64, 16 KiB together. */
export type MessageHeaders = Readonly<Record<string, string>>

export const noHeaders: MessageHeaders = Object.freeze(Object.create(null) as Record<string, string>)

const shape = /^[a-z0-9][a-z0-9-]{0,63}$/
const reserved = /^(ce|cloudevents|buzzer)-/
const maxCount = 64
const maxBytes = 16 * 1024

/**
 * Checks headers given by a user and returns them. Source: spec bus 1.2.
 * @throws BUZZER_INVALID_OPTION naming the header
 */
export function checkHeaders(headers: MessageHeaders): MessageHeaders {
  const names = Object.keys(headers)
  if (names.length > maxCount) throw invalid(`${names.length} headers; at most ${maxCount} are allowed`)
  let size = 0
  for (const name of names) {
    const value: unknown = headers[name]
    if (!shape.test(name)) {
      throw invalid(`header name ${JSON.stringify(name)}: lower-case letters, digits and '-', at most 64 characters`)
    }
    if (reserved.test(name)) {
      throw invalid(`header name ${JSON.stringify(name)}: 'ce-', 'cloudevents-' and 'buzzer-' are reserved`)
    }
    if (typeof value !== 'string') throw invalid(`header ${JSON.stringify(name)} is ${typeof value}, not a string`)
    // Only a long value can matter to the limit in bytes, so the exact length is counted near it.
    size += name.length + value.length * 3
  }
  if (size > maxBytes) {
    size = 0
    for (const name of names) size += name.length + Buffer.byteLength(headers[name] ?? '')
    if (size > maxBytes) throw invalid(`headers of ${size} bytes; at most ${maxBytes} are allowed`)
  }
  return headers
}

function invalid(problem: string): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', `invalid headers: ${problem}`, { details: { option: 'headers' } })
}
