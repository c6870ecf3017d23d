import { isJson } from './media-type.ts'
import { type JsonLimits, parseJson } from './json-limits.ts'
import { Refusal } from './refusal.ts'

/** A CloudEvent as it came in over HTTP. Source: CloudEvents 1.0.2, HTTP protocol binding 1.0.2, spec http 7. */
export interface ReceivedEvent {
  readonly id: string
  readonly source: string
  readonly type: string
  /** Every other attribute that is the sender's to set, as canonical text; `datacontenttype` excepted. */
  readonly attributes: Readonly<Record<string, string>>
  readonly data: unknown
}

export const structuredMediaType = 'application/cloudevents+json'
export const batchMediaType = 'application/cloudevents-batch+json'

const nameShape = /^[a-z0-9]+$/
const idShape = /^[\x21-\x7e]{1,128}$/
const rfc3339 = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:\d{2})$/

/** Attributes that Buzzer writes itself: what a foreign sender says under these names would be believed. */
const ours = new Set([
  'messagekind',
  'conversationid',
  'causationid',
  'basetypes',
  'priority',
  'dataref',
  'replyto',
  'deferrals',
  'redrives',
  'originalid',
])

/** Binary mode: attributes in `ce-` headers, the body is the data. */
export function readBinary(headers: Headers, data: unknown): ReceivedEvent {
  const attributes: Record<string, unknown> = {}
  for (const [header, value] of headers) {
    if (header.startsWith('ce-')) attributes[header.slice('ce-'.length)] = percentDecoded(header, value)
  }
  delete attributes['datacontenttype']
  return received(attributes, data)
}

/** Structured mode: one JSON object with attributes and `data` or `data_base64`. */
export function readStructured(value: unknown, limits: JsonLimits): ReceivedEvent {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('the event is not an object')
  const { data, data_base64: base64, datacontenttype, ...attributes } = value as Record<string, unknown>
  if (base64 === undefined || base64 === null) return received(attributes, data)
  if (data !== undefined) throw invalid('it has both data and data_base64')
  if (typeof base64 !== 'string' || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) throw invalid('data_base64 is not base64')
  const essence = typeof datacontenttype === 'string' ? (datacontenttype.split(';')[0] ?? '').trim().toLowerCase() : ''
  if (essence !== '' && !isJson(essence)) {
    throw new Refusal('unsupported-media-type', { detail: `data of type ${JSON.stringify(essence)} is not taken here` })
  }
  return received(attributes, parseJson(Buffer.from(base64, 'base64'), limits))
}

/** Batch mode: an array of structured events. */
export function readBatch(value: unknown, limits: JsonLimits): ReceivedEvent[] {
  if (!Array.isArray(value)) throw invalid('the batch is not an array')
  return value.map(one => readStructured(one, limits))
}

function received(given: Record<string, unknown>, data: unknown): ReceivedEvent {
  const attributes: Record<string, string> = {}
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined) continue
    if (!nameShape.test(name)) throw invalid(`the attribute name ${shown(name)} is not of a–z and 0–9`)
    attributes[name] = canonical(name, value)
  }
  const { id = '', source = '', type = '', specversion = '', ...rest } = attributes
  for (const [name, value] of Object.entries({ id, source, type, specversion })) {
    if (value === '') throw invalid(`the attribute ${name} is missing or empty`)
  }
  if (specversion !== '1.0') throw invalid(`specversion is ${shown(specversion)}, not "1.0"`)
  if (!idShape.test(id)) throw invalid('the id is not 1 to 128 visible ASCII characters')
  if (rest['time'] !== undefined && !rfc3339.test(rest['time'])) throw invalid('time is not an RFC 3339 time')
  for (const name of ours) delete rest[name]
  return { id, source, type, attributes: rest, data }
}

/** Text, whole numbers and booleans; anything else is no CloudEvents value. */
function canonical(name: string, value: unknown): string {
  if (typeof value === 'string') return value
  if (typeof value === 'boolean' || (typeof value === 'number' && Number.isInteger(value))) return String(value)
  throw invalid(`the attribute ${name} is not text, a whole number or a boolean`)
}

function percentDecoded(header: string, value: string): string {
  const text = value.startsWith('"') && value.endsWith('"') && value.length > 1 ? value.slice(1, -1) : value
  try {
    return decodeURIComponent(text)
  } catch {
    throw invalid(`the header ${header} is not percent-encoded UTF-8`)
  }
}

function invalid(why: string): Refusal {
  return new Refusal('invalid-cloudevent', { detail: `This is no CloudEvent 1.0: ${why}` })
}

function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)
}
