import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  cpSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { placeOf, readJournals, recordsOf, type HistoryRecord, type Violation } from '../../src/testing/index.ts'
import { always, type FaultContext, type FaultKind } from '../kind.ts'

const fill = fileURLToPath(new URL('../fill.ts', import.meta.url))
const recoverProcess = fileURLToPath(new URL('../recover-process.ts', import.meta.url))
const times = { short: 1, long: 12 } as const
const pageBytes = 4_096
/** Outside of the process that recovers. */
const recoverLimitMs = 90_000

type End = 'closed' | 'killed'

interface Harm {
  readonly name: string
  /** Changes the open file at a random place. */
  readonly do: (file: number, size: number, random: () => number) => void
}

const harms: readonly Harm[] = [
  {
    name: 'a bit flipped',
    do(file, size, random) {
      const at = Math.floor(random() * size)
      const byte = Buffer.alloc(1)
      readSync(file, byte, 0, 1, at)
      byte[0] = (byte[0] ?? 0) ^ (1 << Math.floor(random() * 8))
      writeSync(file, byte, 0, 1, at)
    },
  },
  {
    name: 'a page zeroed',
    do(file, size, random) {
      const at = Math.floor((random() * size) / pageBytes) * pageBytes
      writeSync(file, Buffer.alloc(Math.min(pageBytes, size - at)), 0, Math.min(pageBytes, size - at), at)
    },
  },
  { name: 'the tail cut', do: (file, size, random) => ftruncateSync(file, Math.floor(size * (0.5 + random() / 2))) },
  {
    name: 'the tail extended',
    do(file, size, random) {
      const more = Buffer.from(
        Array.from({ length: 1 + Math.floor(random() * 9_000) }, () => Math.floor(random() * 256)),
      )
      writeSync(file, more, 0, more.length, size)
    },
  },
]

const cases = [
  { end: 'closed', suffix: '', what: 'the database, closed' },
  { end: 'killed', suffix: '', what: 'the database, after a kill' },
  { end: 'killed', suffix: '-wal', what: 'the write-ahead file' },
] as const

/**
 * Spec broker 13.6. Allowed are an error that names the damage, and service with the damaged messages among the dead
 * letters. Forbidden are a wrong body, silent loss, a hang, and a process that falls over.
 */
export const damage: FaultKind = {
  name: 'damage',
  what: 'a bit flipped, a page zeroed, the tail cut or extended, in database and write-ahead file, closed and after a kill',
  missing: always,
  async run(context) {
    for (const end of ['closed', 'killed'] as const) await filled(context, end)
    for (const { end, suffix, what } of cases) {
      for (const harm of harms) {
        for (let time = 0; time < (context.count ?? times[context.size]); time++) {
          await harmOnce(context, end, suffix, harm, `${harm.name} in ${what}`)
        }
      }
    }
  },
}

function baseOf({ folder }: FaultContext, end: End): string {
  return join(folder, end)
}

async function filled(context: FaultContext, end: End): Promise<void> {
  const base = baseOf(context, end)
  mkdirSync(join(base, 'journals'), { recursive: true })
  const child = spawn(
    process.execPath,
    ['--conditions=buzzer-source', fill, join(base, 'broker.db'), join(base, 'journals'), end],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const over = once(child, 'close')
  if (end === 'killed') {
    await Promise.race([once(child.stdout, 'data'), over])
    child.kill('SIGKILL')
  }
  await over
  if (end === 'killed' && !existsSync(join(base, 'broker.db-wal')))
    throw new Error('the filler left no write-ahead file')
}

async function harmOnce(context: FaultContext, end: End, suffix: string, harm: Harm, name: string): Promise<void> {
  const { folder, random, report } = context
  const place = join(folder, 'case')
  rmSync(place, { recursive: true, force: true })
  cpSync(baseOf(context, end), place, { recursive: true })
  const path = join(place, 'broker.db')
  const file = openSync(`${path}${suffix}`, 'r+')
  harm.do(file, fstatSync(file).size, random)
  closeSync(file)
  const { code, output } = await recovered(path, join(place, 'journals'))
  const label = `${name}, case ${report.count() + 1}`
  const named = ['BUZZER_FILE_DAMAGED', 'BUZZER_NOT_A_BROKER_FILE', 'BUZZER_FILE_TOO_NEW'].includes(output)
  report.injected(`${name}: ${code === 0 ? 'served' : named ? 'refused by name' : 'neither'}`)
  if (code === 3 && named) return
  const violations =
    code === 0
      ? judgeDamage(readJournals(join(place, 'journals')), suffix === '' ? 'database' : 'write-ahead file')
      : [{ rule: 'liveness' as const, what: code === 'late' ? 'it hangs' : `it ended with ${code}: ${output}` }]
  report.violations(label, violations, place)
}

async function recovered(path: string, journals: string): Promise<{ code: number | 'late' | null; output: string }> {
  const child = spawn(process.execPath, ['--conditions=buzzer-source', recoverProcess, path, journals], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [output, errors] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-2_000)
  })
  let isLate = false
  const limit = setTimeout(() => {
    isLate = true
    child.kill('SIGKILL')
  }, recoverLimitMs)
  const [code] = (await once(child, 'close')) as [number | null]
  clearTimeout(limit)
  return { code: isLate ? 'late' : code, output: code === 3 ? output.trim() : errors }
}

/**
 * Every confirmed message is handled, or there, or one of those that were found damaged. Of the write-ahead file's end
 * nobody can know that something is missing: what is lost there must be the last that was sent. Source: spec broker 9, 11.
 */
function judgeDamage(history: readonly HistoryRecord[], where: 'database' | 'write-ahead file'): readonly Violation[] {
  const violations: Violation[] = []
  const sent = new Map(
    recordsOf(history, 'send').flatMap(({ messages }) => messages.map(message => [placeOf(message), message] as const)),
  )
  const present = recordsOf(history, 'present')
  const damaged = present.filter(({ isDamaged }) => isDamaged === true)
  const intact = [...recordsOf(history, 'begun'), ...present.filter(({ isDamaged }) => isDamaged !== true)]
  for (const record of intact) {
    const message = sent.get(placeOf(record))
    if (message?.hash === record.hash && message.key === record.key) continue
    violations.push({
      rule: 'no invention',
      what: `${placeOf(record)} is ${message ? 'not what' : 'nothing that'} was sent`,
    })
  }
  const seen = new Set(intact.map(placeOf))
  const cancelled = new Set(
    recordsOf(history, 'operation').flatMap(({ queue, ids }) => (ids ?? []).map(id => placeOf({ queue, id }))),
  )
  const isThere = [...sent.keys()].map(place => seen.has(place) || cancelled.has(place))
  const missing = isThere.filter(there => !there).length
  const lastThere = isThere.lastIndexOf(true)
  const missingInside = isThere.slice(0, lastThere).filter(there => !there).length
  const lost = where === 'database' ? missing : missingInside
  if (lost > damaged.length) {
    violations.push({ rule: 'durability', what: `${lost} messages are missing, ${damaged.length} were found damaged` })
  }
  const [drained] = recordsOf(history, 'drained')
  const [probe] = recordsOf(history, 'probe')
  if (drained === undefined || drained.left > 0) {
    violations.push({ rule: 'liveness', what: `${drained?.left ?? 'all'} messages never came` })
  }
  if (probe?.outcome !== 'ok') violations.push({ rule: 'liveness', what: 'no send succeeded' })
  return violations
}
