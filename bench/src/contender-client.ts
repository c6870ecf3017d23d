import { type ChildProcess, fork } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Reply, Request, ServerAnswers } from './contender-process.ts'
import { type Facts, type Figures, Unavailable } from './suite.ts'

/** One round: `n` operations in `ms` milliseconds of wall clock and `cpuMs` of CPU. */
export interface Round {
  readonly n: number
  readonly ms: number
  readonly cpuMs: number
  readonly samples: readonly number[]
  readonly figures: Figures
}

export interface Whereabouts {
  readonly suite: string
  readonly case: string
  readonly contender: string
  /** Folder of the whole run. */
  readonly folder: string
  readonly servers: ServerAnswers
}

/** What takes longer than this is given up: something hangs. The longest set-up makes a backlog. */
const limitMs = { setup: 600_000, run: 180_000, facts: 30_000, teardown: 180_000 } as const

/** The runner's hold on the process of one contender. */
export class ContenderClient implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #folder: string
  #finished = false

  private constructor(child: ChildProcess, folder: string) {
    this.#child = child
    this.#folder = folder
  }

  /** Rejects with `Unavailable` where the contender cannot run on this machine. */
  static async start(where: Whereabouts): Promise<ContenderClient> {
    const folder = join(where.folder, where.contender.replaceAll(/[^a-z0-9]+/gi, '-'))
    mkdirSync(folder, { recursive: true })
    const child = fork(new URL('./contender-process.ts', import.meta.url), {
      serialization: 'advanced',
      execArgv: [...process.execArgv],
    })
    const client = new ContenderClient(child, folder)
    try {
      const sharedFolder = join(where.folder, 'shared')
      mkdirSync(sharedFolder, { recursive: true })
      await client.#ask({ ...where, as: 'setup', folder, sharedFolder })
      return client
    } catch (error) {
      await client[Symbol.asyncDispose]()
      throw error
    }
  }

  async run(n: number): Promise<Round> {
    const reply = await this.#ask({ as: 'run', n })
    if (reply.as !== 'ran') throw new Error(`expected the figures of a round, got ${reply.as}`)
    const { ms, cpuMs, samples, figures } = reply
    return { n, ms, cpuMs, samples, figures }
  }

  async facts(): Promise<Facts> {
    const reply = await this.#ask({ as: 'facts' })
    return reply.as === 'facts' ? reply.facts : {}
  }

  /** Ends the contender in good order; rejects when it finds at its end that something is wrong, such as a message left over. */
  async finish(): Promise<void> {
    await this.#ask({ as: 'teardown' })
    this.#finished = true
    await this[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.connected && this.#child.exitCode === null) {
      if (!this.#finished) await this.#ask({ as: 'teardown' }).catch(() => undefined)
      const exited = new Promise<void>(resolve => this.#child.once('exit', () => resolve()))
      this.#child.kill('SIGKILL')
      await exited
    }
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #ask(request: Request): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const child = this.#child
      const settle = (act: () => void): void => {
        clearTimeout(limit)
        child.off('message', onMessage)
        child.off('exit', onExit)
        act()
      }
      const onMessage = (reply: Reply): void =>
        settle(() => {
          if (reply.as === 'unavailable') reject(new Unavailable(reply.reason))
          else if (reply.as === 'failed') reject(new Error(reply.stack))
          else resolve(reply)
        })
      const onExit = (code: number | null, signal: string | null): void =>
        settle(() => reject(new Error(`the contender's process ended with ${code ?? signal} during ${request.as}`)))
      const limit = setTimeout(
        () => settle(() => reject(new Error(`${request.as} took longer than ${limitMs[request.as]} ms`))),
        limitMs[request.as],
      )
      child.on('message', onMessage)
      child.on('exit', onExit)
      child.send(request)
    })
  }
}
