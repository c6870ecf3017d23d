import { createHash } from 'node:crypto'
import { findInCauses, isBuzzerError, type JsonObject, type JsonValue } from '../message/index.ts'
import type { BusCore } from './bus-core.ts'

/** An error as it is kept: plain data. */
export interface ErrorRecord {
  readonly name: string
  readonly message: string
  readonly code?: string
  readonly stack?: string
}

/** What a dead letter keeps beside the message. Stored as the settlement's `detail`. */
export interface FailureRecord {
  readonly attempts: number
  readonly error?: ErrorRecord & { readonly causes: readonly ErrorRecord[] }
  readonly detail?: JsonObject
  readonly fingerprint: string
  readonly host: { readonly bus: string; readonly instanceId: string; readonly hostname: string; readonly pid: number }
}

const maxStack = 8_192
const maxText = 4_096
const maxCauses = 10

/** Describes why a message became a dead letter. `attempts` is 0 when no handler ran. */
export function recordFailure(
  core: BusCore,
  type: string | undefined,
  reason: string,
  attempts: number,
  error: unknown,
  detail?: JsonObject,
): FailureRecord {
  const chain = error === undefined ? [] : errorChain(error)
  const [first, ...causes] = chain
  return {
    attempts,
    ...(first === undefined ? {} : { error: { ...first, causes: causes.map(withoutStack) } }),
    ...(detail === undefined ? {} : { detail }),
    fingerprint: fingerprint(type, reason, first),
    host: { bus: core.name, instanceId: core.instanceId, hostname: core.hostname, pid: process.pid },
  }
}

function withoutStack(error: ErrorRecord): ErrorRecord {
  const { name, message, code } = error
  return code === undefined ? { name, message } : { name, message, code }
}

/** The error and its causes, itself first, as plain data. Anything may be thrown, so nothing is taken for granted. */
export function errorChain(error: unknown): readonly ErrorRecord[] {
  const chain: ErrorRecord[] = []
  findInCauses(error, (link): link is never => {
    chain.push(errorRecord(link))
    return chain.length > maxCauses
  })
  return chain
}

function errorRecord(error: unknown): ErrorRecord {
  if (typeof error !== 'object' || error === null) return { name: typeof error, message: clip(String(error), maxText) }
  const { name, message, code, stack } = error as { name?: unknown; message?: unknown; code?: unknown; stack?: unknown }
  return {
    name: typeof name === 'string' ? name : (error.constructor?.name ?? 'Object'),
    message: clip(typeof message === 'string' ? message : shown(error), maxText),
    ...(typeof code === 'string' || typeof code === 'number' ? { code: String(code) } : {}),
    ...(typeof stack === 'string' ? { stack: clip(stack, maxStack) } : {}),
  }
}

function shown(value: object): string {
  try {
    return JSON.stringify(value) ?? 'undefined'
  } catch {
    return Object.prototype.toString.call(value)
  }
}

function clip(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max)}…`
}

/**
 * 16 hex digits that are equal for the same fault of different messages: type, reason, error name and code, the message
 * with ids, quotations and numbers blanked, and the first stack frame outside Buzzer and Node. Source: spec bus 4.5.
 */
export function fingerprint(type: string | undefined, reason: string, error: ErrorRecord | undefined): string {
  const parts = [
    type ?? '',
    reason,
    error?.name ?? '',
    error?.code ?? '',
    blank(error?.message ?? ''),
    frameOf(error?.stack),
  ]
  return createHash('sha256').update(parts.join('\u0000')).digest('hex').slice(0, 16)
}

function blank(message: string): string {
  return message
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi, '<id>')
    .replace(/"[^"]*"|'[^']*'|`[^`]*`/g, '<text>')
    .replace(/\d+(?:[.,]\d+)*/g, '<n>')
}

const ownFolder = new URL('..', import.meta.url)
const ownPath = decodeURIComponent(ownFolder.pathname)

/** Function and file name of the first frame of the user's code. */
function frameOf(stack: string | undefined): string {
  for (const line of (stack ?? '').split('\n')) {
    const frame = /^\s+at (?:(.*?) \()?(.*?)(?::\d+)?(?::\d+)?\)?$/.exec(line)
    if (frame === null) continue
    const file = frame[2] ?? ''
    if (file.startsWith('node:') || file === 'native' || file === '<anonymous>') continue
    if (file.includes(ownPath) && !/\.test\.[cm]?[jt]s$/.test(file)) continue
    return `${frame[1] ?? ''} ${file.slice(Math.max(file.lastIndexOf('/'), file.lastIndexOf('\\')) + 1)}`
  }
  return ''
}

/** The reason of the `DeadLetterError` along the causes, and its detail. */
export function askedReason(error: unknown): { reason: string; detail: JsonObject | undefined } | undefined {
  const asked = findInCauses(
    error,
    (link): link is { reason: string; detail?: JsonObject } & Error =>
      isBuzzerError(link) &&
      link.code === 'BUZZER_DEAD_LETTER' &&
      typeof (link as { reason?: unknown }).reason === 'string',
  )
  return asked === undefined ? undefined : { reason: asked.reason, detail: asked.detail }
}

/** Plain data as the settlement wants it. */
export function asDetail(record: FailureRecord): JsonObject {
  return record as unknown as JsonObject & JsonValue
}
