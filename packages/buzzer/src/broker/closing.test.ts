import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const program = fileURLToPath(new URL('../../test/broker/close-when-idle.ts', import.meta.url))

it('an idle program that closes its transport lives until the file is closed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'buzzer-closing-'))
  const path = join(folder, 'shop.db')
  try {
    const { stdout } = await promisify(execFile)(process.execPath, ['--conditions=buzzer-source', program, path])
    expect(stdout).toBe('closed')
    expect(existsSync(`${path}-wal`)).toBe(false)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
