import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const program = fileURLToPath(new URL('../../test/bus/start-while-away.ts', import.meta.url))

test('L2 a program that waits for its broker lives until the bus has started', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--conditions=buzzer-source', program])
  expect(stdout).toBe('started at try 4')
})
