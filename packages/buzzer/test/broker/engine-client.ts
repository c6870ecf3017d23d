/** Drives an engine in-process: a clock that tests move, clients that speak frames, a host that pumps until all is quiet. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Engine, type EngineOptions, type EngineSession, openEngine } from '../../src/broker/engine/index.ts'
import {
  type AppendAnswer,
  ByteWriter,
  type EngineFrameSink,
  type KeptDelivery,
  protocolVersion,
  readEngineFrame,
  type Request,
  type SettlementHead,
  type Welcome,
  type WireDelivery,
  type WireError,
  writeAcks,
  writeAppend,
  writeBeat,
  writeBye,
  writeForfeit,
  writeHello,
  writeRequest,
  writeSend,
  writeSettle,
} from '../../src/broker/protocol/index.ts'
import { doFileWork } from '../../src/broker/storage/file-work.ts'
import type { Clock } from '../../src/message/index.ts'
import type { StateChange } from '../../src/store/index.ts'
import type {
  AppendBatch,
  Appended,
  OutgoingMessage,
  QueueDeclaration,
  QueueFigures,
  ReadRequest,
  ReadResult,
} from '../../src/transport/index.ts'

interface Timer {
  readonly at: number
  readonly callback: () => void
}

export class ManualClock implements Clock {
  #wall = 1_800_000_000_000
  #monotonic = 1_000
  readonly #timers = new Set<Timer>()

  now(): number {
    return this.#wall
  }

  monotonic(): number {
    return this.#monotonic
  }

  setTimeout(callback: () => void, ms: number): Timer {
    const timer = { at: this.#monotonic + ms, callback }
    this.#timers.add(timer)
    return timer
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as Timer)
  }

  get timers(): number {
    return this.#timers.size
  }

  /** The wall clock alone. */
  jump(ms: number): void {
    this.#wall += ms
  }

  /** Moves to the next timer within `ms`; false when there is none and the time has passed. */
  step(ms: number): number {
    const end = this.#monotonic + ms
    const next = [...this.#timers].filter(({ at }) => at <= end).toSorted((left, right) => left.at - right.at)[0]
    const to = next === undefined ? end : Math.max(next.at, this.#monotonic)
    this.#wall += to - this.#monotonic
    this.#monotonic = to
    if (next === undefined) return 0
    this.#timers.delete(next)
    next.callback()
    return end - to
  }
}

export class EngineHost {
  readonly clock: ManualClock
  readonly path: string
  readonly reports: string[] = []
  failed: Error | undefined
  engine: Engine
  // oxlint-disable-next-line no-unused-private-class-members -- set by the engine's callback, read by `run`
  #work = true
  #options: Partial<EngineOptions>
  #clients: EngineClient[] = []

  constructor(path: string, options: Partial<EngineOptions> = {}, clock: ManualClock = new ManualClock()) {
    this.path = path
    this.clock = clock
    this.#options = options
    this.engine = this.#open()
  }

  #open(): Engine {
    return openEngine({
      path: this.path,
      durability: 'os',
      ownerPid: 1,
      lockMs: 30_000,
      reclaimMs: 2_000,
      maxFileBytes: 2 ** 33,
      maxMessageBytes: 1024 * 1024,
      fileWork: async work => doFileWork(work),
      clock: this.clock,
      onWork: () => {
        this.#work = true
      },
      report: (_level, _fields, message) => this.reports.push(message),
      onFailed: error => {
        this.failed = error
      },
      ...this.#options,
    })
  }

  run(): void {
    for (let rounds = 0; this.#work; rounds++) {
      if (rounds > 100_000) throw new Error('the engine never rests')
      this.#work = false
      this.engine.pump()
    }
  }

  advance(ms: number): void {
    this.run()
    let left = ms
    for (;;) {
      left = this.clock.step(left)
      this.run()
      if (left === 0) return
    }
  }

  connect(
    sessionId: string = crypto.randomUUID(),
    open: readonly KeptDelivery[] = [],
    local = true,
    version: number = protocolVersion,
    appendsHeard = 0,
  ): EngineClient {
    const client = new EngineClient(this, sessionId, open, local, version, appendsHeard)
    this.#clients.push(client)
    this.run()
    return client
  }

  /** The owner dies without a word; the next one opens what is in the file. */
  crash(): void {
    for (const client of this.#clients) client.dead = true
    this.#clients = []
    this.engine = this.#open()
    this.#work = true
    this.run()
  }

  /** Closes in order and opens again. */
  restart(): void {
    this.engine.close()
    this.crash()
  }
}

export class EngineClient {
  readonly host: EngineHost
  readonly sessionId: string
  readonly deliveries: (WireDelivery & { readonly receiverId: number })[] = []
  readonly results = new Map<number, unknown>()
  readonly failures = new Map<number, WireError>()
  readonly refused = new Map<number, WireError>()
  readonly appended = new Map<number, AppendAnswer>()
  readonly lost: number[] = []
  readonly changed: number[] = []
  readonly ended: { readonly receiverId: number; readonly error: WireError }[] = []
  welcome: Welcome | undefined
  sendsThrough = 0
  acksThrough = 0
  buffered = 0
  closed: Error | true | undefined
  saidGoodbye = false
  dead = false
  frames = 0
  lastFrame: Uint8Array = new Uint8Array(0)
  readonly session: EngineSession
  readonly #writer = new ByteWriter()
  #sequence = 0
  #append = 0
  #read = 0
  #request = 0

  constructor(
    host: EngineHost,
    sessionId: string,
    open: readonly KeptDelivery[],
    local: boolean,
    version: number = protocolVersion,
    appendsHeard = 0,
  ) {
    this.host = host
    this.sessionId = sessionId
    const buffered = (): number => this.buffered
    this.session = host.engine.connect({
      local,
      get bufferedBytes() {
        return buffered()
      },
      send: frame => {
        if (this.dead) return
        this.frames++
        this.lastFrame = frame
        readEngineFrame(frame, this.#sink)
      },
      close: error => {
        this.closed = error ?? true
      },
    })
    writeHello(this.#writer, {
      protocolVersion: version,
      packageVersion: '0.0.0',
      sessionId,
      pid: 2,
      lastEpoch: 0,
      answeredThrough: 0,
      appendsAnsweredThrough: appendsHeard,
      open,
    })
    this.flush()
  }

  readonly #sink: EngineFrameSink = {
    welcome: welcome => {
      this.welcome = welcome
      this.sendsThrough = welcome.sendsThrough
      this.#sequence = Math.max(this.#sequence, welcome.sendsThrough)
      this.#append = Math.max(this.#append, welcome.appendsThrough ?? 0)
    },
    committed: (sends, acks) => {
      this.sendsThrough = sends
      this.acksThrough = acks
    },
    sendRefused: (sequence, error) => this.refused.set(sequence, error),
    result: (id, value) => this.results.set(id, value),
    failure: (id, error) => this.failures.set(id, error),
    deliver: (receiverId, delivery) => this.deliveries.push({ ...delivery, receiverId }),
    lockLost: token => this.lost.push(token),
    changed: id => this.changed.push(id),
    receiverEnded: (receiverId, error) => this.ended.push({ receiverId, error }),
    goodbye: () => {
      this.saidGoodbye = true
    },
    appended: (sequence, answer) => this.appended.set(sequence, answer),
    records: (id, result) => this.results.set(id, result),
  }

  flush(): void {
    this.session.receive(this.#writer.take())
  }

  /** Sends without waiting; returns the sequence. */
  post(messages: readonly OutgoingMessage[], state?: readonly StateChange[], sequence = ++this.#sequence): number {
    writeSend(this.#writer, sequence, messages, state, 2 ** 30)
    this.flush()
    return sequence
  }

  /** Sends and returns the refusal, if any. */
  send(messages: readonly OutgoingMessage[], state?: readonly StateChange[]): WireError | undefined {
    const sequence = this.post(messages, state)
    this.host.run()
    if (this.sendsThrough < sequence && this.host.failed === undefined)
      throw new Error(`send ${sequence} was not answered`)
    return this.refused.get(sequence)
  }

  /** Appends without waiting; returns the sequence. */
  postAppend(batches: readonly AppendBatch[], sequence = ++this.#append, answeredThrough = 0): number {
    writeAppend(this.#writer, sequence, answeredThrough, batches)
    this.flush()
    return sequence
  }

  /** Appends and returns the answer; throws the refusal. */
  append(batches: readonly AppendBatch[]): readonly Appended[] {
    const sequence = this.postAppend(batches)
    this.host.run()
    const answer = this.appended.get(sequence)
    if (answer === undefined) throw new Error(`append ${sequence} was not answered`)
    if ('error' in answer) throw Object.assign(new Error(answer.error.message), answer.error)
    return answer.answers
  }

  /** All records of a partition from a place on. */
  readLog(stream: string, from: ReadRequest['from'] = 'start', partition = 0): ReadResult {
    const limits = { maxRecords: 10_000, maxBytes: 16 * 1024 * 1024 }
    return this.call({ call: 'log-read', readId: ++this.#read, stream, partition, from, ...limits })
  }

  ask(request: Request): number {
    writeRequest(this.#writer, ++this.#request, request)
    this.flush()
    return this.#request
  }

  /** Asks and returns the value; throws the failure. */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- what a call answers with is known by its test
  call<T = unknown>(request: Request): T {
    const id = this.ask(request)
    this.host.run()
    const failure = this.failures.get(id)
    if (failure !== undefined) throw Object.assign(new Error(failure.message), failure)
    if (!this.results.has(id)) throw new Error(`request ${request.call} was not answered`)
    return this.results.get(id) as T
  }

  /** As `call`, for what is answered after work beside the engine. */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- what a call answers with is known by its test
  async callBeside<T = unknown>(request: Request): Promise<T> {
    const id = this.ask(request)
    for (let turn = 0; turn < 100 && !this.results.has(id) && !this.failures.has(id); turn++) {
      this.host.run()
      await new Promise(setImmediate)
    }
    const failure = this.failures.get(id)
    if (failure !== undefined) throw Object.assign(new Error(failure.message), failure)
    return this.results.get(id) as T
  }

  declare(...queues: QueueDeclaration[]): void {
    this.call({ call: 'declare', topology: { queues, topics: [], bindings: [] }, onConflict: 'refuse' })
  }

  subscribe(queue: string, maxInFlight = 1, receiverId = 1): void {
    this.call({ call: 'subscribe', receiverId, queue, maxInFlight })
  }

  /** What was delivered since the last call. */
  take(): (WireDelivery & { readonly receiverId: number })[] {
    this.host.run()
    return this.deliveries.splice(0)
  }

  ack(...tokens: number[]): void {
    writeAcks(this.#writer, tokens)
    this.flush()
    this.host.run()
  }

  /** Settles and returns the failure, if any. */
  settle(token: number, head: SettlementHead, messages: readonly OutgoingMessage[] = []): WireError | undefined {
    const id = this.postSettle(token, head, messages)
    this.host.run()
    if (!this.results.has(id) && !this.failures.has(id)) throw new Error('the settlement was not answered')
    return this.failures.get(id)
  }

  postSettle(token: number, head: SettlementHead, messages: readonly OutgoingMessage[] = []): number {
    writeSettle(this.#writer, ++this.#request, token, head, messages, 2 ** 30)
    this.flush()
    return this.#request
  }

  beat(): void {
    writeBeat(this.#writer, 0)
    this.flush()
    this.host.run()
  }

  forfeit(): void {
    writeForfeit(this.#writer)
    this.flush()
    this.host.run()
  }

  bye(): void {
    writeBye(this.#writer)
    this.flush()
    this.host.run()
  }

  /** The process dies: its connection closes, and after the grace its locks fall. */
  die(): void {
    this.dead = true
    this.session.disconnected()
    this.host.advance(100)
  }

  figures(queue: string): QueueFigures {
    return this.call({ call: 'admin', method: 'queue', queue })
  }

  counts(queue: string): Pick<QueueFigures, 'ready' | 'locked' | 'scheduled' | 'parked' | 'dead'> {
    const { ready, locked, scheduled, parked, dead } = this.figures(queue)
    return { ready, locked, scheduled, parked, dead }
  }
}

export function temporaryFolder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'buzzer-engine-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

let made = 0

/** A message for queue `q` with body `text`. */
export function messageTo(queue: string, text: string, parts: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return {
    id: `m-${++made}`,
    to: { queue },
    attributes: { type: 'test' },
    headers: {},
    body: new TextEncoder().encode(text),
    priority: 4,
    mandatory: true,
    ...parts,
  }
}

export function textOf(delivery: WireDelivery): string {
  return new TextDecoder().decode(delivery.message.body)
}
