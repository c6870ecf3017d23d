import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { machineClock } from '../../src/testing/index.ts'
import { Crew } from '../crew.ts'
import type { FaultContext, FaultKind } from '../kind.ts'
import { needlessLosses } from '../needless-losses.ts'
import { freshPlace } from '../once.ts'
import { setClock, shimEnv, shimMissing } from '../shim.ts'

const hourMs = 3_600_000
/** Where the wall clock is set to, against the machine's. */
const offsets = [hourMs, -hourMs, 1_500, -1_500, 24 * hourMs, 0] as const
const jumpsARound = { short: 6, long: 20 } as const
const rounds = { short: 1, long: 6 } as const

/**
 * Spec broker 13.7. A preloaded library moves the wall clock of all processes at once, in the middle of schedules, retries
 * and expiries, and over a restart of all; the monotonic clock goes on. No retry comes early, no lock is lost, nothing
 * hangs. Windows of deduplication are by the wall clock and are not judged here.
 */
export const clock: FaultKind = {
  name: 'clock',
  what: 'the wall clock of all processes jumps by seconds, an hour and a day, forwards and back, at work and over a restart',
  missing: shimMissing,
  async run(context) {
    for (let round = 1; round <= rounds[context.size]; round++) await clockRound(context, round)
  },
}

async function clockRound({ folder, random, report, size, count }: FaultContext, round: number): Promise<void> {
  const place = freshPlace(folder)
  const file = join(folder, 'clock')
  writeFileSync(file, Buffer.alloc(8))
  const crew = new Crew({ place, random, env: shimEnv(folder, { clock: file }) })
  const label = `clock, round ${round}`
  let offset = 0
  const jump = (to: number): void => {
    crew.write({ as: 'jumped', at: machineClock.monotonic(), byMs: to - offset })
    setClock(file, to)
    offset = to
    report.injected('jump of the wall clock')
  }
  try {
    await crew.start()
    for (let jumps = count ?? jumpsARound[size]; jumps > 0; jumps--) {
      await sleep(100 + random() * 500)
      jump(offsets[Math.floor(random() * offsets.length)] ?? 0)
    }
    const losses = needlessLosses(place.journals)
    // All die, and find another time when they come back.
    const slots = [...crew.members.keys()]
    await crew.kill(slots)
    report.injected('restart at another time')
    jump(random() < 0.5 ? hourMs : -hourMs)
    for (const slot of slots) crew.restart(slot)
    await crew.up()
    await sleep(200)
    jump(0)
    const violations = [...(await crew.finish()), ...losses].filter(({ rule }) => rule !== 'deduplication')
    report.violations(label, violations, place.folder)
  } catch (error) {
    report.violations(label, [{ rule: 'liveness', what: String((error as Error).stack) }], place.folder)
  } finally {
    await crew.end()
  }
}
