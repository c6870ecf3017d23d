export type { NodeBindings } from './exchange.ts'
export { createGateway, type Gateway, openApi } from './gateway.ts'
export type {
  Action,
  Admission,
  Authorization,
  Authorize,
  CorsOptions,
  DocumentOptions,
  GatewayOptions,
  Limits,
  LoadSnapshot,
  Principal,
  RateLimitOptions,
  RequestSource,
  RouteOptions,
  StreamOptions,
} from './gateway-options.ts'
export type { IdempotencyMode } from './idempotency-key.ts'
export type { IngestOptions } from './ingest.ts'
export { type ListeningServer, type ListenOptions, type NodeHandler, toNodeHandler } from './node-server.ts'
export type { OpenApiInfo } from './openapi.ts'
export { type ProblemKind, problemKinds, type ProblemName } from './problem-registry.ts'
export type { AcceptMethod } from './route.ts'
export type { WebhookOptions } from './webhooks.ts'
