import { ContenderClient, type Round } from './contender-client.ts'
import type { ServerAnswer, ServerAnswers } from './contender-process.ts'
import { type BenchCase, type CaseServer, type Contender, type Facts, type ServerKind, Unavailable } from './suite.ts'

export interface RunOptions {
  readonly suite: string
  readonly folder: string
  readonly rounds: number
  /** Length a round is aimed at, in seconds. */
  readonly seconds: number
}

export interface ContenderResult {
  readonly contender: Contender
  readonly facts: Facts
  readonly rounds: readonly Round[]
}

export interface CaseResult {
  readonly results: readonly ContenderResult[]
  readonly leftOut: readonly { readonly contender: string; readonly reason: string }[]
}

interface Entrant {
  readonly contender: Contender
  readonly client: ContenderClient
  readonly n: number
}

/** Measures all contenders of a case, their rounds interleaved. A contender that fails loses its row, loudly. */
export async function runCase(bench: BenchCase, options: RunOptions): Promise<CaseResult> {
  const rounds = new Map<Contender, Round[]>()
  const facts = new Map<Contender, Facts>()
  const leftOut = new Map<string, string>()
  const leaveOut = (contender: Contender, error: unknown): void => {
    const reason =
      error instanceof Unavailable ? error.message : error instanceof Error ? (error.stack ?? '') : String(error)
    leftOut.set(contender.name, reason)
    rounds.delete(contender)
    console.error(`\n!!! ${contender.name} is LEFT OUT: ${reason}\n`)
  }

  await using servers = await Servers.start(bench, options.folder)
  for (let turn = 0; turn < (bench.processes ?? 1); turn++) {
    await using entrants = new Entrants()
    for (const contender of bench.contenders) {
      if (leftOut.has(contender.name)) continue
      showProgress(`setting up ${contender.name}`)
      try {
        const where = { ...options, case: bench.name, contender: contender.name, servers: servers.answers }
        const client = await ContenderClient.start(where)
        entrants.add({ contender, client, n: 0 })
        const n = bench.operations ?? (await calibrate(client, options.seconds))
        entrants.add({ contender, client, n })
      } catch (error) {
        leaveOut(contender, error)
        await entrants.drop(contender)
      }
    }
    for (let round = 0; round < options.rounds; round++) {
      const order = round % 2 === 0 ? entrants.all() : entrants.all().toReversed()
      for (const { contender, client, n } of order) {
        showProgress(`round ${round + 1} of ${options.rounds}: ${contender.name}`)
        try {
          const taken = await client.run(n)
          rounds.set(contender, [...(rounds.get(contender) ?? []), taken])
        } catch (error) {
          leaveOut(contender, error)
          await entrants.drop(contender)
        }
      }
    }
    for (const { contender, client } of entrants.all()) {
      try {
        facts.set(contender, await client.facts())
        await client.finish()
      } catch (error) {
        leaveOut(contender, error)
      }
    }
    showProgress('')
  }
  return {
    results: bench.contenders
      .filter(contender => rounds.has(contender))
      .map(contender => ({ contender, facts: facts.get(contender) ?? {}, rounds: rounds.get(contender) ?? [] })),
    leftOut: [...leftOut].map(([contender, reason]) => ({ contender, reason })),
  }
}

function showProgress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001B[K${text === '' ? '' : `  ${text}`}`)
}

/** The servers of a case. */
class Servers implements AsyncDisposable {
  readonly answers: ServerAnswers
  readonly #running: readonly CaseServer[]

  private constructor(answers: ServerAnswers, running: readonly CaseServer[]) {
    this.answers = answers
    this.#running = running
  }

  static async start(bench: BenchCase, folder: string): Promise<Servers> {
    const answers: { [kind in ServerKind]?: ServerAnswer } = {}
    const running: CaseServer[] = []
    for (const [kind, start] of Object.entries(bench.servers ?? {})) {
      showProgress(`starting ${kind}`)
      try {
        const server = await start(folder)
        running.push(server)
        answers[kind as ServerKind] = { url: server.url, version: server.version }
      } catch (error) {
        answers[kind as ServerKind] = { reason: (error as Error).message }
      }
    }
    return new Servers(answers, running)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#running) await server[Symbol.asyncDispose]()
  }
}

/** Warms up, and finds how many operations fill `seconds`: two runs at least, growing until one lasts a quarter of that. */
async function calibrate(client: ContenderClient, seconds: number): Promise<number> {
  const enoughMs = Math.max(100, seconds * 250)
  for (let n = 256, runs = 1; ; n *= 4, runs++) {
    const { ms } = await client.run(n)
    if (runs >= 2 && ms >= enoughMs) return Math.max(1, Math.round((n / ms) * seconds * 1_000))
  }
}

/** The running processes of a case; none outlives it. */
class Entrants implements AsyncDisposable {
  readonly #entrants = new Map<Contender, Entrant>()

  add(entrant: Entrant): void {
    this.#entrants.set(entrant.contender, entrant)
  }

  all(): readonly Entrant[] {
    return [...this.#entrants.values()]
  }

  async drop(contender: Contender): Promise<void> {
    const entrant = this.#entrants.get(contender)
    this.#entrants.delete(contender)
    await entrant?.client[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { contender } of this.all()) await this.drop(contender)
  }
}
