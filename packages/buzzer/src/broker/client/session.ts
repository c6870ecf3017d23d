import { randomUUID } from 'node:crypto'
import { BuzzerError } from '../../message/index.ts'
import type { StateChange } from '../../store/index.ts'
import type {
  AppendBatch,
  Appended,
  OutgoingMessage,
  ReadResult,
  Receipt,
  ReceiveOptions,
  Receiver,
  TransportContext,
} from '../../transport/index.ts'
import { maxStepBytes } from '../process/frame-splitter.ts'
import {
  type AppendAnswer,
  ByteWriter,
  type EngineFrameSink,
  fromWireError,
  protocolVersion,
  readEngineFrame,
  type Request,
  type Welcome,
  type WireDelivery,
  type WireError,
  writeBeat,
  writeBye,
  writeHello,
} from '../protocol/index.ts'
import { EngineLine } from './engine-line.ts'
import { OpenLocks } from './open-locks.ts'
import type { ResolvedOptions } from './options.ts'
import { packageVersion } from './package-version.ts'
import { PendingAppends } from './pending-appends.ts'
import { PendingRequests } from './pending-requests.ts'
import { PendingSends } from './pending-sends.ts'
import { type EmbeddedConsumer, QueueReceiver, receiverEnded } from './receiver.ts'
import { refusesForGood, unreachable, withOutcome } from './session-errors.ts'
import { Watches } from './watches.ts'

/** Written bytes that leave at once, without waiting for the end of the turn. */
const flushBytes = 128 * 1024
/** `close` waits so long for what was sent before it. */
const closeMs = 30_000

/**
 * One transport's conversation with the engine, wherever the engine lives.
 *
 * ```
 * new ── connect ──> searching ── up, hello, welcome ──> open ── down ──> searching …
 *                        │                                 │
 *                        └── close, final trouble ─────────┴──> closing ──> closed
 * ```
 * What callers wait for survives a change of the owner: sends by their numbers, locks by name, requests and receivers by
 * being asked for again. Everything of one turn leaves in one frame. Source: spec broker 2, 4, 7.
 */
export class Session implements EngineFrameSink {
  readonly #options: ResolvedOptions
  readonly #context: TransportContext
  readonly #sessionId: string = randomUUID()
  readonly #writer: ByteWriter = new ByteWriter(64 * 1024)
  readonly #line: EngineLine
  readonly #sends: PendingSends
  readonly #requests: PendingRequests
  readonly #appends: PendingAppends
  readonly #locks: OpenLocks
  readonly #watches: Watches
  readonly #receivers = new Map<number, QueueReceiver>()
  readonly #connected: PromiseWithResolvers<void> = Promise.withResolvers()
  #state: 'new' | 'searching' | 'open' | 'closed' = 'new'
  #wasOpen = false
  #closing: Promise<void> | undefined
  /** Why it is over, when nobody closed it. */
  #failure: BuzzerError | undefined
  #flushScheduled = false
  #lastReceiverId = 0
  #lastEpoch = 0
  #ownerPid: number | undefined
  /** Of the owner: its commits are what counts. */
  #durability: 'fsync' | 'os' | undefined
  #onIdle: (() => void) | undefined
  #onGoodbye: (() => void) | undefined

  constructor(options: ResolvedOptions, context: TransportContext) {
    this.#options = options
    this.#context = context
    const writer = this.#writer
    const { maxMessageBytes, maxPendingBytes } = options
    const { logger, clock } = context
    const onWritten = (): void => this.#written()
    this.#sends = new PendingSends({ writer, maxMessageBytes, maxPendingBytes, maxStepBytes, onWritten })
    this.#requests = new PendingRequests(writer, onWritten)
    this.#appends = new PendingAppends({ writer, maxStepBytes, onWritten, flush: () => this.#flushIfFull() })
    const newId = (): number => this.#requests.newId()
    this.#locks = new OpenLocks({
      writer,
      maxMessageBytes,
      maxStepBytes,
      logger,
      newId,
      onWritten,
      flush: () => this.#flush(),
    })
    this.#watches = new Watches(request => this.#requests.ask(request, 'connection'), logger)
    const { path, host, durability, lockMs, stallMs, reclaimMs, maxFileBytes } = options
    const engine = { durability, lockMs, stallMs, reclaimMs, maxMessageBytes, maxFileBytes }
    this.#line = new EngineLine({ path, engine, mayHost: host === 'auto', logger }, clock, {
      onUp: ownerPid => this.#up(ownerPid),
      onDown: () => this.#down(),
      onFrame: frame => this.#read(frame),
      onSilent: (pid, silentMs) => this.#ownerSilent(pid, silentMs),
      onHeard: () => {
        if (this.#state === 'open') this.#context.onState('connected')
      },
      onTrouble: (error, weight) => this.#trouble(error, weight),
    })
  }

  /** Resolves when an engine has welcomed this session. @throws BUZZER_DISCONNECTED after `connectTimeoutMs` */
  async connect(): Promise<void> {
    if (this.#state === 'new') {
      this.#state = 'searching'
      this.#line.open()
      const { clock } = this.#context
      const { connectTimeoutMs } = this.#options
      const timer = clock.setTimeout(
        () => this.#fail(unreachable(this.#options.path, connectTimeoutMs, this.#line.up ? this.#ownerPid : undefined)),
        connectTimeoutMs,
      )
      void this.#connected.promise.catch(() => {}).finally(() => clock.clearTimeout(timer))
    }
    await this.#connected.promise
  }

  /** One atomic step. The promise is the answer of the engine: see `PendingSends`. */
  send(
    messages: readonly OutgoingMessage[],
    state: readonly StateChange[] | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (this.#closing !== undefined || this.#state === 'closed') return Promise.reject(this.#notRunning('send'))
    if (messages.length === 0 && (state === undefined || state.length === 0)) return Promise.resolve()
    const sent = this.#sends.send(messages, state, signal)
    this.#hold()
    return sent
  }

  /** `send` of one message, told by calls. */
  submit(
    message: OutgoingMessage,
    state: readonly StateChange[] | undefined,
    signal: AbortSignal | undefined,
    receipt: Receipt,
  ): void {
    if (this.#closing !== undefined || this.#state === 'closed') return receipt.refused(this.#notRunning('send'))
    this.#sends.submit([message], state, signal, receipt)
    this.#hold()
  }

  /** One atomic step of a log. See `PendingAppends`. */
  append(batches: readonly AppendBatch[], signal: AbortSignal | undefined): Promise<readonly Appended[]> {
    if (this.#closing !== undefined || this.#state === 'closed') return Promise.reject(this.#notRunning('append'))
    if (batches.length === 0) return Promise.resolve([])
    const appended = this.#appends.append(batches, signal)
    this.#hold()
    return appended
  }

  async ask(request: Request): Promise<unknown> {
    if (this.#closing !== undefined || this.#state === 'closed') throw this.#notRunning(request.call)
    const answer = this.#requests.ask(request)
    this.#hold()
    return await answer
  }

  async watch(collection: string, id: string, onChange: () => void): Promise<AsyncDisposable> {
    if (this.#closing !== undefined || this.#state === 'closed') throw this.#notRunning('watch')
    const watch = this.#watches.add(collection, id, onChange)
    this.#hold()
    return await watch
  }

  /** Begins to deliver. @throws BUZZER_QUEUE_NOT_FOUND */
  async receive(queue: string, consumer: EmbeddedConsumer, options: ReceiveOptions): Promise<Receiver> {
    if (this.#closing !== undefined || this.#state === 'closed') throw this.#notRunning('receive')
    const { clock, logger } = this.#context
    const receiver = new QueueReceiver({
      receiverId: ++this.#lastReceiverId,
      queue,
      maxInFlight: options.maxInFlight,
      consumer,
      locks: this.#locks,
      clock,
      logger,
      ask: (request, scope) => this.#requests.ask(request, scope),
      isOpen: () => this.#state === 'open',
      wasStopped: () => this.#line.stoodStill(),
      noticedStop: () => this.#line.noticedStop(),
      onLost: (lost, error) => this.#receiverLost(lost, error),
      onOver: over => {
        this.#receivers.delete(over.receiverId)
        this.#hold()
      },
    })
    this.#receivers.set(receiver.receiverId, receiver)
    this.#hold()
    await receiver.begin()
    return receiver
  }

  /** Takes no more deliveries, waits for what was sent before (at most 30 s), then ends. Never rejects. Idempotent. */
  close(): Promise<void> {
    if (this.#closing === undefined) {
      // Set before the first step of the close: from then on the session holds the process until it is over.
      const closing = Promise.withResolvers<void>()
      this.#closing = closing.promise
      closing.resolve(this.#close())
    }
    return this.#closing
  }

  async #close(): Promise<void> {
    const { clock } = this.#context
    // A session that never reached an engine has nothing to wait for.
    if (this.#wasOpen && this.#state !== 'closed') {
      const late = Promise.withResolvers<void>()
      const timer = clock.setTimeout(() => late.resolve(), closeMs)
      await Promise.race([this.#finish(), late.promise])
      clock.clearTimeout(timer)
    }
    this.#end(this.#notRunning('close'))
    await this.#line.close()
  }

  /** What was begun ends: sends, settlements and requests are answered, so the engine has made all of it durable. */
  async #finish(): Promise<void> {
    for (const receiver of this.#receivers.values()) receiver.discard()
    this.#hold()
    if (this.#awaitsAnswers()) await new Promise<void>(resolve => (this.#onIdle = resolve))
    if (this.#state !== 'open') return
    await new Promise<void>(resolve => {
      this.#onGoodbye = resolve
      this.#flush()
      writeBye(this.#writer)
      this.#flush()
    })
  }

  #awaitsAnswers(): boolean {
    return this.#sends.count > 0 || this.#appends.count > 0 || this.#requests.awaited > 0 || this.#locks.settling > 0
  }

  /** Keeps the process alive for as long as somebody waits for this session, or receives by it. */
  #hold(): void {
    const busy =
      this.#closing !== undefined ||
      !this.#wasOpen ||
      this.#receivers.size > 0 ||
      this.#watches.count > 0 ||
      this.#locks.count > 0 ||
      this.#requests.count > 0 ||
      this.#awaitsAnswers()
    this.#line.hold(busy && this.#state !== 'closed' ? 'process' : 'nothing')
  }

  #written(): void {
    if (this.#state !== 'open') return
    if (this.#writer.length >= flushBytes) this.#flush()
    else if (!this.#flushScheduled) {
      this.#flushScheduled = true
      setImmediate(this.#flushScheduledOnce)
    }
  }

  #flushIfFull(): void {
    if (this.#writer.length >= flushBytes) this.#flush()
  }

  readonly #flushScheduledOnce = (): void => {
    this.#flushScheduled = false
    this.#flush()
  }

  readonly #flush = (): void => {
    if (this.#state !== 'open') return
    this.#locks.writeAcks()
    if (this.#sends.takeRefusals()) writeBeat(this.#writer, this.#sends.answeredThrough)
    if (this.#writer.length === 0) return
    if (!this.#sends.inWriter) return this.#line.send(this.#writer.take())
    // Kept until the engine says that its sends are decided.
    const frame = this.#writer.takeShared()
    this.#sends.left(Buffer.from(frame.buffer))
    this.#line.send(frame)
  }

  #up(ownerPid: number): void {
    this.#ownerPid = ownerPid
    const writer = new ByteWriter(1024)
    writeHello(writer, {
      protocolVersion,
      packageVersion,
      sessionId: this.#sessionId,
      pid: process.pid,
      lastEpoch: this.#lastEpoch,
      answeredThrough: this.#sends.answeredThrough,
      appendsAnsweredThrough: this.#appends.answeredThrough,
      open: this.#locks.open(),
    })
    this.#line.send(writer.take())
  }

  welcome(welcome: Welcome): void {
    const { logger } = this.#context
    const { durability, lockMs } = this.#options
    this.#sends.setAside()
    this.#state = 'open'
    this.#sends.welcomed(welcome.sendsThrough, welcome.refused, this.#flush)
    this.#locks.welcomed(welcome.kept)
    this.#appends.welcomed(welcome.appendsThrough ?? 0)
    this.#requests.repeat()
    for (const receiver of this.#receivers.values()) receiver.beginAgain()
    void this.#watches.repeat()
    this.#flush()
    const { epoch, ownerPid } = welcome
    this.#line.followLockMs(welcome.lockMs)
    if (!this.#wasOpen) {
      this.#wasOpen = true
      for (const [option, here, there] of [
        ['durability', durability, welcome.durability],
        ['lockMs', lockMs, welcome.lockMs],
      ] as const) {
        if (here !== there)
          logger.warn({ option, here, there, ownerPid }, "the broker's owner was given another option")
      }
      this.#connected.resolve()
    } else {
      const what = epoch === this.#lastEpoch ? 'connected to the broker again' : 'the broker has a new owner'
      logger.info({ epoch, ownerPid }, what)
    }
    this.#lastEpoch = epoch
    this.#ownerPid = ownerPid
    this.#durability = welcome.durability
    this.#context.onState('connected')
    this.#hold()
  }

  #down(): void {
    if (this.#state !== 'open') return
    this.#state = 'searching'
    this.#sends.setAside()
    this.#requests.disconnected()
    this.#onGoodbye?.()
    this.#context.onState('reconnecting')
  }

  /** A stopped owner keeps the lock: nothing is taken over while it may still write, and everyone waits. */
  #ownerSilent(ownerPid: number, silentMs: number): void {
    if (this.#state !== 'open') return
    const { path } = this.#options
    const error = new BuzzerError(
      'BUZZER_DISCONNECTED',
      `the owner of the broker ${path}, process ${ownerPid}, has not answered for ${silentMs} ms; if it is stopped, continue it or end it: another process then takes over`,
      { details: { path, ownerPid, silentMs } },
    )
    this.#context.logger.warn({ ownerPid, silentMs }, error.message)
    this.#context.onState('reconnecting', error)
  }

  /** What `bus.health()` shows. */
  facts(): Readonly<Record<string, string | number>> {
    const { path, durability } = this.#options
    const owner = this.#ownerPid === undefined ? {} : { ownerPid: this.#ownerPid, epoch: this.#lastEpoch }
    return { path, durability: this.#durability ?? durability, ...owner }
  }

  #trouble(error: BuzzerError, weight: 'passing' | 'final'): void {
    if (weight === 'final' || !this.#wasOpen) return this.#fail(error)
    // The engine stopped: what it had not answered is unknown, and is said to be so at once.
    this.#sends.rejectAll(outcome => withOutcome(error, outcome))
    this.#appends.rejectAll(outcome => withOutcome(error, outcome))
    this.#requests.failEffects(() => error)
    this.#idleLook()
  }

  #read(frame: Uint8Array): void {
    try {
      readEngineFrame(frame, this)
    } catch (error) {
      this.#context.logger.error({ error }, 'a frame of the broker could not be read')
      return this.#fail(error as BuzzerError)
    }
    this.#idleLook()
    this.#hold()
  }

  #idleLook(): void {
    if (this.#onIdle !== undefined && !this.#awaitsAnswers()) this.#onIdle()
  }

  committed(sendsThrough: number, acksThrough: number): void {
    this.#sends.committed(sendsThrough)
    this.#locks.confirmed(acksThrough)
  }

  sendRefused(sequence: number, error: WireError): void {
    this.#sends.refused(sequence, error)
  }

  result(requestId: number, value: unknown): void {
    if (!this.#locks.answered(requestId)) this.#requests.answered(requestId, value)
  }

  failure(requestId: number, error: WireError): void {
    if (requestId === 0) this.#trouble(fromWireError(error), refusesForGood(error) ? 'final' : 'passing')
    else if (!this.#locks.failed(requestId, error)) this.#requests.failed(requestId, error)
  }

  appended(sequence: number, answer: AppendAnswer): void {
    this.#appends.answered(sequence, answer)
  }

  records(requestId: number, result: ReadResult): void {
    this.#requests.answered(requestId, result)
  }

  deliver(receiverId: number, delivery: WireDelivery): void {
    this.#receivers.get(receiverId)?.deliver(delivery)
  }

  lockLost(token: number): void {
    this.#locks.lost(token)
  }

  changed(watchId: number): void {
    this.#watches.changed(watchId)
  }

  receiverEnded(receiverId: number, wire: WireError): void {
    const receiver = this.#receivers.get(receiverId)
    if (receiver !== undefined) this.#receiverLost(receiver, fromWireError(wire))
  }

  #receiverLost(receiver: QueueReceiver, cause: BuzzerError): void {
    const error = receiverEnded(receiver.queue, cause)
    receiver.end()
    this.#context.logger.error({ error, queue: receiver.queue }, error.message)
    this.#context.onState('connected', error)
  }

  goodbye(): void {
    this.#onGoodbye?.()
  }

  /** The session is over against its will. */
  #fail(error: BuzzerError): void {
    if (this.#state === 'closed') return
    this.#failure = error
    this.#end(error)
    this.#closing ??= this.#line.close()
    this.#context.onState('lost', error)
  }

  #end(error: BuzzerError): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#connected.promise.catch(() => {})
    this.#connected.reject(error)
    this.#sends.rejectAll(outcome => withOutcome(error, outcome))
    this.#appends.rejectAll(outcome => withOutcome(error, outcome))
    this.#requests.fail(() => error)
    this.#locks.abandon('its session has ended')
    for (const receiver of this.#receivers.values()) receiver.end()
    this.#watches.clear()
    this.#onIdle?.()
    this.#onGoodbye?.()
    this.#hold()
  }

  #notRunning(what: string): BuzzerError {
    if (this.#failure !== undefined) return this.#failure
    return new BuzzerError(
      'BUZZER_NOT_RUNNING',
      `${what}: the transport ${this.#options.path} is closed; make a new one`,
      {
        details: { path: this.#options.path },
      },
    )
  }
}
