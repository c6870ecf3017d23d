import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

test('every payload of GitHub is accepted before a worker runs, and handled once, equal to what was sent', async () => {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, ['--conditions=buzzer-source', main])
  expect(stdout).toBe(readFileSync(new URL('./expected-output.txt', import.meta.url), 'utf8'))
}, 60_000)
