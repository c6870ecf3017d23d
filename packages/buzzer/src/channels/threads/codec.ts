import type { Decode } from './shared-ring.ts'

/** How items become bytes and back. `decode`'s input is valid only during the call: copy what you keep. */
export interface Codec<T> {
  encode(item: T): Uint8Array
  decode(bytes: Uint8Array): T
}

/** How the ring asks for it: the built-in codecs write in place, without a copy in between. */
export interface RingCodec<T> {
  /** What will be written, made once per item. */
  readonly prepare: (item: T) => Uint8Array | string
  /** Bytes of what was prepared. */
  readonly size: (prepared: Uint8Array | string) => number
  readonly decode: Decode<T>
}

function sizeOf(prepared: Uint8Array | string): number {
  return typeof prepared === 'string' ? Buffer.byteLength(prepared) : prepared.length
}

const json: RingCodec<unknown> = {
  prepare(item) {
    // Types say string, but of `undefined`, functions and symbols JSON makes nothing.
    const text = JSON.stringify(item) as string | undefined
    if (text === undefined) throw new TypeError(`JSON has no form for ${String(item)}: use another codec`)
    return text
  },
  size: sizeOf,
  decode: (bytes, start, end, ascii) => JSON.parse(bytes.toString(ascii ? 'latin1' : 'utf8', start, end)) as unknown,
}

const text: RingCodec<string> = {
  prepare(item) {
    if (typeof item !== 'string') throw new TypeError(`codec "text" carries strings, not ${typeof item}`)
    return item
  },
  size: sizeOf,
  decode: (bytes, start, end, ascii) => bytes.toString(ascii ? 'latin1' : 'utf8', start, end),
}

const bytes: RingCodec<Uint8Array> = {
  prepare(item) {
    if (!(item instanceof Uint8Array)) throw new TypeError(`codec "bytes" carries Uint8Array, not ${typeof item}`)
    return item
  },
  size: sizeOf,
  decode(ring, start, end) {
    const copy = new Uint8Array(end - start)
    ring.copy(copy, 0, start, end)
    return copy
  },
}

const builtIn = { json, text, bytes }

export type CodecOption<T> = 'json' | 'text' | 'bytes' | Codec<T>

export function ringCodec<T>(codec: CodecOption<T> = 'json'): RingCodec<T> {
  if (typeof codec === 'string') {
    if (codec in builtIn) return builtIn[codec] as unknown as RingCodec<T>
    throw new TypeError(`codec must be "json", "text", "bytes" or an object with encode and decode, not "${codec}"`)
  }
  if (typeof codec?.encode !== 'function' || typeof codec.decode !== 'function') {
    throw new TypeError('codec must be "json", "text", "bytes" or an object with encode and decode')
  }
  return {
    prepare: item => codec.encode(item),
    size: sizeOf,
    // Not `subarray`: of a Buffer that makes another Buffer, at several times the cost.
    decode: (ring, start, end) => codec.decode(new Uint8Array(ring.buffer, ring.byteOffset + start, end - start)),
  }
}
