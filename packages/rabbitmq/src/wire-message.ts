import { BuzzerError } from 'buzzer'
import type { Delivery, OutgoingMessage } from 'buzzer/transport'
import type { Message } from './amqplib-connection.ts'

/** CloudEvents attributes are headers of these names. Source: CloudEvents AMQP binding, spec bus 1.2. */
const attributePrefix = 'cloudEvents:'
const otherAttributePrefix = 'cloudEvents_'

/** The key, for bindings with a match on it. */
export const keyHeader = 'buzzer-key'
/** Attempts that earlier copies of the message have used: a delayed retry comes back as a copy. */
const attemptHeader = 'buzzer-attempt'
/** When it expires, in epoch milliseconds. The server's own expiry works at the head of a queue only. */
const expiresHeader = 'buzzer-expires-at'
const deliverHeader = 'buzzer-deliver-at'
/** A user's header whose own name would mean something to the server or to us. */
const escapedPrefix = 'buzzer-header:'

/** What a message without one counts as; the property is left out then. */
const usualPriority = 4

/** Names that the server reads or writes itself. */
function isServers(name: string): boolean {
  return (
    name === 'CC' ||
    name === 'BCC' ||
    name === 'x-death' ||
    name === 'x-delivery-count' ||
    name === 'x-acquired-count' ||
    name === 'x-received-from' ||
    name === 'x-delay' ||
    name.startsWith('x-first-death-') ||
    name.startsWith('x-last-death-') ||
    name.startsWith('x-stream-') ||
    name.startsWith('x-opt-')
  )
}

function needsEscape(name: string): boolean {
  return (
    isServers(name) ||
    name.startsWith('buzzer-header:') ||
    name === keyHeader ||
    name === attemptHeader ||
    name === expiresHeader ||
    name === deliverHeader ||
    name.startsWith('cloudEvents')
  )
}

/** Names come again and again: concatenated and cut once each. Bounded, for a sender could make up any number of them. */
const wireNames = new Map<string, string>()
const attributeNames = new Map<string, string>()
const maxNames = 2_000

function wireName(attribute: string): string {
  let name = wireNames.get(attribute)
  if (name === undefined) {
    name = attributePrefix + attribute
    if (wireNames.size < maxNames) wireNames.set(attribute, name)
  }
  return name
}

/** The attribute that a header stands for; an empty text for any other header. */
function attributeOf(header: string): string {
  let attribute = attributeNames.get(header)
  if (attribute === undefined) {
    attribute =
      header.startsWith(attributePrefix) || header.startsWith(otherAttributePrefix)
        ? header.slice(attributePrefix.length)
        : ''
    if (attributeNames.size < maxNames) attributeNames.set(header, attribute)
  }
  return attribute
}

/** The properties of a message in AMQP. All are persistent. */
export interface MessageProperties {
  readonly messageId: string
  readonly headers: Readonly<Record<string, string | number>>
  readonly contentType?: string
  /** Left out: the usual one. */
  readonly priority?: number
  /** Milliseconds, as text. */
  readonly expiration?: string
}

/** A message as the server carries it. `expiresInMs`: given to the server too; it drops what expires at the head of a queue. */
export function encodeMessage(
  message: OutgoingMessage,
  carriedAttempts: number,
  expiresInMs: number | undefined,
): MessageProperties {
  const headers: Record<string, string | number> = {}
  const { attributes, headers: own } = message
  for (const name of Object.keys(attributes)) headers[wireName(name)] = attributes[name] as string
  for (const name of Object.keys(own)) headers[needsEscape(name) ? escapedPrefix + name : name] = own[name] as string
  if (message.key !== undefined) headers[keyHeader] = message.key
  if (carriedAttempts > 0) headers[attemptHeader] = carriedAttempts
  if (message.expiresAt !== undefined) headers[expiresHeader] = message.expiresAt
  if (message.deliverAt !== undefined) headers[deliverHeader] = message.deliverAt
  return {
    messageId: message.id,
    headers,
    ...(message.contentType === undefined ? {} : { contentType: message.contentType }),
    ...(message.priority === usualPriority ? {} : { priority: message.priority }),
    ...(expiresInMs === undefined ? {} : { expiration: String(Math.max(0, Math.ceil(expiresInMs))) }),
  }
}

/** What a delivery says, but for its lock. */
export type Received = Omit<Delivery, 'signal' | 'queue' | 'attempt' | 'deadLetter'> & {
  /** Attempts used before this delivery, as far as the server and earlier copies have counted them. */
  readonly attemptsBefore: number
}

/** Reads a message, ours or a foreign one: what is no attribute is a header, and no value is lost for want of being text. */
export function decodeMessage(message: Message, arrivedAt: number): Received {
  const { properties, content, fields } = message
  const given = (properties.headers ?? {}) as Record<string, unknown>
  const attributes: Record<string, string> = {}
  const headers: Record<string, string> = {}
  let key: string | undefined
  let carried = 0
  let delivered = 0
  let expiresAt: number | undefined
  let deliverAt: number | undefined
  for (const name of Object.keys(given)) {
    const value = given[name]
    const attribute = attributeOf(name)
    if (attribute !== '') attributes[attribute] = text(value)
    else if (name === keyHeader) key = text(value)
    else if (name === attemptHeader) carried = numberOf(value) ?? 0
    else if (name === expiresHeader) expiresAt = numberOf(value)
    else if (name === deliverHeader) deliverAt = numberOf(value)
    else if (name === 'x-delivery-count') delivered = numberOf(value) ?? 0
    else if (name.startsWith(escapedPrefix)) headers[name.slice(escapedPrefix.length)] = text(value)
    else if (!isServers(name) && value !== null) headers[name] = text(value)
  }
  const { messageId, contentType, priority, timestamp } = properties as {
    messageId?: string
    contentType?: string
    priority?: number
    timestamp?: number
  }
  const enqueuedAt = deliverAt ?? acceptedAt(attributes['time'], timestamp) ?? arrivedAt
  return {
    // A foreign message may have no id; the delivery needs one, and this one is the same for the same delivery.
    id:
      messageId ??
      attributes['id'] ??
      `${fields.exchange}:${fields.routingKey}:${'deliveryTag' in fields ? fields.deliveryTag : 0}`,
    attributes,
    headers,
    body: content,
    priority: priority === undefined ? usualPriority : Math.min(9, priority),
    enqueuedAt,
    attemptsBefore: delivered + carried,
    ...(contentType === undefined ? {} : { contentType }),
    ...(key === undefined ? {} : { key }),
    ...(deliverAt === undefined ? {} : { deliverAt }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
  }
}

/** AMQP has no time of acceptance: the time of the send is the nearest. */
function acceptedAt(time: string | undefined, timestamp: number | undefined): number | undefined {
  if (time !== undefined) {
    const at = Date.parse(time)
    if (!Number.isNaN(at)) return at
  }
  return timestamp === undefined ? undefined : timestamp * 1_000
}

function text(value: unknown): string {
  if (typeof value === 'string') return value
  if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8')
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : JSON.stringify(value)
}

function numberOf(value: unknown): number | undefined {
  const number = typeof value === 'number' ? value : typeof value === 'string' ? Number(value) : Number.NaN
  return Number.isFinite(number) ? number : undefined
}

/** Limits of one message. */
export interface MessageLimits {
  /** Attributes, headers and body. */
  readonly maxMessageBytes: number
  /** Attributes and headers: AMQP carries them in one frame, and the client library encodes at most 64 KiB. */
  readonly maxHeaderBytes: number
}

const idShape = /^[\x21-\x7e]{1,128}$/

/**
 * Checks what can be wrong with a message before anything is sent.
 * @throws BUZZER_INVALID_OPTION, BUZZER_INVALID_MESSAGE, BUZZER_MESSAGE_TOO_LARGE
 */
export function checkMessage(message: OutgoingMessage, limits: MessageLimits): void {
  const { id, body, priority } = message
  if (typeof id !== 'string' || !idShape.test(id)) {
    throw new BuzzerError(
      'BUZZER_INVALID_OPTION',
      `messageId ${JSON.stringify(id)?.slice(0, 150)} is not 1 to 128 visible ASCII characters`,
      {
        details: { option: 'messageId', value: id },
      },
    )
  }
  if (!(body instanceof Uint8Array)) {
    throw new BuzzerError('BUZZER_INVALID_MESSAGE', `the body of message ${id} is not a Uint8Array`, {
      details: { messageId: id },
    })
  }
  if (!Number.isInteger(priority) || priority < 0 || priority > 9) {
    throw new BuzzerError('BUZZER_INVALID_OPTION', `priority ${String(priority)} is not a whole number from 0 to 9`, {
      details: { option: 'priority', value: priority },
    })
  }
  // A UTF-16 unit is at most three bytes, so exact sizes are counted only near a limit. 16: what a header costs besides its text.
  const roughly = textUnits(message.attributes) + textUnits(message.headers) + (message.key?.length ?? 0)
  if (roughly * 3 <= limits.maxHeaderBytes && body.byteLength + roughly * 3 <= limits.maxMessageBytes) return
  const headerBytes = textBytes(message.attributes) + textBytes(message.headers) + Buffer.byteLength(message.key ?? '')
  const bytes = body.byteLength + headerBytes
  if (bytes > limits.maxMessageBytes) throw tooLarge(id, 'has', bytes, limits.maxMessageBytes, 'maxMessageBytes')
  if (headerBytes > limits.maxHeaderBytes) {
    throw tooLarge(
      id,
      'has attributes and headers of',
      headerBytes,
      limits.maxHeaderBytes,
      'one frame of the connection',
    )
  }
}

function tooLarge(id: string, what: string, bytes: number, maxBytes: number, limit: string): BuzzerError {
  return new BuzzerError(
    'BUZZER_MESSAGE_TOO_LARGE',
    `message ${id} ${what} ${bytes} bytes; the limit is ${maxBytes} (${limit})`,
    {
      details: { messageId: id, bytes, maxBytes },
    },
  )
}

const perEntryBytes = 24

function textUnits(texts: Readonly<Record<string, string>>): number {
  let units = 0
  for (const name of Object.keys(texts)) units += name.length + (texts[name] as string).length + perEntryBytes / 3
  return units
}

function textBytes(texts: Readonly<Record<string, string>>): number {
  let bytes = 0
  for (const name of Object.keys(texts))
    bytes += Buffer.byteLength(name) + Buffer.byteLength(texts[name] as string) + perEntryBytes
  return bytes
}
