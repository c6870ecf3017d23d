import { expect, it } from 'vitest'
import { readResult } from './result.ts'

it('OP-2 a value is kept as JSON carries it, and undefined leaves no result', () => {
  expect(readResult(undefined, 100)).toEqual({})
  expect(readResult(null, 100)).toEqual({ result: null })
  expect(readResult({ at: new Date(0), none: undefined }, 100)).toEqual({ result: { at: '1970-01-01T00:00:00.000Z' } })
})

it('OP-18 a result of 65,537 bytes, a BigInt or a cycle is left out with its reason', () => {
  const cycle: Record<string, unknown> = {}
  cycle['self'] = cycle
  expect(readResult('x'.repeat(65_534), 65_536)).toEqual({ result: 'x'.repeat(65_534) })
  expect(readResult('x'.repeat(65_535), 65_536)).toEqual({ resultOmitted: 'too-large' })
  expect(readResult('é'.repeat(32_768), 65_536)).toEqual({ resultOmitted: 'too-large' })
  expect(readResult(10n, 65_536)).toEqual({ resultOmitted: 'not-json' })
  expect(readResult(cycle, 65_536)).toEqual({ resultOmitted: 'not-json' })
  expect(readResult(() => 1, 65_536)).toEqual({ resultOmitted: 'not-json' })
})
