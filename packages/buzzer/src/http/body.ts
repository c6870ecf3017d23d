import type { Clock } from '../message/index.ts'
import { Refusal } from './refusal.ts'

export interface BodyLimits {
  readonly maxBodyBytes: number
  readonly bodyTimeoutMs: number
}

/** The declared length, `undefined` where there is none. A length that is no number cannot reach us: the server refuses it. */
export function declaredLength(headers: Headers): number | undefined {
  const text = headers.get('content-length')
  return text !== null && /^\d+$/.test(text) ? Number(text) : undefined
}

/** Whether the request announces a body. */
export function hasBody(request: Request): boolean {
  const length = declaredLength(request.headers)
  if (length !== undefined) return length > 0
  return request.headers.has('transfer-encoding') || (request.method !== 'GET' && request.body !== null)
}

export function bodyTooLarge(maxBodyBytes: number): Refusal {
  return new Refusal('body-too-large', {
    detail: `The body is larger than ${maxBodyBytes} bytes`,
    members: { maxBodyBytes },
  })
}

/**
 * The whole body, counted while it is read and cut at the limit; `bodyTimeoutMs` bounds all of it, not the pause between
 * bytes. Refuses with `body-too-large`, `body-timeout`, and `malformed-json` for a body that breaks off.
 */
export async function readBody(request: Request, limits: BodyLimits, clock: Clock): Promise<Uint8Array> {
  if (request.body === null) return new Uint8Array()
  const reader: ReadableStreamDefaultReader<Uint8Array> = request.body.getReader()
  const late = Symbol('late')
  const { promise: deadline, resolve: expire } = Promise.withResolvers<typeof late>()
  const timer = clock.setTimeout(() => expire(late), limits.bodyTimeoutMs)
  const chunks: Uint8Array[] = []
  let size = 0
  let whole = false
  try {
    for (;;) {
      const next = await Promise.race([reader.read(), deadline])
      if (next === late) {
        throw new Refusal('body-timeout', { detail: `The body did not arrive within ${limits.bodyTimeoutMs} ms` })
      }
      if (next.done) {
        whole = true
        return chunks.length === 1 ? (chunks[0] as Uint8Array) : concat(chunks, size)
      }
      size += next.value.byteLength
      if (size > limits.maxBodyBytes) throw bodyTooLarge(limits.maxBodyBytes)
      chunks.push(next.value)
    }
  } catch (error) {
    if (error instanceof Refusal) throw error
    throw new Refusal('malformed-json', { detail: 'The body broke off' })
  } finally {
    clock.clearTimeout(timer)
    // Never cancelled: on Node that destroys the socket before the refusal could be written to it. The server ends the
    // connection after the answer, which says so (`Connection: close`).
    if (!whole) reader.releaseLock()
  }
}

function concat(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const all = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.byteLength
  }
  return all
}
