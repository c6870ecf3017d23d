import { Hono } from 'hono'
import { type Bus, ConfigurationError, portOf } from '../bus/index.ts'
import { type AnyCommandContract, type AnyEventContract, BuzzerError } from '../message/index.ts'
import { createOperations, insideOf, type Operations } from '../operations/index.ts'
import { AcceptHandler, RateCheck } from './accept.ts'
import { AdmissionControl } from './admission.ts'
import { hasBody } from './body.ts'
import type { GatewayCore } from './core.ts'
import { Cors } from './cors.ts'
import { EventStreams, readPosition, wantsEventStream } from './event-stream.ts'
import { type Exchange, type NodeBindings, wantBody } from './exchange.ts'
import type { GatewayOptions, RateLimitOptions, RouteOptions } from './gateway-options.ts'
import { livez, readyz } from './health.ts'
import { Identity } from './identity.ts'
import { IngestHandler, type IngestOptions, type IngestRoute, readIngest } from './ingest.ts'
import { type ListenOptions, listen, type ListeningServer } from './node-server.ts'
import { openApiDocument, type OpenApiInfo } from './openapi.ts'
import { jsonSchemaOf } from './openapi-parts.ts'
import { cancelOperation, findOperation, getOperation, seeOperation } from './operation-routes.ts'
import { problemPage } from './problem-page.ts'
import { problemResponse, Refusal } from './refusal.ts'
import { Resources } from './resource.ts'
import { Durations } from './retry-after.ts'
import { type AcceptMethod, pathShape, readRoute, type Route } from './route.ts'
import { invalid, readSettings } from './settings.ts'
import { Webhooks } from './webhooks.ts'

/** Accepts commands over HTTP and shows what becomes of them. Made by `createGateway`. Source: spec http 4. */
export interface Gateway extends AsyncDisposable {
  readonly operations: Operations
  /**
   * A request with `method` on `path` is answered 202 once the command is durable. Paths are plain segments and
   * `:parameters`. Before `bus.start()`. @throws BUZZER_WRONG_KIND for events and requests, BUZZER_INVALID_OPTION
   */
  accept<C extends AnyCommandContract, E extends AnyEventContract = AnyEventContract>(
    method: AcceptMethod,
    path: string,
    command: C,
    options?: RouteOptions<C, E>,
  ): this
  /**
   * CloudEvents of these contracts, posted to `path` in binary or structured mode, are published; 202 once durable.
   * Before `bus.start()`. @throws BUZZER_WRONG_KIND, BUZZER_INVALID_OPTION
   */
  ingest(path: string, events: readonly AnyEventContract[], options?: IngestOptions): this
  /** Answers one request; bound, so it can be handed to any web-standard server. Never rejects. */
  readonly fetch: (request: Request, node?: NodeBindings) => Promise<Response>
  /** Serves on Node; `port` 0 picks one, `host` defaults to 127.0.0.1. */
  listen(options: ListenOptions): Promise<ListeningServer>
  /** Ends the gateway, not the bus: requests in progress are answered, waits and streams end. Idempotent. */
  close(): Promise<void>
}

type Handler = (exchange: Exchange, params: Readonly<Record<string, string>>) => Response | Promise<Response>
interface Endpoint {
  readonly method: string
  /** With `basePath`. */
  readonly path: string
  readonly handle: Handler
}

/** How long requests may still take after `close`; what its servers then hold is cut 2 s later, 10 s in all. */
const drainMs = 8_000

/**
 * Makes the gateway of a bus; before `bus.start()`.
 * @throws BUZZER_STORE_NOT_DURABLE over a store that dies with the process, unless `volatile: true`;
 * BUZZER_INVALID_OPTION; BUZZER_UNSUPPORTED for options this version does not have
 */
export function createGateway(options: GatewayOptions): Gateway {
  return new HttpGateway(options)
}

/**
 * The gateway's routes as an OpenAPI 3.1 document, as `/openapi.json` serves it; same routes, same bytes.
 * @throws BUZZER_INVALID_OPTION for what `createGateway` did not make
 */
export function openApi(gateway: Gateway, info?: OpenApiInfo): Readonly<Record<string, unknown>> {
  if (!(gateway instanceof HttpGateway)) throw invalid('gateway', 'openApi takes what createGateway returned')
  return gateway.openApi(info)
}

class HttpGateway implements Gateway {
  readonly operations: Operations
  readonly fetch: (request: Request, node?: NodeBindings) => Promise<Response>
  readonly #core: GatewayCore
  readonly #bus: Bus<unknown>
  readonly #options: GatewayOptions
  readonly #cors: Cors
  readonly #streams: EventStreams
  readonly #rate: RateCheck | undefined
  readonly #routes: Route[] = []
  readonly #ingests: IngestRoute[] = []
  readonly #closing = new AbortController()
  readonly #servers = new Set<ListeningServer>()
  readonly #inProgress = new Set<Promise<unknown>>()
  #started = false
  #router: Hono | undefined
  #closed: Promise<void> | undefined

  constructor(options: GatewayOptions) {
    const settings = readSettings(options)
    const bus = options.bus as unknown as Bus<unknown>
    const port = portOf(bus)
    this.#options = options
    this.#bus = bus
    this.operations = operationsOf(options)
    this.#core = {
      port,
      clock: port.clock,
      logger: port.logger,
      settings,
      operations: this.operations,
      inside: insideOf(this.operations),
      identity: new Identity(options, settings),
      resources: new Resources(settings, new Durations(), port.clock, port.logger),
      admission: new AdmissionControl(port),
      webhooks: undefined,
      closing: this.#closing.signal,
    }
    if (options.webhooks !== undefined) this.#core.webhooks = new Webhooks(this.#core, bus, options.webhooks)
    this.#cors = new Cors(options.cors)
    this.#streams = new EventStreams(this.#core)
    this.#rate = options.rateLimit === undefined ? undefined : new RateCheck(options.rateLimit, port.clock)
    this.fetch = (request, node) => this.#fetch(request, node ?? {})
    bus.attach({ name: 'gateway', start: () => this.#start(), stop: () => this.close() })
  }

  accept<C extends AnyCommandContract, E extends AnyEventContract = AnyEventContract>(
    method: AcceptMethod,
    path: string,
    command: C,
    options?: RouteOptions<C, E>,
  ): this {
    const { settings, inside, logger, resources } = this.#core
    const route = readRoute(method, path, command, options, settings)
    this.#checkNew(method, path)
    this.#routes.push(route)
    resources.add(route)
    if (typeof route.ending !== 'string') {
      inside.completing(command, route.ending).catch((error: unknown) => {
        logger.error({ error, route: route.name }, 'the events that complete a route cannot be listened to')
      })
    }
    return this
  }

  ingest(path: string, events: readonly AnyEventContract[], options: IngestOptions = {}): this {
    const route = readIngest(path, events, options, this.#core.settings)
    this.#checkNew('POST', path)
    this.#ingests.push(route)
    return this
  }

  /** Routes come before the start, and each once. */
  #checkNew(method: string, path: string): void {
    const { port, settings } = this.#core
    const name = `${method} ${path}`
    if (port.state !== 'new') throw invalid('path', `${name} comes too late: add routes before bus.start()`)
    const shape = pathShape(settings.basePath + path)
    if (this.#endpoints().some(one => one.method === method && pathShape(one.path) === shape)) {
      throw invalid('path', `${name} has a route already`)
    }
    this.#router = undefined
  }

  async listen(options: ListenOptions): Promise<ListeningServer> {
    const server = await listen(this, options, {
      anonymous: this.#options.authenticate === undefined,
      closing: this.#closing.signal,
      onClosed: closed => this.#servers.delete(closed),
      problem: refusal => this.#problem(refusal),
    })
    this.#servers.add(server)
    return server
  }

  openApi(info?: OpenApiInfo): Readonly<Record<string, unknown>> {
    const { settings, port, logger } = this.#core
    const { authenticate, rateLimit, health, documents, webhooks } = this.#options
    const source = {
      routes: this.#routes,
      ingests: this.#ingests,
      settings,
      authenticated: typeof authenticate === 'function',
      rateLimited: rateLimit !== undefined,
      health: health !== false,
      callbacks: webhooks !== undefined,
      title: port.bus,
      logger,
    }
    return openApiDocument(source, { ...(documents === 'none' ? {} : documents?.openApi), ...info })
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** With the bus: a command that no queue takes is found now, not at its first request. */
  async #start(): Promise<void> {
    const { port, admission, logger } = this.#core
    const problems: string[] = []
    for (const { name, command, options } of this.#routes) {
      if ((await port.route(command, options.to)) !== undefined) continue
      problems.push(
        `route ${name}: no queue takes ${command.type}; handle it on this bus, give the route option to, or start the ` +
          'process that handles it first',
      )
    }
    if (problems.length > 0) throw new ConfigurationError(port.bus, problems)
    for (const { name, command } of this.#routes) {
      if (this.#options.documents === 'none' || command.schema === undefined) continue
      if (jsonSchemaOf(command.schema, logger) !== undefined) continue
      logger.warn({ route: name }, 'the schema of a route has no JSON Schema side; OpenAPI documents it as any JSON')
    }
    await admission.start()
    this.#started = true
  }

  async #close(): Promise<void> {
    const { clock, admission } = this.#core
    this.#closing.abort(new BuzzerError('BUZZER_NOT_RUNNING', 'the gateway is closing'))
    let timer: unknown
    const deadline = new Promise<void>(resolve => {
      timer = clock.setTimeout(resolve, drainMs)
    })
    await Promise.race([Promise.allSettled(this.#inProgress), deadline])
    clock.clearTimeout(timer)
    await Promise.all([...this.#servers].map(server => server.close()))
    admission.stop()
  }

  async #fetch(request: Request, node: NodeBindings): Promise<Response> {
    const answering = this.#answer(request, node)
    this.#inProgress.add(answering)
    try {
      return await answering
    } finally {
      this.#inProgress.delete(answering)
    }
  }

  async #answer(request: Request, node: NodeBindings): Promise<Response> {
    const exchange: Exchange = {
      request,
      url: new URL(request.url),
      node,
      principal: undefined,
      bodyRead: false,
    }
    let response: Response
    try {
      this.#router ??= this.#makeRouter()
      response = await this.#router.fetch(request, { exchange })
    } catch (error) {
      response = this.#failed(error, exchange)
    }
    const { headers } = response
    headers.set('X-Content-Type-Options', 'nosniff')
    this.#cors.apply(request, headers)
    const unread = response.status >= 400 && !exchange.bodyRead && hasBody(request)
    if (unread || response.status === 408 || response.status === 413 || this.#core.closing.aborted) {
      headers.set('Connection', 'close')
    }
    return response
  }

  #failed(error: unknown, exchange: Exchange): Response {
    if (error instanceof Refusal) return this.#problem(error)
    const { method, url } = { method: exchange.request.method, url: exchange.url }
    this.#core.logger.error({ error, method, path: url.pathname }, 'a request failed in a hook or in the gateway')
    return this.#problem(new Refusal('internal'))
  }

  #problem(refusal: Refusal): Response {
    return problemResponse(refusal, this.#core.resources.base)
  }

  /** Check 2: not started, draining. */
  #checkRunning(): void {
    const { port, closing } = this.#core
    if (closing.aborted) throw new Refusal('unavailable', { detail: 'The service is stopping', retryAfterS: 2 })
    if (!this.#started || port.state !== 'running') {
      const detail = !this.#started ? 'The service is starting' : 'The service is stopping'
      throw new Refusal('unavailable', { detail, retryAfterS: 2 })
    }
  }

  /** All that is served, in the order of precedence: fixed paths before parameters. */
  #endpoints(): Endpoint[] {
    const { settings } = this.#core
    const { basePath } = settings
    const operations = basePath + settings.operationsPath
    const running =
      (handle: Handler): Handler =>
      (exchange, params) => {
        this.#checkRunning()
        return handle(exchange, params)
      }
    return [
      ...this.#routes.map(route => {
        const handler = new AcceptHandler(this.#core, route, this.#rateOf(route.options.rateLimit))
        const handle = running((exchange, params) => handler.answer(exchange, params))
        return { method: route.method, path: basePath + route.path, handle }
      }),
      ...this.#ingests.flatMap(route => {
        const handler = new IngestHandler(this.#core, route, this.#rateOf(route.options.rateLimit))
        const path = basePath + route.path
        return [
          { method: 'POST', path, handle: running(exchange => handler.answer(exchange)) },
          ...(route.options.handshakeOrigins === undefined
            ? []
            : [{ method: 'OPTIONS', path, handle: (exchange: Exchange) => handler.handshake(exchange) }]),
        ]
      }),
      { method: 'GET', path: `${operations}/events`, handle: running(exchange => this.#manyEvents(exchange)) },
      { method: 'GET', path: `${operations}/:id`, handle: running((exchange, { id = '' }) => this.#get(exchange, id)) },
      {
        method: 'DELETE',
        path: `${operations}/:id`,
        handle: running((exchange, { id = '' }) => this.#cancel(exchange, id)),
      },
      {
        method: 'GET',
        path: `${operations}/:id/events`,
        handle: running((exchange, { id = '' }) => this.#events(exchange, id)),
      },
      { method: 'GET', path: `${basePath}/problems/:name`, handle: (_exchange, { name = '' }) => problemPage(name) },
      ...(this.#options.documents === 'none'
        ? []
        : [
            {
              method: 'GET',
              path: `${basePath}/openapi.json`,
              handle: (exchange: Exchange) => this.#document(exchange),
            },
          ]),
      ...(this.#options.health === false
        ? []
        : [
            { method: 'GET', path: `${basePath}/livez`, handle: livez },
            { method: 'GET', path: `${basePath}/readyz`, handle: () => readyz(this.#core, this.#bus) },
          ]),
    ]
  }

  #rateOf(own: RateLimitOptions | undefined): RateCheck | undefined {
    return own === undefined ? this.#rate : new RateCheck(own, this.#core.clock)
  }

  #makeRouter(): Hono {
    const router = new Hono({ strict: true })
    const endpoints = this.#endpoints()
    const methodsOf = new Map<string, string[]>()
    for (const { method, path, handle } of endpoints) {
      router.on(method, path, c => handle(exchangeOf(c.env), c.req.param()))
      const methods = methodsOf.get(path) ?? []
      methods.push(method, ...(method === 'GET' ? ['HEAD'] : []))
      methodsOf.set(path, methods)
    }
    for (const [path, methods] of methodsOf) {
      router.all(path, c => {
        const allow = [...methods, ...(this.#options.cors === undefined ? [] : ['OPTIONS'])]
        const preflight = this.#cors.preflight(exchangeOf(c.env).request, methods)
        if (preflight !== undefined) return preflight
        throw new Refusal('method-not-allowed', { headers: { Allow: allow.join(', ') } })
      })
    }
    router.notFound(() => this.#problem(new Refusal('not-found')))
    router.onError((error, c) => this.#failed(error, exchangeOf(c.env)))
    return router
  }

  async #document(exchange: Exchange): Promise<Response> {
    const { documents } = this.#options
    if (documents === undefined || documents === 'none' || documents.public !== true) {
      await this.#core.identity.identify(exchange)
    }
    return Response.json(this.openApi(), { headers: { 'Cache-Control': 'no-cache' } })
  }

  async #get(exchange: Exchange, id: string): Promise<Response> {
    const found = await findOperation(this.#core, exchange, id, 'read')
    if (wantsEventStream(exchange.request.headers.get('accept'))) return this.#stream(exchange, [found])
    return getOperation(this.#core, exchange, found)
  }

  async #events(exchange: Exchange, id: string): Promise<Response> {
    return this.#stream(exchange, [await findOperation(this.#core, exchange, id, 'read')])
  }

  async #manyEvents(exchange: Exchange): Promise<Response> {
    await this.#core.identity.identify(exchange)
    const ids = exchange.url.searchParams.getAll('id')
    if (ids.length === 0 || ids.length > 50) {
      throw new Refusal('validation-failed', {
        detail: `One stream follows 1 to 50 operations, named by ?id=…; this names ${ids.length}`,
      })
    }
    return this.#stream(exchange, await Promise.all(ids.map(id => seeOperation(this.#core, exchange, id, 'read'))))
  }

  #stream(exchange: Exchange, records: Awaited<ReturnType<typeof findOperation>>[]): Response {
    const position = readPosition(exchange, records)
    return this.#streams.respond(
      exchange,
      records.map((record, index) => ({ record, after: position[index] ?? 0 })),
    )
  }

  async #cancel(exchange: Exchange, id: string): Promise<Response> {
    const found = await findOperation(this.#core, exchange, id, 'cancel')
    wantBody(exchange)
    return cancelOperation(this.#core, found)
  }
}

/** What `#answer` gave the router along with the request. */
function exchangeOf(env: unknown): Exchange {
  return (env as { exchange: Exchange }).exchange
}

function operationsOf({ bus, operations, volatile }: GatewayOptions): Operations {
  if (operations !== undefined && typeof (operations as Operations).submit === 'function')
    return operations as Operations
  return createOperations({ ...(volatile === undefined ? {} : { volatile }), ...operations, bus })
}
