import { BuzzerError } from '../message/index.ts'
import type { Admission, GatewayOptions, Limits, StreamOptions } from './gateway-options.ts'

/** The numbers of a gateway with their defaults. Source: spec http 4. */
export interface Settings {
  readonly basePath: string
  readonly operationsPath: string
  /** Without a trailing slash; empty when there is none. */
  readonly publicUrl: string
  readonly challenge: string
  readonly limits: Required<Limits>
  readonly admission: Required<Omit<Admission, 'check' | 'maxPredictedWaitMs'>> &
    Pick<Admission, 'check' | 'maxPredictedWaitMs'>
  readonly waitMaxMs: number
  readonly idempotencyTtlMs: number
  readonly events: Required<StreamOptions>
  readonly acceptTimeoutMs: number
  readonly resultOrigins: readonly string[]
}

const gatewayOptions = new Set([
  'bus',
  'operations',
  'basePath',
  'operationsPath',
  'publicUrl',
  'authenticate',
  'challenge',
  'authorize',
  'limits',
  'admission',
  'rateLimit',
  'wait',
  'idempotency',
  'events',
  'acceptTimeoutMs',
  'resultOrigins',
  'volatile',
  'cors',
  'health',
  'documents',
  'webhooks',
])

const documentOptions = new Set(['public', 'openApi'])

/** @throws BUZZER_INVALID_OPTION, BUZZER_UNSUPPORTED for what this version does not have */
export function readSettings(options: GatewayOptions): Settings {
  refuseUnknown('createGateway', options, gatewayOptions)
  const { authenticate, cors, documents } = options
  if (documents !== undefined && documents !== 'none') refuseUnknown('documents', documents, documentOptions)
  if (authenticate !== undefined && authenticate !== 'none' && typeof authenticate !== 'function') {
    throw invalid('authenticate', 'authenticate is neither a function of the request nor none')
  }
  for (const origin of cors?.origins ?? []) {
    if (URL.parse(origin)?.origin !== origin) {
      throw invalid(
        'cors',
        `cors.origins lists exact origins such as https://shop.example.com, not ${JSON.stringify(origin)}`,
      )
    }
  }
  return {
    basePath: readPath('basePath', options.basePath ?? ''),
    operationsPath: readPath('operationsPath', options.operationsPath ?? '/operations'),
    publicUrl: readPublicUrl(options.publicUrl),
    challenge: options.challenge ?? 'Bearer',
    limits: readLimits(options.limits),
    admission: readAdmission(options.admission),
    waitMaxMs: number('wait.maxMs', options.wait?.maxMs, 25_000),
    idempotencyTtlMs: number('idempotency.ttlMs', options.idempotency?.ttlMs, 86_400_000),
    events: {
      heartbeatMs: number('events.heartbeatMs', options.events?.heartbeatMs, 15_000),
      retryMs: number('events.retryMs', options.events?.retryMs, 3_000),
      maxStreams: number('events.maxStreams', options.events?.maxStreams, 1_000),
      maxStreamsPerPrincipal: number('events.maxStreamsPerPrincipal', options.events?.maxStreamsPerPrincipal, 20),
      maxBufferedBytes: number('events.maxBufferedBytes', options.events?.maxBufferedBytes, 65_536),
      maxAgeMs: number('events.maxAgeMs', options.events?.maxAgeMs, 3_600_000),
    },
    acceptTimeoutMs: number('acceptTimeoutMs', options.acceptTimeoutMs, 10_000),
    resultOrigins: options.resultOrigins ?? [],
  }
}

export function readLimits(given: Limits = {}, defaults?: Required<Limits>): Required<Limits> {
  return {
    maxBodyBytes: number('limits.maxBodyBytes', given.maxBodyBytes, defaults?.maxBodyBytes ?? 262_144),
    bodyTimeoutMs: number('limits.bodyTimeoutMs', given.bodyTimeoutMs, defaults?.bodyTimeoutMs ?? 10_000),
    maxJsonDepth: number('limits.maxJsonDepth', given.maxJsonDepth, defaults?.maxJsonDepth ?? 64),
    maxJsonKeys: number('limits.maxJsonKeys', given.maxJsonKeys, defaults?.maxJsonKeys ?? 10_000),
    maxConcurrentAccepts: number(
      'limits.maxConcurrentAccepts',
      given.maxConcurrentAccepts,
      defaults?.maxConcurrentAccepts ?? 1_000,
    ),
  }
}

export function readAdmission(given: Admission = {}, defaults?: Settings['admission']): Settings['admission'] {
  const predicted = given.maxPredictedWaitMs ?? defaults?.maxPredictedWaitMs
  const check = given.check ?? defaults?.check
  return {
    maxBacklog: number('admission.maxBacklog', given.maxBacklog, defaults?.maxBacklog ?? 100_000),
    maxCommitMs: number('admission.maxCommitMs', given.maxCommitMs, defaults?.maxCommitMs ?? 2_000),
    maxEventLoopDelayMs: number(
      'admission.maxEventLoopDelayMs',
      given.maxEventLoopDelayMs,
      defaults?.maxEventLoopDelayMs ?? 1_000,
    ),
    minFreeDiskBytes: number(
      'admission.minFreeDiskBytes',
      given.minFreeDiskBytes,
      defaults?.minFreeDiskBytes ?? 64 * 1024 * 1024,
    ),
    maxRetryAfterMs: number('admission.maxRetryAfterMs', given.maxRetryAfterMs, defaults?.maxRetryAfterMs ?? 60_000),
    ...(predicted === undefined ? {} : { maxPredictedWaitMs: predicted }),
    ...(check === undefined ? {} : { check }),
  }
}

/** Refuses options nobody would look at. @throws BUZZER_INVALID_OPTION, BUZZER_UNSUPPORTED */
export function refuseUnknown(what: string, options: object, known: ReadonlySet<string>): void {
  for (const name of Object.keys(options)) {
    if (known.has(name)) continue
    const later: Readonly<Record<string, string>> = {
      asyncApi: 'describe the messages by hand',
    }
    const instead = later[name]
    if (instead === undefined) throw invalid(name, `${what} has no option ${name}`)
    throw new BuzzerError('BUZZER_UNSUPPORTED', `option ${name} of ${what} is not part of this version; ${instead}`, {
      details: { option: name },
    })
  }
}

export function number(option: string, value: number | undefined, byDefault: number): number {
  if (value === undefined) return byDefault
  if (typeof value === 'number' && value >= 0) return value
  throw invalid(option, `${option} ${String(value)} is not a number of at least 0`)
}

export function invalid(option: string, message: string): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', message, { details: { option } })
}

function readPath(option: string, path: string): string {
  const text = path.replace(/\/$/, '')
  if (text !== '' && !/^(?:\/[A-Za-z0-9._~-]+)+$/.test(text)) {
    throw invalid(option, `${option} ${JSON.stringify(path)} is not a path such as /api/v1`)
  }
  return text
}

function readPublicUrl(given: string | undefined): string {
  if (given === undefined) return ''
  const url = URL.parse(given)
  if (url === null || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '' || url.username !== '') {
    throw invalid('publicUrl', `publicUrl ${JSON.stringify(given)} is not an address such as https://api.example.com`)
  }
  return url.href.replace(/\/$/, '')
}
