import type { Logger } from '../message/index.ts'
import { batchMediaType, structuredMediaType } from './cloud-event-request.ts'
import type { IngestRoute } from './ingest.ts'
import {
  acceptedHeaders,
  anyJson,
  componentSchemas,
  type Json,
  jsonSchemaOf,
  locationHeader,
  operationId,
  operationRef,
  preferParameter,
  problemResponses,
  problemsOf,
  stateHeaders,
} from './openapi-parts.ts'
import type { ProblemName } from './problem-registry.ts'
import type { Route } from './route.ts'
import type { Settings } from './settings.ts'

/** What only the people behind an API can say of it. */
export interface OpenApiInfo {
  /** Default: the name of the bus. */
  readonly title?: string
  /** Of the API. Default `1.0.0`. */
  readonly version?: string
  readonly description?: string
  /** OpenAPI security schemes by name; all of them are required of every request. Default: none. */
  readonly securitySchemes?: Readonly<Record<string, Readonly<Record<string, unknown>>>>
}

/** What the document is made of. */
export interface OpenApiSource {
  readonly routes: readonly Route[]
  readonly ingests: readonly IngestRoute[]
  readonly settings: Settings
  readonly authenticated: boolean
  readonly rateLimited: boolean
  readonly health: boolean
  /** Receivers are called back. */
  readonly callbacks: boolean
  readonly title: string
  readonly logger: Logger
}

/** The gateway as OpenAPI 3.1 with JSON Schema 2020-12. Same routes, same bytes. Source: spec http 8. */
export function openApiDocument(source: OpenApiSource, info: OpenApiInfo = {}): Json {
  const { settings, routes } = source
  const schemes = info.securitySchemes ?? {}
  const paths: Record<string, Record<string, unknown>> = {}
  for (const route of routes) {
    const path = settings.basePath + route.path.replaceAll(/:([^/]+)/g, '{$1}')
    ;(paths[path] ??= {})[route.method.toLowerCase()] = acceptOperation(source, route)
  }
  for (const ingest of source.ingests)
    paths[settings.basePath + ingest.path] = { post: ingestOperation(source, ingest) }
  Object.assign(paths, operationPaths(source), source.health ? healthPaths(settings) : {})
  return {
    openapi: '3.1.0',
    jsonSchemaDialect: 'https://json-schema.org/draft/2020-12/schema',
    info: {
      title: info.title ?? source.title,
      version: info.version ?? '1.0.0',
      ...(info.description === undefined ? {} : { description: info.description }),
    },
    ...(settings.publicUrl === '' ? {} : { servers: [{ url: settings.publicUrl }] }),
    paths,
    components: {
      schemas: componentSchemas(routes, source.logger),
      responses: problemResponses(),
      ...(Object.keys(schemes).length === 0 ? {} : { securitySchemes: schemes }),
    },
    ...(Object.keys(schemes).length === 0
      ? {}
      : { security: [Object.fromEntries(Object.keys(schemes).map(name => [name, []]))] }),
  }
}

function acceptOperation(source: OpenApiSource, route: Route): Json {
  const { options, command, idempotency } = route
  const parameters = [...route.path.matchAll(/:([^/]+)/g)].map(match => ({
    name: match[1],
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
  const media = ['application/json', ...route.parsers]
  // With `input` the body is whatever that function takes, so the command's schema does not describe it.
  const schema = options.input === undefined ? (jsonSchemaOf(command.schema, source.logger) ?? anyJson) : anyJson
  return {
    operationId: operationId(route),
    summary: options.summary ?? `Accept ${command.name}`,
    ...(options.description === undefined ? {} : { description: options.description }),
    ...(options.tags === undefined ? {} : { tags: options.tags }),
    parameters: [
      ...parameters,
      ...(idempotency === 'off'
        ? []
        : [
            {
              name: 'Idempotency-Key',
              in: 'header',
              required: idempotency === 'required',
              description: 'Makes a repeat of this request safe',
              schema: { type: 'string', minLength: 1, maxLength: 255 },
            },
          ]),
      preferParameter,
    ],
    requestBody: {
      required: route.method !== 'DELETE',
      content: Object.fromEntries(media.map((type, index) => [type, { schema: index === 0 ? schema : {} }])),
    },
    responses: {
      200: {
        description: 'The operation was finished within the time of `Prefer: wait`',
        content: { 'application/json': { schema: operationRef(route) } },
      },
      202: {
        description: 'Accepted: durable, and handled or kept as a dead letter whatever happens',
        headers: acceptedHeaders,
        content: { 'application/json': { schema: operationRef(route) } },
        links: {
          operation: { operationId: 'getOperation', parameters: { id: '$response.body#/id' } },
          cancel: { operationId: 'cancelOperation', parameters: { id: '$response.body#/id' } },
        },
      },
      ...problemsOf(acceptProblems(source, route)),
    },
    ...(callsBack(source, route) ? { callbacks: callbackOf(route) } : {}),
  }
}

function callsBack(source: OpenApiSource, { options }: Route): boolean {
  return source.callbacks && options.callback !== false
}

/** One POST when the operation is done. */
function callbackOf(route: Route): Json {
  const { in: place, name } = route.options.callback || { in: 'body', name: 'callbackUrl' }
  const where = place === 'body' ? `{$request.body#/${name}}` : `{$request.${place}.${name}}`
  const header = { in: 'header', required: true, schema: { type: 'string' } }
  return {
    done: {
      [where]: {
        post: {
          parameters: ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map(name => ({ name, ...header })),
          requestBody: {
            required: true,
            content: {
              'application/json': {
                schema: {
                  type: 'object',
                  required: ['type', 'timestamp', 'data'],
                  properties: {
                    type: {
                      enum: ['succeeded', 'failed', 'cancelled', 'expired'].map(status => `operation.${status}`),
                    },
                    timestamp: { type: 'string', format: 'date-time' },
                    data: operationRef(route),
                  },
                },
              },
            },
          },
          responses: {
            200: { description: 'Any 2xx: delivered' },
            410: { description: 'No further attempts' },
          },
        },
      },
    },
  }
}

function ingestOperation(source: OpenApiSource, { path, events, options, admission }: IngestRoute): Json {
  const binary = { oneOf: events.map(event => jsonSchemaOf(event.schema, source.logger) ?? anyJson) }
  const structured = {
    type: 'object',
    required: ['id', 'source', 'type', 'specversion'],
    properties: {
      id: { type: 'string', minLength: 1, maxLength: 128 },
      source: { type: 'string', minLength: 1 },
      type: { enum: events.map(event => event.type) },
      specversion: { const: '1.0' },
      data: binary,
    },
  }
  const rated = source.rateLimited || options.rateLimit !== undefined || admission.check !== undefined
  return {
    operationId: ['ingest', ...path.split('/').filter(Boolean)].join('-'),
    summary: 'Publish CloudEvents',
    requestBody: {
      required: false,
      content: {
        [structuredMediaType]: { schema: structured },
        ...(options.batch === true ? { [batchMediaType]: { schema: { type: 'array', items: structured } } } : {}),
        'application/json': { schema: binary },
      },
    },
    responses: {
      202: {
        description: 'Published: durable',
        content: {
          'application/json': {
            schema: { type: 'object', required: ['accepted'], properties: { accepted: { type: 'integer' } } },
          },
        },
      },
      ...problemsOf([
        'malformed-json',
        'json-too-complex',
        'invalid-cloudevent',
        ...(source.authenticated ? (['unauthenticated'] as const) : []),
        'forbidden',
        'body-timeout',
        'body-too-large',
        'unsupported-media-type',
        'validation-failed',
        'unknown-event',
        ...(rated ? (['rate-limited'] as const) : []),
        'internal',
        'overloaded',
        'unavailable',
      ]),
    },
  }
}

function acceptProblems(source: OpenApiSource, route: Route): ProblemName[] {
  const { idempotency, options, admission } = route
  const calls = callsBack(source, route)
  const rated = source.rateLimited || options.rateLimit !== undefined || admission.check !== undefined
  return [
    'malformed-json',
    'json-too-complex',
    ...(idempotency === 'off' ? [] : (['idempotency-key-invalid', 'idempotency-key-reused'] as const)),
    ...(idempotency === 'off' ? [] : (['idempotency-in-progress', 'operation-gone'] as const)),
    ...(idempotency === 'required' ? (['idempotency-key-missing'] as const) : []),
    ...(source.authenticated ? (['unauthenticated'] as const) : []),
    'forbidden',
    'body-timeout',
    'body-too-large',
    'unsupported-media-type',
    'validation-failed',
    ...(calls ? (['callback-url-refused'] as const) : []),
    ...(rated ? (['rate-limited'] as const) : []),
    'internal',
    'overloaded',
    'unavailable',
  ]
}

function operationPaths(source: OpenApiSource): Record<string, Record<string, unknown>> {
  const { settings, authenticated } = source
  const base = settings.basePath + settings.operationsPath
  const id = { name: 'id', in: 'path', required: true, schema: { type: 'string', format: 'uuid' } }
  const who: ProblemName[] = authenticated ? ['unauthenticated'] : []
  const missing: ProblemName[] = [...who, 'not-found', 'operation-gone', 'internal', 'unavailable']
  const resource = { 'application/json': { schema: operationRef() } }
  const stream = {
    200: {
      description: 'Server-sent events: `status`, `progress` and `done`, each with the operation as it then was',
      content: { 'text/event-stream': { schema: { type: 'string' } } },
    },
    204: { description: 'The operation is done and its last event was seen: nothing will follow' },
  }
  const after = [
    { name: 'Last-Event-ID', in: 'header', required: false, schema: { type: 'string' } },
    { name: 'after', in: 'query', required: false, schema: { type: 'string' } },
  ]
  return {
    [`${base}/{id}`]: {
      get: {
        operationId: 'getOperation',
        summary: 'The state of an operation',
        parameters: [
          id,
          preferParameter,
          { name: 'If-None-Match', in: 'header', required: false, schema: { type: 'string' } },
        ],
        responses: {
          200: { description: 'The operation, also a failed one', headers: stateHeaders, content: resource },
          303: { description: 'Succeeded; the result lies at `Location`', headers: locationHeader, content: resource },
          304: { description: 'The version is the one of If-None-Match' },
          ...problemsOf(missing),
        },
      },
      delete: {
        operationId: 'cancelOperation',
        summary: 'Cancel an operation',
        parameters: [id],
        responses: {
          200: { description: 'Cancelled', content: resource },
          202: { description: 'It runs; its handler was asked to give up', content: resource },
          ...problemsOf([...missing, 'operation-done']),
        },
      },
    },
    [`${base}/{id}/events`]: {
      get: {
        operationId: 'followOperation',
        summary: 'The buzzer: events of an operation as they happen',
        parameters: [id, ...after],
        responses: { ...stream, ...problemsOf([...missing, 'too-many-streams']) },
      },
    },
    [`${base}/events`]: {
      get: {
        operationId: 'followOperations',
        summary: 'Events of up to 50 operations in one stream',
        parameters: [
          {
            name: 'id',
            in: 'query',
            required: true,
            schema: { type: 'array', minItems: 1, maxItems: 50, items: { type: 'string', format: 'uuid' } },
          },
          ...after,
        ],
        responses: { ...stream, ...problemsOf([...missing, 'validation-failed', 'too-many-streams']) },
      },
    },
  }
}

function healthPaths({ basePath }: Settings): Record<string, Record<string, unknown>> {
  const body = { 'application/json': { schema: { type: 'object' } } }
  return {
    [`${basePath}/livez`]: {
      get: {
        operationId: 'livez',
        security: [],
        responses: { 200: { description: 'The process turns', content: body } },
      },
    },
    [`${basePath}/readyz`]: {
      get: {
        operationId: 'readyz',
        security: [],
        responses: {
          200: { description: 'Requests are welcome', content: body },
          503: { description: 'A check fails', content: body },
        },
      },
    },
  }
}
