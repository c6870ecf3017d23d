import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { embedded } from '../src/broker/index.ts'
import { OwnerLock } from '../src/broker/process/owner-lock.ts'
import { silentLogger } from '../src/message/index.ts'
import {
  checkHistory,
  type HistoryRecord,
  Journal,
  machineClock,
  readJournals,
  type Violation,
} from '../src/testing/index.ts'
import { checkFile } from '../src/broker/index.ts'
import { endRun } from './ending.ts'
import type { Place } from './once.ts'
import type { ParticipantTask } from './participant.ts'
import { embeddedPromises } from './recovery.ts'
import { collection } from './workload.ts'

const roles = ['producer', 'producer', 'consumer', 'consumer'] as const
/** How long a process may take to end after it was asked to. */
const endLimitMs = 60_000

export interface Member {
  readonly name: string
  readonly role: ParticipantTask['role']
  readonly child: ChildProcess
  /** It is connected, or dead. */
  readonly up: Promise<unknown>
}

export interface CrewOptions {
  readonly place: Place
  readonly random: () => number
  /** Default: 5,000. */
  readonly lockMs?: number
  /** Default: 300,000. */
  readonly stallMs?: number
  /** Beside what this process has. */
  readonly env?: Readonly<Record<string, string>>
}

/**
 * Two producers and two consumers on one file, each a process of its own, any of which may host the engine. Their life:
 * `start` → faults done to `members` → `finish`, which stops the producers, drains, and judges; or `end`, which kills all.
 */
export class Crew {
  readonly members: Member[] = []
  readonly place: Place
  readonly #options: Required<CrewOptions>
  readonly #journal: Journal
  readonly #owner: OwnerLock
  #born = 0

  constructor(options: CrewOptions) {
    this.#options = { lockMs: 5_000, stallMs: 300_000, env: {}, ...options }
    this.place = options.place
    this.#journal = new Journal(options.place.journals, 'killer')
    this.#owner = new OwnerLock(`${options.place.path}.owner`)
  }

  async start(): Promise<void> {
    this.begin()
    await this.up()
  }

  /** As `start`, without waiting for anything. */
  begin(): void {
    for (const slot of roles.keys()) this.restart(slot)
  }

  /** All that live are connected. How long Node takes to start on a busy machine is not judged. */
  async up(): Promise<void> {
    await Promise.all(this.members.map(({ up }) => up))
  }

  /** Another process in the place of one that is dead. */
  restart(slot: number): void {
    const role = roles[slot] ?? 'consumer'
    const name = `${role}-${slot}-${++this.#born}`
    const { lockMs, stallMs, random, place, env } = this.#options
    const seed = Math.floor(random() * 2 ** 31)
    const task: ParticipantTask = { role, name, seed, path: place.path, journals: place.journals, lockMs, stallMs }
    const child = fork(new URL('./participant.ts', import.meta.url), [JSON.stringify(task)], {
      execArgv: ['--disable-warning=ExperimentalWarning', '--conditions=buzzer-source'],
      env: { ...process.env, ...env },
    })
    this.members[slot] = { name, role, child, up: Promise.race([once(child, 'message'), once(child, 'exit')]) }
  }

  /** Where the process sits that hosts the engine; -1 when it is none of these. */
  ownerSlot(): number {
    const pid = this.#owner.read()?.pid
    return this.members.findIndex(({ child }) => child.pid === pid && isAlive(child))
  }

  /** Where the owner serves other processes. */
  ownerAddress(): string | undefined {
    return this.#owner.read()?.address
  }

  write(record: HistoryRecord): void {
    this.#journal.write(record)
  }

  /** SIGKILL to some at once. Resolves when they are dead. */
  async kill(slots: readonly number[]): Promise<void> {
    const victims = slots.flatMap(slot => this.members[slot] ?? [])
    for (const { name } of victims) this.write({ as: 'killed', process: name, at: machineClock.monotonic() })
    await Promise.all(
      victims.map(async ({ name, child }) => {
        await killed(child)
        this.write({ as: 'dead', process: name, at: machineClock.monotonic() })
      }),
    )
  }

  /** SIGSTOP to one, SIGCONT after `ms`. */
  async stop(slot: number, ms: number): Promise<void> {
    const member = this.members[slot]
    if (member === undefined) return
    const facts = { process: member.name, what: 'process' } as const
    this.write({ as: 'stopped', at: machineClock.monotonic(), ...facts })
    member.child.kill('SIGSTOP')
    await sleep(ms)
    member.child.kill('SIGCONT')
    this.write({ as: 'continued', at: machineClock.monotonic(), ...facts })
  }

  /** Blocks the event loop of one, as a handler does that never awaits; resolves when it is free again. */
  async spin(slot: number, ms: number): Promise<void> {
    const member = this.members[slot]
    if (member === undefined) return
    const freed = once(member.child, 'message')
    member.child.send({ blockMs: ms })
    await Promise.race([freed, once(member.child, 'exit')])
  }

  /** The faults are over: the producers stop, the consumers drain, all end in good order, and the history is judged. */
  async finish(): Promise<readonly Violation[]> {
    const { place, lockMs, stallMs } = this.#options
    await this.up()
    await this.#ended('producer')
    {
      await using transport = embedded({ path: place.path, lockMs, stallMs, host: 'never', connectTimeoutMs: 60_000 })
      await transport.connect({ logger: silentLogger })
      await transport.store.declare([{ name: collection, indexes: [] }])
      await endRun(
        transport,
        record => this.write(record),
        () => readJournals(place.journals),
      )
    }
    await this.#ended('consumer')
    const history = readJournals(place.journals)
    const { problems } = checkFile(place.path)
    return [
      ...checkHistory(history, { ...embeddedPromises, lockMs, stallMs }),
      ...problems.map(({ kind, where, detail }) => ({
        rule: 'durability' as const,
        what: `${kind} ${where}: ${detail}`,
      })),
    ]
  }

  /** Kills what still lives. Idempotent. */
  async end(): Promise<void> {
    await Promise.all(this.members.map(({ child }) => killed(child)))
    this.#owner.release()
    this.#journal.close()
  }

  async #ended(role: ParticipantTask['role']): Promise<void> {
    await Promise.all(
      this.members
        .filter(member => member.role === role && isAlive(member.child))
        .map(async ({ name, child }) => {
          const exit = once(child, 'exit')
          child.send('stop')
          const end = await Promise.race([exit, sleep(endLimitMs, undefined, { ref: false })])
          if (end === undefined) throw new Error(`${name} did not end within ${endLimitMs} ms after it was asked to`)
        }),
    )
  }
}

function isAlive(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null
}

async function killed(child: ChildProcess): Promise<void> {
  if (!isAlive(child)) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}
