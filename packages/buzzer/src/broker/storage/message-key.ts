import { recordKeyRange, recordPriority } from '../protocol/index.ts'
import { type ChunkLayout, recordStart } from './chunk-format.ts'

/** What a message without a key has, of priority 4. */
const noKey = 4

/**
 * Key and priority of a message as one number: 48 bits of a hash of the key, then 4 bits of priority. Two keys with one
 * hash wait for each other, which is slower and never wrong. A hash of 0 means: no key.
 */
export function packKey(bytes: Buffer, keyStart: number, keyEnd: number, hasKey: boolean, priority: number): number {
  if (!hasKey) return priority
  let low = 0x811c9dc5
  let high = 0x9747b28c
  for (let at = keyStart; at < keyEnd; at++) {
    const byte = bytes[at] as number
    low = Math.imul(low ^ byte, 0x01000193)
    high = Math.imul(high ^ byte, 0x85ebca6b)
    high ^= high >>> 15
  }
  low ^= low >>> 13
  const hash = (low >>> 0) * 0x10000 + (high & 0xffff)
  return (hash === 0 ? 1 : hash) * 16 + priority
}

export function packedPriority(packed: number): number {
  // `%` of doubles is a call into the C library.
  return packed - packedHash(packed) * 16
}

/** 0: no key. */
export function packedHash(packed: number): number {
  return Math.floor(packed / 16)
}

/** Of each message of a chunk, from its record; for those that are gone as if they had no key. */
export function readKeys(bodies: Buffer, layout: ChunkLayout): Float64Array {
  return Float64Array.from({ length: layout.count }, (_, index) => {
    const start = recordStart(bodies, layout, index)
    if (recordStart(bodies, layout, index + 1) <= start) return noKey
    const { keyStart, keyEnd, hasKey } = recordKeyRange(bodies, start)
    return packKey(bodies, keyStart, keyEnd, hasKey, recordPriority(bodies, start))
  })
}
