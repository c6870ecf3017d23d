import { BuzzerError, hasCode, hasCodeInCauses, isRetryable, type JsonValue } from '../../message/index.ts'
import type { StateChange } from '../../store/index.ts'
import type { Delivery, OpenLock, OutgoingMessage, Settlement } from '../../transport/index.ts'
import { type BusCore, modeOf } from '../bus-core.ts'
import { askedReason } from '../dead-letter.ts'
import type { Deadlined } from '../deadline-list.ts'
import { matches, type Route } from '../handler.ts'
import { type InboxEntry, enterInbox, handledRecord, wasHandled } from '../inbox.ts'
import type { MessageTurn } from '../message-tracker.ts'
import { throughMiddleware } from '../middleware.ts'
import { answerMessage, isLostAnswer } from '../request.ts'
import { attemptNumber, decideRetry, isLastRound, retriesByCopy, roundDelayMs } from '../retry-policy.ts'
import {
  abortAttempt,
  abortReasonOf,
  Attempt,
  closeAttempt,
  emissionsOf,
  isEnlisted,
  linkSignal,
  outputsOf,
} from './attempt.ts'
import { batchItem } from './batch-item.ts'
import { bury, expire, neverSettled, noHandler, settleOr, settleOrRelease } from './burial.ts'
import { deferredCopy, retryCopy } from './copies.ts'
import { Following } from './following.ts'
import { decode, Incoming, reasonOfDecoding } from './incoming.ts'
import { acknowledged, released, settleStep } from './settle.ts'
import { type Subject, tellAttempt, tellEnd } from './telling.ts'
import type { DeliveryEnd, QueueView, Startable } from './queue-view.ts'

const none: readonly never[] = Object.freeze([])

/**
 * One delivery on its way through spec bus 4.4. Written with callbacks where a message without peculiarities passes, so
 * that it costs one promise besides the handler's own; everything rare is in async methods.
 *
 *   start ─→ decoded ─→ running ─→ settled          released: from anywhere, when the bus stops
 *              │           ↑ │ failed
 *              ↓           └─┤ immediate run
 *         dead letter ←──────┴──→ retry
 */
export class DeliveryRun implements Deadlined, Startable {
  dueAt = 0
  before: Deadlined | undefined
  after: Deadlined | undefined
  place = -1
  readonly delivery: Delivery
  readonly #queue: QueueView
  readonly #core: BusCore
  #lock: OpenLock
  #incoming: Incoming | undefined
  #route: Route | undefined
  #message: unknown
  #run = 0
  #attempt: Attempt | undefined
  #lastAttempt = 0
  #inbox: InboxEntry | undefined
  #following: Following | undefined
  #failedWith: unknown
  /** Rounds that this very delivery stands for, where order forbids that a copy comes back. */
  #heldRounds = 0
  #waiting: unknown
  /** When the last attempt ended; measured for telemetry alone. */
  #settlingFrom: number | undefined

  /** `failedWith`: the first run was that of a batch, and failed with this. */
  constructor(queue: QueueView, delivery: Delivery, lock: OpenLock, failedWith?: unknown) {
    this.#failedWith = failedWith
    this.#queue = queue
    this.#core = queue.core
    this.delivery = delivery
    this.#lock = lock
  }

  /** Holds a slot of the queue from here to the settlement. */
  start(): void {
    const core = this.#core
    const { delivery } = this
    let incoming: Incoming
    try {
      incoming = new Incoming(delivery, this.#queue.name)
    } catch (error) {
      // No envelope to speak of; the transport's attributes have to do.
      incoming = new Incoming({ ...delivery, contentType: 'application/octet-stream' }, this.#queue.name)
      this.#incoming = incoming
      return void this.#bury('undecodable', error)
    }
    this.#incoming = incoming
    if (core.trackers.length > 0) this.#following = Following.of(core, incoming)
    const expiresAt = incoming.expiresAt
    if (expiresAt !== undefined && expiresAt <= core.clock.now()) return void this.#expired()
    const route = this.#queue.routeOf(incoming)
    const retry = route === undefined ? this.#queue.retry : route.handler.retry
    if (incoming.round > retry.maxDeliveries) {
      this.#lastAttempt = attemptNumber(retry, retry.maxDeliveries, retry.immediate + 1)
      return void this.#bury('max-deliveries-exceeded', neverSettled(incoming, retry))
    }
    if (route === undefined) {
      if (this.#queue.onUnknownMessage === 'discard') return this.#finish(acknowledged, 'discarded')
      return void this.#bury('no-handler', noHandler(this.#queue, incoming))
    }
    this.#route = route
    if (!matches(route.handler.match, incoming.key, delivery.headers)) return this.#finish(acknowledged, 'discarded')
    let message: unknown
    try {
      message = decode(core, incoming, route, this.#queue.codecs)
    } catch (error) {
      return this.#undecoded(error)
    }
    if (message instanceof Promise) {
      message.then(
        value => this.#decoded(value),
        (error: unknown) => this.#undecoded(error),
      )
      return
    }
    this.#decoded(message)
  }

  /** Never started: back to the broker, nothing counted. */
  release(): void {
    this.#lock.settle(released)
  }

  /** The bus is stopping and its patience is over. */
  stop(reason: BuzzerError): void {
    if (this.#attempt !== undefined) abortAttempt(this.#attempt, reason)
  }

  /** Given up at the end of a stop: slot free, message back, the handler may run on unheard. */
  abandon(): void {
    if (this.#attempt !== undefined) this.#endAttempt(this.#attempt)
    this.#finish(released, undefined)
  }

  /** The time limit of the attempt has passed: it ends now, whatever the handler does. */
  overdue(): void {
    const attempt = this.#attempt
    const handler = this.#route?.handler
    if (attempt === undefined || handler === undefined) return
    const error = new BuzzerError(
      'BUZZER_HANDLER_TIMEOUT',
      `the handler of ${handler.contract.type} on queue ${this.#queue.name} did not end within ${handler.timeoutMs} ms`,
      { details: { timeoutMs: handler.timeoutMs, queue: this.#queue.name, messageId: this.delivery.id } },
    )
    abortAttempt(attempt, error)
    this.#failed(attempt, error)
  }

  get #round(): number {
    return this.#known.round + this.#heldRounds
  }

  /** The queue takes no more: what only waits for its next round goes back. */
  drain(): void {
    if (this.#waiting === undefined) return
    this.#core.clock.clearTimeout(this.#waiting)
    this.#waiting = undefined
    void this.#release()
  }

  get #known(): Incoming {
    return this.#incoming as Incoming
  }

  #decoded(message: unknown): void {
    this.#message = message
    const deduplicate = this.#route?.handler.deduplicate
    if (deduplicate?.at === 'receive' || this.#queue.asksInbox(this.delivery)) return void this.#deduplicate()
    this.#next()
  }

  async #deduplicate(): Promise<void> {
    try {
      const handler = this.#route?.handler
      if (handler?.deduplicate?.at !== 'receive') {
        if (await wasHandled(this.#core, this.#known)) return this.#finish(acknowledged, 'duplicate')
        return this.#next()
      }
      const entered = await enterInbox(
        this.#core,
        this.#known,
        handler.deduplicate,
        this.#message,
        () => this.#queue.open,
      )
      if (entered === 'handled') {
        this.#core.telemetry?.duplicate(this.#queue.name)
        return this.#finish(acknowledged, 'duplicate')
      }
      if (entered === 'given-up') return this.#finish(released, undefined)
      this.#inbox = entered
      this.#next()
    } catch (error) {
      this.#judge(error)
    }
  }

  /** One run of the handler, if the queue still may. */
  #next(): void {
    if (!this.#queue.open) return void this.#release()
    const route = this.#route as Route
    this.#run++
    if (this.#failedWith !== undefined) {
      const error = this.#failedWith
      this.#failedWith = undefined
      this.#lastAttempt = attemptNumber(route.handler.retry, this.#round, this.#run)
      return this.#judge(error)
    }
    this.#lastAttempt = attemptNumber(route.handler.retry, this.#round, this.#run)
    if (this.#following !== undefined) return void this.#nextFollowed(this.#following)
    this.#invoke(undefined)
  }

  async #nextFollowed(following: Following): Promise<void> {
    try {
      const answer = await following.starting(this.#lastAttempt)
      if (answer === 'skip') return this.#finish(acknowledged, 'discarded')
      if (!this.#queue.open) return void this.#release()
      this.#invoke(answer)
    } catch (error) {
      this.#judge(error)
    }
  }

  #invoke(signals: readonly AbortSignal[] | undefined): void {
    const { handler } = this.#route as Route
    const attempt = new Attempt(this.#core, this.#known, this.#queue.source, this.#lastAttempt)
    this.#attempt = attempt
    handler.deadlines.add(this)
    for (const signal of signals ?? none) linkSignal(attempt, signal)
    let result: unknown
    try {
      result =
        this.#core.telemetry === undefined
          ? this.#call(attempt)
          : this.#core.telemetry.process(this.#queue.name, attempt.attempt, this.#known, () => this.#call(attempt))
    } catch (error) {
      this.#failed(attempt, error)
      return
    }
    if (typeof result === 'object' && result !== null && typeof (result as { then?: unknown }).then === 'function') {
      ;(result as PromiseLike<unknown>).then(
        value => this.#returned(attempt, value),
        (error: unknown) => this.#failed(attempt, error),
      )
    } else {
      this.#returned(attempt, result)
    }
  }

  #call(attempt: Attempt): unknown {
    const { handler } = this.#route as Route
    const { middleware } = this.#queue
    const message =
      handler.batch === undefined ? this.#message : [batchItem(this.#known, this.#message, this.#lastAttempt)]
    if (middleware.length === 0) return handler.call(message, attempt as never)
    return throughMiddleware(middleware, message, attempt, () => handler.call(message, attempt as never))
  }

  #returned(attempt: Attempt, value: unknown): void {
    if (this.#attempt !== attempt) return
    const emissions = emissionsOf(attempt)
    if (emissions !== undefined) {
      emissions.then(
        failure => (failure === undefined ? this.#succeeded(attempt, value) : this.#failed(attempt, failure)),
        (error: unknown) => this.#failed(attempt, error),
      )
      return
    }
    this.#succeeded(attempt, value)
  }

  #succeeded(attempt: Attempt, value: unknown): void {
    if (this.#attempt !== attempt) return
    const reason = abortReasonOf(attempt)
    // A lost lock or the deadline is final; who finishes in spite of a stop or a cancel has finished.
    if (hasCode(reason, 'BUZZER_LOCK_LOST') || hasCode(reason, 'BUZZER_HANDLER_TIMEOUT')) {
      return this.#failed(attempt, reason)
    }
    this.#endAttempt(attempt)
    const outputs = outputsOf(attempt)
    const kind = (this.#route as Route).handler.contract.kind
    if (
      outputs.messages.length === 0 &&
      outputs.changes.length === 0 &&
      outputs.cancels.length === 0 &&
      outputs.deferMs === undefined &&
      this.#inbox === undefined &&
      this.#following === undefined &&
      kind !== 'request'
    ) {
      this.#told(undefined)
      return this.#finish(acknowledged, 'handled')
    }
    void this.#settleSuccess(outputs, value, kind)
  }

  async #settleSuccess(outputs: ReturnType<typeof outputsOf>, value: unknown, kind: string): Promise<void> {
    const core = this.#core
    const incoming = this.#known
    const messages: OutgoingMessage[] = [...outputs.messages]
    const changes: StateChange[] = [...outputs.changes]
    const deferred = outputs.deferMs !== undefined
    // Where outputs do not leave with the acknowledgement, nothing else keeps those of a fenced delivery back.
    if (modeOf(core) !== 'joint' && this.delivery.signal.aborted) return this.#finish(released, undefined)
    try {
      if (outputs.deferMs !== undefined) messages.push(deferredCopy(core, incoming, outputs.deferMs))
      if (kind === 'request' && !deferred && incoming.attributes['replyto'] !== undefined) {
        messages.push(
          await answerMessage(core, this.#queue.source, incoming, (this.#route as Route).handler.contract, value),
        )
      }
      if (this.#inbox !== undefined) changes.push(deferred ? this.#inbox.forget() : this.#inbox.handled())
    } catch (error) {
      return this.#judge(error)
    }
    this.#told(undefined)
    const followers = deferred
      ? undefined
      : this.#turns({ as: 'succeeded', attempt: this.#lastAttempt, result: value as JsonValue | undefined })
    let settlement: Settlement
    try {
      settlement = await settleStep(core, {
        messages,
        changes,
        cancels: outputs.cancels,
        followers,
        inbox: this.#inbox === undefined && !deferred ? () => handledRecord(core, incoming) : undefined,
        onRefused: error => this.#refused(error, kind, outputs),
      })
    } catch (error) {
      if (!this.#answersNobody(error, kind, outputs)) return this.#judge(error)
      settlement = acknowledged
    }
    this.#finish(settlement, deferred ? 'deferred' : 'handled')
  }

  /** The broker took nothing of the step, so the attempt has failed after all; the verdict may be another run. */
  #refused(error: unknown, kind: string, outputs: ReturnType<typeof outputsOf>): Settlement | Promise<Settlement> {
    if (this.#answersNobody(error, kind, outputs)) return acknowledged
    return new Promise(resolve => {
      this.#lock = { settle: resolve }
      this.#queue.again(this, () => this.#judge(this.#core.router.judged(error)))
    })
  }

  #answersNobody(error: unknown, kind: string, outputs: ReturnType<typeof outputsOf>): boolean {
    return kind === 'request' && outputs.messages.length === 0 && isLostAnswer(this.#core, this.delivery.id, error)
  }

  #failed(attempt: Attempt, thrown: unknown): void {
    if (this.#attempt !== attempt) return
    const reason = abortReasonOf(attempt)
    const enlisted = isEnlisted(attempt)
    this.#endAttempt(attempt)
    // Once the signal has aborted, its reason is the attempt's error, whatever the handler throws afterwards.
    const error = reason ?? thrown
    if (hasCode(thrown, 'BUZZER_ALREADY_HANDLED') && !enlisted) {
      this.#told(undefined)
      return this.#finish(acknowledged, 'duplicate')
    }
    this.#told(error ?? thrown)
    this.#judge(error)
  }

  /** The table of spec bus 4.4, step 7. */
  #judge(error: unknown): void {
    const core = this.#core
    if (hasCode(error, 'BUZZER_STOPPING') || (core.draining && hasCodeInCauses(error, 'BUZZER_NOT_RUNNING'))) {
      return void this.#release()
    }
    if (this.delivery.signal.aborted) return this.#finish(released, undefined)
    if (this.#following?.isCancelled === true && hasCode(error, 'BUZZER_OPERATION_CANCELLED')) {
      return void this.#cancelledByOwner()
    }
    if (!isRetryable(error)) return void this.#bury(askedReason(error)?.reason ?? 'not-retryable', error)
    const retry = this.#route?.handler.retry ?? this.#queue.retry
    const verdict = decideRetry(retry, error, this.#lastAttempt, this.#core.logger)
    if (verdict === 'dead-letter') return void this.#bury(askedReason(error)?.reason ?? 'not-retryable', error)
    if (verdict === 'default' && this.#run > 0 && this.#run <= retry.immediate) return this.#immediately(error)
    const isRequest = this.#route?.handler.contract.kind === 'request'
    if (isRequest || isLastRound(retry, this.#round)) return void this.#bury('retries-exhausted', error)
    const delayMs = verdict === 'default' ? roundDelayMs(retry, this.#round, core.random) : verdict.delayMs
    void this.#retryLater(error, delayMs)
  }

  #immediately(error: unknown): void {
    this.#core.telemetry?.retried(this.#queue.name)
    const again = (): void => void setImmediate(() => this.#queue.admit(() => this.#next()))
    if (this.#following === undefined) return again()
    void this.#following.record({ as: 'immediate-retry', attempt: this.#lastAttempt, error }).then(again)
  }

  async #retryLater(error: unknown, delayMs: number): Promise<void> {
    this.#core.telemetry?.retried(this.#queue.name)
    const changes = this.#inbox === undefined ? none : [this.#inbox.forget()]
    const followers = this.#turns({ as: 'delayed-retry', attempt: this.#lastAttempt, error, delayMs })
    if (retriesByCopy(this.#core, delayMs)) {
      return this.#queue.ordered
        ? this.#retryHere(error, delayMs)
        : this.#retryByCopy(error, delayMs, changes, followers)
    }
    const settlement = await settleOrRelease(this.#core, this.#known, { as: 'retry', delayMs }, changes, followers)
    this.#queue.judged(error)
    this.#finish(settlement, undefined)
  }

  /** The key, or the queue, waits for its head: the delivery stays open, with its slot, until the round begins. */
  async #retryHere(error: unknown, delayMs: number): Promise<void> {
    await this.#following?.record({ as: 'delayed-retry', attempt: this.#lastAttempt, error, delayMs })
    this.#queue.judged(error)
    if (!this.#queue.open) return void this.#release()
    this.#waiting = this.#core.clock.setTimeout(() => {
      this.#waiting = undefined
      this.#heldRounds++
      this.#run = 0
      this.#next()
    }, delayMs)
  }

  /** The broker cannot count, or cannot wait that long: a copy comes back in the message's place. */
  async #retryByCopy(
    error: unknown,
    delayMs: number,
    changes: readonly StateChange[],
    followers: (() => Promise<readonly StateChange[]>) | undefined,
  ): Promise<void> {
    const messages = [retryCopy(this.#core, this.#known, delayMs, this.#round)]
    const settlement = await settleOr(released, this.#core, { messages, changes, followers })
    this.#queue.judged(error)
    this.#finish(settlement, undefined)
  }

  async #cancelledByOwner(): Promise<void> {
    const changes = this.#inbox === undefined ? none : [this.#inbox.forget()]
    const followers = this.#turns({ as: 'cancelled', attempt: this.#lastAttempt })
    const settlement = await settleOr(acknowledged, this.#core, { messages: none, changes, followers })
    this.#finish(settlement, 'discarded')
  }

  async #release(): Promise<void> {
    if (this.#inbox !== undefined) {
      await this.#core.store?.commit([this.#inbox.forget()]).catch(() => {})
    }
    this.#finish(released, undefined)
  }

  #undecoded(error: unknown): void {
    const reason = reasonOfDecoding(error)
    if (reason === undefined) this.#judge(error)
    else void this.#bury(reason, error)
  }

  async #expired(): Promise<void> {
    const settlement = await expire(this.#core, this.#queue, this.#known, this.#turns({ as: 'expired' }))
    this.#finish(settlement, 'expired')
  }

  async #bury(reason: string, error: unknown): Promise<void> {
    const attempts = this.#lastAttempt
    const changes = this.#inbox === undefined ? none : [this.#inbox.forget()]
    const followers = this.#turns({ as: 'dead-lettered', attempt: attempts, reason, error })
    const death = { reason, error, attempts, changes, followers }
    const { settlement, end } = await bury(this.#core, this.#queue, this.#known, this.#route, death)
    if (end === 'dead-letter') this.#queue.judged(error)
    this.#finish(settlement, end, reason, error)
  }

  #turns(turn: MessageTurn): (() => Promise<readonly StateChange[]>) | undefined {
    return this.#following === undefined ? undefined : () => (this.#following as Following).turn(turn)
  }

  #endAttempt(attempt: Attempt): void {
    if (this.#core.telemetry !== undefined) this.#settlingFrom = this.#core.clock.monotonic()
    this.#attempt = undefined
    closeAttempt(attempt)
    this.#route?.handler.deadlines.remove(this)
  }

  get #subject(): Subject {
    return { incoming: this.#known, route: this.#route, message: this.#message, attempt: this.#lastAttempt }
  }

  #told(error: unknown): void {
    if (this.#core.observers.size > 0) tellAttempt(this.#core, this.#subject, error)
  }

  #finish(settlement: Settlement, end: DeliveryEnd | undefined, reason?: string, error?: unknown): void {
    if (this.#core.observers.size > 0 && end !== undefined && this.#incoming !== undefined) {
      tellEnd(this.#core, this.#subject, end, reason, error)
    }
    this.#queue.ended(this, end)
    this.#core.telemetry?.settled(this.#queue.name, settlement, this.#settlingFrom, this.#incoming?.origin.trace)
    this.#lock.settle(settlement)
    this.#following?.settled()
  }
}
