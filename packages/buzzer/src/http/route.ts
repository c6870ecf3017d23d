import { type AnyCommandContract, BuzzerError } from '../message/index.ts'
import { type EventEnding, readCompletion, readRetention, type Completion } from '../operations/index.ts'
import type { RouteOptions } from './gateway-options.ts'
import { invalid, number, readAdmission, readLimits, refuseUnknown, type Settings } from './settings.ts'

export const acceptMethods = ['POST', 'PUT', 'PATCH', 'DELETE'] as const
export type AcceptMethod = (typeof acceptMethods)[number]

/** An accepting route, checked and with its defaults. */
export interface Route {
  readonly method: AcceptMethod
  /** As given, without `basePath`. */
  readonly path: string
  /** `POST /orders`: names the route in records and scopes its idempotency keys. */
  readonly name: string
  readonly command: AnyCommandContract
  readonly options: RouteOptions<AnyCommandContract>
  readonly ending: 'handler' | 'manual' | EventEnding
  readonly idempotency: 'optional' | 'required' | 'off'
  readonly limits: Settings['limits']
  readonly admission: Settings['admission']
  readonly waitMaxMs: number
  readonly parsers: readonly string[]
}

const routeOptions = new Set([
  'to',
  'input',
  'result',
  'completion',
  'expiresAfterMs',
  'retention',
  'error',
  'onComplete',
  'resultUrl',
  'idempotency',
  'headers',
  'callback',
  'parse',
  'summary',
  'description',
  'tags',
  'limits',
  'admission',
  'rateLimit',
  'wait',
  'authorize',
])

const segment = /^(?::[A-Za-z][A-Za-z0-9_]*|[A-Za-z0-9._~-]+)$/

/** @throws BUZZER_WRONG_KIND, BUZZER_INVALID_OPTION, BUZZER_UNSUPPORTED */
export function readRoute(
  method: string,
  path: string,
  command: AnyCommandContract,
  given: RouteOptions<never> | undefined,
  settings: Settings,
): Route {
  const options = (given ?? {}) as RouteOptions<AnyCommandContract>
  const name = `${method} ${path}`
  if (!(acceptMethods as readonly string[]).includes(method)) {
    throw invalid('method', `accept takes ${acceptMethods.join(', ')}, not ${method}`)
  }
  checkPath(path)
  const { kind, name: contract } = command as { readonly kind?: string; readonly name?: string }
  if (kind !== 'command') {
    const given = kind === undefined ? 'this is no contract' : `${contract ?? 'this'} is of kind ${kind}`
    throw new BuzzerError('BUZZER_WRONG_KIND', `${name} accepts commands; ${given}`)
  }
  refuseUnknown(`route ${name}`, options, routeOptions)
  if (path.includes('/:') && options.input === undefined) {
    throw invalid('input', `${name} has path parameters, so it needs input to put them into the payload`)
  }
  const { idempotency = 'optional', onComplete = 'resource' } = options
  if (!['optional', 'required', 'off'].includes(idempotency)) {
    throw invalid('idempotency', `idempotency of ${name} is optional, required or off, not ${idempotency as string}`)
  }
  if (!['resource', 'see-other'].includes(onComplete)) {
    throw invalid('onComplete', `onComplete of ${name} is resource or see-other, not ${onComplete as string}`)
  }
  if (onComplete === 'see-other' && options.resultUrl === undefined) {
    throw invalid('onComplete', `onComplete 'see-other' of ${name} needs resultUrl`)
  }
  if (options.expiresAfterMs !== undefined && !(options.expiresAfterMs > 0)) {
    throw invalid('expiresAfterMs', `expiresAfterMs of ${name} is not a number of milliseconds above 0`)
  }
  readRetention(options.retention)
  const { callback } = options
  if (callback !== undefined && callback !== false && !['body', 'query', 'header'].includes(callback.in)) {
    throw invalid('callback', `callback of ${name} is in body, query or header`)
  }
  return {
    method: method as AcceptMethod,
    path,
    name,
    command,
    options,
    ending: readCompletion(options.completion as Completion<never> | undefined),
    idempotency,
    limits: readLimits(options.limits, settings.limits),
    admission: readAdmission(options.admission, settings.admission),
    waitMaxMs: number('wait.maxMs', options.wait?.maxMs, settings.waitMaxMs),
    parsers: Object.keys(options.parse ?? {}).map(type => type.toLowerCase()),
  }
}

/** Paths are plain segments and `:parameters`. @throws BUZZER_INVALID_OPTION */
export function checkPath(path: string): void {
  const parts = path === '/' ? [] : path.slice(1).replace(/\/$/, '').split('/')
  if (!path.startsWith('/') || !parts.every(part => segment.test(part))) {
    throw invalid('path', `${JSON.stringify(path)} is not a path such as /orders or /orders/:orderId`)
  }
}

/** Equal for paths that match the same requests. */
export function pathShape(path: string): string {
  return path.replaceAll(/:[^/]+/g, ':')
}
