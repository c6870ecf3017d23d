import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { HistoryRecord } from '../src/testing/index.ts'
import type { FaultContext } from './kind.ts'
import { kill } from './kinds/kill.ts'
import { power } from './kinds/power.ts'
import { heldScenario, syncOrder, syncsOf, uncovered } from './kinds/sync-order.ts'
import { syscallKinds } from './kinds/syscalls.ts'
import { freshPlace } from './once.ts'
import { randomFrom } from './random.ts'
import { FaultReport } from './report.ts'

/** A small part of what `npm run faults` does. To repeat one: `npm run faults -- --short --only <kind> --seed 20261129`. */
const seed = 20_261_129
const folder = mkdtempSync(join(tmpdir(), 'buzzer-faults-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function context(count: number): FaultContext & { readonly report: FaultReport } {
  return {
    folder: mkdtempSync(join(folder, 'run-')),
    random: randomFrom(seed),
    report: new FaultReport(() => undefined),
    size: 'short',
    count,
  }
}

describe('the fault programme', () => {
  it('B87 kills of the owner, under load and with others going on, break no promise', {
    timeout: 300_000,
  }, async () => {
    const run = context(3)
    await kill.run(run)
    expect(run.report.found).toEqual([])
    expect(run.report.count()).toBeGreaterThanOrEqual(3)
  })

  it.skipIf(power.missing() !== undefined)('B91 power cuts break no promise', { timeout: 120_000 }, async () => {
    const run = context(3)
    await power.run(run)
    expect(run.report.found).toEqual([])
    expect(run.report.count('power cut')).toBe(3)
  })

  it.skipIf(syncOrder.missing() !== undefined)(
    'B1 a send is confirmed only after a sync that began after it has ended; in class os nothing waits for one',
    { timeout: 120_000 },
    async () => {
      const strict = await heldScenario(freshPlace(folder, 'fsync'), 'fsync')
      expect(strict).toMatchObject({ code: 0, early: [] })
      expect(strict.confirmed).toBeGreaterThan(10)
      const loose = await heldScenario(freshPlace(folder, 'os'), 'os')
      expect(loose.code).toBe(0)
      expect(loose.early.length, 'the measurement sees what does not wait').toBeGreaterThan(5)
    },
  )

  it('reads the syncs of a trace, and finds a send without one', () => {
    const trace = [
      '7 100.000000 fsync(3) = 0 (DELAYED)',
      '8 100.050000 fsync(3 <unfinished ...>',
      '7 100.060000 write(1)',
      '8 100.075000 <... fsync resumed>) = 0',
    ]
    const syncs = syncsOf(trace.join('\n'), 99_000)
    expect(syncs).toEqual([
      { from: 1_000, to: 1_020 },
      { from: 1_050, to: 1_075 },
    ])
    const send = (call: number, from: number, to: number): HistoryRecord[] => [
      { as: 'send', process: 'p', at: from, call, messages: [] },
      { as: 'sent', process: 'p', at: to, call, outcome: 'ok' },
    ]
    expect(uncovered([...send(1, 1_045, 1_080), ...send(2, 1_055, 1_080), ...send(3, 1_045, 1_070)], syncs)).toEqual([
      2, 3,
    ])
  })

  it('says why a kind cannot run on this machine', () => {
    for (const { missing } of [kill, power, ...syscallKinds]) {
      const why = missing()
      expect(why === undefined || why.length > 10).toBe(true)
    }
  })
})
