import { execFile, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const program = fileURLToPath(new URL('../../test/broker/under-strace.ts', import.meta.url))
const canTrace = spawnSync('strace', ['-V']).status === 0

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'buzzer-sync-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** Runs the program under strace; resolves with what it wrote and the trace, one call a line. */
async function traced(mode: string, ...flags: string[]): Promise<{ output: string; trace: string[] }> {
  const log = join(folder, 'trace')
  const node = [process.execPath, '--conditions=buzzer-source', program, join(folder, 'shop.db'), mode]
  const { stdout } = await promisify(execFile)('strace', ['-f', '-qq', '-o', log, ...flags, ...node], {
    timeout: 80_000,
  })
  return { output: stdout, trace: readFileSync(log, 'utf8').split('\n') }
}

/** What happened in which order: marks of the program, and syncs of the write-ahead file that came back. */
function happened(trace: readonly string[]): string[] {
  const events: string[] = []
  const syncing = new Set<string>()
  for (const line of trace) {
    const pid = line.slice(0, line.indexOf(' '))
    const mark = /write\(1<[^>]*>, "(begin|acknowledged) (\d+)/.exec(line)
    if (mark !== null) events.push(`${mark[1]} ${mark[2]}`)
    else if (/fsync\(\d+<[^>]*-wal>\) += 0/.test(line)) events.push('synced')
    else if (/fsync\(\d+<[^>]*-wal> <unfinished/.test(line)) syncing.add(pid)
    else if (/<\.\.\. fsync resumed>\) += 0/.test(line) && syncing.delete(pid)) events.push('synced')
  }
  return events
}

describe.skipIf(!canTrace)('system calls (needs strace)', () => {
  it.each([
    ["in the owner's process", 'alone'],
    ['in another process', 'owner'],
  ])(
    'B1 no acknowledgement leaves before the sync that covers it: the sender is %s',
    async (_, mode) => {
      const { trace } = await traced(mode, '-y', '-e', 'trace=fsync,write')
      const events = happened(trace)
      for (let number = 0; number < 20; number++) {
        const begun = events.indexOf(`begin ${number}`)
        const acknowledged = events.indexOf(`acknowledged ${number}`)
        expect(begun).toBeGreaterThanOrEqual(0)
        expect(events.slice(begun + 1, acknowledged), `send ${number}`).toContain('synced')
      }
    },
    90_000,
  )

  it('B11 each sync takes 200 ms → batches grow, and the senders are served as fast as ever', async () => {
    const { output } = await traced('load', '-e', 'trace=fsync', '-e', 'inject=fsync:delay_exit=200000')
    const { ready, commits, largestBatch } = JSON.parse(output) as Record<string, number>
    // 200 senders with one send each under way: 2,000 sends are ten rounds, and a round is one commit, or two.
    expect(ready).toBe(2_000)
    expect(commits).toBeLessThan(60)
    expect(largestBatch).toBeGreaterThanOrEqual(100)
  }, 90_000)
})
