import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/** MB passed, rows waiting, MB of heap: of each line. */
function figures(output: string): number[][] {
  return [...output.matchAll(/: (\d+) MB passed, (\d+) rows waiting, heap (\d+) MB higher$/gm)].map(match =>
    match.slice(1).map(Number),
  )
}

test('with a bound memory stays flat, without one everything waits in it', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--conditions=buzzer-source', here('main.ts')])
  const expected = readFileSync(here('expected-output.txt'), 'utf8')
  // The figures differ a little from run to run, the rest must not.
  expect(stdout.replaceAll(/\d+/g, '#')).toBe(expected.replaceAll(/\d+/g, '#'))
  const [unbounded = [], bounded = []] = figures(stdout)
  expect([unbounded[0], bounded[0]]).toEqual([40, 40])
  expect(unbounded[1]).toBeGreaterThan(15_000)
  expect(unbounded[2]).toBeGreaterThan(30)
  expect(bounded[1]).toBe(100)
  expect(bounded[2]).toBeLessThanOrEqual(3)
})

test('the README shows what it prints', () => {
  expect(readFileSync(here('README.md'), 'utf8')).toContain(readFileSync(here('expected-output.txt'), 'utf8'))
})
