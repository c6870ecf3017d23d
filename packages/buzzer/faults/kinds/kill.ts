import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { checkFile, embedded } from '../../src/broker/index.ts'
import { silentLogger } from '../../src/message/index.ts'
import { writeFormat1 } from '../../test/broker/format-1.ts'
import { Crew } from '../crew.ts'
import { always, type FaultContext, type FaultKind } from '../kind.ts'
import { freshPlace } from '../once.ts'

/** Who is killed, and when. */
interface Variant {
  readonly name: string
  /** Rounds of the long form; each has a file of its own, ends quietly, and is judged. */
  readonly rounds: number
  /** Kills once, with a little patience before. */
  readonly strike: (crew: Crew, context: FaultContext) => Promise<readonly number[]>
  /** Of one round, where that is not for the size of the run to say. */
  readonly kills?: number
  /** What the file is before the round, and what is wrong with that afterwards. */
  readonly before?: (path: string) => void
  readonly after?: (path: string) => Promise<readonly string[]>
}

const killsARound = { short: 3, long: 30 } as const

const variants: readonly Variant[] = [
  { name: 'only the owner', rounds: 3, strike: theOwner },
  { name: 'any', rounds: 6, strike: anyOne },
  { name: 'all at once', rounds: 2, strike: all },
  { name: 'during start', rounds: 2, strike: whoStarts },
  { name: 'during reclaim', rounds: 2, strike: ownerInReclaim },
  { name: 'during a checkpoint', rounds: 2, strike: ownerAtCheckpoint },
  { name: 'during a backup', rounds: 2, strike: ownerInBackup },
  // The file is migrated once, by the first that may host it.
  { name: 'during a migration', rounds: 10, strike: theFirst, kills: 2, before: writeFormat1, after: migrationLosses },
]

/** Spec broker 13.1. Processes that send and receive are killed at random and replaced, again and again. */
export const kill: FaultKind = {
  name: 'kill',
  what: 'SIGKILL of producers, consumers and owner at random, in rounds by variant; each round is drained and judged',
  missing: always,
  async run(context) {
    const { size, count } = context
    const rounds = variants.flatMap(variant =>
      Array.from({ length: size === 'short' ? 1 : variant.rounds }, () => variant),
    )
    const each = count === undefined ? killsARound[size] : Math.ceil(count / rounds.length)
    for (const [index, variant] of rounds.entries()) {
      await killRound(context, `round ${index + 1}`, variant, each)
      context.report.progress(`kill: round ${index + 1} of ${rounds.length}, ${context.report.count()} faults so far`)
    }
  },
}

async function killRound(context: FaultContext, round: string, variant: Variant, kills: number): Promise<void> {
  const { folder, random, report } = context
  const place = freshPlace(folder, 'kill')
  variant.before?.(place.path)
  const crew = new Crew({ place, random })
  const label = `kill ${variant.name}, ${round}`
  try {
    const wanted = variant.kills ?? kills
    if (variant.kills === undefined) await crew.start()
    else crew.begin()
    for (let done = 0; done < wanted; ) {
      const victims = await variant.strike(crew, context)
      report.injected(`SIGKILL ${variant.name}`, victims.length)
      done += victims.length
      if (random() < 0.5) await sleep(random() * 300)
      for (const slot of victims) crew.restart(slot)
    }
    const violations = [...(await crew.finish())]
    for (const what of (await variant.after?.(place.path)) ?? []) violations.push({ rule: 'durability', what })
    report.violations(label, violations, place.folder)
  } catch (error) {
    report.violations(label, [{ rule: 'liveness', what: String((error as Error).stack) }], place.folder)
  } finally {
    await crew.end()
  }
}

/** Mostly at work, the owner more often than the others. */
export async function anyOne(crew: Crew, { random }: Pick<FaultContext, 'random'>): Promise<readonly number[]> {
  if (random() < 0.8) await crew.up()
  await sleep(200 + random() * 900)
  const owner = crew.ownerSlot()
  const slots = random() < 0.4 && owner >= 0 ? [owner] : [Math.floor(random() * crew.members.length)]
  await crew.kill(slots)
  return slots
}

async function theOwner(crew: Crew, { random }: FaultContext): Promise<readonly number[]> {
  await crew.up()
  await sleep(200 + random() * 500)
  return killOwner(crew)
}

async function all(crew: Crew, { random }: FaultContext): Promise<readonly number[]> {
  await crew.up()
  await sleep(200 + random() * 500)
  const slots = [...crew.members.keys()]
  await crew.kill(slots)
  return slots
}

/** Whoever was started last, before it can be up; in the first strike one that is. */
async function whoStarts(crew: Crew, { random }: FaultContext): Promise<readonly number[]> {
  await sleep(random() * 400)
  const owner = crew.ownerSlot()
  const slots = random() < 0.3 && owner >= 0 ? [owner] : [Math.floor(random() * crew.members.length)]
  await crew.kill(slots)
  return slots
}

/** The owner, and within the two seconds in which sessions may come back to its successor, that one too. */
async function ownerInReclaim(crew: Crew, context: FaultContext): Promise<readonly number[]> {
  const first = await theOwner(crew, context)
  const until = performance.now() + 2_000
  while (crew.ownerSlot() < 0 && performance.now() < until) await sleep(2)
  await sleep(context.random() * 400)
  return [...first, ...(await killOwner(crew))]
}

/** As soon as the write-ahead file is seen to shrink, or has grown for two seconds. */
async function ownerAtCheckpoint(crew: Crew): Promise<readonly number[]> {
  await crew.up()
  const wal = `${crew.place.path}-wal`
  const until = performance.now() + 2_000
  for (let last = 0; performance.now() < until; ) {
    const now = existsSync(wal) ? statSync(wal).size : 0
    if (now < last) break
    last = now
    await sleep(1)
  }
  return killOwner(crew)
}

/** A backup that was acknowledged is whole, whatever happened to its owner since. */
async function ownerInBackup(crew: Crew, context: FaultContext): Promise<readonly number[]> {
  await crew.up()
  const to = join(crew.place.folder, `backup-${Math.floor(context.random() * 2 ** 31)}.db`)
  await using transport = embedded({ path: crew.place.path, lockMs: 5_000, host: 'never', connectTimeoutMs: 60_000 })
  await transport.connect({ logger: silentLogger })
  const backup = transport.admin.backup(to).then(
    () => 'done' as const,
    () => 'refused' as const,
  )
  await sleep(context.random() * 60)
  const slots = await killOwner(crew)
  const outcome = await Promise.race([backup, sleep(60_000, 'lost' as const, { ref: false })])
  const problems = outcome === 'done' ? checkFile(to).problems : []
  const wrong = [
    ...(outcome === 'lost' ? ['a backup was never answered'] : []),
    ...problems.map(({ kind, where, detail }) => `a backup that was done: ${kind} ${where}: ${detail}`),
  ]
  const violations = wrong.map(what => ({ rule: 'durability' as const, what }))
  context.report.violations('kill during a backup', violations, crew.place.folder)
  return slots
}

/** All that began together, among them the one that opens the file first. */
async function theFirst(crew: Crew, { random }: FaultContext): Promise<readonly number[]> {
  await sleep(random() * 900)
  const slots = [...crew.members.keys()]
  await crew.kill(slots)
  return slots
}

/** What `writeFormat1` wrote, and nobody touched since. */
async function migrationLosses(path: string): Promise<readonly string[]> {
  const transport = embedded({ path })
  await transport.connect({ logger: silentLogger })
  try {
    const figures = await Promise.all(['plain', 'keyed'].map(name => transport.admin.queue(name)))
    const [plain, keyed] = figures.map(
      ({ ready, scheduled, dead }) => `${ready} ready, ${scheduled} scheduled, ${dead} dead`,
    )
    const record = await transport.store.get('c', 'r')
    return [
      ...(plain === '2 ready, 1 scheduled, 1 dead' ? [] : [`after the migration queue plain has ${plain}`]),
      ...(keyed === '2 ready, 0 scheduled, 0 dead' ? [] : [`after the migration queue keyed has ${keyed}`]),
      ...(record === undefined ? ['the migration lost a record'] : []),
    ]
  } finally {
    await transport.close()
  }
}

async function killOwner(crew: Crew): Promise<readonly number[]> {
  const owner = crew.ownerSlot()
  const slots = owner < 0 ? [] : [owner]
  await crew.kill(slots)
  return slots
}
