import {
  type Attributes,
  BuzzerError,
  type Codec,
  decodeCloudEvent,
  fromTimestamp,
  isBuzzerError,
  isCloudEvent,
  mediaType,
  type MessageHeaders,
  parseTraceparent,
  toCount,
  type TraceContext,
} from '../../message/index.ts'
import type { Delivery } from '../../transport/index.ts'
import type { BusCore } from '../bus-core.ts'
import { askSchema, type Origin, refusedBySchema } from '../emission.ts'
import type { Route } from '../handler.ts'
import type { TrackedMessage } from '../message-tracker.ts'

/** On a copy that stands for a retry: how many rounds the message had before. */
export const roundsHeader = 'buzzer-rounds'

/** A delivery with its envelope understood: binary and structured CloudEvents look alike from here on. */
export class Incoming {
  readonly delivery: Delivery
  /** The queue as this bus names it. */
  readonly queue: string
  readonly attributes: Attributes
  readonly contentType: string | undefined
  /** What the codec gets; `delivery.body` is what arrived. */
  readonly encoded: Uint8Array
  #origin: Origin | undefined
  #headers: MessageHeaders | undefined
  #tracked: TrackedMessage | undefined

  /** @throws BUZZER_UNDECODABLE for a structured CloudEvent that is none */
  constructor(delivery: Delivery, queue: string) {
    this.delivery = delivery
    this.queue = queue
    if (isCloudEvent(delivery.contentType)) {
      const parts = decodeCloudEvent(delivery.body)
      // What the broker and we changed since (redrives, deferrals) is in the transport's attributes.
      this.attributes = { ...parts.attributes, ...delivery.attributes }
      this.contentType = parts.contentType
      this.encoded = parts.body
    } else {
      this.attributes = delivery.attributes
      this.contentType = delivery.contentType
      this.encoded = delivery.body
    }
  }

  get id(): string {
    return this.delivery.id
  }

  get type(): string | undefined {
    return this.attributes['type']
  }

  get conversationId(): string {
    return this.attributes['conversationid'] ?? this.delivery.id
  }

  get key(): string | undefined {
    return this.delivery.key ?? this.attributes['partitionkey']
  }

  get sentAtMs(): number {
    return fromTimestamp(this.attributes['time']) ?? this.delivery.enqueuedAt
  }

  /** After a redrive the broker's word alone counts: the attribute still tells the old end. */
  get expiresAt(): number | undefined {
    if (this.delivery.expiresAt !== undefined) return this.delivery.expiresAt
    const stated = this.attributes['expirytime']
    return stated === undefined || this.redrives > 0 ? undefined : fromTimestamp(stated)
  }

  get deferrals(): number {
    return toCount(this.attributes['deferrals'])
  }

  /** Deliveries so far, this one included; those of copies that we made to retry count with it. */
  get round(): number {
    const before = this.delivery.headers[roundsHeader]
    return before === undefined ? this.delivery.attempt : this.delivery.attempt + toCount(before)
  }

  get redrives(): number {
    return toCount(this.attributes['redrives'])
  }

  /** The user's headers: what is reserved to us is left out. */
  get headers(): MessageHeaders {
    return (this.#headers ??= userHeaders(this.delivery.headers))
  }

  /** What a message emitted while this one is handled inherits. */
  get origin(): Origin {
    return (this.#origin ??= {
      id: this.delivery.id,
      conversationId: this.conversationId,
      correlationId: this.attributes['correlationid'],
      trace: traceOf(this.attributes),
      headers: this.delivery.headers,
    })
  }

  /** The trace context that the message brought. */
  get receivedTrace(): TraceContext | undefined {
    return traceOf(this.attributes)
  }

  /** From now on what is emitted belongs to this span. */
  continueTrace(trace: TraceContext): void {
    this.#origin = { ...this.origin, trace }
  }

  get tracked(): TrackedMessage {
    return (this.#tracked ??= new Tracked(this))
  }
}

/** Followers are asked about every message, and few concern them: nothing is read before it is looked at. */
class Tracked implements TrackedMessage {
  readonly #incoming: Incoming

  constructor(incoming: Incoming) {
    this.#incoming = incoming
  }

  get id(): string {
    return this.#incoming.id
  }
  get type(): string {
    return this.#incoming.type ?? ''
  }
  get queue(): string {
    return this.#incoming.queue
  }
  get conversationId(): string {
    return this.#incoming.conversationId
  }
  get headers(): MessageHeaders {
    return this.#incoming.delivery.headers
  }
  get delivery(): number {
    return this.#incoming.round
  }
  get redrives(): number {
    return this.#incoming.redrives
  }
}

function traceOf(attributes: Attributes): Origin['trace'] {
  const { traceparent, tracestate } = attributes
  if (traceparent === undefined || parseTraceparent(traceparent) === undefined) return undefined
  return tracestate === undefined ? { traceparent } : { traceparent, tracestate }
}

function userHeaders(headers: MessageHeaders): MessageHeaders {
  for (const name in headers) {
    if (name.startsWith('buzzer-')) {
      return Object.fromEntries(Object.entries(headers).filter(([one]) => !one.startsWith('buzzer-')))
    }
  }
  return headers
}

/**
 * Step 5 of spec bus 4.4: claim, decode, validate, upcast. The result is what the handler sees; the schema's transforms and
 * defaults are applied here, once. Throws or rejects with `BUZZER_CLAIM_MISSING`, `BUZZER_UNDECODABLE` or
 * `BUZZER_INVALID_MESSAGE`; any other error means the claimed body could not be reached.
 */
export function decode(core: BusCore, incoming: Incoming, route: Route, codecs: ReadonlyMap<string, Codec>): unknown {
  const dataref = incoming.attributes['dataref']
  if (dataref !== undefined && incoming.encoded.length === 0) {
    if (core.claimCheck === undefined) {
      throw new BuzzerError(
        'BUZZER_CLAIM_MISSING',
        `the body of message ${incoming.id} lies at ${dataref}, and this bus has no claimCheck to fetch it`,
        { details: { dataref } },
      )
    }
    return core.claimCheck.get(dataref).then(body => decodeBytes(core, incoming, body, route, codecs))
  }
  return decodeBytes(core, incoming, incoming.encoded, route, codecs)
}

function decodeBytes(
  core: BusCore,
  incoming: Incoming,
  body: Uint8Array,
  route: Route,
  codecs: ReadonlyMap<string, Codec>,
): unknown {
  const { reads, upcasts } = route
  const { contentType } = incoming
  const codec = contentType === undefined ? reads.codec : codecFor(contentType, reads.codec, codecs)
  if (codec === undefined) {
    throw new BuzzerError(
      'BUZZER_UNDECODABLE',
      `no codec reads content type ${JSON.stringify(contentType)} of message ${incoming.id}; known: ${[...codecs.keys()].join(', ')}`,
      { details: { contentType } },
    )
  }
  let value: unknown
  try {
    value = codec.decode(body, contentType ?? codec.contentType)
  } catch (cause) {
    throw new BuzzerError(
      'BUZZER_UNDECODABLE',
      `the body of message ${incoming.id} is not ${mediaType(contentType ?? codec.contentType)}: ${(cause as Error)?.message}`,
      { cause, details: { contentType: contentType ?? codec.contentType } },
    )
  }
  if (reads.schema === undefined || !core.validateOnReceive) {
    return upcasts.length === 0 ? value : upcastFrom(core, value, route, 0)
  }
  const judged = askSchema(reads.schema, value, reads.type)
  if (judged instanceof Promise) {
    return judged.then(result => {
      if (result.issues !== undefined) throw refusedBySchema(reads.type, result.issues)
      return upcasts.length === 0 ? result.value : upcastFrom(core, result.value, route, 0)
    })
  }
  if (judged.issues !== undefined) throw refusedBySchema(reads.type, judged.issues)
  return upcasts.length === 0 ? judged.value : upcastFrom(core, judged.value, route, 0)
}

async function upcastFrom(core: BusCore, old: unknown, route: Route, index: number): Promise<unknown> {
  const step = route.upcasts[index]
  if (step === undefined) return old
  let input: unknown
  try {
    input = step.convert(old as never)
  } catch (cause) {
    throw new BuzzerError(
      'BUZZER_INVALID_MESSAGE',
      `the upcast from ${route.reads.type} to ${step.to.type} threw: ${(cause as Error)?.message}`,
      { cause, details: { type: route.reads.type } },
    )
  }
  if (step.to.schema === undefined || !core.validateOnReceive) return upcastFrom(core, input, route, index + 1)
  const judged = await askSchema(step.to.schema, input, step.to.type)
  if (judged.issues !== undefined) throw refusedBySchema(step.to.type, judged.issues)
  return upcastFrom(core, judged.value, route, index + 1)
}

function codecFor(contentType: string, own: Codec, codecs: ReadonlyMap<string, Codec>): Codec | undefined {
  if (contentType === own.contentType) return own
  const media = mediaType(contentType)
  return media === mediaType(own.contentType) ? own : codecs.get(media)
}

/** The dead-letter reason of a failure of step 5, or `undefined` when it is an ordinary one. */
export function reasonOfDecoding(error: unknown): string | undefined {
  if (!isBuzzerError(error)) return undefined
  switch (error.code) {
    case 'BUZZER_CLAIM_MISSING':
      return 'claim-missing'
    case 'BUZZER_UNDECODABLE':
      return 'undecodable'
    case 'BUZZER_INVALID_MESSAGE':
      return 'invalid'
    default:
      return undefined
  }
}
