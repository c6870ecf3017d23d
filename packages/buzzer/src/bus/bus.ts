import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import {
  type AnyCommandContract,
  type AnyContract,
  type AnyEventContract,
  type AnyRequestContract,
  BuzzerError,
  bytes,
  checkName,
  type Codec,
  consoleLogger,
  json,
  mediaType,
  newId,
  systemClock,
} from '../message/index.ts'
import type { Store } from '../store/index.ts'
import type { Destination } from '../transport/index.ts'
import { type Admin, createAdmin } from './admin/admin.ts'
import { DeadLetterKeeper } from './admin/dead-letter-keeper.ts'
import { keepsDeadLetters } from './admin/kept-queues.ts'
import { capabilityProblems, capabilityWarnings, definitionProblems } from './bus-checks.ts'
import type { BusCore } from './bus-core.ts'
import type { Bus, BusPart, RawMessage } from './bus-interface.ts'
import { checkBusOptions } from './bus-option-check.ts'
import type { BusPort } from './bus-port.ts'
import { ClaimCheck } from './claim-check.ts'
import { ConfigurationError } from './configuration-error.ts'
import { Connection } from './connection.ts'
import { checkCancelling, checkSize, emit, type Extras, nameOf, topicOf, wishOf } from './emission.ts'
import { type Health, healthOf } from './health.ts'
import { makePort } from './make-port.ts'
import type { TrackedMessage } from './message-tracker.ts'
import type { Middleware, OutgoingMiddleware } from './middleware.ts'
import { checkNumber, invalidOption } from './option-check.ts'
import type { BusOptions, MessageOptions, QueueOptions, RequestOptions } from './options.ts'
import { BusQueue } from './queue.ts'
import { rawMessage } from './raw-message.ts'
import { tellLost } from './queue-receivers.ts'
import { Requests } from './request.ts'
import { Router } from './routing.ts'
import { Sender } from './sender.ts'
import { StoredSends } from './stored-sends.ts'
import { Telemetry } from './telemetry.ts'
import { topologyOf } from './topology.ts'
import { wrongKind } from './wrong-kind.ts'

/**
 * Makes a bus. Nothing happens before `start()`.
 * @throws BUZZER_INVALID_NAME, BUZZER_INVALID_OPTION
 */
export function createBus<A = never, B = never>(options: BusOptions<A, B>): Bus<A | B> {
  return new RunningBus(options) as unknown as Bus<A | B>
}

let portOfBus: (bus: RunningBus) => BusPort

/** What other rooms of this package may ask of a bus. @throws BUZZER_INVALID_OPTION for anything `createBus` did not make */
export function portOf(bus: Bus | Bus<unknown>): BusPort {
  if (!(bus instanceof RunningBus))
    throw invalidOption('bus', bus, 'a bus made by createBus of this copy of the package')
  return portOfBus(bus)
}

class RunningBus {
  readonly name: string
  readonly instanceId: string
  readonly admin: Admin
  readonly #core: { -readonly [K in keyof BusCore]: BusCore[K] }
  readonly #source: string
  readonly #defaults: QueueOptions
  readonly #queues = new Map<string, BusQueue>()
  readonly #parts: BusPart[] = []
  #keeper: DeadLetterKeeper | undefined
  readonly #checks: (() => readonly string[])[] = []
  readonly #port: BusPort
  #starting: Promise<void> | undefined
  #stopping: Promise<void> | undefined
  readonly #connection: Connection
  readonly #life = new AbortController()
  /** The last send that had to wait for its route; later sends wait behind it, so that they keep the order of the calls. */
  #tail: Promise<unknown> | undefined

  static {
    portOfBus = bus => bus.#port
  }

  constructor(options: BusOptions<unknown, unknown>) {
    checkBusOptions(options)
    this.name = options.name
    this.instanceId = options.instanceId ?? randomBytes(4).toString('hex')
    this.#source = `/${options.name}`
    this.#defaults = options.defaults ?? {}
    const clock = options.clock ?? systemClock
    const { transport } = options
    const store = options.store ?? transport.store
    const codecs = new Map<string, Codec>()
    for (const codec of [json, bytes, ...(options.codecs ?? [])]) codecs.set(mediaType(codec.contentType), codec)
    const core = {
      name: this.name,
      instanceId: this.instanceId,
      hostname: hostname(),
      clock,
      newId,
      random: options.random ?? Math.random,
      logger: options.logger ?? consoleLogger(),
      transport,
      capabilities: transport.capabilities,
      store,
      get jointStore() {
        return store !== undefined && store === transport.store && transport.capabilities.transactions !== 'none'
      },
      validateOnSend: options.validate === undefined || options.validate === 'both' || options.validate === 'send',
      validateOnReceive:
        options.validate === undefined || options.validate === 'both' || options.validate === 'receive',
      codecs,
      structured: options.cloudEvents === 'structured',
      propagateHeaders: options.propagateHeaders ?? [],
      publishFaults: options.faults !== 'none',
      sendTimeoutMs: options.sendTimeoutMs ?? 30_000,
      claimCheck: options.claimCheck === undefined ? undefined : new ClaimCheck(options.claimCheck, clock),
      telemetry:
        options.telemetry?.tracer === undefined && options.telemetry?.meter === undefined
          ? undefined
          : new Telemetry(options.telemetry, transport.name, () => clock.monotonic()),
      middleware: [],
      outgoing: [],
      observers: new Set(),
      trackers: [],
      state: 'new',
      draining: false,
    } as unknown as { -readonly [K in keyof BusCore]: BusCore[K] }
    core.router = new Router(core, {
      brokerName: queue => this.#queues.get(queue)?.brokerName,
      handling: type => this.#handling(type),
    })
    core.sender = new Sender(core, clock, core.sendTimeoutMs)
    core.requests = new Requests(core)
    core.storedSends = store === undefined ? undefined : new StoredSends(core, store, options.outbox ?? {})
    this.#core = core
    this.#connection = new Connection(core, {
      onReconnected: () => this.#reconnected(),
      onQueueLost: (queue, error) => tellLost(queue, error, this.#queues.values(), core.requests),
    })
    this.admin = createAdmin(core, {
      contract: type => this.#contractOf(type),
      topology: () => topologyOf(this.#queues.values(), core.capabilities.deadLetter),
      redriven: message => this.#tellRedriven(message),
    })
    this.#port = makePort(core, {
      queues: () => this.#queues.values(),
      check: problems => void this.#checks.push(problems),
      send: (command, payload, options, extras) => this.#send(command, payload, options, extras),
      publish: (event, message, options, extras) =>
        this.#emit('publish', event, message, topicOf(event), options, extras),
    })
  }

  get store(): Store<unknown> | undefined {
    return this.#core.store
  }

  queue(name: string, options?: QueueOptions): BusQueue {
    checkName('queue', name)
    const known = this.#queues.get(name)
    if (known !== undefined) {
      if (options === undefined) return known
      throw new BuzzerError(
        'BUZZER_DUPLICATE_QUEUE',
        `queue ${name} has its options already; call queue('${name}') without`,
        {
          details: { queue: name },
        },
      )
    }
    const queue = new BusQueue(
      this.#core,
      name,
      { ...this.#defaults, ...options },
      one => this.#startLater(one),
      one => this.#declare([one]),
    )
    this.#queues.set(name, queue)
    return queue
  }

  use(middleware: Middleware): this {
    this.#core.middleware.push(middleware)
    return this
  }

  useOutgoing(middleware: OutgoingMiddleware): this {
    this.#core.outgoing.push(middleware)
    return this
  }

  publish(contract: AnyEventContract, message: unknown, options?: MessageOptions<unknown>): Promise<string> {
    if (contract?.kind !== 'event') return Promise.reject(wrongKind('publish', 'event', contract))
    return this.#emit('publish', contract, message, topicOf(contract), options, undefined)
  }

  send(
    contract: AnyCommandContract,
    message: unknown,
    options?: MessageOptions<unknown> & { readonly to?: string },
  ): Promise<string> {
    return this.#send(contract, message, options, undefined)
  }

  #send(
    contract: AnyCommandContract,
    message: unknown,
    options: (MessageOptions<unknown> & { readonly to?: string }) | undefined,
    extras: Extras | undefined,
  ): Promise<string> {
    if (contract?.kind !== 'command') return Promise.reject(wrongKind('send', 'command', contract))
    if (!this.#takesSends) return Promise.reject(this.#notRunning())
    let to: Destination | Promise<Destination>
    try {
      to = this.#core.router.resolve(contract, options?.to)
    } catch (error) {
      return Promise.reject(error)
    }
    return this.#emit('send', contract, message, to, options, extras)
  }

  async request(contract: AnyRequestContract, message: unknown, options?: RequestOptions): Promise<unknown> {
    if (contract?.kind !== 'request') throw wrongKind('request', 'request', contract)
    if (!this.#takesSends) throw this.#notRunning()
    return this.#core.requests.request(contract, message, options, this.#source, undefined)
  }

  async cancelScheduled(messageId: string): Promise<boolean> {
    if (!this.#takesSends) throw this.#notRunning()
    checkCancelling(this.#core)
    const { transport, storedSends } = this.#core
    const atBroker = (await transport.admin?.cancelScheduled?.(messageId)) ?? false
    return atBroker || ((await storedSends?.cancel(messageId)) ?? false)
  }

  async sendRaw(to: { readonly queue: string } | { readonly topic: string }, raw: RawMessage): Promise<string> {
    if (!this.#takesSends) throw this.#notRunning()
    const destination = 'queue' in to ? await this.#core.router.toQueue(to.queue) : { topic: to.topic, bases: [] }
    const message = rawMessage(destination, raw)
    checkSize(this.#core, message)
    return this.#core.sender.send(message)
  }

  #emit(
    operation: 'publish' | 'send',
    contract: AnyContract,
    message: unknown,
    to: Destination | Promise<Destination>,
    options: MessageOptions<unknown> | undefined,
    extras: Extras | undefined,
  ): Promise<string> {
    if (!this.#takesSends) return Promise.reject(this.#notRunning())
    if (this.#core.telemetry !== undefined) return this.#emitTraced(operation, contract, message, to, options, extras)
    try {
      if (!(to instanceof Promise) && this.#tail === undefined) {
        const made = emit(this.#core, this.#source, contract, message, to, options, undefined, extras)
        if (!(made instanceof Promise)) return this.#core.sender.send(made, wishOf(options, extras))
        return made.then(one => this.#core.sender.send(one, wishOf(options, extras)))
      }
    } catch (error) {
      return Promise.reject(error)
    }
    return this.#emitInTurn(contract, message, to, options, extras)
  }

  /** Behind the sends before it that wait for their route. */
  #emitInTurn(
    contract: AnyContract,
    message: unknown,
    to: Destination | Promise<Destination>,
    options: MessageOptions<unknown> | undefined,
    extras: Extras | undefined,
  ): Promise<string> {
    const before = this.#tail
    // Handed over, not confirmed: the transport keeps the order from there on.
    const handedOver = (async () => {
      const [destination] = await Promise.all([to, before])
      const made = await emit(this.#core, this.#source, contract, message, destination, options, undefined, extras)
      return { sent: this.#core.sender.send(made, wishOf(options, extras)) }
    })()
    const tail = handedOver.then(
      () => undefined,
      () => undefined,
    )
    this.#tail = tail
    void tail.then(() => {
      if (this.#tail === tail) this.#tail = undefined
    })
    return handedOver.then(({ sent }) => sent)
  }

  async #emitTraced(
    operation: 'publish' | 'send',
    contract: AnyContract,
    message: unknown,
    to: Destination | Promise<Destination>,
    options: MessageOptions<unknown> | undefined,
    extras: Extras | undefined,
  ): Promise<string> {
    const span = this.#core.telemetry?.emitting(
      operation,
      to instanceof Promise ? contract.type : nameOf(to),
      undefined,
    )
    try {
      const traced = span?.trace === undefined ? extras : { ...extras, trace: span.trace }
      const id = await this.#emitInTurn(contract, message, to, options, traced)
      span?.ended(undefined)
      return id
    } catch (error) {
      span?.ended(error)
      throw error
    }
  }

  get #takesSends(): boolean {
    return this.#core.state === 'running' || (this.#core.state === 'stopping' && !this.#core.draining)
  }

  #notRunning(): BuzzerError {
    const { state } = this.#core
    const advice =
      state === 'new' || state === 'starting' ? 'await bus.start() first' : 'a stopped bus is spent: make a new one'
    return new BuzzerError(
      'BUZZER_NOT_RUNNING',
      `bus ${this.name} is ${state === 'new' ? 'not started' : state}: ${advice}`,
      {
        details: { bus: this.name, state },
      },
    )
  }

  start(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (this.#stopping !== undefined) return Promise.reject(this.#notRunning())
    this.#starting ??= this.#start(options.signal).catch(async (error: unknown) => {
      // Nothing of a bus that could not start keeps the process, or the broker's sessions, alive.
      await this.#connection.close()
      throw error
    })
    return this.#starting
  }

  async #start(given: AbortSignal | undefined): Promise<void> {
    const core = this.#core
    const signal = given === undefined ? this.#life.signal : AbortSignal.any([given, this.#life.signal])
    core.state = 'starting'
    const queues = [...this.#queues.values()]
    const problems = [...definitionProblems(core, queues), ...this.#checks.flatMap(check => check())]
    if (problems.length > 0) throw new ConfigurationError(this.name, problems)
    await this.#connection.open(signal)
    const lacking = capabilityProblems(core, queues)
    if (lacking.length > 0) {
      throw new BuzzerError('BUZZER_UNSUPPORTED', lacking.join('\n'), {
        details: { transport: core.transport.name, problems: lacking },
      })
    }
    for (const warning of capabilityWarnings(core)) core.logger.warn({ bus: this.name }, warning)
    await this.#declare(queues)
    signal.throwIfAborted()
    await core.storedSends?.start()
    if (keepsDeadLetters(core)) {
      this.#keeper = new DeadLetterKeeper(core)
      await this.#keeper.declare()
    }
    core.claimCheck?.start(error => core.logger.warn({ error }, 'expired blobs were not swept'))
    // Handlers may emit from their first message on, so the bus counts as running before its queues take any.
    core.state = 'running'
    await Promise.all(queues.map(queue => queue.start()))
    for (const part of this.#parts) await part.start?.()
  }

  /** What existed may be gone with the broker's memory: it is declared again before anything waits for it. */
  #reconnected(): void {
    if (this.#core.state !== 'running') return
    this.#core.router.forget()
    this.#declare([...this.#queues.values()].filter(queue => queue.state !== 'new')).then(
      () => this.#core.sender.resume(),
      (error: unknown) => this.#core.logger.error({ error }, 'declaring again after a reconnect failed'),
    )
  }

  async #declare(queues: readonly BusQueue[]): Promise<void> {
    const { transport, capabilities, router } = this.#core
    const named = new Set<string>()
    for (const queue of queues) {
      for (const { contract } of queue.handlers) {
        if (contract.kind !== 'event' && contract.queue !== undefined && !this.#queues.has(contract.queue))
          named.add(contract.queue)
      }
    }
    const topology = topologyOf(queues, capabilities.deadLetter)
    await transport.declare({ ...topology, queues: [...topology.queues, ...[...named].map(name => ({ name }))] })
    for (const queue of queues) router.declared(queue.brokerName)
  }

  /** A queue's own start: at once with the bus, by itself afterwards. */
  async #startLater(queue: BusQueue): Promise<void> {
    if (this.#core.state !== 'running') throw this.#notRunning()
    if (!this.#core.router.knows(queue.brokerName)) {
      const problems = definitionProblems(this.#core, this.#queues.values())
      if (problems.length > 0) throw new ConfigurationError(this.name, problems)
      const lacking = capabilityProblems(this.#core, [queue])
      if (lacking.length > 0) throw new BuzzerError('BUZZER_UNSUPPORTED', lacking.join('\n'))
      await this.#declare([queue])
    }
    await this.#keeper?.keep(queue.brokerName)
    await queue.receive()
  }

  stop(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    checkNumber('timeoutMs', options.timeoutMs, 0)
    this.#stopping ??= this.#stop(options.timeoutMs ?? 30_000)
    return this.#stopping
  }

  async #stop(timeoutMs: number): Promise<void> {
    const core = this.#core
    const { clock, logger } = core
    const deadline = clock.monotonic() + timeoutMs
    this.#life.abort(new BuzzerError('BUZZER_NOT_RUNNING', `bus ${this.name} was stopped while it started`))
    if (this.#parts.length === 0) core.draining = true
    if (core.state === 'running') core.state = 'stopping'
    await this.#starting?.catch(() => {})
    core.state = 'stopping'
    const patience = new AbortController()
    const timer = clock.setTimeout(() => patience.abort(this.#stoppingError()), timeoutMs)
    for (const part of this.#parts.toReversed()) {
      await part.stop(patience.signal).catch((error: unknown) => {
        logger.error({ error, part: part.name }, 'an attached part did not stop properly')
      })
    }
    clock.clearTimeout(timer)
    core.draining = true
    await Promise.all([...this.#queues.values()].map(queue => queue.stopBy(deadline)))
    const steps: readonly (() => Promise<unknown> | undefined | void)[] = [
      () => core.requests.close(),
      () => this.#keeper?.close(),
      () => core.storedSends?.close(),
      () => core.claimCheck?.close(),
      () => this.#connection.close(),
      () => core.sender.close(),
    ]
    for (const step of steps) {
      try {
        await step()
      } catch (error) {
        logger.error({ error, bus: this.name }, 'a part of the bus did not close properly')
      }
    }
    core.state = 'stopped'
  }

  #stoppingError(): BuzzerError {
    return new BuzzerError('BUZZER_STOPPING', `bus ${this.name} is stopping and its time is over`)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  health(): Promise<Health> {
    return healthOf(this.#core, this.#queues.values(), this.#connection)
  }

  attach(part: BusPart): void {
    const { state } = this.#core
    if (state === 'stopping' || state === 'stopped') throw this.#notRunning()
    this.#parts.push(part)
    if (state !== 'running' || part.start === undefined) return
    part.start().catch((error: unknown) => {
      this.#core.logger.error({ error, part: part.name }, 'a part attached to the running bus did not start')
    })
  }

  #handling(type: string): string | undefined {
    for (const queue of this.#queues.values()) {
      for (const handler of queue.handlers) {
        if (handler.contract.type === type) return queue.brokerName
      }
    }
    return undefined
  }

  #contractOf(type: string): AnyContract | undefined {
    for (const queue of this.#queues.values()) {
      for (const handler of queue.handlers) if (handler.contract.type === type) return handler.contract
    }
    return undefined
  }

  async #tellRedriven(message: TrackedMessage): Promise<void> {
    for (const tracker of this.#core.trackers) if (tracker.concerns(message)) await tracker.redriven(message)
  }
}
