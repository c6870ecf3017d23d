import fc from 'fast-check'
import { expect, it } from 'vitest'
import { canonicalJson } from './canonical-json.ts'
import { fingerprintOf, payloadFingerprint } from './idempotency.ts'
import type { JsonValue } from '../message/index.ts'

it('sorts members by UTF-16 code units, as the example of RFC 8785 section 3.2.3', () => {
  const value = {
    '€': 'Euro Sign',
    '\r': 'Carriage Return',
    '\ufb33': 'Hebrew Letter Dalet With Dagesh',
    '1': 'One',
    '\u{1f600}': 'Emoji: Grinning Face',
    '\u0080': 'Control',
    ö: 'Latin Small Letter O With Diaeresis',
  }
  expect(Object.values(JSON.parse(canonicalJson(value)) as object)).toHaveLength(7)
  const names = [...canonicalJson(value).matchAll(/"([^"]*)":/g)].map(match => JSON.parse(`"${match[1]}"`) as string)
  expect(names).toEqual(['\r', '1', '\u0080', 'ö', '€', '\u{1f600}', '\ufb33'])
})

it('writes numbers as section 3.2.2 does', () => {
  expect(
    canonicalJson([JSON.parse('333333333.33333329') as number, 1e30, 4.5, 2e-3, 0.000000000000000000000000001, -0]),
  ).toBe('[333333333.3333333,1e+30,4.5,0.002,1e-27,0]')
})

it('is blind to the order of members and keeps the value', () => {
  fc.assert(
    fc.property(fc.jsonValue(), value => {
      const text = canonicalJson(value)
      expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)))
      expect(canonicalJson(shuffled(value) as JsonValue)).toBe(text)
    }),
  )
})

it('fingerprints do not let parts run into each other', () => {
  expect(fingerprintOf(['ab', 'c'])).not.toBe(fingerprintOf(['a', 'bc']))
  expect(payloadFingerprint('t', { a: 1, b: 2 })).toBe(payloadFingerprint('t', { b: 2, a: 1 }))
  expect(payloadFingerprint('t', { a: 1 })).not.toBe(payloadFingerprint('u', { a: 1 }))
})

function shuffled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shuffled)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .toReversed()
      .map(([name, member]) => [name, shuffled(member)]),
  )
}
