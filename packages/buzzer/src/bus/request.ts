import {
  AbortedError,
  type AnyContract,
  type AnyRequestContract,
  BuzzerError,
  errorCodes,
  type ErrorCode,
  hasCode,
  json,
  noHeaders,
  toTimestamp,
} from '../message/index.ts'
import type { Delivery, OutgoingMessage, Receiver, Settlement } from '../transport/index.ts'
import type { BusCore } from './bus-core.ts'
import type { FailureRecord } from './dead-letter.ts'
import { type Deadlined, DeadlineList } from './deadline-list.ts'
import { askSchema, emit, encodeWith, type Origin, refusedBySchema, unsupported } from './emission.ts'
import type { Fault } from './fault.ts'
import { faultOf } from './fault-message.ts'
import { checkNumber } from './option-check.ts'
import type { RequestOptions } from './options.ts'
import type { Incoming } from './pipeline/incoming.ts'
import { acknowledged } from './pipeline/settle.ts'
import { wrongKind } from './wrong-kind.ts'

/** The responder failed. `retryable` is that of the remote error. */
export class RequestFaultError extends BuzzerError {
  override readonly name = 'RequestFaultError'
  readonly fault: Fault

  constructor(type: string, fault: Fault, retryable: boolean) {
    const first = fault.errors[0]
    super(
      'BUZZER_REQUEST_FAULT',
      `the responder of ${type} on queue ${fault.queue} failed (${fault.reason})${first === undefined ? '' : `: ${first.message}`}`,
      { retryable, details: { fault } },
    )
    this.fault = fault
  }
}

const defaultTimeoutMs = 30_000
/** Says how an answer is to be read: `one`, `fault`, or the name of one of several. */
const answerHeader = 'buzzer-answer'
const retryableHeader = 'buzzer-retryable'
/** Requests that wait for an answer, per bus. */
const maxPending = 100_000

/** Questions and their answers, over a temporary queue of this bus instance. Source: spec bus 4.11. */
export class Requests {
  readonly #core: BusCore
  readonly #queue: string
  readonly #pending = new Map<string, PendingRequest>()
  readonly #deadlines = new Map<number, DeadlineList>()
  #receiver: Promise<Receiver> | undefined
  #closed = false

  constructor(core: BusCore) {
    this.#core = core
    this.#queue = `buzzer.replies.${core.name}.${core.instanceId}`
  }

  get pending(): number {
    return this.#pending.size
  }

  async request(
    contract: AnyRequestContract,
    message: unknown,
    options: RequestOptions | undefined,
    source: string,
    origin: Origin | undefined,
  ): Promise<unknown> {
    if ((contract as AnyContract)?.kind !== 'request') throw wrongKind('request', 'request', contract)
    const core = this.#core
    const { to, timeoutMs = defaultTimeoutMs, signal, ...rest } = options ?? {}
    checkNumber('timeoutMs', timeoutMs, 1)
    if (signal?.aborted === true) throw new AbortedError(signal, `the request ${contract.type}`)
    if (core.capabilities.temporaryQueues === 'none') {
      throw unsupported(core, 'temporary queues, which requests need', 'a command, and an event as its answer')
    }
    if (this.#pending.size >= maxPending) {
      throw new BuzzerError('BUZZER_QUEUE_FULL', `${maxPending} requests wait for their answers already`)
    }
    await this.#listen()
    const destination = await core.router.resolve(contract, to)
    // Stopped meanwhile: nobody would tell this one any more.
    if (this.#closed) throw this.#stopped()
    const span = core.telemetry?.emitting('send', contract.type, origin?.trace)
    const outgoing = await emit(core, source, contract, message, destination, { ...rest, ttlMs: timeoutMs }, origin, {
      attributes: { replyto: this.#queue },
      trace: span?.trace,
    })
    const pending = new PendingRequest(this, contract, outgoing.id, timeoutMs, signal)
    this.#pending.set(outgoing.id, pending)
    this.#deadlinesOf(timeoutMs).add(pending)
    pending.listen()
    core.sender.send(outgoing, signal === undefined ? undefined : { signal }).then(
      () => span?.ended(undefined),
      (error: unknown) => {
        span?.ended(error)
        pending.fail(error)
      },
    )
    return pending.answer
  }

  /** @internal */
  forget(pending: PendingRequest): void {
    this.#pending.delete(pending.id)
    this.#deadlinesOf(pending.timeoutMs).remove(pending)
  }

  #stopped(): BuzzerError {
    return new BuzzerError('BUZZER_NOT_RUNNING', `bus ${this.#core.name} was stopped before the answer came`)
  }

  /** Rejects everything that waits. */
  async close(): Promise<void> {
    this.#closed = true
    for (const pending of this.#pending.values()) pending.fail(this.#stopped())
    for (const list of this.#deadlines.values()) list.close()
    if (this.#receiver === undefined) return
    await this.#receiver.then(receiver => receiver.stop()).catch(() => {})
    // The queue would vanish by itself; where the broker lets us, it goes at once.
    await this.#core.transport.admin?.deleteQueue?.(this.#queue).catch(() => {})
  }

  /** The queue for answers, if it is that, is gone: it is made again, at once when somebody waits. */
  lost(queue: string): void {
    if (queue !== this.#queue || this.#closed) return
    this.#receiver = undefined
    if (this.#pending.size === 0) return
    this.#listen().catch((error: unknown) => {
      this.#core.logger.error({ error, queue }, 'the queue for answers was deleted and cannot be made again yet')
    })
  }

  #deadlinesOf(timeoutMs: number): DeadlineList {
    let list = this.#deadlines.get(timeoutMs)
    if (list === undefined) {
      // Time limits are constants in the code that asks; a caller that computes them must not pile up lists.
      if (this.#deadlines.size >= 64) {
        for (const [one, old] of this.#deadlines) {
          if (old.isEmpty) {
            old.close()
            this.#deadlines.delete(one)
          }
        }
      }
      list = new DeadlineList(this.#core.clock, timeoutMs)
      this.#deadlines.set(timeoutMs, list)
    }
    return list
  }

  #listen(): Promise<Receiver> {
    this.#receiver ??= this.#open().catch((error: unknown) => {
      this.#receiver = undefined
      throw error
    })
    return this.#receiver
  }

  async #open(): Promise<Receiver> {
    if (this.#closed) throw new BuzzerError('BUZZER_NOT_RUNNING', `bus ${this.#core.name} is stopped`)
    const queues = [{ name: this.#queue, expiresAfterIdleMs: 60_000 }]
    await this.#core.transport.declare({ queues, topics: [], bindings: [] })
    return this.#core.transport.receive(this.#queue, delivery => this.#answered(delivery), {
      maxInFlight: 1_000,
      orderBy: 'none',
    })
  }

  async #answered(delivery: Delivery): Promise<Settlement> {
    const pending = this.#pending.get(delivery.attributes['causationid'] ?? '')
    if (pending === undefined) {
      this.#core.telemetry?.lateAnswer()
      this.#core.logger.debug({ messageId: delivery.id }, 'an answer came after its request had ended; it is dropped')
      return acknowledged
    }
    try {
      pending.succeed(await readAnswer(this.#core, pending.contract, delivery))
    } catch (error) {
      pending.fail(error)
    }
    return acknowledged
  }
}

class PendingRequest implements Deadlined {
  dueAt = 0
  before: Deadlined | undefined
  after: Deadlined | undefined
  readonly id: string
  readonly contract: AnyRequestContract
  readonly timeoutMs: number
  readonly answer: Promise<unknown>
  readonly #requests: Requests
  readonly #signal: AbortSignal | undefined
  readonly #resolve: (answer: unknown) => void
  readonly #reject: (error: unknown) => void
  #onAbort: (() => void) | undefined

  constructor(
    requests: Requests,
    contract: AnyRequestContract,
    id: string,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ) {
    this.#requests = requests
    this.contract = contract
    this.id = id
    this.timeoutMs = timeoutMs
    this.#signal = signal
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    this.answer = promise
    this.#resolve = resolve
    this.#reject = reject
  }

  listen(): void {
    const signal = this.#signal
    if (signal === undefined) return
    this.#onAbort = () => this.fail(new AbortedError(signal, `the request ${this.contract.type}`))
    signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  succeed(answer: unknown): void {
    this.#end()
    this.#resolve(answer)
  }

  fail(error: unknown): void {
    this.#end()
    this.#reject(error)
  }

  overdue(): void {
    this.fail(
      new BuzzerError('BUZZER_REQUEST_TIMEOUT', `no answer to ${this.contract.type} came within ${this.timeoutMs} ms`, {
        details: { type: this.contract.type, messageId: this.id, timeoutMs: this.timeoutMs },
      }),
    )
  }

  #end(): void {
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#requests.forget(this)
  }
}

async function readAnswer(core: BusCore, contract: AnyRequestContract, delivery: Delivery): Promise<unknown> {
  const as = delivery.headers[answerHeader] ?? 'one'
  if (as === 'fault') {
    const fault = json.decode(delivery.body, json.contentType) as Fault
    throw new RequestFaultError(contract.type, fault, delivery.headers[retryableHeader] !== 'false')
  }
  const value = contract.codec.decode(delivery.body, delivery.contentType ?? contract.codec.contentType)
  const schema = contract.answer.as === 'single' ? contract.answer.schema : contract.answer.schemas[as]
  if (contract.answer.as === 'several' && schema === undefined) {
    throw new BuzzerError(
      'BUZZER_INVALID_MESSAGE',
      `the answer to ${contract.type} is named ${JSON.stringify(as)}; known: ${Object.keys(contract.answer.schemas).join(', ')}`,
    )
  }
  let read = value
  if (schema !== undefined && core.validateOnReceive) {
    const judged = await askSchema(schema, value, `${contract.type} (answer)`)
    if (judged.issues !== undefined) throw refusedBySchema(`${contract.type} (answer)`, judged.issues)
    read = judged.value
  }
  return contract.answer.as === 'single' ? read : { as, value: read }
}

/** The answer to a request, validated and encoded. @throws BUZZER_INVALID_MESSAGE */
export async function answerMessage(
  core: BusCore,
  source: string,
  incoming: Incoming,
  contract: AnyContract,
  given: unknown,
): Promise<OutgoingMessage> {
  if (contract.kind !== 'request') throw wrongKind('answer', 'request', contract)
  const what = `${contract.type} (answer)`
  let as = 'one'
  let value = given
  let schema = contract.answer.as === 'single' ? contract.answer.schema : undefined
  if (contract.answer.as === 'several') {
    const named = given as { as?: unknown; value?: unknown } | null | undefined
    as = typeof named?.as === 'string' ? named.as : ''
    schema = contract.answer.schemas[as]
    if (schema === undefined) {
      throw new BuzzerError(
        'BUZZER_INVALID_MESSAGE',
        `the handler of ${contract.type} must return { as, value } with as one of ${Object.keys(contract.answer.schemas).join(', ')}`,
        { details: { type: contract.type } },
      )
    }
    value = named?.value
  }
  if (schema !== undefined && core.validateOnSend) {
    const judged = await askSchema(schema, value, what)
    if (judged.issues !== undefined) throw refusedBySchema(what, judged.issues)
  }
  const body = encodeWith({ codec: contract.codec, type: what }, value)
  return reply(core, source, incoming, { [answerHeader]: as }, contract.codec.contentType, body)
}

/** Whoever asked is gone, so an answer alone has nowhere to go and nobody is left to tell. */
export function isLostAnswer(core: BusCore, messageId: string, error: unknown): boolean {
  if (!hasCode(error, 'BUZZER_UNROUTABLE')) return false
  core.logger.debug({ messageId }, 'the asking bus is gone; the answer is dropped')
  return true
}

/** What the caller of a failed request gets instead of an answer. */
export function faultAnswer(
  core: BusCore,
  source: string,
  incoming: Incoming,
  reason: string,
  record: FailureRecord,
): OutgoingMessage {
  const now = core.clock.now()
  const fault = faultOf(core, incoming.queue, incoming, undefined, reason, record, core.newId(), now)
  const retryable = retryableOf(record)
  const headers = { [answerHeader]: 'fault', [retryableHeader]: String(retryable) }
  return reply(core, source, incoming, headers, json.contentType, json.encode(fault))
}

function retryableOf(record: FailureRecord): boolean {
  for (const one of [record.error, ...(record.error?.causes ?? [])]) {
    if (one?.code !== undefined && one.code in errorCodes) return errorCodes[one.code as ErrorCode].retryable
  }
  return true
}

function reply(
  core: BusCore,
  source: string,
  incoming: Incoming,
  headers: Record<string, string>,
  contentType: string,
  body: Uint8Array,
): OutgoingMessage {
  const id = core.newId()
  const { trace, correlationId, conversationId } = incoming.origin
  // The answer carries what is left of the request's time to live.
  const { expiresAt } = incoming.delivery
  return {
    id,
    to: { queue: incoming.attributes['replyto'] as string },
    attributes: {
      specversion: '1.0',
      id,
      type: `${incoming.type ?? 'buzzer'}.response`,
      source,
      time: toTimestamp(core.clock.now()),
      messagekind: 'response',
      conversationid: conversationId,
      causationid: incoming.id,
      ...(correlationId === undefined ? {} : { correlationid: correlationId }),
      ...(expiresAt === undefined ? {} : { expirytime: toTimestamp(expiresAt) }),
      ...trace,
    },
    headers: { ...noHeaders, ...headers },
    contentType,
    body,
    priority: 4,
    mandatory: true,
    ...(expiresAt === undefined ? {} : { expiresAt }),
  }
}
