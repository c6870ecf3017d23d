import { describe, expect, it } from 'vitest'
import { acceptedHistories } from '../../../test/history/accepted-histories.ts'
import { answered, begun, handled, present, sent, whole } from '../../../test/history/forged-records.ts'
import { rejectedHistories } from '../../../test/history/rejected-histories.ts'
import { checkHistory } from './check-history.ts'
import { historyRules } from './violation.ts'

describe.each(historyRules)('the history checker, rule %s,', rule => {
  for (const [what, history, promises] of rejectedHistories[rule]) {
    it(`rejects ${what}`, () => {
      expect([...new Set(checkHistory(history, promises).map(violation => violation.rule))]).toEqual([rule])
    })
  }

  for (const [what, history, promises] of acceptedHistories[rule]) {
    it(`accepts ${what}`, () => {
      expect(checkHistory(history, promises)).toEqual([])
    })
  }
})

describe('the history checker', () => {
  it('does not care how the records of several processes are mixed', () => {
    const history = [...whole('a', 0), ...whole('b', 1), present('c')]
    expect(checkHistory(history.toReversed())).toEqual(checkHistory(history))
  })

  it('refuses to judge what uses an id twice', () => {
    expect(() => checkHistory([...sent('a', 0), ...sent('a', 1)])).toThrow(/q\/a is sent twice/)
    expect(() =>
      checkHistory([...sent('a', 0, 'ok', { records: ['r'] }), ...sent('b', 1, 'ok', { records: ['r'] })]),
    ).toThrow(/record r is written twice/)
    expect(() => checkHistory([...sent('a', 0), begun('a', 1), answered('a', 2), answered('a', 3)])).toThrow(
      /more often/,
    )
  })

  it('takes what is left out of the promises as strict', () => {
    const history = [...whole('a', 0), ...handled('a', 6, { attempt: 2 })]
    expect(checkHistory(history, { lockMs: 5 })).toEqual(checkHistory(history))
    expect(checkHistory(history)).not.toEqual([])
  })
})
