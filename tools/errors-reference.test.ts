import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { errorCodes } from '../packages/buzzer/src/message/errors.ts'

const page = readFileSync(new URL('../docs/reference/errors.md', import.meta.url), 'utf8')
const codesOf = (text: string) => [...text.matchAll(/^\| `(BUZZER_[A-Z_]+)` \| ([^|]+?) \| .+ \|$/gm)]
const [core = '', inProcess = ''] = page.split('## In-process')
const rows = codesOf(core)

describe('docs/reference/errors.md', () => {
  test('explains every code of the registry once, and no other', () => {
    expect(rows.map(([, code]) => code).toSorted()).toEqual(Object.keys(errorCodes).toSorted())
  })

  test('says of each code whether a second try is sensible, as the registry does', () => {
    const said = Object.fromEntries(rows.map(([, code, retryable]) => [code, retryable]))
    for (const [code, { retryable }] of Object.entries(errorCodes)) {
      // The one answer that is not the registry's to give: it comes from the responder.
      const expected = code === 'BUZZER_REQUEST_FAULT' ? 'as the remote error' : retryable ? 'yes' : 'no'
      expect(said[code], code).toBe(expected)
    }
  })

  test('explains every code that channels and blocks have of their own', () => {
    const source = ['channels', 'dataflow']
      .map(room => readFileSync(new URL(`../packages/buzzer/src/${room}/errors.ts`, import.meta.url), 'utf8'))
      .join('')
    const codes = [...source.matchAll(/readonly code = '(BUZZER_[A-Z_]+)'/g)].map(([, code = '']) => code)
    const own = codes.filter(code => !(code in errorCodes))
    expect(own.length).toBeGreaterThan(0)
    expect(
      codesOf(inProcess)
        .map(([, code]) => code)
        .toSorted(),
    ).toEqual(own.toSorted())
  })
})
