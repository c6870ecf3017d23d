// The process of one contender: sets up, runs rounds as told by the runner, tears down. See contender-client.ts.
import {
  type BenchCase,
  type CaseServer,
  type Facts,
  type Figures,
  type ServerKind,
  type Suite,
  type Trial,
  Unavailable,
} from './suite.ts'

/** Where a server of a case is, or why there is none. */
export type ServerAnswer = Omit<CaseServer, keyof AsyncDisposable> | { readonly reason: string }

export type ServerAnswers = { readonly [kind in ServerKind]?: ServerAnswer }

/** What the runner asks. */
export type Request =
  | {
      readonly as: 'setup'
      readonly suite: string
      readonly case: string
      readonly contender: string
      readonly folder: string
      readonly sharedFolder: string
      readonly servers: ServerAnswers
    }
  | { readonly as: 'run'; readonly n: number }
  | { readonly as: 'facts' }
  | { readonly as: 'teardown' }

/** What this process answers, one answer to each request. */
export type Reply =
  | { readonly as: 'ready' }
  | { readonly as: 'unavailable'; readonly reason: string }
  | {
      readonly as: 'ran'
      readonly ms: number
      readonly cpuMs: number
      readonly samples: readonly number[]
      readonly figures: Figures
    }
  | { readonly as: 'facts'; readonly facts: Facts }
  | { readonly as: 'gone' }
  | { readonly as: 'failed'; readonly stack: string }

/** A teardown without a runner: its servers may be gone as well. */
const farewellMs = 10_000

let trial: Trial | undefined

async function answer(request: Request): Promise<Reply> {
  switch (request.as) {
    case 'setup': {
      const { suite } = (await import(`./suites/${request.suite}.ts`)) as { suite: Suite }
      const found: BenchCase | undefined = suite.cases.find(({ name }) => name === request.case)
      const contender = found?.contenders.find(({ name }) => name === request.contender)
      if (contender === undefined)
        throw new Error(`no contender ${request.contender} in ${request.suite}/${request.case}`)
      const { folder, sharedFolder, servers } = request
      trial = await contender.setup({
        folder,
        sharedFolder,
        server(kind) {
          const server = servers[kind] ?? { reason: `the case names no ${kind}` }
          if ('reason' in server) throw new Unavailable(server.reason)
          return server
        },
      })
      return { as: 'ready' }
    }
    case 'run': {
      if (trial === undefined) throw new Error('run before setup')
      const cpu = process.cpuUsage()
      const startedAt = performance.now()
      const result = await trial.run(request.n)
      const ms = performance.now() - startedAt
      const { user, system } = process.cpuUsage(cpu)
      const samples = Array.isArray(result) ? (result as readonly number[]) : []
      const figures = result === undefined || Array.isArray(result) ? {} : (result as Figures)
      return { as: 'ran', ms, cpuMs: (user + system) / 1_000, samples, figures }
    }
    case 'facts': {
      const facts = trial?.facts
      return { as: 'facts', facts: (typeof facts === 'function' ? await facts() : facts) ?? {} }
    }
    case 'teardown':
      await trial?.teardown()
      return { as: 'gone' }
    default:
      return request satisfies never
  }
}

if (process.send !== undefined) {
  process.on('message', (request: Request) => {
    answer(request).then(
      reply => process.send?.(reply),
      (error: unknown) => {
        const reason = error instanceof Error ? error : new Error(String(error))
        // Recognised by name: servers of `buzzer-servers` have an error of their own for it.
        process.send?.(
          ['Unavailable', 'ServerUnavailable'].includes(reason.name)
            ? ({ as: 'unavailable', reason: reason.message } satisfies Reply)
            : ({ as: 'failed', stack: reason.stack ?? reason.message } satisfies Reply),
        )
      },
    )
  })
  // Ctrl-C reaches the whole group of processes. This one ends when its runner does, and in good order.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined)
  // The runner is gone: what was set up goes too, schemas and queues on servers of others included.
  process.on('disconnect', () => {
    setTimeout(() => process.exit(1), farewellMs)
    void Promise.resolve(trial?.teardown()).finally(() => process.exit())
  })
}
