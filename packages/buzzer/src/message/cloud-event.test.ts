import { describe, expect, test } from 'vitest'
import { json } from './codec.ts'
import { decodeCloudEvent, encodeCloudEvent, isCloudEvent } from './cloud-event.ts'
import { encrypted } from './encrypted-codec.ts'
import { fromTimestamp, toCount, toTimestamp } from './envelope.ts'
import { formatTraceparent, parseTraceparent } from './trace-context.ts'

const attributes = { specversion: '1.0', id: '1', type: 'a.b', source: '/s', time: '2026-01-01T00:00:00.000Z' }
const bytesOf = (value: unknown): Uint8Array => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))

describe('structured CloudEvents', () => {
  test('JSON travels as data, other bytes as data_base64, nothing as nothing; all come back', () => {
    for (const [contentType, body] of [
      ['application/json', '{"a":[1,"ü"]}'],
      ['application/vnd.x+json', 'null'],
      ['application/octet-stream', '\u0000\u0001'],
      ['application/json', ''],
    ] as const) {
      const encoded = encodeCloudEvent({ attributes, contentType, body: Buffer.from(body) })
      const text = JSON.parse(Buffer.from(encoded).toString()) as Record<string, unknown>
      expect('data' in text).toBe(body !== '' && contentType.includes('json'))
      const parts = decodeCloudEvent(encoded)
      expect(parts.attributes).toEqual(attributes)
      expect(parts.contentType).toBe(contentType)
      expect(Buffer.from(parts.body).toString()).toBe(body)
    }
  })

  test('C5 numbers and booleans become canonical text; text data of another type stays text', () => {
    const parts = decodeCloudEvent(
      bytesOf({ ...attributes, sequence: 7, urgent: true, gone: null, datacontenttype: 'text/plain', data: 'hello' }),
    )
    expect(parts.attributes).toEqual({ ...attributes, sequence: '7', urgent: 'true' })
    expect(Buffer.from(parts.body).toString()).toBe('hello')
  })

  test.each([
    ['no JSON', '{'],
    ['an array', '[]'],
    ['another version', { ...attributes, specversion: '0.3' }],
    ['no type', { ...attributes, type: undefined }],
    ['an attribute that is an object', { ...attributes, who: {} }],
    ['no UTF-8', new Uint8Array([0xff])],
  ])('what is no CloudEvent 1.0 is BUZZER_UNDECODABLE: %s', (_, body) => {
    const bytes = body instanceof Uint8Array ? body : bytesOf(body)
    expect(() => decodeCloudEvent(bytes)).toThrow(expect.objectContaining({ code: 'BUZZER_UNDECODABLE' }))
  })

  test('the media type counts, its parameters do not', () => {
    expect(isCloudEvent('Application/CloudEvents+json; charset=utf-8')).toBe(true)
    expect(isCloudEvent('application/cloudevents-batch+json')).toBe(false)
  })
})

describe('JSON codec', () => {
  test('strict UTF-8: what is not is refused, a byte order mark is not skipped, the rest comes back', () => {
    for (const value of [{ a: 'ascii' }, 'ü€😀', '\ud800', null, []])
      expect(json.decode(json.encode(value), '')).toEqual(value)
    expect(() => json.decode(new Uint8Array([0x22, 0xc3, 0x22]), '')).toThrow()
    expect(() => json.decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x31]), '')).toThrow()
    expect(() => json.encode(undefined)).toThrow(expect.objectContaining({ code: 'BUZZER_INVALID_MESSAGE' }))
  })
})

describe('C6 encrypted codec', () => {
  const keys = new Map([
    ['a', new Uint8Array(32).fill(1)],
    ['b', new Uint8Array(32).fill(2)],
  ])
  const codec = encrypted(json, { keyId: 'a', key: id => keys.get(id) })

  test('round-trips, differs each time, and reads what an older key id wrote', () => {
    const [one, two] = [codec.encode({ secret: 1 }), codec.encode({ secret: 1 })]
    expect(Buffer.from(one).equals(two)).toBe(false)
    expect(codec.decode(one, codec.contentType)).toEqual({ secret: 1 })
    const newer = encrypted(json, { keyId: 'b', key: id => keys.get(id) })
    expect(newer.decode(one, codec.contentType)).toEqual({ secret: 1 })
  })

  test('a changed byte, another key id, an unknown key or a short body is refused', () => {
    const body = Buffer.from(codec.encode('x'))
    const changed = Buffer.from(body)
    changed[13] = (changed[13] ?? 0) ^ 1
    expect(() => codec.decode(changed, codec.contentType)).toThrow()
    expect(() => codec.decode(body, codec.contentType.replace('key=a', 'key=b'))).toThrow()
    expect(() => codec.decode(body, codec.contentType.replace('key=a', 'key=z'))).toThrow(/no key/)
    expect(() => codec.decode(new Uint8Array(5), codec.contentType)).toThrow(/too short/)
  })
})

describe('attributes', () => {
  test('times are RFC 3339 in UTC and come back; counts are whole numbers from 0', () => {
    expect(toTimestamp(0)).toBe('1970-01-01T00:00:00.000Z')
    expect(fromTimestamp(toTimestamp(1_234_567_890_123))).toBe(1_234_567_890_123)
    expect(fromTimestamp('2026-01-01T01:00:00+01:00')).toBe(Date.UTC(2026, 0, 1))
    expect([fromTimestamp('yesterday'), fromTimestamp(undefined)]).toEqual([undefined, undefined])
    expect([toCount('3'), toCount(undefined), toCount('-1'), toCount('x'), toCount('1.5')]).toEqual([3, 0, 0, 0, 0])
  })

  test('traceparent: valid ones only, newer versions with more fields too', () => {
    const text = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    const parsed = parseTraceparent(text)
    expect(parsed).toEqual({ traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', traceFlags: 1 })
    expect(parsed && formatTraceparent(parsed)).toBe(text)
    expect(parseTraceparent(`01${text.slice(2)}-more`)).toBeDefined()
    for (const bad of ['', `${text}-more`, `ff${text.slice(2)}`, text.toUpperCase(), text.replace(/[1-9a-f]/g, '0')]) {
      expect(parseTraceparent(bad)).toBeUndefined()
    }
  })
})
