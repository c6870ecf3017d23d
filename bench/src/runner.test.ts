import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type CaseResult, runCase } from './runner.ts'
import { suite } from './runner.test-suite.ts'
import type { BenchCase } from './suite.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'buzzer-bench-'))
  vi.spyOn(console, 'error').mockImplementation(() => undefined)
})
afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
  vi.restoreAllMocks()
})

function run(at: number): Promise<CaseResult> {
  return runCase(suite.cases[at] as BenchCase, { suite: '../runner.test-suite', folder, rounds: 3, seconds: 0.1 })
}

test('a contender that fails, dies or leaves messages over loses its row, aloud; the others keep theirs', async () => {
  const { results, leftOut } = await run(0)
  expect(results.map(({ contender }) => contender.name)).toEqual(['counts'])
  expect(Object.fromEntries(leftOut.map(({ contender, reason }) => [contender, reason.split('\n')[0]]))).toEqual({
    dies: "Error: the contender's process ended with 3 during run",
    'fails in its second round': 'Error: Error: lost',
    'leaves a message over': 'Error: Error: 1 message is left',
  })
  expect(vi.mocked(console.error).mock.calls.map(([line]) => String(line))).toHaveLength(3)
})

test('figures come round by round, facts after the last of them, and contenders reach the server of their case', async () => {
  const [counts] = (await run(0)).results
  expect(counts?.rounds.map(({ n, figures }) => [n, figures])).toEqual([
    [7, { runs: 1, operations: 7 }],
    [7, { runs: 2, operations: 7 }],
    [7, { runs: 3, operations: 7 }],
  ])
  expect(counts?.facts).toEqual({ server: 'here:1', rounds: '3' })
})

test('a server that cannot be had leaves out who needs it, with the reason, and nobody else', async () => {
  const { results, leftOut } = await run(1)
  expect(leftOut).toEqual([{ contender: 'needs it', reason: 'no java on this machine' }])
  expect(results.map(({ contender, rounds }) => [contender.name, rounds.map(({ samples }) => samples)])).toEqual([
    [
      'does without',
      [
        [0, 1],
        [0, 1],
        [0, 1],
      ],
    ],
  ])
})
