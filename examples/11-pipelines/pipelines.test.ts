import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

test('reads, numbers, saves and counts every package, in order within each licence', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--conditions=buzzer-source', here('main.ts')])
  // What is installed differs, the rest must not.
  const expected = readFileSync(here('expected-output.txt'), 'utf8')
  expect(stdout.replaceAll(/\d+/g, '#')).toBe(expected.replaceAll(/\d+/g, '#'))
  const [packages = 0, batches = 0, words = 0, without = 0, rows = 0, licences = 0] = (stdout.match(/\d+/g) ?? []).map(
    Number,
  )
  expect(packages).toBeGreaterThan(50)
  expect(rows).toBe(packages)
  expect(batches).toBeGreaterThanOrEqual(Math.ceil(packages / 50))
  expect(words).toBeGreaterThan(packages * 50)
  expect(without).toBeLessThan(packages)
  expect(licences).toBeGreaterThan(2)
})

test('the README shows what it prints', () => {
  expect(readFileSync(here('README.md'), 'utf8')).toContain(readFileSync(here('expected-output.txt'), 'utf8'))
})
