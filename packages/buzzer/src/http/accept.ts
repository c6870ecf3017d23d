import { BuzzerError, type Clock, hasCode, isBuzzerError } from '../message/index.ts'
import { canonicalJson, fingerprintOf, type IdempotencyKey, type OperationRecord } from '../operations/index.ts'
import type { JsonValue } from '../message/index.ts'
import type { Admitted, Entrance } from './admission.ts'
import { bodyTooLarge, declaredLength, hasBody, readBody } from './body.ts'
import type { GatewayCore } from './core.ts'
import { clientAddress, type Exchange, wantBody } from './exchange.ts'
import type { RateLimitOptions, RequestSource } from './gateway-options.ts'
import { readIdempotencyKey } from './idempotency-key.ts'
import { parseJson } from './json-limits.ts'
import { checkMediaType, isJson } from './media-type.ts'
import { readPrefer } from './prefer.ts'
import { RateLimit } from './rate-limit.ts'
import { Refusal } from './refusal.ts'
import type { Route } from './route.ts'
import { readTrace } from './trace-headers.ts'
import { validate } from './validation.ts'
import { within } from './within.ts'

/** Answers the requests of one accepting route, in the order of checks of spec http 5.1: what fails leaves no trace. */
export class AcceptHandler {
  readonly #core: GatewayCore
  readonly #route: Route
  readonly #rate: RateCheck | undefined
  readonly #entrance: Entrance

  constructor(core: GatewayCore, route: Route, rate: RateCheck | undefined) {
    this.#core = core
    this.#route = route
    this.#rate = rate
    const { name, command, options, limits, admission } = route
    const ownConcurrency = options.limits?.maxConcurrentAccepts !== undefined
    this.#entrance = { name, command, to: options.to, limits, admission, ownConcurrency }
  }

  /** Checks 3 to 15; route and state were checked before. */
  async answer(exchange: Exchange, params: Readonly<Record<string, string>>): Promise<Response> {
    const admitted = await this.#core.admission.admit(this.#entrance)
    try {
      return await this.#admitted(exchange, params, admitted)
    } finally {
      admitted.end()
    }
  }

  async #admitted(exchange: Exchange, params: Readonly<Record<string, string>>, admitted: Admitted): Promise<Response> {
    const { request } = exchange
    const { identity, logger } = this.#core
    const route = this.#route
    await identity.identify(exchange)
    await identity.mayAccept(exchange, route.command, route.options.authorize)
    this.#rate?.check(exchange)
    const withBody = hasBody(request)
    const length = declaredLength(request.headers)
    if (length !== undefined && length > route.limits.maxBodyBytes) throw bodyTooLarge(route.limits.maxBodyBytes)
    const mediaType = withBody ? checkMediaType(request.headers, route.parsers) : undefined
    const key = this.#key(exchange)
    wantBody(exchange)
    const bytes = withBody ? await readBody(request, route.limits, this.#core.clock) : undefined
    // A chunked body may turn out to be empty; it is then no body at all.
    const body =
      bytes === undefined || mediaType === undefined || (bytes.byteLength === 0 && length === undefined)
        ? undefined
        : this.#parse(bytes, mediaType)
    const { callbackUrl, rest } = this.#callback(exchange, body)
    const source: RequestSource = {
      body: rest,
      params,
      query: exchange.url.searchParams,
      headers: request.headers,
      principal: exchange.principal,
    }
    const payload: unknown = route.options.input === undefined ? rest : await route.options.input(source)
    await validate(route.command.schema, payload, logger)
    const headers = route.options.headers?.(source)
    const keyed = {
      ...(key === undefined ? {} : { idempotencyKey: this.#fullKey(exchange, key, body, bytes) }),
      ...(callbackUrl === undefined ? {} : { callbackUrl }),
    }
    const accepted = await this.#commit(exchange, payload, headers, admitted, keyed)
    const record = accepted.record
    if (record === undefined || record.tombstone === true) {
      throw new Refusal('operation-gone', { detail: 'The operation of this Idempotency-Key is no longer kept' })
    }
    return this.#respond(exchange, record, accepted.replayed)
  }

  #key(exchange: Exchange): string | undefined {
    const { idempotency } = this.#route
    if (idempotency === 'off') return undefined
    const header = exchange.request.headers.get('idempotency-key')
    if (header === null) {
      if (idempotency === 'optional') return undefined
      throw new Refusal('idempotency-key-missing')
    }
    const key = readIdempotencyKey(header)
    if (key === undefined) throw new Refusal('idempotency-key-invalid')
    return key
  }

  /** Check 11: the receiver of the webhook, and the body without it. Without `webhooks` the member is the schema's. */
  #callback(exchange: Exchange, body: unknown): { readonly callbackUrl?: string; readonly rest: unknown } {
    const { webhooks } = this.#core
    const { callback } = this.#route.options
    if (webhooks === undefined || callback === false) return { rest: body }
    const { in: place, name } = callback ?? { in: 'body', name: 'callbackUrl' }
    let given: unknown
    let rest = body
    if (place === 'query') given = exchange.url.searchParams.get(name) ?? undefined
    else if (place === 'header') given = exchange.request.headers.get(name) ?? undefined
    else if (typeof body === 'object' && body !== null && !Array.isArray(body) && Object.hasOwn(body, name)) {
      const { [name]: url, ...others } = body as Record<string, unknown>
      given = url
      rest = others
    }
    if (given === undefined) return { rest }
    const refusal = webhooks.refusal(given)
    if (refusal !== undefined) throw new Refusal('callback-url-refused', { detail: refusal })
    return { callbackUrl: given as string, rest }
  }

  #parse(bytes: Uint8Array, mediaType: string): unknown {
    const given = Object.entries(this.#route.options.parse ?? {}).find(([type]) => type.toLowerCase() === mediaType)
    if (given === undefined) {
      if (!isJson(mediaType)) throw new Refusal('unsupported-media-type')
      return parseJson(bytes, this.#route.limits)
    }
    try {
      return given[1](bytes)
    } catch (error) {
      this.#core.logger.warn({ error, route: this.#route.name }, 'a parser of a route threw')
      throw new Refusal('validation-failed', { detail: `The body could not be read as ${mediaType}` })
    }
  }

  #fullKey(exchange: Exchange, key: string, body: unknown, bytes: Uint8Array | undefined): IdempotencyKey {
    const { url, request, principal } = exchange
    const { name } = this.#route
    return {
      key,
      scope: canonicalJson(['http', principal?.tenant ?? null, principal?.id ?? null, name]),
      fingerprint: fingerprintOf([
        request.method,
        url.pathname,
        url.search,
        this.#isParsed(request) && bytes !== undefined ? bytes : canonicalJson(body as JsonValue | undefined),
      ]),
      ttlMs: this.#core.settings.idempotencyTtlMs,
    }
  }

  /** Whether a parser of the route made the body: then its bytes are compared, since the value need not be JSON. */
  #isParsed(request: Request): boolean {
    const essence = request.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase() ?? ''
    return this.#route.parsers.includes(essence)
  }

  async #commit(
    exchange: Exchange,
    payload: unknown,
    headers: Readonly<Record<string, string>> | undefined,
    admitted: Admitted,
    keyed: { readonly idempotencyKey?: IdempotencyKey; readonly callbackUrl?: string },
  ): Promise<{ readonly id: string; readonly replayed: boolean; readonly record: OperationRecord | undefined }> {
    const { inside, clock, settings, logger } = this.#core
    const { options, command, ending, name } = this.#route
    const { principal } = exchange
    const trace = readTrace(exchange.request.headers)
    using timeout = timeoutSignal(clock, settings.acceptTimeoutMs)
    admitted.committing()
    try {
      const accepting = inside.accept({
        command,
        payload,
        validated: true,
        ending,
        route: name,
        signal: timeout.signal,
        attributes: trace.attributes,
        headers: {
          ...trace.headers,
          ...headers,
          ...(principal === undefined ? {} : { authid: principal.id }),
          ...(principal?.tenant === undefined ? {} : { authtenant: principal.tenant }),
        },
        ...(principal === undefined ? {} : { owner: principal.id }),
        ...(principal?.tenant === undefined ? {} : { tenant: principal.tenant }),
        ...(options.to === undefined ? {} : { to: options.to }),
        ...(options.expiresAfterMs === undefined ? {} : { expiresAfterMs: options.expiresAfterMs }),
        ...(options.retention === undefined ? {} : { retention: options.retention }),
        ...keyed,
      })
      // A store that does not heed the signal must not hold the client for ever.
      const accepted = await within(clock, settings.acceptTimeoutMs, accepting, () =>
        notConfirmed(settings.acceptTimeoutMs),
      )
      if (!accepted.replayed) admitted.committed()
      return accepted
    } catch (error) {
      throw commitRefusal(error, this.#route, error =>
        logger.error({ error, route: name }, 'a request could not be accepted'),
      )
    }
  }

  async #respond(exchange: Exchange, accepted: OperationRecord, replayed: boolean): Promise<Response> {
    const { inside, resources, closing, clock } = this.#core
    const prefer = readPrefer(exchange.request.headers.get('prefer'))
    const grantedS =
      prefer.waitS === undefined ? undefined : Math.min(prefer.waitS, Math.floor(this.#route.waitMaxMs / 1000))
    let record = accepted
    if (grantedS !== undefined && grantedS > 0) {
      try {
        const signal = AbortSignal.any([exchange.request.signal, closing])
        const timeoutMs = grantedS * 1000
        const { id } = accepted.operation
        const waiting = inside.following.until(id, now => now.operation.done, { timeoutMs, signal })
        // A store that hangs at the end of the wait must not hold the answer.
        record = (await within(clock, timeoutMs + lateMs, waiting, () => notConfirmed(timeoutMs))) ?? accepted
      } catch {
        // The client left, or the gateway closes: what was accepted stays accepted, and is said so.
      }
    }
    const finished = grantedS !== undefined && record.operation.done
    const applied = [
      ...(prefer.respondAsync && !finished ? ['respond-async'] : []),
      ...(grantedS === undefined ? [] : [`wait=${grantedS}`]),
    ]
    const { ETag: _tag, ...headers } = resources.headers(record)
    return new Response(JSON.stringify(resources.body(record)), {
      status: finished ? 200 : 202,
      headers: {
        ...headers,
        Location: resources.link(record.operation.id),
        'Cache-Control': 'no-store',
        ...(applied.length === 0 ? {} : { 'Preference-Applied': applied.join(', ') }),
        ...(replayed ? { 'Idempotency-Replayed': 'true' } : {}),
      },
    })
  }
}

/** How long the store may take beyond a wait. */
export const lateMs = 1_000

/** A rate limit with the key it goes by. Shared by all routes that do not have their own. */
export class RateCheck {
  readonly #limit: RateLimit
  readonly #options: RateLimitOptions

  constructor(options: RateLimitOptions, clock: Clock) {
    this.#options = options
    this.#limit = new RateLimit(options, clock)
  }

  check(exchange: Exchange): void {
    const { principal, request } = exchange
    const key = this.#options.key?.(request, principal) ?? principal?.id ?? clientAddress(exchange)
    const waitMs = this.#limit.take(key)
    if (waitMs > 0) throw new Refusal('rate-limited', { retryAfterS: Math.max(1, Math.ceil(waitMs / 1000)) })
  }
}

/** What a failed commit is answered with. Whatever is not the request's own fault is 503: a repeat with its key is safe. */
function commitRefusal(error: unknown, route: Route, log: (error: unknown) => void): Refusal {
  if (error instanceof Refusal) return error
  if (hasCode(error, 'BUZZER_IDEMPOTENCY_KEY_REUSED')) return new Refusal('idempotency-key-reused')
  if (hasCode(error, 'BUZZER_IDEMPOTENCY_IN_PROGRESS')) {
    return new Refusal('idempotency-in-progress', { headers: { 'Retry-After': '1' } })
  }
  if (hasCode(error, 'BUZZER_MESSAGE_TOO_LARGE')) return bodyTooLarge(route.limits.maxBodyBytes)
  if (hasCode(error, 'BUZZER_INVALID_MESSAGE')) {
    return new Refusal('validation-failed', { detail: 'The command cannot carry this body' })
  }
  log(error)
  if (hasCode(error, 'BUZZER_INVALID_OPTION')) return new Refusal('internal')
  return new Refusal('unavailable', {
    detail: 'The request could not be stored. Repeat it with the same Idempotency-Key, which is safe in any case',
    ...(isBuzzerError(error) ? { code: error.code } : {}),
  })
}

function notConfirmed(ms: number): BuzzerError {
  return new BuzzerError('BUZZER_SEND_TIMEOUT', `not confirmed within ${ms} ms`)
}

function timeoutSignal(clock: Clock, ms: number): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController()
  const timer = clock.setTimeout(() => controller.abort(notConfirmed(ms)), ms)
  return { signal: controller.signal, [Symbol.dispose]: () => clock.clearTimeout(timer) }
}
