import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FaultContext, FaultKind } from '../kind.ts'
import { freshPlace, judgePlace, runScenario } from '../once.ts'

/** Node's SQLite writes with these; `fdatasync` never occurs (spec broker 11, fact 1). */
const calls = ['fsync', 'pwrite64', 'ftruncate', 'unlink', 'rename', 'openat'] as const
/** Every how many calls a fault is tried in the short form. The start differs from run to run. */
const shortStep = { fsync: 9, pwrite64: 29, ftruncate: 2, unlink: 2, rename: 2, openat: 7 } as const

/** Cases at a time: most of one is waiting for a process to start. */
const lanes = 2

/** An `open` that fails is a file that is not there: another matter than a disk that fails. */
const withoutOpen = calls.filter(call => call !== 'openat')

function syscallKind(name: string, fate: string, which: readonly (typeof calls)[number][], what: string): FaultKind {
  return { name, what, missing: straceMissing, run: context => everyCall(context, name, fate, which) }
}

export const syscallKinds: readonly FaultKind[] = [
  syscallKind(
    'syscall-kill',
    'signal=KILL',
    calls,
    'SIGKILL at the 1st, 2nd, 3rd … fsync, pwrite64, ftruncate, unlink, rename, openat',
  ),
  syscallKind(
    'EIO',
    'error=EIO',
    withoutOpen,
    'an I/O error at each of these calls: the engine stops, the next one recovers',
  ),
  syscallKind('ENOSPC', 'error=ENOSPC', withoutOpen, 'a full disk at each of these calls'),
]

/** Why strace cannot be used here, or nothing. */
export function straceMissing(): string | undefined {
  return spawnSync('strace', ['-V']).status === 0 ? undefined : 'no strace on this machine'
}

/** The scenario again and again, until it passes untouched; after each the file is opened, judged, and used. */
async function everyCall(
  context: FaultContext,
  name: string,
  fate: string,
  which: readonly (typeof calls)[number][],
): Promise<void> {
  for (const call of which) {
    const step = context.size === 'long' ? 1 : shortStep[call]
    let when = 1 + Math.floor(context.random() * step)
    let isOver = false
    const lane = async (number: number): Promise<void> => {
      while (!isOver) {
        const mine = when
        when += step
        if (await once(context, name, call, fate, mine, number)) context.report.injected(`${name} at ${call}`)
        else isOver = true
      }
    }
    await Promise.all(Array.from({ length: lanes }, (_, number) => lane(number)))
    context.report.progress(`${name} at ${call}: ${context.report.count(`${name} at ${call}`)} faults`)
  }
}

/** Resolves to whether the scenario got as far as that call. */
async function once(
  { folder, report }: FaultContext,
  name: string,
  call: string,
  fate: string,
  when: number,
  lane: number,
): Promise<boolean> {
  const label = `${name} at ${call} ${when}`
  const place = freshPlace(folder, `lane-${lane}`)
  const trace = join(place.folder, 'trace')
  const files = ['', '-wal', '-shm', '-journal', '.reserve', '.owner', '.owner-journal'].flatMap(suffix => [
    '-P',
    `${place.path}${suffix}`,
  ])
  const inject = ['-e', `trace=${call}`, '-e', `inject=${call}:${fate}:when=${when}`]
  const { code, errors } = await runScenario(place, {
    before: ['strace', '-f', '-qq', '-o', trace, ...files, ...inject],
  })
  const isTouched = /INJECTED|killed by SIGKILL/.test(readFileSync(trace, 'utf8'))
  const wrong = (what: string): void => report.violations(label, [{ rule: 'liveness', what }], place.folder)
  if (code === 'late') wrong('the process did not end within a minute')
  if (code === 1) wrong(`the process fell over: ${errors.slice(0, 2_000)}`)
  if (!isTouched && code !== 0) wrong(`untouched, and yet it ended with ${code}: ${errors.slice(0, 500)}`)
  await judgePlace(place, label, report)
  return isTouched
}
