import { closeSync, existsSync, fsyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Command } from 'commander'
import type { QueueOverview } from '../../bus/index.ts'
import { type Capabilities, type Finding, guaranteesOf } from '../../transport/index.ts'
import { CommandError, exitCodeOf, exitCodes } from '../exit-code.ts'
import type { Column } from '../output.ts'
import { type Session, withBus } from '../session.ts'
import { describeTarget, targetOf } from '../target.ts'
import { versions } from '../versions.ts'

const columns: readonly Column<Finding>[] = [
  { title: 'VERDICT', cell: ({ verdict }) => verdict },
  { title: 'WHAT', cell: ({ what }) => what },
  { title: 'DETAIL', cell: ({ detail }) => detail },
]

/** `buzzer doctor`: exits 1 when something is a problem. */
export function addDoctorCommand(program: Command, session: () => Session): void {
  program
    .command('doctor')
    .description('examine the machine and the system: versions, disk, file system, who is there, what is stuck')
    .addHelpText('after', '\nExample:\n  $ buzzer doctor --file ./data/shop.db')
    .action(async () => {
      const at = session()
      const target = targetOf(at.options, at.console)
      const machine = target.as === 'embedded' ? await disk(dirname(target.file)) : []
      const findings = [sqlite(), ...machine, ...(await system(at, describeTarget(target)))]
      at.output.rows(findings, columns, '')
      const problems = findings.filter(({ verdict }) => verdict === 'problem').length
      if (problems > 0)
        throw new CommandError(exitCodes.failed, problems === 1 ? '1 problem found.' : `${problems} problems found.`)
    })
}

/** Older ones can corrupt a file that two connections write and checkpoint. */
const oldestSqlite = [3, 51, 3] as const

function sqlite(): Finding {
  const database = new DatabaseSync(':memory:')
  const { version } = database.prepare('select sqlite_version() as version').get() as { version: string }
  database.close()
  const parts = version.split('.').map(Number)
  const at = oldestSqlite.findIndex((wanted, i) => parts[i] !== wanted)
  const enough = at < 0 || (parts[at] ?? 0) > (oldestSqlite[at] ?? 0)
  return enough
    ? { what: 'versions', verdict: 'ok', detail: versions() }
    : {
        what: 'versions',
        verdict: 'problem',
        detail: `${versions()}: SQLite ${oldestSqlite.join('.')} or newer is needed`,
      }
}

/** Magic numbers of statfs(2) for file systems without the shared memory that SQLite's write-ahead log needs. */
const networkFileSystems: Readonly<Record<number, string>> = {
  0x69_69: 'NFS',
  0x51_7b: 'SMB',
  0xff_53_4d_42: 'CIFS',
  0xfe_53_4d_42: 'SMB2',
}

const tightBytes = 1024 ** 3
const fullBytes = 64 * 1024 ** 2

async function disk(folder: string): Promise<readonly Finding[]> {
  if (!existsSync(folder)) return [{ what: 'folder', verdict: 'problem', detail: `${folder} does not exist` }]
  const findings: Finding[] = []
  const { type, bavail, bsize } = await statfs(folder)
  const network = networkFileSystems[type]
  if (network !== undefined)
    findings.push({ what: 'file system', verdict: 'problem', detail: `${folder} is on ${network}: use a local disk` })
  const free = bavail * bsize
  const verdict = free < fullBytes ? 'problem' : free < tightBytes ? 'warning' : 'ok'
  findings.push({ what: 'free space', verdict, detail: `${(free / 1024 ** 3).toFixed(1)} GiB in ${folder}` })
  try {
    const ms = syncMs(folder)
    findings.push({
      what: 'sync',
      verdict: ms > 50 ? 'warning' : 'ok',
      detail: `an fsync takes ${ms.toFixed(2)} ms (median of 20): no durable publish is faster`,
    })
  } catch (error) {
    const detail = `${folder} cannot be written: ${error instanceof Error ? error.message : String(error)}`
    findings.push({ what: 'sync', verdict: 'problem', detail })
  }
  return findings
}

/** In a folder of its own: no descriptor of the broker's files may be opened and closed here (spec broker 11, fact 2). */
function syncMs(folder: string): number {
  const scratch = mkdtempSync(join(folder, '.buzzer-doctor-'))
  try {
    const file = openSync(join(scratch, 'sync'), 'w')
    const samples: number[] = []
    for (let i = 0; i < 20; i++) {
      writeSync(file, 'x'.repeat(200))
      const startedAt = performance.now()
      fsyncSync(file)
      samples.push(performance.now() - startedAt)
    }
    closeSync(file)
    return samples.toSorted((a, b) => a - b)[10] ?? 0
  } finally {
    rmSync(scratch, { recursive: true })
  }
}

async function system(at: Session, broker: string): Promise<readonly Finding[]> {
  try {
    return await withBus(at, async (bus, { capabilities, admin }) => {
      const { status, transport } = await bus.health()
      const health: Finding = {
        what: 'broker',
        verdict: status === 'healthy' ? 'ok' : status === 'degraded' ? 'warning' : 'problem',
        detail: `${broker}: ${status}, ${transport.state}`,
      }
      const examined = (await admin?.examine?.()) ?? []
      const queues = await bus.admin.queues()
      return [health, ...examined, ...queues.flatMap(queueFindings), ...promises(capabilities)]
    })
  } catch (error) {
    if (exitCodeOf(error) === exitCodes.interrupted) throw error
    return [{ what: 'broker', verdict: 'problem', detail: error instanceof Error ? error.message : String(error) }]
  }
}

/** What a bus on this broker has, and how; what is refused is no fault of the system's. */
function promises(capabilities: Capabilities): readonly Finding[] {
  return guaranteesOf(capabilities).map(({ name, how, detail }) => ({
    what: name,
    verdict: 'ok',
    detail: detail === '' ? how : `${how}: ${detail}`,
  }))
}

function queueFindings({ name, ready, dead, receivers }: QueueOverview): readonly Finding[] {
  const findings: Finding[] = []
  if (dead > 0)
    findings.push({
      what: `queue ${name}`,
      verdict: 'warning',
      detail: `${dead} dead letters: buzzer dead-letters list ${name}`,
    })
  if (ready > 0 && receivers === 0)
    findings.push({
      what: `queue ${name}`,
      verdict: 'warning',
      detail: `${ready} messages wait and no process takes them`,
    })
  return findings
}
