import { type AnyContract, BuzzerError, type Codec, isRetryable, mediaType } from '../message/index.ts'
import {
  type Consumer,
  type Delivery,
  directPathOf,
  type OnDelivery,
  type ReceiveOptions,
  type Receiver,
  type Settlement,
} from '../transport/index.ts'
import { ActiveRuns } from './active-runs.ts'
import type { BusCore } from './bus-core.ts'
import { type BreakerState, CircuitBreaker } from './circuit-breaker.ts'
import { type Handler, matches, type ResolvedDeduplicate, resolveHandler, type Route, routesOf } from './handler.ts'
import type { Middleware } from './middleware.ts'
import { checkHandlerOptions, checkQueueOptions, checkRateLimit, checkWhole, invalidOption } from './option-check.ts'
import type { BatchHandlerOptions, HandlerOptions, QueueOptions, RateLimit } from './options.ts'
import { DeliveryRun } from './pipeline/delivery.ts'
import type { Incoming } from './pipeline/incoming.ts'
import type { DeliveryEnd, QueueView, Startable } from './pipeline/queue-view.ts'
import { released } from './pipeline/settle.ts'
import type { Queue } from './queue-interface.ts'
import { QueueBatches } from './queue-batches.ts'
import { QueueReceivers } from './queue-receivers.ts'
import { RateLimiter } from './rate-limit.ts'
import { type ResolvedRetry, resolveRetry } from './retry-policy.ts'

export type QueueState = 'new' | 'running' | 'paused' | 'stopping' | 'stopped'

/** How long after the abort of its signal a handler is waited for. */
const abandonAfterMs = 5_000

/** The queue at work: takes deliveries while it may, gives each a slot, and keeps count. */
export class BusQueue implements Queue<unknown>, QueueView {
  readonly core: BusCore
  readonly name: string
  readonly brokerName: string
  readonly source: string
  readonly options: QueueOptions
  readonly retry: ResolvedRetry
  readonly onUnknownMessage: 'dead-letter' | 'discard'
  readonly onExpired: 'discard' | 'dead-letter'
  readonly deadLetterTtlMs: number | undefined
  readonly handlers: Handler[] = []
  readonly #own: Middleware[] = []
  readonly #startBus: (queue: BusQueue) => Promise<void>
  readonly #routes = new Map<string, Route[]>()
  readonly #codecs = new Map<string, Codec>()
  readonly #waiting: Startable[] = []
  #waitingFrom = 0
  readonly #active = new ActiveRuns()
  readonly #receivers: QueueReceivers
  #middleware: readonly Middleware[] | undefined
  #state: QueueState = 'new'
  #starting: Promise<void> | undefined
  #stopping: Promise<void> | undefined
  #concurrency: number
  #limiter: RateLimiter | undefined
  #limitWaiting = false
  #breaker: CircuitBreaker | undefined
  #batches: QueueBatches | undefined
  #dispatching = false
  #idle: (() => void)[] = []

  constructor(
    core: BusCore,
    name: string,
    given: QueueOptions,
    startBus: (queue: BusQueue) => Promise<void>,
    declare: (queue: BusQueue) => Promise<void>,
  ) {
    checkQueueOptions(given)
    this.core = core
    this.name = name
    this.options = given
    this.brokerName = given.perInstance === true ? `${name}.${core.instanceId}` : name
    this.source = `/${core.name}/${name}`
    this.retry = resolveRetry(given.retry)
    this.onUnknownMessage = given.onUnknownMessage ?? 'dead-letter'
    this.onExpired = given.onExpired ?? 'discard'
    this.deadLetterTtlMs = given.deadLetterTtlMs
    this.#startBus = startBus
    this.#receivers = new QueueReceivers({
      core,
      queue: this.brokerName,
      receive: maxInFlight => this.#receive({ maxInFlight, orderBy: given.orderBy ?? 'none' }),
      declare: () => declare(this),
    })
    this.#concurrency = given.orderBy === 'queue' ? 1 : (given.concurrency ?? 16)
    if (given.rateLimit !== undefined) this.#limiter = new RateLimiter(core.clock, given.rateLimit)
    if (given.circuitBreaker !== undefined && given.circuitBreaker !== 'none') {
      this.#breaker = new CircuitBreaker(core.clock, given.circuitBreaker, state => this.#breakerChanged(state))
    }
    if (given.rawContract !== undefined) this.#addCodec(given.rawContract.codec)
  }

  get state(): QueueState {
    return this.#state
  }

  get breakerState(): BreakerState {
    return this.#breaker?.state ?? 'closed'
  }

  /** Deliveries with a slot. */
  get inFlight(): number {
    return this.#active.size
  }

  /** Deliveries that wait for a slot, or for their batch. */
  get waiting(): number {
    return this.#waiting.length - this.#waitingFrom + (this.#batches?.size ?? 0)
  }

  get open(): boolean {
    return this.#state === 'running' && !this.core.draining
  }

  get ordered(): boolean {
    return this.options.orderBy !== undefined && this.options.orderBy !== 'none'
  }

  get codecs(): ReadonlyMap<string, Codec> {
    return this.#codecs
  }

  get middleware(): readonly Middleware[] {
    return (this.#middleware ??= [...this.core.middleware, ...this.#own])
  }

  get prefetch(): number {
    const wanted = this.options.prefetch ?? 2 * this.#concurrency
    let batch = 1
    for (const handler of this.handlers) batch = Math.max(batch, handler.batch?.maxSize ?? 1)
    return batch === 1
      ? Math.max(wanted, this.options.prefetch ?? this.#concurrency)
      : Math.max(wanted, this.#concurrency * batch)
  }

  handle(contract: AnyContract, handler: (message: never, ctx: never) => unknown, options: HandlerOptions = {}): this {
    return this.#add(contract, handler, options, 'single')
  }

  handleBatch(
    contract: AnyContract,
    handler: (batch: never, ctx: never) => unknown,
    options: BatchHandlerOptions = {},
  ): this {
    if (contract?.kind === 'request') {
      throw invalidOption('contract', contract.type, 'requests are answered one by one; use handle')
    }
    return this.#add(contract, handler, options, 'batch')
  }

  #add(
    contract: AnyContract,
    call: (message: never, ctx: never) => unknown,
    options: BatchHandlerOptions,
    kind: 'single' | 'batch',
  ): this {
    if (typeof contract !== 'object' || contract === null || typeof contract.type !== 'string') {
      throw invalidOption('contract', contract, 'a contract made by defineEvent, defineCommand or defineRequest')
    }
    if (typeof call !== 'function') throw invalidOption('handler', call, 'a function')
    checkHandlerOptions(options, kind)
    if (this.#state !== 'new') {
      throw new BuzzerError(
        'BUZZER_QUEUE_STARTED',
        `queue ${this.name} has started, so it cannot handle ${contract.type} any more: define handlers first`,
        { details: { queue: this.name, type: contract.type } },
      )
    }
    if (this.handlers.some(one => one.contract.type === contract.type)) {
      throw new BuzzerError(
        'BUZZER_DUPLICATE_HANDLER',
        `queue ${this.name} handles ${contract.type} already: a second reaction belongs on a queue of its own, so that each ` +
          'retries and fails alone',
        { details: { queue: this.name, type: contract.type } },
      )
    }
    const handler = resolveHandler(this.core, contract, call, options, this.options, kind)
    this.handlers.push(handler)
    for (const route of routesOf(handler)) {
      const known = this.#routes.get(route.reads.type)
      // A handler of the type itself is more specific than one that upcasts from it.
      if (known === undefined) this.#routes.set(route.reads.type, [route])
      else if (route.upcasts.length === 0) known.unshift(route)
      else known.push(route)
      this.#addCodec(route.reads.codec)
    }
    return this
  }

  use(middleware: Middleware): this {
    this.#own.push(middleware)
    this.#middleware = undefined
    return this
  }

  start(): Promise<void> {
    this.#starting ??= this.#startBus(this)
    return this.#starting
  }

  /** Begins to take deliveries; everything is declared. */
  async receive(): Promise<void> {
    for (const codec of this.core.codecs.values()) this.#addCodec(codec)
    this.#middleware = undefined
    const batching = this.handlers.filter(handler => handler.batch !== undefined)
    if (batching.length > 0) this.#batches = new QueueBatches(this, batching, batch => this.enqueue(batch))
    this.#state = 'running'
    await this.#receivers.open(this.prefetch)
  }

  /** The queue was deleted at the broker. */
  lost(error: Error): void {
    this.#receivers.lost(error)
  }

  /** Why nothing is received at the moment, though it should be. */
  get trouble(): Error | undefined {
    return this.#receivers.trouble
  }

  #receive(options: ReceiveOptions): Promise<Receiver> {
    const { transport } = this.core
    const direct = directPathOf(transport)
    if (direct !== undefined) return direct.serve(this.brokerName, this.#take, options)
    const onDelivery: OnDelivery = delivery =>
      new Promise<Settlement>(resolve => {
        this.#take(delivery, { settle: resolve })
      })
    return transport.receive(this.brokerName, onDelivery, options)
  }

  readonly #take: Consumer = (delivery, lock) => {
    if (!this.open) return lock.settle(released)
    if (this.#batches?.collect(delivery, lock) === true) return
    this.enqueue(new DeliveryRun(this, delivery, lock))
  }

  enqueue(startable: Startable): void {
    if (this.#waiting.length === this.#waitingFrom && this.#mayStart()) {
      this.#begin(startable)
      return
    }
    this.#waiting.push(startable)
    this.#dispatch()
  }

  #mayStart(): boolean {
    if (!this.open || this.#active.size >= this.#concurrency) return false
    if (this.#breaker !== undefined && this.#breaker.state !== 'closed') {
      if (this.#breaker.state === 'open' || this.#breaker.probing) {
        this.#releaseWaiting()
        return false
      }
    }
    if (this.#limiter !== undefined && !this.#limiter.tryTake()) {
      this.#awaitLimit()
      return false
    }
    return this.#breaker === undefined || this.#breaker.mayStart()
  }

  #awaitLimit(): void {
    if (this.#limitWaiting) return
    this.#limitWaiting = true
    this.#limiter?.whenFree(() => {
      this.#limitWaiting = false
      this.#dispatch()
    })
  }

  #begin(startable: Startable): void {
    this.#active.add(startable.holder ?? startable)
    startable.start()
  }

  /** One loop, however deep handlers that end at once would nest it. */
  #dispatch(): void {
    if (this.#dispatching) return
    this.#dispatching = true
    while (this.#waitingFrom < this.#waiting.length && this.#mayStart()) {
      const next = this.#waiting[this.#waitingFrom] as Startable
      this.#waitingFrom++
      if (this.#waitingFrom === this.#waiting.length || this.#waitingFrom === 1_024) {
        this.#waiting.splice(0, this.#waitingFrom)
        this.#waitingFrom = 0
      }
      this.#begin(next)
    }
    this.#dispatching = false
    // A breaker that let its probes through takes nothing more.
    if (this.#breaker !== undefined && this.#breaker.state === 'half-open' && this.#breaker.probing) {
      this.#releaseWaiting()
      void this.#receivers.pause()
    }
  }

  #releaseWaiting(): void {
    const waiting = this.#waiting.splice(0).slice(this.#waitingFrom)
    this.#waitingFrom = 0
    for (const one of waiting) one.release()
    this.#batches?.release()
  }

  ended(run: Startable, end: DeliveryEnd | undefined): void {
    if (!this.#active.delete(run)) return
    if (this.#breaker !== undefined) {
      if (end === 'handled' || end === 'deferred') this.#breaker.ended('fine')
      else if (end !== 'dead-letter' && this.#breaker.state === 'half-open' && !this.#judging) this.#breaker.undecided()
      this.#judging = false
    }
    if (this.#waitingFrom < this.#waiting.length) this.#dispatch()
    if (this.#active.size === 0 && this.#idle.length > 0) for (const wake of this.#idle.splice(0)) wake()
  }

  #judging = false

  judged(error: unknown): void {
    if (this.#breaker === undefined) return
    this.#judging = true
    const failed = isRetryable(error) && this.#breaker.counts(error)
    this.#breaker.ended(failed ? 'failed' : 'fine')
  }

  again(run: Startable, then: () => void): void {
    // The slot was given up with the settlement, so the run waits for its turn like any other.
    this.enqueue({
      holder: run,
      start: then,
      release: () => run.release(),
      stop: reason => run.stop(reason),
      abandon: () => run.abandon(),
    })
  }

  admit(run: () => void): void {
    if (this.#limiter === undefined || this.#limiter.tryTake()) return run()
    this.#limiter.whenFree(() => (this.open ? this.admit(run) : run()))
  }

  routeOf(incoming: Incoming): Route | undefined {
    const { type } = incoming
    if (type === undefined) return this.#rawRoute()
    const exact = this.#routes.get(type)
    const bases = incoming.attributes['basetypes']
    if (exact !== undefined && (bases === undefined || accepts(exact[0], incoming))) return exact[0]
    if (bases === undefined) return undefined
    // Nearest first; the handler whose match refuses leaves it to the next.
    for (const base of bases.split(',')) {
      const route = this.#routes.get(base)?.[0]
      if (route !== undefined && accepts(route, incoming)) return route
    }
    return exact?.[0]
  }

  #rawRoute(): Route | undefined {
    const raw = this.options.rawContract
    return raw === undefined ? undefined : this.#routes.get(raw.type)?.[0]
  }

  asksInbox(delivery: Delivery): boolean {
    if (this.core.store === undefined || this.core.jointStore) return false
    if (this.core.capabilities.transactions !== 'none' && delivery.attempt === 1) return false
    return delivery.attempt > 1 || this.core.capabilities.redelivery !== 'counted'
  }

  update(change: { readonly concurrency?: number; readonly rateLimit?: RateLimit | 'none' }): void {
    if (change.concurrency !== undefined) {
      checkWhole('concurrency', change.concurrency, 1)
      if (this.options.orderBy === 'queue' && change.concurrency !== 1) {
        throw invalidOption('concurrency', change.concurrency, "with orderBy 'queue' it is always 1")
      }
      this.#concurrency = change.concurrency
    }
    if (change.rateLimit !== undefined) {
      if (change.rateLimit !== 'none') checkRateLimit(change.rateLimit)
      const before = this.#limiter
      this.#limiter = change.rateLimit === 'none' ? undefined : new RateLimiter(this.core.clock, change.rateLimit)
      before?.close()
    }
    const { held } = this.#receivers
    if (this.#state === 'running' && this.trouble === undefined && this.prefetch > held) {
      this.#receivers.open(this.prefetch - held).catch((error: unknown) => {
        this.core.logger.error({ error, queue: this.name }, 'a further receiver could not be opened')
      })
    }
    this.#dispatch()
  }

  async pause(): Promise<void> {
    if (this.#state !== 'running') return
    this.#state = 'paused'
    this.#releaseWaiting()
    await this.#receivers.pause()
  }

  async resume(): Promise<void> {
    if (this.#state !== 'paused') return
    this.#state = 'running'
    if (this.breakerState !== 'open') await this.#receivers.resume()
    this.#dispatch()
  }

  stop(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    const timeoutMs = options.timeoutMs ?? 30_000
    this.#stopping ??= this.#stop(this.core.clock.monotonic() + timeoutMs)
    return this.#stopping
  }

  /** As `stop`, with the deadline of the bus (monotonic). */
  stopBy(deadline: number): Promise<void> {
    this.#stopping ??= this.#stop(deadline)
    return this.#stopping
  }

  async #stop(deadline: number): Promise<void> {
    this.#state = 'stopping'
    this.#releaseWaiting()
    this.#limiter?.close()
    this.#breaker?.close()
    for (const run of this.#active.all()) run.drain?.()
    const { clock } = this.core
    const ended = this.#receivers.stop().then(() => this.#quiet())
    const patience = clock.setTimeout(
      () => {
        for (const run of this.#active.all()) run.stop(this.#stoppingError())
      },
      Math.max(0, deadline - clock.monotonic()),
    )
    const end = clock.setTimeout(
      () => {
        for (const run of this.#active.all()) {
          this.core.logger.warn(
            { queue: this.name },
            'a handler ignored its signal at the stop; its message is given back',
          )
          run.abandon()
        }
      },
      Math.max(0, deadline - clock.monotonic()) + abandonAfterMs,
    )
    await ended.catch((error: unknown) => {
      this.core.logger.error({ error, queue: this.name }, 'a receiver did not stop properly')
    })
    clock.clearTimeout(patience)
    clock.clearTimeout(end)
    for (const handler of this.handlers) handler.deadlines.close()
    this.#state = 'stopped'
  }

  #quiet(): Promise<void> {
    if (this.#active.size === 0) return Promise.resolve()
    return new Promise(resolve => {
      this.#idle.push(resolve)
    })
  }

  #stoppingError(): BuzzerError {
    return new BuzzerError(
      'BUZZER_STOPPING',
      `bus ${this.core.name} is stopping and its time is over; the message goes back`,
    )
  }

  #breakerChanged(state: BreakerState): void {
    this.core.telemetry?.breaker(this.name, state)
    this.core.logger.warn({ queue: this.name, state }, 'the circuit breaker changed its state')
    if (state === 'open') {
      this.#releaseWaiting()
      void this.#receivers.pause()
    } else if (this.#state === 'running') {
      void this.#receivers.resume().then(() => this.#dispatch())
    }
  }

  #addCodec(codec: Codec): void {
    const media = mediaType(codec.contentType)
    if (!this.#codecs.has(media)) this.#codecs.set(media, codec)
  }

  /** How the broker should judge copies at the send, when a handler asked for it. */
  get sendWindow(): ResolvedDeduplicate | undefined {
    for (const handler of this.handlers) if (handler.deduplicate?.at === 'send') return handler.deduplicate
    return undefined
  }
}

function accepts(route: Route | undefined, incoming: Incoming): boolean {
  return route !== undefined && matches(route.handler.match, incoming.key, incoming.delivery.headers)
}
