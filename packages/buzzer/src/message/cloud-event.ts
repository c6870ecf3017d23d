import { mediaType } from './codec.ts'
import type { Attributes } from './envelope.ts'
import { BuzzerError } from './errors.ts'

/** Media type of one CloudEvent in structured JSON mode. */
export const cloudEventMediaType = 'application/cloudevents+json'

/** A message taken out of, or put into, a structured CloudEvent. */
export interface CloudEventParts {
  /** Without `datacontenttype`. */
  readonly attributes: Attributes
  readonly contentType: string | undefined
  readonly body: Uint8Array
}

const encoder = new TextEncoder()
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Whether a body of that content type is a structured CloudEvent. */
export function isCloudEvent(contentType: string | undefined): boolean {
  // Asked of every delivery; what is shorter than the media type need not be looked at.
  if (contentType === undefined || contentType.length < cloudEventMediaType.length) return false
  return mediaType(contentType) === cloudEventMediaType
}

/** One CloudEvent as JSON. A JSON body becomes `data`, any other `data_base64`; an empty body has neither. */
export function encodeCloudEvent(parts: CloudEventParts): Uint8Array {
  const { attributes, contentType, body } = parts
  const head = JSON.stringify(contentType === undefined ? attributes : { ...attributes, datacontenttype: contentType })
  let data = ''
  if (body.length > 0) {
    data = isJson(contentType)
      ? `,"data":${strictUtf8.decode(body)}`
      : `,"data_base64":"${Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('base64')}"`
  }
  return encoder.encode(`${head.slice(0, -1)}${data}}`)
}

/**
 * Reads one structured CloudEvent. Numbers and booleans become canonical text.
 * @throws BUZZER_UNDECODABLE for what is no CloudEvent 1.0
 */
export function decodeCloudEvent(bytes: Uint8Array): CloudEventParts {
  let event: unknown
  try {
    event = JSON.parse(strictUtf8.decode(bytes))
  } catch (cause) {
    throw undecodable('its body is not JSON in UTF-8', cause)
  }
  if (typeof event !== 'object' || event === null || Array.isArray(event)) throw undecodable('it is not an object')
  const attributes: Record<string, string> = {}
  let contentType: string | undefined
  let data: unknown
  let base64: unknown
  for (const [name, value] of Object.entries(event)) {
    if (name === 'data') data = value
    else if (name === 'data_base64') base64 = value
    else if (value === null || value === undefined) continue
    else if (typeof value === 'object') throw undecodable(`attribute ${JSON.stringify(name)} is not a simple value`)
    else if (name === 'datacontenttype') contentType = String(value)
    else attributes[name] = String(value)
  }
  if (attributes['specversion'] !== '1.0') {
    throw undecodable(`specversion is ${JSON.stringify(attributes['specversion'])}, not "1.0"`)
  }
  for (const name of ['id', 'source', 'type']) {
    if (!attributes[name]) throw undecodable(`attribute ${JSON.stringify(name)} is missing`)
  }
  return { attributes, contentType: contentType ?? 'application/json', body: bodyOf(data, base64, contentType) }
}

function bodyOf(data: unknown, base64: unknown, contentType: string | undefined): Uint8Array {
  if (base64 !== undefined && base64 !== null) {
    if (typeof base64 !== 'string') throw undecodable('data_base64 is not text')
    return Buffer.from(base64, 'base64')
  }
  if (data === undefined) return new Uint8Array(0)
  if (typeof data === 'string' && contentType !== undefined && !isJson(contentType)) return encoder.encode(data)
  return encoder.encode(JSON.stringify(data))
}

function isJson(contentType: string | undefined): boolean {
  if (contentType === undefined) return true
  const media = mediaType(contentType)
  return media === 'application/json' || media.endsWith('+json') || media === 'text/json'
}

function undecodable(problem: string, cause?: unknown): BuzzerError {
  return new BuzzerError('BUZZER_UNDECODABLE', `not a CloudEvent 1.0 in JSON: ${problem}`, { cause })
}
