import { describe, expect, it } from 'vitest'
import { json } from './index.ts'

const contentType = json.contentType

describe('the JSON codec', () => {
  it('carries texts of any script and length, however many lie beside each other', () => {
    const texts = ['', 'a', 'ä€😀', '\ufffd', 'x'.repeat(1_365), 'ü'.repeat(1_366), '€'.repeat(100_000)]
    const values = Array.from({ length: 2_000 }, (_, index) => ({ index, text: texts[index % texts.length] }))
    const encoded = values.map(value => json.encode(value))
    expect(encoded.map(bytes => json.decode(bytes, contentType))).toEqual(values)
    // From buffers of their own, and from the middle of another one.
    for (const [index, bytes] of encoded.slice(0, 20).entries()) {
      expect(json.decode(new Uint8Array(bytes), contentType)).toEqual(values[index])
      const apart = new Uint8Array(bytes.length + 5)
      apart.set(bytes, 3)
      expect(json.decode(apart.subarray(3, 3 + bytes.length), contentType)).toEqual(values[index])
    }
  })

  it.each([
    ['a byte that begins nothing', [0xff]],
    ['a sequence cut off', [0xe2, 0x82]],
    ['an overlong form', [0xc0, 0x80]],
    ['a surrogate', [0xed, 0xa0, 0x80]],
  ])('refuses bytes that are no UTF-8: %s', (_, broken) => {
    const bytes = Uint8Array.from([0x22, ...broken, 0x22])
    expect(() => json.decode(bytes, contentType)).toThrowError(expect.objectContaining({ code: 'BUZZER_UNDECODABLE' }))
  })
})
