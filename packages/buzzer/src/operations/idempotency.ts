import { createHash } from 'node:crypto'
import { BuzzerError, type JsonValue } from '../message/index.ts'
import type { PutRecord } from '../store/index.ts'
import { canonicalJson } from './canonical-json.ts'

/** Records of idempotency keys: `{ operation, fingerprint }`, gone when their time has passed. */
export const idempotencyCollection = 'buzzer.idempotency'

/** A key with all that decides whether two submissions are the same. Source: spec http 5.5. */
export interface IdempotencyKey {
  /** The caller's key. */
  readonly key: string
  /** Equal keys of different scopes are different keys. */
  readonly scope: string
  /** Equal for repeats of one submission; another one under the same key is refused. */
  readonly fingerprint: string
  /** How long the key is remembered. Milliseconds. */
  readonly ttlMs: number
}

export interface IdempotencyRecord {
  readonly operation: string
  readonly fingerprint: string
}

/** SHA-256 in base64url over parts that cannot run into each other. */
export function fingerprintOf(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) {
    hash.update(`${typeof part === 'string' ? Buffer.byteLength(part) : part.byteLength}:`)
    hash.update(part)
  }
  return hash.digest('base64url')
}

/** The fingerprint of a payload, blind to spacing and the order of members. */
export function payloadFingerprint(type: string, payload: unknown): string {
  return fingerprintOf([type, canonicalJson(payload as JsonValue)])
}

/** Id of the key's record. A hash, because keys and principals are the client's to choose and may be secret. */
export function idempotencyId(key: IdempotencyKey): string {
  return fingerprintOf([key.scope, key.key])
}

/** The put that claims a key for an operation. A second one conflicts, so racing submissions have one winner. */
export function putIdempotency(key: IdempotencyKey, operation: string, nowMs: number): PutRecord {
  return {
    op: 'put',
    collection: idempotencyCollection,
    id: idempotencyId(key),
    value: { operation, fingerprint: key.fingerprint },
    expected: 'absent',
    expiresAt: nowMs + key.ttlMs,
  }
}

export function keyReused(key: IdempotencyKey, operation: string): BuzzerError {
  return new BuzzerError(
    'BUZZER_IDEMPOTENCY_KEY_REUSED',
    'this idempotency key was used for another submission; use a new key for a new submission',
    { details: { key: key.key, operation } },
  )
}
