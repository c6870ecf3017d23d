import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { machineClock } from '../../src/testing/index.ts'
import type { FaultContext, FaultKind } from '../kind.ts'
import { freshPlace, judgePlace, noteDeath, type Place } from '../once.ts'
import { FaultReport } from '../report.ts'
import { shimEnv, shimMissing } from '../shim.ts'

const scenario = fileURLToPath(new URL('../scenario.ts', import.meta.url))
const cuts = { short: 8, long: 60 } as const
/** The scenario's journal grows to some 30 kB; cuts fall before, into and after it, however fast the machine is. */
const journalBytes = 32_000
/** As long as the scenario does not begin or goes on: somebody else's load. */
const patienceMs = 30_000

/**
 * Spec broker 13.5. The file lies on an ext4 image that writes back nothing by itself (`commit=600`); the process is
 * stopped at a random moment and the image copied: what a disk holds when the power goes. The journal lies outside.
 */
export const power: FaultKind = {
  name: 'power',
  what: 'power cut: an ext4 image that writes back nothing by itself is copied in the middle of the work, and recovered',
  missing: mountMissing,
  async run(context) {
    const { size, count = cuts[size], report } = context
    for (let cut = 1; cut <= count; cut++) {
      await cutOnce(context, cut, place => judgePlace(place, `power cut ${cut}`, report))
      report.injected('power cut')
    }
  },
}

/**
 * Promises of class `'os'` after a power cut. What was confirmed or seen before the cut may be undone, so that the rules
 * which count on it say nothing. Source: spec broker 1.
 */
const rulesOfOs = ['no invention', 'order', 'exclusion', 'liveness'] as const
/** From which sync on the disk lies: the file is made by then, and its name is in its folder. */
const honestSyncs = 12
const lyingCuts = { short: 3, long: 20 } as const

/**
 * Spec broker 13.4: the disk says that it has synced, and has not. Nobody can keep what is lost then; what is left must be
 * one whole state. It also proves the programme: a cut that takes something along is found by the rule of durability.
 */
export const lyingSync: FaultKind = {
  name: 'lying-sync',
  what: 'power cut of a disk whose syncs lie: what is lost must be seen to be; order and service are not',
  missing: () => mountMissing() ?? shimMissing(),
  async run(context) {
    const { folder, size, count = lyingCuts[size], report } = context
    let losses = 0
    for (let cut = 1; cut <= count; cut++) {
      const env = shimEnv(folder, { path: join(folder, 'live'), fault: `lying-sync:${honestSyncs}` })
      await cutOnce(
        context,
        2 * cut,
        async place => {
          const strict = new FaultReport(() => undefined)
          const label = `power cut ${cut} of a lying disk`
          if ((await judgePlace(place, label, report, { rules: rulesOfOs, proof: strict })) !== 'served') return
          if (strict.found.length > 0) losses++
        },
        env,
      )
      report.injected('power cut of a lying disk')
    }
    report.note(`lying-sync: the rules of class fsync found what was lost in ${losses} of ${count} cuts`)
  },
}

function mountMissing(): string | undefined {
  if (process.platform !== 'linux') return 'loop devices are Linux'
  if (process.getuid?.() !== 0) return 'mounting needs root'
  return spawnSync('mkfs.ext4', ['-V']).status === 0 ? undefined : 'no mkfs.ext4 on this machine'
}

/** Every other cut falls on a broker that just began, so that file, owner file and reserve are new. */
async function cutOnce(
  { folder, random }: FaultContext,
  cut: number,
  judge: (place: Place) => Promise<unknown>,
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  const place = freshPlace(folder, 'cut')
  const image = join(folder, 'image')
  const copy = join(place.folder, 'copy')
  const live = join(folder, 'live')
  const recovered = join(folder, 'recovered')
  for (const mountPoint of [live, recovered]) mkdirSync(mountPoint, { recursive: true })
  rmSync(image, { force: true })
  const atBytes = random() * (cut % 2 === 0 ? journalBytes : journalBytes / 8)
  const from = machineClock.monotonic()
  run('truncate', '-s', '96M', image)
  run('mkfs.ext4', '-q', '-F', image)
  run('mount', '-o', 'loop,commit=600', image, live)
  try {
    await workUntilCut({ ...place, path: join(live, 'broker.db') }, atBytes, env, () => {
      run('cp', '--sparse=always', image, copy)
    })
  } finally {
    run('umount', live)
  }
  noteDeath(place, from, ['engine', 'scenario'])
  // The copy stays as it was, for who wants to look at what went wrong.
  run('cp', '--sparse=always', copy, `${copy}.recovered`)
  run('mount', '-o', 'loop', `${copy}.recovered`, recovered)
  try {
    // Recovered where it lies, so that the journal of the file system is replayed as after a real cut. A file that the cut
    // took along is opened empty: no fault as long as nothing in it was acknowledged.
    await judge({ ...place, path: join(recovered, 'broker.db') })
  } finally {
    run('umount', recovered)
  }
}

async function workUntilCut(
  place: Place,
  atBytes: number,
  env: Readonly<Record<string, string>>,
  atCut: () => void,
): Promise<void> {
  const child = spawn(process.execPath, ['--conditions=buzzer-source', scenario, place.path, place.journals], {
    stdio: 'ignore',
    env: { ...process.env, ...env },
  })
  const over = new Promise<void>(resolve => child.once('close', () => resolve()))
  try {
    const journal = join(place.journals, 'scenario.jsonl')
    const until = performance.now() + patienceMs
    while (bytesOf(journal) < atBytes && child.exitCode === null && performance.now() < until) await sleep(1)
    child.kill('SIGSTOP')
    atCut()
  } finally {
    child.kill('SIGKILL')
    await over
  }
}

function bytesOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}

function run(command: string, ...args: readonly string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${stderr}`)
}
