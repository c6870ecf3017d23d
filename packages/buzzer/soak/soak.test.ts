import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { judgeSoak } from './judge.ts'
import { runSoak } from './run.ts'

it('B98 under a steady load over a steady backlog memory, database and write-ahead file are level, and nothing is lost', {
  timeout: 180_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'buzzer-soak-'))
  const rate = 2_000
  const { samples, handled, violations } = await runSoak({
    path: join(folder, 'soak.db'),
    seconds: 8,
    rate,
    backlog: 5_000,
  })
  expect(violations).toEqual([])
  expect(handled).toBeGreaterThan(1_000)
  // The rate is the machine's as much as the broker's: `npm run soak:steady` judges it, over a minute and more.
  const verdicts = judgeSoak(samples, rate).filter(({ what }) => !what.startsWith('rate'))
  expect(verdicts.filter(({ holds }) => !holds)).toEqual([])
  expect(verdicts).toHaveLength(3)
  rmSync(folder, { recursive: true })
})
