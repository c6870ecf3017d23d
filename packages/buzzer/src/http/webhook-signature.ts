import { createHmac } from 'node:crypto'
import { BuzzerError } from '../message/index.ts'

const shape = /^whsec_([A-Za-z0-9+/]+={0,2})$/

/** The key in a `whsec_` secret of 24 to 64 bytes. @throws BUZZER_INVALID_OPTION, without the secret */
export function readSecret(secret: string): Buffer {
  const encoded = typeof secret === 'string' ? shape.exec(secret)?.[1] : undefined
  const key = encoded === undefined ? undefined : Buffer.from(encoded, 'base64')
  if (key === undefined || key.byteLength < 24 || key.byteLength > 64) {
    throw new BuzzerError('BUZZER_INVALID_OPTION', 'a webhook secret is whsec_ and base64 of 24 to 64 bytes', {
      details: { option: 'webhooks.secrets' },
    })
  }
  return key
}

/** `webhook-signature`: one `v1` entry for each key, so that a secret can be changed without a gap. Standard Webhooks 1.0.0. */
export function signWebhook(keys: readonly Buffer[], id: string, timestampS: number, body: string): string {
  return keys
    .map(key => `v1,${createHmac('sha256', key).update(`${id}.${timestampS}.${body}`).digest('base64')}`)
    .join(' ')
}
