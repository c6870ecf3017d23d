import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'

/** How to run a server's program, and how to know that it serves. */
export interface ServerProgram {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  /** A protocol handshake with it. */
  readonly answers: () => Promise<boolean>
  readonly startLimitMs: number
}

const stopLimitMs = 30_000
/** What is kept of its output, for the error when it does not start. */
const logCharacters = 8_000

/** A server that is one process in the foreground: it can be ended and started again. It does not outlive this process. */
export class ServerProcess {
  readonly #program: ServerProgram
  #child: ChildProcess | undefined
  #exited: Promise<void> = Promise.resolve()
  readonly #killWithUs = (): void => void this.#child?.kill('SIGKILL')

  constructor(program: ServerProgram) {
    this.#program = program
    process.on('exit', this.#killWithUs)
  }

  /** Resolves when it answers a handshake; rejects with the end of its output when it ends before, or at the limit. */
  async start(): Promise<void> {
    if (this.#child !== undefined) return
    const { name, command, args, answers, startLimitMs } = this.#program
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    let log = ''
    const keep = (text: Buffer): void => void (log = (log + text.toString()).slice(-logCharacters))
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    this.#exited = new Promise(resolve => {
      const gone = (): void => {
        this.#child = undefined
        resolve()
      }
      child.once('exit', gone)
      child.once('error', error => {
        keep(Buffer.from(error.message))
        gone()
      })
    })
    const giveUpAt = performance.now() + startLimitMs
    while (!(await answers())) {
      if (this.#child !== child) throw new Error(`${name} ended while starting:\n${log}`)
      if (performance.now() > giveUpAt) {
        await this.end('SIGKILL')
        throw new Error(`${name} did not answer within ${startLimitMs} ms:\n${log}`)
      }
      await sleep(20)
    }
  }

  /** Resolves when it is gone: SIGTERM that is not obeyed in time is followed by SIGKILL. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#child
    if (child === undefined) return
    child.kill(signal)
    const impatience = setTimeout(() => child.kill('SIGKILL'), stopLimitMs)
    await this.#exited
    clearTimeout(impatience)
  }

  /** Killed: what is disposed of is needed no more. */
  async [Symbol.asyncDispose](): Promise<void> {
    process.removeListener('exit', this.#killWithUs)
    await this.end('SIGKILL')
  }
}
