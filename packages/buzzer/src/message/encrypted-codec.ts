import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { type Codec, mediaType } from './codec.ts'
import { BuzzerError } from './errors.ts'

export interface EncryptionKeys {
  /** The key that new messages are encrypted with: 1–64 of `A-Z a-z 0-9 . _ -`. It travels in the content type. */
  readonly keyId: string
  /** 32 bytes for a key id, old ids included, or `undefined` for one that is unknown. Called for every message. */
  key(id: string): Uint8Array | undefined
}

const idShape = /^[A-Za-z0-9._-]{1,64}$/
const nonceBytes = 12
const tagBytes = 16

/**
 * AES-256-GCM around another codec: brokers and disks see random bytes. Body: nonce (12) · ciphertext · tag (16).
 * The key id is authenticated with the content. Attributes, headers and keys stay readable: put no secrets there.
 * Message size + 28 bytes. A 96-bit random nonce is safe for about 2³² messages per key: rotate.
 * @throws BUZZER_INVALID_OPTION for a bad key id
 */
export function encrypted(inner: Codec, keys: EncryptionKeys): Codec {
  if (!idShape.test(keys.keyId)) {
    throw new BuzzerError(
      'BUZZER_INVALID_OPTION',
      `encrypted: keyId ${JSON.stringify(keys.keyId)} is not 1 to 64 of letters, digits, '.', '_' and '-'`,
      { details: { option: 'keyId', value: keys.keyId } },
    )
  }
  // The inner media type is part of ours, so two encrypted codecs over different inner ones can be told apart.
  const media = `application/vnd.buzzer.encrypted.${mediaType(inner.contentType).replace(/[^a-z0-9]+/g, '.')}`
  const keyOf = (id: string): Uint8Array => {
    const key = keys.key(id)
    if (key === undefined) throw new BuzzerError('BUZZER_UNDECODABLE', `encrypted: no key with the id "${id}"`)
    if (key.length !== 32) {
      throw new BuzzerError('BUZZER_INVALID_OPTION', `encrypted: key "${id}" has ${key.length} bytes, not 32`)
    }
    return key
  }
  return {
    contentType: `${media}; key=${keys.keyId}`,
    encode(value) {
      const nonce = randomBytes(nonceBytes)
      const cipher = createCipheriv('aes-256-gcm', keyOf(keys.keyId), nonce)
      cipher.setAAD(Buffer.from(keys.keyId))
      const content = Buffer.concat([cipher.update(inner.encode(value)), cipher.final()])
      return Buffer.concat([nonce, content, cipher.getAuthTag()])
    },
    decode(received, contentType) {
      const id = /;\s*key=([A-Za-z0-9._-]{1,64})/.exec(contentType)?.[1]
      if (id === undefined) {
        throw new BuzzerError(
          'BUZZER_UNDECODABLE',
          `encrypted: content type ${JSON.stringify(contentType)} names no key`,
        )
      }
      if (received.length < nonceBytes + tagBytes) {
        throw new BuzzerError('BUZZER_UNDECODABLE', `encrypted: a body of ${received.length} bytes is too short`)
      }
      const decipher = createDecipheriv('aes-256-gcm', keyOf(id), received.subarray(0, nonceBytes))
      decipher.setAAD(Buffer.from(id))
      decipher.setAuthTag(received.subarray(received.length - tagBytes))
      const content = decipher.update(received.subarray(nonceBytes, received.length - tagBytes))
      return inner.decode(Buffer.concat([content, decipher.final()]), inner.contentType)
    },
  }
}
