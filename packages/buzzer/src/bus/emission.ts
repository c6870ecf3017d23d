import {
  type AnyContract,
  type AnyEventContract,
  type Attributes,
  BuzzerError,
  checkHeaders,
  cloudEventMediaType,
  encodeCloudEvent,
  type MessageHeaders,
  type MessageKind,
  noHeaders,
  parseTraceparent,
  type StandardIssue,
  type StandardSchema,
  toTimestamp,
  type TraceContext,
} from '../message/index.ts'
import type { StateChange } from '../store/index.ts'
import type { Destination, OutgoingMessage } from '../transport/index.ts'
import type { BusCore } from './bus-core.ts'
import type { OutgoingDraft } from './middleware.ts'
import { checkKey, checkMessageOptions } from './option-check.ts'
import type { MessageOptions } from './options.ts'
import type { SendWish } from './sender.ts'

/** The message being handled, as far as what it causes inherits from it. */
export interface Origin {
  readonly id: string
  readonly conversationId: string
  readonly correlationId: string | undefined
  readonly trace: TraceContext | undefined
  readonly headers: MessageHeaders
}

/** What only the library itself may give an emission. */
export interface Extras {
  /** The schema was asked already. */
  readonly validated?: boolean
  /** Reserved headers, beside the user's. */
  readonly headers?: Readonly<Record<string, string>>
  readonly attributes?: Attributes
  /** Records committed in the same step as the send. */
  readonly state?: readonly StateChange[]
  readonly kind?: MessageKind
  readonly trace?: TraceContext | undefined
}

const noOptions: MessageOptions<unknown> = Object.freeze({})

/** The topic of an event with its bases; made once per contract. */
const topics = new WeakMap<AnyContract, Destination>()

export function topicOf(contract: AnyContract): Destination {
  let topic = topics.get(contract)
  if (topic === undefined) {
    const bases = contract.kind === 'event' ? contract.bases.map(base => base.type) : []
    topic = { topic: contract.type, bases }
    topics.set(contract, topic)
  }
  return topic
}

const baseTypes = new WeakMap<AnyEventContract, string>()

function baseTypesOf(contract: AnyContract): string | undefined {
  if (contract.kind !== 'event' || contract.bases.length === 0) return undefined
  let text = baseTypes.get(contract)
  if (text === undefined) {
    text = contract.bases.map(base => base.type).join(',')
    baseTypes.set(contract, text)
  }
  return text
}

/**
 * Turns a contract, a value and options into the message that will travel: validates, encodes, names. Synchronous unless
 * the schema, an outgoing middleware or the claim check is not, so that messages keep the order of the calls.
 * Throws or rejects with `BUZZER_INVALID_MESSAGE`, `BUZZER_INVALID_OPTION`, `BUZZER_MESSAGE_TOO_LARGE`, `BUZZER_UNSUPPORTED`.
 */
export function emit(
  core: BusCore,
  source: string,
  contract: AnyContract,
  value: unknown,
  to: Destination,
  given: MessageOptions<unknown> | undefined,
  origin: Origin | undefined,
  extras: Extras | undefined,
): OutgoingMessage | Promise<OutgoingMessage> {
  const options = given ?? noOptions
  if (given !== undefined) checkMessageOptions(given)
  if (core.outgoing.length > 0) return emitThroughMiddleware(core, source, contract, value, to, options, origin, extras)
  return validateAndBuild(core, source, contract, value, to, options, origin, extras)
}

function validateAndBuild(
  core: BusCore,
  source: string,
  contract: AnyContract,
  value: unknown,
  to: Destination,
  options: MessageOptions<unknown>,
  origin: Origin | undefined,
  extras: Extras | undefined,
): OutgoingMessage | Promise<OutgoingMessage> {
  if (contract.schema !== undefined && core.validateOnSend && extras?.validated !== true) {
    const result = askSchema(contract.schema, value, contract.type)
    if (result instanceof Promise) {
      return result.then(judged => {
        if (judged.issues !== undefined) throw refusedBySchema(contract.type, judged.issues)
        return build(core, source, contract, value, to, options, origin, extras)
      })
    }
    if (result.issues !== undefined) throw refusedBySchema(contract.type, result.issues)
  }
  return build(core, source, contract, value, to, options, origin, extras)
}

async function emitThroughMiddleware(
  core: BusCore,
  source: string,
  contract: AnyContract,
  value: unknown,
  to: Destination,
  options: MessageOptions<unknown>,
  origin: Origin | undefined,
  extras: Extras | undefined,
): Promise<OutgoingMessage> {
  const draft: OutgoingDraft = { contract, message: value, headers: { ...options.headers }, options: { ...options } }
  let message: OutgoingMessage | undefined
  const step = async (index: number): Promise<void> => {
    const middleware = core.outgoing[index]
    if (middleware !== undefined) return middleware(draft, () => step(index + 1))
    const changed = { ...draft.options, headers: draft.headers }
    checkMessageOptions(changed)
    message = await validateAndBuild(core, source, contract, value, to, changed, origin, extras)
  }
  await step(0)
  if (message === undefined) {
    throw new BuzzerError(
      'BUZZER_INVALID_OPTION',
      `an outgoing middleware returned without calling next(), so ${contract.type} was not sent; throw to refuse a message`,
    )
  }
  return message
}

function build(
  core: BusCore,
  source: string,
  contract: AnyContract,
  value: unknown,
  to: Destination,
  options: MessageOptions<unknown>,
  origin: Origin | undefined,
  extras: Extras | undefined,
): OutgoingMessage | Promise<OutgoingMessage> {
  const body = encodeWith(contract, value)
  const nowMs = core.clock.now()
  const id = options.messageId ?? core.newId()
  const attributes: Record<string, string> = {
    specversion: '1.0',
    id,
    type: contract.type,
    source,
    time: toTimestamp(nowMs),
    messagekind: extras?.kind ?? contract.kind,
    conversationid: origin === undefined || options.newConversation === true ? id : origin.conversationId,
  }
  const bases = baseTypesOf(contract)
  if (bases !== undefined) attributes['basetypes'] = bases
  let key = options.key
  if (key === undefined && contract.key !== undefined) {
    key = (contract.key as (message: unknown) => string | undefined)(value)
    if (key !== undefined) checkKey(key)
  }
  if (key !== undefined) attributes['partitionkey'] = key
  const correlationId = correlationOf(contract, value, options, origin)
  if (correlationId !== undefined) attributes['correlationid'] = correlationId
  if (origin !== undefined) attributes['causationid'] = origin.id
  if (options.priority !== undefined) {
    if (core.capabilities.priorities <= 1)
      throw unsupported(core, 'priorities', 'a queue of its own for urgent messages')
    attributes['priority'] = String(options.priority)
  }
  if (options.mandatory === true && core.capabilities.mandatory === 'none') {
    throw unsupported(core, 'mandatory events', 'a command, which always needs a queue')
  }
  const deliverAt =
    options.deliverAt !== undefined
      ? options.deliverAt.getTime()
      : options.delayMs !== undefined && options.delayMs > 0
        ? nowMs + options.delayMs
        : undefined
  const expiresAt = options.ttlMs === undefined ? undefined : Math.max(deliverAt ?? nowMs, nowMs) + options.ttlMs
  if (expiresAt !== undefined) attributes['expirytime'] = toTimestamp(expiresAt)
  const trace = extras?.trace ?? origin?.trace ?? traceOf(options.headers)
  if (trace !== undefined) {
    attributes['traceparent'] = trace.traceparent
    if (trace.tracestate !== undefined) attributes['tracestate'] = trace.tracestate
  }
  if (extras?.attributes !== undefined) Object.assign(attributes, extras.attributes)
  const message: Writable<OutgoingMessage> = {
    id,
    to,
    attributes,
    headers: headersOf(core, options.headers, origin, extras),
    contentType: contract.codec.contentType,
    body,
    priority: options.priority ?? 4,
    mandatory: options.mandatory === true || contract.kind !== 'event',
  }
  if (key !== undefined) message.key = key
  if (deliverAt !== undefined && deliverAt > nowMs) message.deliverAt = deliverAt
  if (expiresAt !== undefined) message.expiresAt = expiresAt
  // Fresh ids cannot repeat; only an id of the caller's own is worth a place in a window at the broker.
  if (options.messageId !== undefined) message.deduplicationKey = options.messageId
  if (core.structured) wrap(message)
  if (core.observers.size > 0) observe(core, contract, value, message)
  if (core.claimCheck !== undefined && message.body.length > core.claimCheck.thresholdBytes) {
    return core.claimCheck.put(message)
  }
  checkSize(core, message)
  return message
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }

function wrap(message: Writable<OutgoingMessage>): void {
  message.body = encodeCloudEvent({
    attributes: message.attributes,
    contentType: message.contentType,
    body: message.body,
  })
  message.contentType = cloudEventMediaType
}

/** @throws BUZZER_MESSAGE_TOO_LARGE when the body alone is more than the transport takes */
export function checkSize(core: BusCore, message: OutgoingMessage): void {
  if (message.body.length <= core.capabilities.maxMessageBytes) return
  throw new BuzzerError(
    'BUZZER_MESSAGE_TOO_LARGE',
    `message ${message.id} (${message.attributes['type'] ?? 'without type'}) has ${message.body.length} bytes; ` +
      `transport ${core.transport.name} takes ${core.capabilities.maxMessageBytes}: give the bus a claimCheck, or send a reference`,
    { details: { bytes: message.body.length, maxBytes: core.capabilities.maxMessageBytes } },
  )
}

function correlationOf(
  contract: AnyContract,
  value: unknown,
  options: MessageOptions<unknown>,
  origin: Origin | undefined,
): string | undefined {
  if (options.correlationId !== undefined) return options.correlationId
  if (contract.correlationId !== undefined) {
    const own = (contract.correlationId as (message: unknown) => string | undefined)(value)
    if (own !== undefined) return own
  }
  return origin?.correlationId
}

/** A caller without a telemetry SDK can hand on an incoming `traceparent` as a header. */
function traceOf(headers: MessageHeaders | undefined): TraceContext | undefined {
  const traceparent = headers?.['traceparent']
  if (traceparent === undefined || parseTraceparent(traceparent) === undefined) return undefined
  const tracestate = headers?.['tracestate']
  return tracestate === undefined ? { traceparent } : { traceparent, tracestate }
}

function headersOf(
  core: BusCore,
  given: MessageHeaders | undefined,
  origin: Origin | undefined,
  extras: Extras | undefined,
): MessageHeaders {
  if (extras?.headers === undefined && (origin === undefined || core.propagateHeaders.length === 0)) {
    return given === undefined ? noHeaders : { ...given }
  }
  const headers: Record<string, string> = {}
  if (origin !== undefined) {
    for (const name of core.propagateHeaders) {
      const value = origin.headers[name]
      if (value !== undefined) headers[name] = value
    }
  }
  Object.assign(headers, given)
  checkHeaders(headers)
  return extras?.headers === undefined ? headers : Object.assign(headers, extras.headers)
}

/** Encodes with the contract's codec. @throws BUZZER_INVALID_MESSAGE for a value that the codec cannot carry */
export function encodeWith(contract: Pick<AnyContract, 'codec' | 'type'>, value: unknown): Uint8Array {
  try {
    return contract.codec.encode(value)
  } catch (cause) {
    throw new BuzzerError(
      'BUZZER_INVALID_MESSAGE',
      `a message of ${contract.type} cannot be encoded as ${contract.codec.contentType}: ${(cause as Error)?.message}`,
      { cause, details: { type: contract.type } },
    )
  }
}

type Judged = { readonly value: unknown; readonly issues?: undefined } | { readonly issues: readonly StandardIssue[] }

/** Asks a schema; a schema that throws refuses. */
export function askSchema(schema: StandardSchema, value: unknown, type: string): Judged | Promise<Judged> {
  try {
    const result = schema['~standard'].validate(value)
    if (!(result instanceof Promise)) return result
    return result.catch((cause: unknown) => {
      throw schemaThrew(type, cause)
    })
  } catch (cause) {
    throw schemaThrew(type, cause)
  }
}

function schemaThrew(type: string, cause: unknown): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_MESSAGE', `the schema of ${type} threw: ${(cause as Error)?.message}`, {
    cause,
    details: { type, issues: [] },
  })
}

/** `BUZZER_INVALID_MESSAGE` with `details.issues`: `{ message, path }` each, the path with dots. */
export function refusedBySchema(type: string, issues: readonly StandardIssue[]): BuzzerError {
  const listed = issues.map(issue => ({ message: issue.message, path: pathOf(issue) }))
  const shown = listed.slice(0, 3).map(issue => (issue.path === '' ? issue.message : `${issue.path}: ${issue.message}`))
  const more = listed.length > shown.length ? `; and ${listed.length - shown.length} more` : ''
  return new BuzzerError('BUZZER_INVALID_MESSAGE', `a message of ${type} is not valid: ${shown.join('; ')}${more}`, {
    details: { type, issues: listed },
  })
}

function pathOf(issue: StandardIssue): string {
  return (issue.path ?? []).map(part => String(typeof part === 'object' ? part.key : part)).join('.')
}

function observe(core: BusCore, contract: AnyContract, value: unknown, message: OutgoingMessage): void {
  const { attributes } = message
  for (const observer of core.observers) {
    observer.emitted?.({
      id: message.id,
      type: contract.type,
      contract,
      message: value,
      headers: message.headers,
      conversationId: attributes['conversationid'] ?? message.id,
      kind: contract.kind,
      ...(attributes['causationid'] === undefined ? {} : { causationId: attributes['causationid'] }),
      ...(attributes['correlationid'] === undefined ? {} : { correlationId: attributes['correlationid'] }),
      ...('queue' in message.to ? { to: message.to.queue } : {}),
    })
  }
}

/** `BUZZER_UNSUPPORTED` that names transport, feature and nearest alternative. */
export function unsupported(core: Pick<BusCore, 'transport'>, feature: string, alternative: string): BuzzerError {
  return new BuzzerError(
    'BUZZER_UNSUPPORTED',
    `transport ${core.transport.name} has no ${feature}; nearest alternative: ${alternative}`,
    { details: { transport: core.transport.name, feature, alternative } },
  )
}

/** Where neither broker nor store can take a schedule back, `false` would look like "too late". */
export function checkCancelling(core: Pick<BusCore, 'transport' | 'capabilities' | 'storedSends'>): void {
  if (core.capabilities.cancel === 'native' || core.storedSends !== undefined) return
  throw unsupported(core, 'cancelling of what is scheduled', 'the bus option `store`, which then keeps schedules')
}

/** Where a message goes, in one word. */
export function nameOf(to: Destination): string {
  return 'queue' in to ? to.queue : to.topic
}

/** Records ride on a send only when the library says so; a user's options cannot hold any. */
export function wishOf(options: MessageOptions<unknown> | undefined, extras: Extras | undefined): SendWish | undefined {
  return extras?.state === undefined ? options : { ...options, state: extras.state }
}
