import {
  AbortedError,
  type AnyContract,
  type AnyCommandContract,
  type AnyRequestContract,
  bindLogger,
  BuzzerError,
  DeadLetterError,
  type JsonObject,
  type Logger,
  type MessageHeaders,
} from '../../message/index.ts'
import type { StateChange } from '../../store/index.ts'
import type { Destination, OutgoingMessage } from '../../transport/index.ts'
import type { BusCore } from '../bus-core.ts'
import type { ContextRecords, HandlerContext } from '../context.ts'
import { checkCancelling, emit, topicOf, unsupported } from '../emission.ts'
import { writeInbox } from '../inbox.ts'
import type { ProgressReport } from '../message-tracker.ts'
import { checkNumber } from '../option-check.ts'
import type { MessageOptions, RequestOptions } from '../options.ts'
import { wrongKind } from '../wrong-kind.ts'
import type { Incoming } from './incoming.ts'
import { TransactionRecords } from './transaction-records.ts'

/** What an attempt has gathered, to leave with its settlement. */
export interface Outputs {
  readonly messages: readonly OutgoingMessage[]
  readonly changes: readonly StateChange[]
  readonly cancels: readonly string[]
  readonly deferMs: number | undefined
}

const none: readonly never[] = Object.freeze([])
const noOutputs: Outputs = Object.freeze({ messages: none, changes: none, cancels: none, deferMs: undefined })

/**
 * A failed emission that nobody awaited must fail the attempt, one that was awaited is the handler's to judge. `await` and
 * the combinators reach a subclass through `then`, so the call tells that somebody looks.
 */
class FailedEmission extends Promise<never> {
  observed = false
  static override get [Symbol.species](): PromiseConstructor {
    return Promise
  }
  // oxlint-disable-next-line unicorn/no-thenable -- being awaited is what we need to see
  override then<A, B>(
    onDone?: ((value: never) => A | PromiseLike<A>) | null,
    onFailed?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.observed = true
    return super.then(onDone, onFailed)
  }
}

function failedEmission(error: unknown): FailedEmission {
  const failed = new FailedEmission((_, reject) => reject(error))
  // oxlint-disable-next-line promise/no-promise-in-callback -- nothing is awaited: it only keeps the process from complaining
  failed.catch(() => {})
  failed.observed = false
  return failed
}

/** Ends the attempt: what it emits from now on is refused. */
export let closeAttempt: (attempt: Attempt) => void
/** What leaves if the attempt succeeded. Call after `emissionsOf`. */
export let outputsOf: (attempt: Attempt) => Outputs
/**
 * Waits for emissions that are still on their way and resolves to the first failure that nobody looked at;
 * `undefined` at once when there is nothing to wait for and nothing failed.
 */
export let emissionsOf: (attempt: Attempt) => undefined | Promise<unknown>
/** Aborts `ctx.signal`; the first reason stays. */
export let abortAttempt: (attempt: Attempt, reason: BuzzerError) => void
export let abortReasonOf: (attempt: Attempt) => unknown
/** Whether `enlist` has made the settlement a mere formality. */
export let isEnlisted: (attempt: Attempt) => boolean
/** Lets `signal` (of a tracker) abort `ctx.signal` too. */
export let linkSignal: (attempt: Attempt, signal: AbortSignal) => void

/** One run of a handler, as the handler sees it. Source: spec bus 4.3. */
export class Attempt implements HandlerContext<unknown> {
  readonly #core: BusCore
  readonly #incoming: Incoming
  readonly #source: string
  readonly attempt: number
  #closed = false
  #messages: (OutgoingMessage | undefined)[] | undefined
  #cancels: string[] | undefined
  #records: TransactionRecords | undefined
  #pending: Promise<unknown>[] | undefined
  #failures: FailedEmission[] | undefined
  #deferMs: number | undefined
  #controller: AbortController | undefined
  #abortReason: unknown
  #links: { readonly signal: AbortSignal; readonly onAbort: () => void }[] | undefined
  #transaction: { readonly tx: unknown } | undefined

  constructor(core: BusCore, incoming: Incoming, source: string, attempt: number) {
    this.#core = core
    this.#incoming = incoming
    this.#source = source
    this.attempt = attempt
  }

  static {
    closeAttempt = attempt => {
      attempt.#closed = true
      if (attempt.#links === undefined) return
      for (const { signal, onAbort } of attempt.#links) signal.removeEventListener('abort', onAbort)
    }
    outputsOf = attempt => {
      if (
        attempt.#messages === undefined &&
        attempt.#records === undefined &&
        attempt.#cancels === undefined &&
        attempt.#deferMs === undefined
      ) {
        return noOutputs
      }
      return {
        messages: attempt.#messages?.filter(message => message !== undefined) ?? none,
        changes: attempt.#records?.changes ?? none,
        cancels: attempt.#cancels ?? none,
        deferMs: attempt.#deferMs,
      }
    }
    emissionsOf = attempt =>
      attempt.#pending === undefined && attempt.#failures === undefined ? undefined : attempt.#settledEmissions()
    abortAttempt = (attempt, reason) => {
      attempt.#abort(reason)
    }
    abortReasonOf = attempt => attempt.#abortReason
    isEnlisted = attempt => attempt.#transaction !== undefined
    linkSignal = (attempt, signal) => {
      attempt.#link(signal)
    }
  }

  get id(): string {
    return this.#incoming.id
  }
  get name(): string {
    return this.#incoming.type ?? ''
  }
  get queue(): string {
    return this.#incoming.queue
  }
  get source(): string {
    return this.#incoming.attributes['source'] ?? ''
  }
  get contentType(): string {
    return this.#incoming.contentType ?? ''
  }
  get headers(): MessageHeaders {
    return this.#incoming.headers
  }
  get body(): Uint8Array {
    return this.#incoming.delivery.body
  }
  get deferrals(): number {
    return this.#incoming.deferrals
  }
  get redrives(): number {
    return this.#incoming.redrives
  }
  get sentAt(): Date {
    return new Date(this.#incoming.sentAtMs)
  }
  get expiresAt(): Date | undefined {
    const ms = this.#incoming.expiresAt
    return ms === undefined ? undefined : new Date(ms)
  }
  get key(): string | undefined {
    return this.#incoming.key
  }
  get correlationId(): string | undefined {
    return this.#incoming.attributes['correlationid']
  }
  get causationId(): string | undefined {
    return this.#incoming.attributes['causationid']
  }
  get conversationId(): string {
    return this.#incoming.conversationId
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#abortReason === undefined) this.#link(this.#incoming.delivery.signal)
      else this.#controller.abort(this.#abortReason)
    }
    return this.#controller.signal
  }

  get log(): Logger {
    const { traceparent } = this.#incoming.attributes
    return bindLogger(this.#core.logger, {
      messageId: this.id,
      queue: this.queue,
      attempt: this.attempt,
      conversationId: this.conversationId,
      ...(traceparent === undefined ? {} : { traceparent }),
    })
  }

  get tx(): ContextRecords {
    this.#refuseClosed('ctx.tx')
    return (this.#records ??= new TransactionRecords(this.#core, () => this.#refuseClosed('ctx.tx')))
  }

  // Getters, so that handlers may take the methods out: `async (order, { publish }) => …`.
  get publish(): HandlerContext<unknown>['publish'] {
    return (contract, message, options) => this.#emit('event', contract, message, options)
  }

  get send(): HandlerContext<unknown>['send'] {
    return (contract, message, options) => this.#emit('command', contract, message, options)
  }

  get request(): HandlerContext<unknown>['request'] {
    return ((contract: AnyRequestContract, message: unknown, options?: RequestOptions) => {
      if (this.#closed) return failedEmission(this.#closedError('ctx.request'))
      return this.#core.requests.request(contract, message, options, this.#source, this.#incoming.origin)
    }) as HandlerContext<unknown>['request']
  }

  get cancelScheduled(): HandlerContext<unknown>['cancelScheduled'] {
    return messageId => {
      if (this.#closed) return failedEmission(this.#closedError('ctx.cancelScheduled'))
      try {
        checkCancelling(this.#core)
      } catch (error) {
        return failedEmission(error)
      }
      ;(this.#cancels ??= []).push(messageId)
      return Promise.resolve(true)
    }
  }

  get forward(): HandlerContext<unknown>['forward'] {
    return queue => {
      if (this.#closed) return failedEmission(this.#closedError('ctx.forward'))
      return this.#emitWith(
        () => this.#core.router.toQueue(queue),
        to => this.#copy(to),
        undefined,
      )
    }
  }

  get defer(): HandlerContext<unknown>['defer'] {
    return delayMs => {
      this.#refuseClosed('ctx.defer')
      checkNumber('delayMs', delayMs, 0)
      this.#deferMs = delayMs
    }
  }

  get deadLetter(): HandlerContext<unknown>['deadLetter'] {
    return (reason: string, detail?: JsonObject) => {
      throw new DeadLetterError(reason, detail === undefined ? {} : { detail })
    }
  }

  get progress(): HandlerContext<unknown>['progress'] {
    return async (report: ProgressReport) => {
      if (this.#closed || this.#core.trackers.length === 0) return
      const { tracked } = this.#incoming
      await Promise.all(this.#core.trackers.map(tracker => tracker.progress(tracked, report)))
    }
  }

  get enlist(): HandlerContext<unknown>['enlist'] {
    return async tx => {
      this.#refuseClosed('ctx.enlist')
      if (this.#messages !== undefined || this.#records !== undefined || this.#cancels !== undefined) {
        throw new BuzzerError(
          'BUZZER_ENLIST_LATE',
          'ctx.enlist comes after something was emitted, which would not be part of the transaction: call it first',
        )
      }
      if (this.#core.store === undefined || this.#core.store.capabilities.callerTransactions === 'none') {
        throw unsupported(
          this.#core,
          'store that joins caller transactions, which ctx.enlist needs',
          'deduplicate with ctx.tx',
        )
      }
      await writeInbox(this.#core, this.#incoming, tx)
      this.#transaction = { tx }
    }
  }

  #emit(
    kind: 'event' | 'command',
    contract: AnyContract,
    message: unknown,
    options: (MessageOptions<unknown> & { readonly to?: string }) | undefined,
  ): Promise<string> {
    const name = kind === 'event' ? 'ctx.publish' : 'ctx.send'
    if (this.#closed) return failedEmission(this.#closedError(name))
    if (contract?.kind !== kind) return this.#fail(wrongKind(name, kind, contract))
    if (options?.signal?.aborted === true) return this.#fail(new AbortedError(options.signal, name))
    return this.#emitWith(
      () =>
        kind === 'event' ? topicOf(contract) : this.#core.router.resolve(contract as AnyCommandContract, options?.to),
      to => {
        const { origin } = this.#incoming
        const span = this.#core.telemetry?.emitting('create', contract.type, origin.trace)
        span?.ended(undefined)
        const extras = span?.trace === undefined ? undefined : { trace: span.trace }
        return emit(this.#core, this.#source, contract, message, to, options, origin, extras)
      },
      options?.tx,
    )
  }

  /** Keeps the place of the emission in the order of the calls, however long its parts take. */
  #emitWith(
    route: () => Destination | Promise<Destination>,
    make: (to: Destination) => OutgoingMessage | Promise<OutgoingMessage>,
    tx: unknown,
  ): Promise<string> {
    const transaction = tx === undefined ? this.#transaction : { tx }
    try {
      const to = route()
      const made = to instanceof Promise ? to.then(make) : make(to)
      if (!(made instanceof Promise) && transaction === undefined) {
        ;(this.#messages ??= []).push(made)
        return Promise.resolve(made.id)
      }
      const place = transaction === undefined ? (this.#messages ??= []).push(undefined) - 1 : -1
      return this.#track(
        Promise.resolve(made).then(message => {
          if (transaction !== undefined) return this.#core.sender.send(message, transaction)
          if (this.#messages !== undefined) this.#messages[place] = message
          return message.id
        }),
      )
    } catch (error) {
      return this.#fail(error)
    }
  }

  /** The message being handled, to another queue or back to its own. */
  #copy(to: Destination): OutgoingMessage {
    const { delivery } = this.#incoming
    return {
      id: delivery.id,
      to,
      attributes: delivery.attributes,
      headers: delivery.headers,
      body: delivery.body,
      priority: delivery.priority,
      mandatory: true,
      ...(delivery.contentType === undefined ? {} : { contentType: delivery.contentType }),
      ...(delivery.key === undefined ? {} : { key: delivery.key }),
      ...(delivery.expiresAt === undefined ? {} : { expiresAt: delivery.expiresAt }),
    }
  }

  #fail(error: unknown): FailedEmission {
    const failed = failedEmission(error)
    ;(this.#failures ??= []).push(failed)
    return failed
  }

  #track(emission: Promise<string>): Promise<string> {
    const outcome = new FailedEmission((resolve, reject) => {
      emission.then(id => resolve(id as never), reject)
    })
    outcome.catch(() => {})
    outcome.observed = false
    ;(this.#failures ??= []).push(outcome)
    ;(this.#pending ??= []).push(emission)
    return outcome
  }

  async #settledEmissions(): Promise<unknown> {
    if (this.#pending !== undefined) await Promise.allSettled(this.#pending)
    for (const outcome of this.#failures ?? []) {
      if (outcome.observed) continue
      const failure = await outcome.then(
        () => undefined,
        (error: unknown) => ({ error }),
      )
      if (failure !== undefined) return failure.error
    }
    return undefined
  }

  #abort(reason: unknown): void {
    if (this.#abortReason !== undefined || this.#closed) return
    this.#abortReason = reason
    this.#controller?.abort(reason)
  }

  #link(signal: AbortSignal): void {
    if (signal.aborted) return this.#abort(signal.reason)
    const onAbort = (): void => this.#abort(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    ;(this.#links ??= []).push({ signal, onAbort })
  }

  #refuseClosed(what: string): void {
    if (this.#closed) throw this.#closedError(what)
  }

  #closedError(what: string): BuzzerError {
    return new BuzzerError(
      'BUZZER_CONTEXT_CLOSED',
      `${what} was called after attempt ${this.attempt} of message ${this.id} had ended: await everything inside the handler`,
      { details: { messageId: this.id, attempt: this.attempt } },
    )
  }
}
