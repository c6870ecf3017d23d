import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { EmbeddedOptions, EmbeddedSettlement, EngineStats } from 'buzzer/embedded'
import type { CollectionDeclaration, StateChange, StoredRecord } from 'buzzer/store'
import type {
  AppendBatch,
  Appended,
  OutgoingMessage,
  PeekedMessage,
  QueueFigures,
  ReadRequest,
  ReadResult,
  StreamTopology,
  Topology,
} from 'buzzer/transport'

interface Named {
  /** Which of the process's transports. Default `main`. */
  readonly name?: string
}

/** What a peer can be told to do. */
export interface PeerCalls {
  connect: { input: Named & { options: EmbeddedOptions }; output: void }
  declare: { input: Named & { topology: Topology }; output: void }
  send: { input: Named & { messages: readonly OutgoingMessage[]; state?: readonly StateChange[] }; output: void }
  receive: {
    input: Named & {
      queue: string
      maxInFlight: number
      /** `hold`: until `settle`; `crash`: the process kills itself. */
      answer: 'ack' | 'retry' | 'hold' | 'crash' | 'spin'
      takesMs?: number
    }
    output: void
  }
  settle: { input: { id: string; settlement: EmbeddedSettlement }; output: void }
  stop: { input: { queue: string }; output: void }
  figures: { input: Named & { queue: string }; output: QueueFigures }
  engine: { input: Named; output: EngineStats }
  peek: { input: Named & { queue: string }; output: PeekedMessage[] }
  storeDeclare: { input: Named & { collections: readonly CollectionDeclaration[] }; output: void }
  commit: { input: Named & { changes: readonly StateChange[] }; output: void }
  get: { input: Named & { collection: string; id: string }; output: StoredRecord | undefined }
  watch: { input: Named & { collection: string; id: string }; output: void }
  logDeclare: { input: Named & { streams: readonly StreamTopology[] }; output: void }
  append: { input: Named & { batches: readonly AppendBatch[] }; output: readonly Appended[] }
  /** `batches` batches of `each` records `<label>:<batch>:<record>` to partition 0, `inFlight` at once. */
  appendMany: {
    input: Named & { stream: string; label: string; batches: number; each: number; inFlight: number }
    output: void
  }
  read: { input: Named & { request: Omit<ReadRequest, 'signal'> }; output: ReadResult }
  /** Tells each record of partition 0 from its start on, for ever. */
  follow: { input: Named & { stream: string }; output: void }
  readFile: { input: { path: string }; output: number }
  block: { input: { ms: number }; output: void }
  close: { input: Named; output: void }
  exit: { input: object; output: void }
}

export type PeerEvent =
  | { readonly as: 'ready' }
  | { readonly as: 'result'; readonly id: number; readonly value: unknown }
  | {
      readonly as: 'failure'
      readonly id: number
      readonly code: string
      readonly message: string
      readonly details: object
    }
  | { readonly as: 'begun'; readonly id: string; readonly attempt: number; readonly pid: number; readonly key?: string }
  | { readonly as: 'done'; readonly id: string; readonly attempt: number; readonly pid: number }
  | { readonly as: 'aborted'; readonly id: string; readonly code: string }
  /** From now on its event loop stands. */
  | { readonly as: 'blocking' }
  | { readonly as: 'changed'; readonly collection: string; readonly id: string }
  | { readonly as: 'state'; readonly state: string }
  | { readonly as: 'record'; readonly position: number; readonly text: string }
  | { readonly as: 'unfollowed'; readonly code: string }
  | { readonly as: 'log'; readonly level: string; readonly message: string; readonly fields: object }

type Noted = PeerEvent & { readonly at: number }

/** A child process with an embedded broker of its own. Kill it as you like. */
export class PeerProcess implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #answers = new Map<number, PromiseWithResolvers<unknown>>()
  readonly #waiting = new Set<() => void>()
  /** What it told, in order, with the time by this process's `performance.now`. */
  readonly events: Noted[] = []
  #lastId = 0

  static async start(): Promise<PeerProcess> {
    const peer = new PeerProcess()
    await peer.event('ready')
    return peer
  }

  private constructor() {
    this.#child = fork(new URL('./peer.ts', import.meta.url), {
      execArgv: ['--conditions=buzzer-source', '--disable-warning=ExperimentalWarning'],
      serialization: 'advanced',
    })
    this.#child.on('message', (event: PeerEvent) => {
      this.events.push({ ...event, at: performance.now() })
      if (event.as === 'result') this.#answers.get(event.id)?.resolve(event.value)
      if (event.as === 'failure') this.#answers.get(event.id)?.reject(Object.assign(new Error(event.message), event))
      for (const look of this.#waiting) look()
    })
    this.#child.on('exit', () => {
      for (const answer of this.#answers.values()) answer.reject(new Error('the process has ended'))
    })
  }

  get pid(): number {
    return this.#child.pid as number
  }

  call<C extends keyof PeerCalls>(call: C, input: PeerCalls[C]['input']): Promise<PeerCalls[C]['output']> {
    const id = ++this.#lastId
    const answer = Promise.withResolvers<PeerCalls[C]['output']>()
    this.#answers.set(id, answer as PromiseWithResolvers<unknown>)
    answer.promise.catch(() => {}).finally(() => this.#answers.delete(id))
    this.#child.send({ id, call, input })
    return answer.promise
  }

  /** The events of one kind, so far. */
  seen<K extends PeerEvent['as']>(kind: K): Extract<Noted, { as: K }>[] {
    return this.events.filter(event => event.as === kind) as Extract<Noted, { as: K }>[]
  }

  /** Resolves with the `count`-th event of a kind that `test` accepts. The time limit of the test stands outside. */
  async event<K extends PeerEvent['as']>(
    kind: K,
    test: (event: Extract<Noted, { as: K }>) => boolean = () => true,
    count = 1,
  ): Promise<Extract<Noted, { as: K }>> {
    for (;;) {
      const found = this.seen(kind).filter(test)[count - 1]
      if (found !== undefined) return found
      await new Promise<void>(resolve => {
        const look = (): void => {
          this.#waiting.delete(look)
          resolve()
        }
        this.#waiting.add(look)
      })
    }
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    process.kill(this.pid, signal)
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exit = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exit
  }

  /** Resolves with the exit code once the process has ended by itself. */
  async ended(): Promise<number | null> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return this.#child.exitCode
    await once(this.#child, 'exit')
    return this.#child.exitCode
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }
}
