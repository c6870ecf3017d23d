import type { Clock, Logger } from '../message/index.ts'
import type { Operation, OperationRecord, Problem } from '../operations/index.ts'
import { entityTag } from './entity-tag.ts'
import { type Durations, pollAfterS } from './retry-after.ts'
import type { Route } from './route.ts'
import type { Settings } from './settings.ts'

/** Turns operations into resources: the one shape in which bodies, events and documents show them. Source: spec http 5.2. */
export class Resources {
  readonly #settings: Settings
  readonly #durations: Durations
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #routes = new Map<string, Route>()

  constructor(settings: Settings, durations: Durations, clock: Clock, logger: Logger) {
    this.#settings = settings
    this.#durations = durations
    this.#clock = clock
    this.#logger = logger
  }

  add(route: Route): void {
    this.#routes.set(route.name, route)
  }

  routeOf(record: OperationRecord): Route | undefined {
    return record.route === undefined ? undefined : this.#routes.get(record.route)
  }

  /** `{publicUrl}{basePath}`: before every path the gateway names. */
  get base(): string {
    return this.#settings.publicUrl + this.#settings.basePath
  }

  link(id: string): string {
    return `${this.base}${this.#settings.operationsPath}/${id}`
  }

  /** The body. `operation` may be an earlier version than the record's. */
  body(record: OperationRecord, operation: Operation = record.operation): Record<string, unknown> {
    const self = this.link(operation.id)
    const result = this.resultUrl(record, operation)
    return {
      ...operation,
      ...(operation.error === undefined ? {} : { error: this.#problem(record, operation, operation.error) }),
      links: {
        self,
        events: `${self}/events`,
        ...(operation.done ? {} : { cancel: self }),
        ...(result === undefined ? {} : { result }),
      },
    }
  }

  /** Headers that go with the body, whatever the request. */
  headers(record: OperationRecord): Record<string, string> {
    const { operation } = record
    if (operation.done) this.#learn(operation)
    return {
      'Content-Type': 'application/json',
      ETag: entityTag(operation.version),
      Link: `<${this.link(operation.id)}/events>; rel="monitor"`,
      ...(operation.done ? {} : { 'Retry-After': String(this.#pollAfterS(record)) }),
    }
  }

  /** Where the result lies, as a URL that cannot break a header; dropped with a warning when it leads elsewhere. */
  resultUrl(record: OperationRecord, operation: Operation = record.operation): string | undefined {
    const route = this.routeOf(record)
    if (operation.status !== 'succeeded' || route?.options.resultUrl === undefined) return undefined
    let given: string | undefined
    try {
      given = route.options.resultUrl(operation)
    } catch (error) {
      this.#logger.error({ error, route: route.name }, 'resultUrl threw; the operation is shown without it')
      return undefined
    }
    if (given === undefined) return undefined
    const { publicUrl, resultOrigins } = this.#settings
    // An origin that nobody has, to tell a path of ours from an address elsewhere.
    const own = publicUrl === '' ? 'http://path.invalid' : new URL(publicUrl).origin
    const url = URL.parse(given, publicUrl === '' ? `${own}${this.base}/` : `${this.base}/`)
    if (url !== null && url.origin === own && own === 'http://path.invalid') return url.pathname + url.search + url.hash
    if (url !== null && (url.origin === own || resultOrigins.includes(url.origin))) return url.href
    this.#logger.warn(
      { route: route.name, operation: operation.id },
      'resultUrl is no URL or leads to an origin that resultOrigins does not list; the operation is shown without it',
    )
    return undefined
  }

  #problem(record: OperationRecord, operation: Operation, problem: Problem): Problem {
    const route = this.routeOf(record)
    let told: Partial<Problem> = {}
    try {
      told = route?.options.error?.({ operation, problem }) ?? {}
    } catch (error) {
      this.#logger.error(
        { error, route: route?.name },
        'the error option of a route threw; the problem is shown without it',
      )
    }
    const all = { ...problem, ...told }
    return all.type.startsWith('/problems/') ? { ...all, type: this.base + all.type } : all
  }

  #learn(operation: Operation): void {
    if (operation.status !== 'succeeded' && operation.status !== 'failed') return
    const tookMs = Date.parse(operation.finishedAt ?? '') - Date.parse(operation.createdAt)
    if (Number.isFinite(tookMs)) this.#durations.ended(operation.id, operation.command, tookMs)
  }

  #pollAfterS({ operation, retryAtMs }: OperationRecord): number {
    const now = this.#clock.now()
    return pollAfterS({
      medianMs: this.#durations.median(operation.command),
      ageMs: now - Date.parse(operation.createdAt),
      retryInMs: retryAtMs === undefined ? undefined : retryAtMs - now,
    })
  }
}
