import { spawn } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Logger } from '../src/message/index.ts'
import { type HistoryRule, Journal, machineClock, type Promises } from '../src/testing/index.ts'
import { recoverAndJudge } from './recovery.ts'
import type { FaultReport } from './report.ts'

const scenario = fileURLToPath(new URL('./scenario.ts', import.meta.url))

/** Outside of the process under test: how long the scenario may take with an error in it. Undisturbed it is half a second. */
const scenarioLimitMs = 60_000

export interface Place {
  readonly folder: string
  readonly path: string
  readonly journals: string
}

/** An empty folder for one run: the file, and beside it the journals. */
export function freshPlace(folder: string, name = 'once'): Place {
  const own = join(folder, name)
  rmSync(own, { recursive: true, force: true })
  const journals = join(own, 'journals')
  mkdirSync(journals, { recursive: true })
  return { folder: own, path: join(own, 'broker.db'), journals }
}

export interface ScenarioRun {
  /** What stands before `node`: strace with its arguments. */
  readonly before?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly durability?: 'fsync' | 'os'
}

export interface ScenarioEnd {
  /** `late`: it was still running after a minute, and was killed. 137: killed by a signal. */
  readonly code: number | 'late'
  readonly errors: string
}

/** Runs the scenario to its end, and notes in the history that its engine may have died somewhere in it. */
export async function runScenario(place: Place, run: ScenarioRun = {}): Promise<ScenarioEnd> {
  const { before = [], durability = 'fsync' } = run
  const node = [process.execPath, '--conditions=buzzer-source', scenario, place.path, place.journals, durability]
  const [command = '', ...args] = [...before, ...node]
  const from = machineClock.monotonic()
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...run.env } })
  const end = await new Promise<ScenarioEnd>((resolve, reject) => {
    let errors = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-8_000)
    })
    let isLate = false
    const limit = setTimeout(() => {
      isLate = true
      child.kill('SIGKILL')
    }, scenarioLimitMs)
    child.once('error', reject)
    child.once('close', (code, signal) => {
      clearTimeout(limit)
      resolve({ code: isLate ? 'late' : (code ?? (signal === null ? 1 : 137)), errors })
    })
  })
  noteDeath(place, from, end.code === 0 ? ['engine'] : ['engine', 'scenario'])
  return end
}

/** The engine died or failed between then and now, and maybe the process with it. */
export function noteDeath({ journals }: Place, from: number, who: readonly ('engine' | 'scenario')[]): void {
  const journal = new Journal(journals, 'killer')
  const at = machineClock.monotonic()
  for (const process of who) {
    journal.write({ as: 'killed', process, at: process === 'engine' ? from : at })
    journal.write({ as: 'dead', process, at })
  }
  journal.close()
}

export interface JudgeOptions {
  readonly promises?: Promises
  /** Where the fault takes other promises away: only these are judged. */
  readonly rules?: readonly HistoryRule[]
  /** Gets what breaks any rule. */
  readonly proof?: FaultReport
  readonly logger?: Logger
  /** Codes with which the recovery may refuse the file. */
  readonly refusals?: readonly string[]
}

/** Recovers and judges; everything that is wrong goes into the report. Resolves to whether the file was served. */
export async function judgePlace(
  place: Place,
  label: string,
  report: FaultReport,
  options: JudgeOptions = {},
): Promise<'served' | 'refused' | 'failed'> {
  try {
    const violations = await recoverAndJudge(place.path, place.journals, options)
    const judged = violations.filter(({ rule }) => options.rules?.includes(rule) ?? true)
    report.violations(label, judged, place.folder)
    options.proof?.tell(label, violations)
    return 'served'
  } catch (error) {
    const code = (error as { code?: string }).code ?? ''
    if (options.refusals?.includes(code)) return 'refused'
    report.violations(label, [{ rule: 'liveness', what: `recovery failed: ${(error as Error).stack}` }], place.folder)
    return 'failed'
  }
}
