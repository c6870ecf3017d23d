import type { Logger, StandardSchema } from '../message/index.ts'
import { type ProblemKind, problemKinds, type ProblemName } from './problem-registry.ts'
import type { Route } from './route.ts'

export type Json = Readonly<Record<string, unknown>>

export const anyJson: Json = { description: 'Any JSON' }
/** The operation as a route's answers show it. */
export const operationRef = (route?: Route): Json => ({
  $ref: `#/components/schemas/${route?.options.result === undefined ? 'Operation' : resultSchemaName(route)}`,
})

/** The JSON Schema of a Standard Schema that can give one; `undefined` for others. */
export function jsonSchemaOf(schema: StandardSchema | undefined, logger: Logger): Json | undefined {
  const make = schema?.['~standard'].jsonSchema
  if (make === undefined) return undefined
  try {
    const { $schema: _dialect, ...rest } = make.input({ target: 'draft-2020-12' })
    return rest
  } catch (error) {
    logger.warn({ error }, 'a schema has no JSON Schema side; it is documented as any JSON')
    return undefined
  }
}

/** Responses by status; several problems of one status share an entry. */
export function problemsOf(names: readonly ProblemName[]): Record<string, unknown> {
  const byStatus = new Map<number, ProblemName[]>()
  for (const name of names) {
    const { status } = problemKinds[name] as ProblemKind
    if (status !== undefined) byStatus.set(status, [...(byStatus.get(status) ?? []), name])
  }
  return Object.fromEntries(
    [...byStatus].map(([status, same]) => [
      status,
      same.length === 1
        ? { $ref: `#/components/responses/${same[0]}` }
        : { ...problemResponse(same), description: same.map(name => problemKinds[name].title).join('; ') },
    ]),
  )
}

/** Every problem that is an answer. */
export function problemResponses(): Json {
  const answers = (Object.entries(problemKinds) as [ProblemName, ProblemKind][]).filter(([, kind]) => kind.status)
  return Object.fromEntries(answers.map(([name]) => [name, problemResponse([name])]))
}

function problemResponse(names: readonly ProblemName[]): Json {
  const [first = 'internal'] = names
  const { status, page } = problemKinds[first] as ProblemKind
  const headers = {
    ...(status === 429 || status === 503 ? { 'Retry-After': retryAfterHeader } : {}),
    ...(status === 401 ? { 'WWW-Authenticate': { schema: { type: 'string' } } } : {}),
  }
  return {
    description: page,
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
    content: {
      'application/problem+json': {
        schema: { $ref: '#/components/schemas/Problem' },
        examples: Object.fromEntries(
          names.map(name => [name, { value: { type: `/problems/${name}`, title: problemKinds[name].title, status } }]),
        ),
      },
    },
  }
}

/** The schemas of operations, one for each route with a typed result, and of problems. */
export function componentSchemas(routes: readonly Route[], logger: Logger): Json {
  const typed = routes.filter(route => route.options.result !== undefined)
  return {
    Operation: operationSchema(anyJson),
    ...Object.fromEntries(
      typed.map(route => [
        resultSchemaName(route),
        operationSchema(jsonSchemaOf(route.options.result, logger) ?? anyJson),
      ]),
    ),
    Problem: {
      type: 'object',
      description: 'RFC 9457',
      required: ['type', 'title'],
      properties: {
        type: { type: 'string', format: 'uri-reference' },
        title: { type: 'string' },
        status: { type: 'integer' },
        detail: { type: 'string' },
        code: { type: 'string' },
        errors: {
          type: 'array',
          maxItems: 20,
          items: {
            type: 'object',
            required: ['detail', 'pointer'],
            properties: { detail: { type: 'string' }, pointer: { type: 'string' } },
          },
        },
      },
    },
  }
}

function operationSchema(result: Json): Json {
  const time = { type: 'string', format: 'date-time' }
  const link = { type: 'string', format: 'uri-reference' }
  return {
    type: 'object',
    required: ['id', 'command', 'status', 'done', 'version', 'attempt', 'createdAt', 'links'],
    properties: {
      id: { type: 'string', format: 'uuid' },
      command: { type: 'string' },
      status: { enum: ['accepted', 'running', 'retrying', 'succeeded', 'failed', 'cancelled', 'expired'] },
      done: { type: 'boolean' },
      version: { type: 'integer', minimum: 1 },
      attempt: { type: 'integer', minimum: 0 },
      createdAt: time,
      startedAt: time,
      finishedAt: time,
      expiresAt: time,
      progress: {
        type: 'object',
        required: ['at'],
        properties: {
          percent: { type: 'number', minimum: 0, maximum: 100 },
          done: { type: 'number' },
          total: { type: 'number' },
          note: { type: 'string', maxLength: 500 },
          at: time,
        },
      },
      cancelRequested: { const: true },
      result,
      resultOmitted: { enum: ['too-large', 'not-json'] },
      error: { $ref: '#/components/schemas/Problem' },
      links: {
        type: 'object',
        required: ['self', 'events'],
        properties: { self: link, events: link, cancel: link, result: link },
      },
    },
  }
}

/** `post-orders-by-orderId` */
export function operationId({ method, path }: Route): string {
  const words = path.split('/').map(part => part.replace(/^:/, 'by-'))
  return [method.toLowerCase(), ...words.filter(Boolean)].join('-').replaceAll(/[^A-Za-z0-9-]/g, '-')
}

function resultSchemaName(route: Route): string {
  return `Operation-${operationId(route)}`
}

const retryAfterHeader: Json = { description: 'Whole seconds', schema: { type: 'integer', minimum: 1 } }
export const locationHeader: Json = { Location: { schema: { type: 'string', format: 'uri-reference' } } }
export const stateHeaders: Json = {
  ETag: { description: 'The version', schema: { type: 'string' } },
  'Retry-After': retryAfterHeader,
  Link: { schema: { type: 'string' } },
}
export const acceptedHeaders: Json = {
  ...locationHeader,
  'Retry-After': retryAfterHeader,
  Link: { schema: { type: 'string' } },
  'Preference-Applied': { schema: { type: 'string' } },
  'Idempotency-Replayed': { schema: { type: 'string', const: 'true' } },
}
export const preferParameter: Json = {
  name: 'Prefer',
  in: 'header',
  required: false,
  description: 'RFC 7240: `respond-async`, `wait=<seconds>`',
  schema: { type: 'string' },
}
