import fc from 'fast-check'
import { parseItem } from 'structured-headers'
import { describe, expect, it } from 'vitest'
import { entityTag, isNoneMatch } from './entity-tag.ts'
import { readIdempotencyKey } from './idempotency-key.ts'
import { readPrefer } from './prefer.ts'
import { readTrace } from './trace-headers.ts'

describe('Prefer', () => {
  it.each([
    [null, { respondAsync: false }],
    ['respond-async', { respondAsync: true }],
    ['respond-async, wait=5', { respondAsync: true, waitS: 5 }],
    ['Wait=5', { respondAsync: false, waitS: 5 }],
    ['wait="7"', { respondAsync: false, waitS: 7 }],
    ['wait = 7; foo=bar', { respondAsync: false, waitS: 7 }],
    ['wait=0', { respondAsync: false, waitS: 0 }],
    ['wait=-1', { respondAsync: false }],
    ['wait=1.5', { respondAsync: false }],
    ['wait', { respondAsync: false }],
    ['wait="', { respondAsync: false }],
    ['wait=3, wait=9', { respondAsync: false, waitS: 3 }],
    ['note="a, wait=9", respond-async', { respondAsync: true }],
    ['Lenient, handling=strict;x="1,2", wait=4', { respondAsync: false, waitS: 4 }],
    ['respond-async=yes', { respondAsync: false }],
    ['wait=99999999999999999999', { respondAsync: false, waitS: 2 ** 31 }],
  ])('%j is read as %j', (header, expected) => {
    expect(readPrefer(header)).toEqual(expected)
  })
})

describe('Idempotency-Key', () => {
  it.each([
    ['8e03978e-40d5-43dd-bc93-6894a57f9324', '8e03978e-40d5-43dd-bc93-6894a57f9324'],
    ['"8e03978e-40d5-43dd-bc93-6894a57f9324"', '8e03978e-40d5-43dd-bc93-6894a57f9324'],
    ['"a\\"b\\\\c"', 'a"b\\c'],
    ['"abc";p=1', 'abc'],
    ['x'.repeat(255), 'x'.repeat(255)],
    ['x'.repeat(256), undefined],
    ['', undefined],
    ['""', undefined],
    ['two words', undefined],
    ['"two words"', undefined],
    ['a, b', undefined],
    ['"open', undefined],
    ['tab\tinside', undefined],
    ['é', undefined],
  ])('HT-36 %j is the key %j', (header, key) => {
    expect(readIdempotencyKey(header)).toBe(key)
  })

  it('agrees with structured-headers on every string that both take', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', 'B', '9', '-', '"', '\\', '~', '!') }), text => {
        const header = `"${text}"`
        let oracle: unknown
        try {
          oracle = parseItem(header)[0]
        } catch {
          oracle = undefined
        }
        const ours = readIdempotencyKey(header)
        expect(ours).toBe(oracle === '' ? undefined : oracle)
      }),
    )
  })
})

describe('If-None-Match', () => {
  it('matches its version, a list, a weak tag and the star', () => {
    expect(['"3"', '"1", "3"', 'W/"3"', '*'].map(header => isNoneMatch(header, entityTag(3)))).toEqual([
      true,
      true,
      true,
      true,
    ])
    expect([null, '"2"', '3', '"33"'].map(header => isNoneMatch(header, entityTag(3)))).toEqual([
      false,
      false,
      false,
      false,
    ])
  })
})

describe('trace headers', () => {
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  it('go into the message where they are valid', () => {
    expect(readTrace(new Headers({ traceparent, tracestate: 'congo=t61rcWkgMzE', baggage: 'user=7' }))).toEqual({
      attributes: { traceparent, tracestate: 'congo=t61rcWkgMzE' },
      headers: { baggage: 'user=7' },
    })
  })
  it('are dropped where they are malformed', () => {
    expect(
      readTrace(new Headers({ traceparent: '00-0-0-01', tracestate: 'congo=t61rcWkgMzE', baggage: 'nonsense' })),
    ).toEqual({ attributes: {}, headers: {} })
    expect(readTrace(new Headers({ traceparent, tracestate: 'no equals' })).attributes).toEqual({ traceparent })
  })
})
