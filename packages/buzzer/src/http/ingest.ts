import { type AnyEventContract, BuzzerError, hasCode } from '../message/index.ts'
import { fingerprintOf } from '../operations/index.ts'
import type { RateCheck } from './accept.ts'
import { bodyTooLarge, declaredLength, hasBody, readBody } from './body.ts'
import {
  batchMediaType,
  readBatch,
  readBinary,
  readStructured,
  type ReceivedEvent,
  structuredMediaType,
} from './cloud-event-request.ts'
import type { GatewayCore } from './core.ts'
import { type Exchange, wantBody } from './exchange.ts'
import type { Admission, Authorize, Limits, RateLimitOptions } from './gateway-options.ts'
import { parseJson } from './json-limits.ts'
import { checkMediaType } from './media-type.ts'
import { Refusal } from './refusal.ts'
import { checkPath } from './route.ts'
import { invalid, number, readAdmission, readLimits, refuseUnknown, type Settings } from './settings.ts'
import { readTrace } from './trace-headers.ts'
import { validate } from './validation.ts'

/** Options of `ingest`. */
export interface IngestOptions {
  /** Take `application/cloudevents-batch+json`. All events of a batch are valid, or none is published. Default `false`. */
  readonly batch?: boolean
  /** The same `source` and `id` within that time is published once. Default 86,400,000. */
  readonly deduplicateMs?: number
  /** Origins whose webhook handshake (`OPTIONS` with `WebHook-Request-Origin`) is answered. Default: none. */
  readonly handshakeOrigins?: readonly string[]
  readonly limits?: Limits
  readonly admission?: Admission
  readonly rateLimit?: RateLimitOptions
  readonly authorize?: Authorize
}

/** An ingesting path, checked and with its defaults. */
export interface IngestRoute {
  readonly name: string
  readonly path: string
  readonly events: readonly AnyEventContract[]
  readonly options: IngestOptions
  readonly deduplicateMs: number
  readonly limits: Settings['limits']
  readonly admission: Settings['admission']
}

/** Records of events that came in: whoever repeats one is answered as before, and nothing is published. */
const ingestedCollection = 'buzzer.ingested'
const ingestOptions = new Set([
  'batch',
  'deduplicateMs',
  'handshakeOrigins',
  'limits',
  'admission',
  'rateLimit',
  'authorize',
])

/** @throws BUZZER_WRONG_KIND, BUZZER_INVALID_OPTION */
export function readIngest(
  path: string,
  events: readonly AnyEventContract[],
  options: IngestOptions,
  settings: Settings,
): IngestRoute {
  const name = `POST ${path}`
  checkPath(path)
  if (path.includes('/:')) throw invalid('path', `${name}: an ingesting path has no parameters`)
  if (!Array.isArray(events) || events.length === 0) throw invalid('events', `${name} ingests no event`)
  for (const event of events as readonly { kind?: unknown }[]) {
    if (event?.kind !== 'event') throw new BuzzerError('BUZZER_WRONG_KIND', `${name} ingests events only`)
  }
  refuseUnknown(`ingest ${path}`, options, ingestOptions)
  return {
    name,
    path,
    events,
    options,
    deduplicateMs: number('deduplicateMs', options.deduplicateMs, 86_400_000),
    limits: readLimits(options.limits, settings.limits),
    admission: readAdmission(options.admission, settings.admission),
  }
}

/** Publishes CloudEvents of declared contracts; 202 once they are durable, with no operation. Source: spec http 7. */
export class IngestHandler {
  readonly #core: GatewayCore
  readonly #route: IngestRoute
  readonly #rate: RateCheck | undefined

  constructor(core: GatewayCore, route: IngestRoute, rate: RateCheck | undefined) {
    this.#core = core
    this.#route = route
    this.#rate = rate
  }

  /** Checks 3 to 10 of spec http 5.1, then the events. */
  async answer(exchange: Exchange): Promise<Response> {
    const { admission, limits, name, options } = this.#route
    const admitted = await this.#core.admission.admit({
      name,
      command: undefined,
      to: undefined,
      limits,
      admission,
      ownConcurrency: options.limits?.maxConcurrentAccepts !== undefined,
    })
    try {
      const events = await this.#read(exchange)
      admitted.committing()
      await this.#publish(exchange, events)
      admitted.committed()
      return Response.json({ accepted: events.length }, { status: 202, headers: { 'Cache-Control': 'no-store' } })
    } finally {
      admitted.end()
    }
  }

  /** The handshake of CloudEvents webhooks (CloudEvents HTTP webhook 1.0.2, section 4). */
  handshake(exchange: Exchange): Response {
    const origin = exchange.request.headers.get('webhook-request-origin')
    if (origin === null || !(this.#route.options.handshakeOrigins ?? []).includes(origin))
      throw new Refusal('forbidden')
    return new Response(null, { status: 200, headers: { 'WebHook-Allowed-Origin': origin, Allow: 'POST' } })
  }

  async #read(exchange: Exchange): Promise<{ readonly event: ReceivedEvent; readonly contract: AnyEventContract }[]> {
    const { request } = exchange
    const { limits, options } = this.#route
    const { identity, clock, logger } = this.#core
    await identity.identify(exchange)
    await identity.mayAccept(exchange, undefined, options.authorize)
    this.#rate?.check(exchange)
    const length = declaredLength(request.headers)
    if (length !== undefined && length > limits.maxBodyBytes) throw bodyTooLarge(limits.maxBodyBytes)
    const mediaType = hasBody(request) ? checkMediaType(request.headers, []) : undefined
    if (mediaType === batchMediaType && options.batch !== true) {
      throw new Refusal('unsupported-media-type', {
        detail: 'Batches are not taken here',
        headers: { 'Accept-Post': `application/json, ${structuredMediaType}` },
      })
    }
    wantBody(exchange)
    const bytes = mediaType === undefined ? undefined : await readBody(request, limits, clock)
    const value = bytes === undefined ? undefined : parseJson(bytes, limits)
    const received =
      mediaType === batchMediaType
        ? readBatch(value, limits)
        : [mediaType === structuredMediaType ? readStructured(value, limits) : readBinary(request.headers, value)]
    const events = received.map(event => ({ event, contract: this.#contractOf(event) }))
    for (const { event, contract } of events) await validate(contract.schema, event.data, logger)
    return events
  }

  #contractOf(event: ReceivedEvent): AnyEventContract {
    const contract = this.#route.events.find(({ type }) => type === event.type)
    if (contract !== undefined) return contract
    const taken = this.#route.events.map(({ type }) => type)
    throw new Refusal('unknown-event', { members: { taken }, detail: 'No contract of this path has this type' })
  }

  /**
   * Each event with the record that says it came in, in one commit. A batch that breaks off half way is 503; its repeat
   * publishes what is missing and nothing twice.
   */
  async #publish(
    exchange: Exchange,
    events: readonly { readonly event: ReceivedEvent; readonly contract: AnyEventContract }[],
  ): Promise<void> {
    const { logger } = this.#core
    try {
      await Promise.all(events.map(({ event, contract }) => this.#publishOne(exchange, event, contract)))
    } catch (error) {
      if (error instanceof Refusal) throw error
      if (hasCode(error, 'BUZZER_INVALID_MESSAGE')) throw new Refusal('validation-failed')
      if (hasCode(error, 'BUZZER_MESSAGE_TOO_LARGE')) throw bodyTooLarge(this.#route.limits.maxBodyBytes)
      logger.error({ error, route: this.#route.name }, 'an event could not be published')
      throw new Refusal('unavailable', { detail: 'The events could not be stored. Repeat the request, which is safe' })
    }
  }

  async #publishOne(exchange: Exchange, event: ReceivedEvent, contract: AnyEventContract): Promise<void> {
    const { port, clock } = this.#core
    const { principal } = exchange
    const trace = readTrace(exchange.request.headers)
    const { partitionkey, ...attributes } = event.attributes
    try {
      await port.publishWith(contract, event.data as never, {
        messageId: event.id,
        validated: true,
        attributes: { ...trace.attributes, ...attributes, source: event.source },
        headers: {
          ...trace.headers,
          ...(principal === undefined ? {} : { authid: principal.id }),
          ...(principal?.tenant === undefined ? {} : { authtenant: principal.tenant }),
        },
        ...(partitionkey === undefined ? {} : { key: partitionkey }),
        state: [
          {
            op: 'put',
            collection: ingestedCollection,
            id: fingerprintOf([event.source, event.id]),
            value: { type: event.type },
            expected: 'absent',
            expiresAt: clock.now() + this.#route.deduplicateMs,
          },
        ],
      })
    } catch (error) {
      // Somebody brought this very event before: it is published, and that is what the sender wants to hear.
      if (!hasCode(error, 'BUZZER_CONFLICT')) throw error
    }
  }
}
