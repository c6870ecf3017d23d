import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { migrations, schemaSql } from './index.ts'

const main = fileURLToPath(new URL('../../../buzzer/src/cli/main.ts', import.meta.url))
const root = fileURLToPath(new URL('../../../../', import.meta.url))

function buzzer(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return promisify(execFile)(process.execPath, ['--conditions=buzzer-source', main, ...args], {
    cwd: root,
    timeout: 60_000,
  }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  )
}

describe('buzzer postgres sql', () => {
  test('prints the SQL of the schema, ready for psql, and connects to nothing', async () => {
    const { code, stdout, stderr } = await buzzer('postgres', 'sql')
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toBe(schemaSql())
    expect(stdout).toMatch(/^begin;\ncreate schema if not exists "buzzer";/)
    for (const { number, name } of migrations) expect(stdout).toContain(`-- ${number}: ${name}\n`)
    expect(stdout).toMatch(/commit;\n$/)
  }, 60_000)

  test('prints what comes after a migration, for a schema of any name; a name that cannot be is refused', async () => {
    const [part, wrong] = await Promise.all([
      buzzer('postgres', 'sql', '--schema', 'my "shop"', '--from', '2', '--json'),
      buzzer('postgres', 'sql', '--schema', 'x'.repeat(64)),
    ])
    const from = { schema: 'my "shop"', from: 2 }
    expect(JSON.parse(part.stdout)).toEqual({ ...from, sql: schemaSql(from) })
    expect(schemaSql(from)).not.toContain('-- 2: ')
    expect(schemaSql(from)).toContain('-- 3: ')
    expect(wrong.code).toBe(2)
    expect(wrong.stderr).toMatch(/^error BUZZER_INVALID_OPTION: .*1 to 63 bytes/)
  }, 60_000)
})
