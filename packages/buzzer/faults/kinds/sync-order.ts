import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type HistoryRecord, machineClock, readJournals, recordsOf } from '../../src/testing/index.ts'
import type { FaultContext, FaultKind } from '../kind.ts'
import { freshPlace, type Place, runScenario } from '../once.ts'
import { straceMissing } from './syscalls.ts'

/** Each sync is held back for so long, so that an answer that does not wait for it is far too early. */
const heldMs = 20
/** Between the clock of strace and that of the journal. */
const toleranceMs = 2
const runs = { short: 1, long: 5 } as const

interface Sync {
  readonly from: number
  readonly to: number
}

/** Spec broker 13.10: no send is confirmed before a sync has ended that began after the send. */
export const syncOrder: FaultKind = {
  name: 'sync-order',
  what: 'every sync is held back by 20 ms under strace: no send may be confirmed before the sync that covers it has ended',
  missing: straceMissing,
  async run(context) {
    for (let run = 1; run <= (context.count ?? runs[context.size]); run++) await holdBack(context, run)
  },
}

async function holdBack({ folder, report }: FaultContext, run: number): Promise<void> {
  const place = freshPlace(folder)
  const { syncs, confirmed, early, code } = await heldScenario(place, 'fsync')
  report.injected('sync held back', syncs)
  const violations = early.map(call => ({
    rule: 'durability' as const,
    what: `send ${call} was confirmed before any sync that began after it had ended`,
  }))
  if (code !== 0 || confirmed === 0) {
    violations.push({ rule: 'durability', what: `the scenario ended with ${code} after ${confirmed} sends` })
  }
  report.violations(`sync order, run ${run}`, violations, place.folder)
  report.note(`sync-order: ${confirmed} confirmed sends, each behind one of ${syncs} syncs of its own time`)
}

export interface HeldScenario {
  readonly code: number | 'late'
  readonly syncs: number
  readonly confirmed: number
  /** Sends that were confirmed too early. */
  readonly early: readonly number[]
}

/** The scenario with every sync held back. In class `'os'` no sync stands between a send and its confirmation. */
export async function heldScenario(place: Place, durability: 'fsync' | 'os'): Promise<HeldScenario> {
  const trace = join(place.folder, 'trace')
  const files = ['', '-wal'].flatMap(suffix => ['-P', `${place.path}${suffix}`])
  const inject = ['-e', 'trace=fsync', '-e', `inject=fsync:delay_exit=${heldMs * 1_000}`]
  const before = ['strace', '-f', '-ttt', '-o', trace, ...files, ...inject]
  const { code } = await runScenario(place, { before, durability })
  const syncs = syncsOf(readFileSync(trace, 'utf8'), wallOffsetMs())
  const history = readJournals(place.journals)
  const confirmed = recordsOf(history, 'sent').filter(({ outcome }) => outcome === 'ok')
  return { code, syncs: syncs.length, confirmed: confirmed.length, early: uncovered(history, syncs) }
}

/** Calls whose time holds no whole sync. Pure; times are those of the journal. */
export function uncovered(history: readonly HistoryRecord[], syncs: readonly Sync[]): readonly number[] {
  const begun = new Map(recordsOf(history, 'send').map(({ call, at }) => [call, at]))
  return recordsOf(history, 'sent')
    .filter(({ outcome }) => outcome === 'ok')
    .filter(({ call, at }) => {
      const from = (begun.get(call) ?? at) - toleranceMs
      return !syncs.some(sync => sync.from >= from && sync.to <= at + toleranceMs)
    })
    .map(({ call }) => call)
}

/** What strace wrote, in the journal's time: `pid time fsync(…) = 0`, or the same in two lines. */
export function syncsOf(trace: string, offsetMs: number): readonly Sync[] {
  const begun = new Map<string, number>()
  const syncs: Sync[] = []
  for (const line of trace.split('\n')) {
    const [, thread = '', seconds = '', call = ''] = /^(\d+) +(\d+\.\d+) (.*)$/.exec(line) ?? []
    const at = Number(seconds) * 1_000 - offsetMs
    if (call.startsWith('fsync(') && call.includes('<unfinished')) begun.set(thread, at)
    else if (call.startsWith('fsync(')) syncs.push({ from: at, to: at + heldMs })
    else if (call.startsWith('<... fsync resumed>')) syncs.push({ from: begun.get(thread) ?? at, to: at })
  }
  return syncs
}

/** From the machine's monotonic clock to its wall clock, to a fraction of a millisecond. */
function wallOffsetMs(): number {
  return performance.timeOrigin + performance.now() - machineClock.monotonic()
}
