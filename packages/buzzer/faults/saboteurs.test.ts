import { describe, expect, test } from 'vitest'
import { historyRules } from '../src/testing/index.ts'
import { rehearse } from './rehearsal.ts'
import { runSaboteurs } from './saboteurs.ts'

const seed = 7

describe('the history checker, judging whole runs of a broker in memory,', () => {
  test.concurrent('finds nothing in an honest one', async () => {
    expect(await rehearse(seed)).toEqual([])
  })

  for (const { name, rule, sabotage } of runSaboteurs) {
    test.concurrent(`finds by ${rule} that a broker ${name}`, async () => {
      const violations = await rehearse(seed, sabotage)
      expect(new Set(violations.map(violation => violation.rule))).toContain(rule)
    })
  }

  test('has a saboteur for every rule', () => {
    const proven = new Set(runSaboteurs.map(({ rule }) => rule))
    expect(historyRules.filter(rule => !proven.has(rule))).toEqual([])
  })
})
