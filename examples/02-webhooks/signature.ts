import { createHmac, timingSafeEqual } from 'node:crypto'

/** GitHub's `X-Hub-Signature-256`: `sha256=` and the HMAC of the bytes that were sent. */
export function sign(secret: string, body: Uint8Array): string {
  return `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`
}

/** Compares without telling by the time taken how much of it was right. */
export function isSigned(secret: string, body: Uint8Array, signature: string | null): boolean {
  const expected = Buffer.from(sign(secret, body))
  const given = Buffer.from(signature ?? '')
  return given.length === expected.length && timingSafeEqual(given, expected)
}
