import type { Bus } from '../bus/index.ts'
import type { AnyCommandContract, In, StandardSchema } from '../message/index.ts'
import type { AnyEventContract } from '../message/index.ts'
import type { Completion, Operation, Operations, OperationsOptions, Problem, Retention } from '../operations/index.ts'
import type { IdempotencyMode } from './idempotency-key.ts'
import type { OpenApiInfo } from './openapi.ts'
import type { WebhookOptions } from './webhooks.ts'

/** Who makes a request. */
export interface Principal {
  /** Owns the operations it has accepted; travels with the message as header `authid`. */
  readonly id: string
  /** Travels as `authtenant`. */
  readonly tenant?: string
}

export type Action = 'accept' | 'read' | 'cancel'

export interface Authorization {
  /** Absent without `authenticate`. */
  readonly principal: Principal | undefined
  readonly action: Action
  /** Of a request that accepts a command; absent where events are ingested. */
  readonly command?: AnyCommandContract
  /** Of a request for an operation; with its owner, which no answer shows. */
  readonly operation?: Operation & { readonly owner?: string; readonly tenant?: string }
  readonly request: Request
}

export type Authorize = (question: Authorization) => boolean | Promise<boolean>

export interface Limits {
  /** Default 262,144. */
  readonly maxBodyBytes?: number
  /** For the whole body. Default 10,000. */
  readonly bodyTimeoutMs?: number
  /** The outermost object or array is depth 1. Default 64. */
  readonly maxJsonDepth?: number
  /** Members of all objects together. Default 10,000. */
  readonly maxJsonKeys?: number
  /** Accepting requests at once, waiting ones included; more are refused as `overloaded`. Default 1,000. */
  readonly maxConcurrentAccepts?: number
}

/** What the gateway knows of the load, from numbers in memory. What cannot be measured is absent. */
export interface LoadSnapshot {
  /** Wire type; absent for a path that ingests events. */
  readonly command?: string
  readonly queue: string | undefined
  /** Accepted, due and not yet settled. */
  readonly backlog: number | undefined
  readonly drainPerSecond: number | undefined
  readonly predictedWaitMs: number | undefined
  readonly commitMs: number | undefined
  readonly eventLoopDelayMs: number | undefined
  readonly freeDiskBytes: number | undefined
  readonly concurrentAccepts: number
}

/** When accepting requests are refused to protect the system. Source: spec http 5.10. */
export interface Admission {
  /** Messages in the command's queue. Default 100,000. */
  readonly maxBacklog?: number
  /** Backlog ÷ drain rate. Default: not judged. */
  readonly maxPredictedWaitMs?: number
  /** Recent time of a commit. Default 2,000. */
  readonly maxCommitMs?: number
  /** Default 1,000. */
  readonly maxEventLoopDelayMs?: number
  /** Of the file system that holds the store's file; else of the working directory. Default 64 MiB. */
  readonly minFreeDiskBytes?: number
  /** Ceiling of `Retry-After`. Default 60,000. */
  readonly maxRetryAfterMs?: number
  /** The last word; a verdict refuses. Synchronous, for it runs before anything is read. */
  readonly check?: (snapshot: LoadSnapshot) => undefined | { readonly status: 429 | 503; readonly retryAfterMs: number }
}

export interface RateLimitOptions {
  readonly max: number
  readonly perMs: number
  /** Default: the principal's id, else the client's address. */
  key?(request: Request, principal: Principal | undefined): string
}

export interface StreamOptions {
  /** Default 15,000. */
  readonly heartbeatMs?: number
  /** What `EventSource` waits before it reconnects. Default 3,000. */
  readonly retryMs?: number
  /** Default 1,000. */
  readonly maxStreams?: number
  /** Default 20. */
  readonly maxStreamsPerPrincipal?: number
  /** A reader further behind is cut off; it resumes from the store. Default 65,536. */
  readonly maxBufferedBytes?: number
  /** Default 3,600,000. */
  readonly maxAgeMs?: number
}

export interface CorsOptions {
  /** Exact origins, such as `https://shop.example.com`. */
  readonly origins: readonly string[]
  readonly credentials?: boolean
  /** How long a browser may keep a preflight answer. Default: the browser's own. */
  readonly maxAgeS?: number
}

/** Options of `createGateway`. Source: spec http 4. */
export interface GatewayOptions {
  readonly bus: Bus
  /** Operations made before, or the options to make them. Default: made from `bus`. */
  readonly operations?: Operations | Omit<OperationsOptions, 'bus'>
  /** Before every path. Default none. */
  readonly basePath?: string
  /** Default `/operations`. */
  readonly operationsPath?: string
  /** Makes links absolute. Never built from `Host` or `X-Forwarded-*`. Default: absolute paths. */
  readonly publicUrl?: string
  /** `null`: 401. Without it all callers are one anonymous owner, and only loopback may be listened on, unless `'none'`. */
  readonly authenticate?: 'none' | ((request: Request) => Principal | null | Promise<Principal | null>)
  /** `WWW-Authenticate` of a 401. Default `Bearer`. */
  readonly challenge?: string
  /** Default: anyone authenticated may accept, only the owner reads and cancels. */
  readonly authorize?: Authorize
  readonly limits?: Limits
  readonly admission?: Admission
  /** Default: none. */
  readonly rateLimit?: RateLimitOptions
  /** Longest `Prefer: wait`. Default 25,000. */
  readonly wait?: { readonly maxMs: number }
  /** How long keys are remembered. Default 86,400,000. */
  readonly idempotency?: { readonly ttlMs: number }
  readonly events?: StreamOptions
  /** A commit not confirmed by then is answered 503. Default 10,000. */
  readonly acceptTimeoutMs?: number
  /** Origins besides our own that `resultUrl` may lead to. */
  readonly resultOrigins?: readonly string[]
  /** Take a store that does not outlive the process, for tests. Default `false`: refused. */
  readonly volatile?: boolean
  /** Default off: nobody is called back. */
  readonly webhooks?: WebhookOptions
  /** Default off. */
  readonly cors?: CorsOptions
  /** `/livez` and `/readyz`. Default on. */
  readonly health?: boolean
  /** `/openapi.json`. Default on; with `authenticate` it needs a principal, unless `public`. `'none'` turns it off. */
  readonly documents?: 'none' | DocumentOptions
}

export interface DocumentOptions {
  /** Show the documents to everybody. Default `false`. */
  readonly public?: boolean
  readonly openApi?: OpenApiInfo
}

/** What an accepting request brings. */
export interface RequestSource {
  /** Parsed; `undefined` without a body. */
  readonly body: unknown
  readonly params: Readonly<Record<string, string>>
  readonly query: URLSearchParams
  readonly headers: Headers
  readonly principal: Principal | undefined
}

type Awaitable<T> = T | Promise<T>

/** Options of one accepting route. */
export interface RouteOptions<C extends AnyCommandContract, E extends AnyEventContract = AnyEventContract> {
  /** The queue, when none of this bus handles the command and its contract names none. */
  readonly to?: string
  /** Makes the payload. Default: the body. Required when the path has parameters. */
  input?(source: RequestSource): Awaitable<In<C>>
  /** Of the operation's result, for documents. */
  readonly result?: StandardSchema
  /** What ends the operation. Default `'handler'`. */
  readonly completion?: Completion<E>
  readonly expiresAfterMs?: number
  readonly retention?: Retention
  /** What the outside is told of a failed operation; joined to its problem when it is shown. */
  error?(failure: { readonly operation: Operation; readonly problem: Problem }): Partial<Problem>
  /** `see-other`: `GET` of a succeeded operation is 303 to `resultUrl`. Default `resource`. */
  readonly onComplete?: 'resource' | 'see-other'
  /** Where the result of a succeeded operation lies. */
  resultUrl?(operation: Operation): string | undefined
  /** Default `optional`. */
  readonly idempotency?: IdempotencyMode
  /**
   * Where a request names its receiver, with `webhooks` on. Default: the member `callbackUrl` at the top level of a JSON
   * body, taken out before the schema sees the body. `false`: nowhere.
   */
  readonly callback?: false | { readonly in: 'body' | 'query' | 'header'; readonly name: string }
  /** Headers for the message. */
  headers?(source: RequestSource): Readonly<Record<string, string>>
  /** Further media types of the body, each with its parser. */
  readonly parse?: Readonly<Record<string, (bytes: Uint8Array) => unknown>>
  readonly summary?: string
  readonly description?: string
  readonly tags?: readonly string[]
  readonly limits?: Limits
  readonly admission?: Admission
  readonly rateLimit?: RateLimitOptions
  readonly wait?: { readonly maxMs: number }
  readonly authorize?: Authorize
}
