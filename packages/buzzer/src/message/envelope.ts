import type { JsonObject } from './json.ts'

/**
 * CloudEvents 1.0 in binary mode: attributes beside the body, by their lower-case names, all text.
 * Source: spec bus 1.2, https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
 */
export type Attributes = Readonly<Record<string, string>>

export type MessageKind = 'command' | 'event' | 'request' | 'response'

/** The attributes that Buzzer writes. `datacontenttype` travels as the message's content type. */
export interface KnownAttributes {
  specversion: '1.0'
  id: string
  type: string
  source: string
  /** When the send was called, RFC 3339 in UTC. */
  time: string
  messagekind: MessageKind
  /** Id of the first message of the conversation. */
  conversationid: string
  /** Declared base events, nearest first, joined by commas. */
  basetypes?: string
  partitionkey?: string
  correlationid?: string
  /** Id of the message that was being handled at emission. */
  causationid?: string
  /** End of the time to live, RFC 3339 in UTC. */
  expirytime?: string
  /** `0`–`9`; absent means 4. */
  priority?: string
  /** Where the body lies when it is too large to travel (claim check). */
  dataref?: string
  traceparent?: string
  tracestate?: string
  /** Queue that the answer to a request goes to. */
  replyto?: string
  deferrals?: string
  redrives?: string
  /** The id before an edit. */
  originalid?: string
}

let lastMs = Number.NaN
let lastText = ''

/** RFC 3339 in UTC with milliseconds. The last result is kept: many messages share their millisecond. */
export function toTimestamp(ms: number): string {
  if (ms !== lastMs) {
    lastText = new Date(ms).toISOString()
    lastMs = ms
  }
  return lastText
}

/** Epoch milliseconds of an RFC 3339 time, or `undefined` for anything else. */
export function fromTimestamp(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const ms = Date.parse(text)
  return Number.isNaN(ms) ? undefined : ms
}

/** A counter attribute (`deferrals`, `redrives`): 0 when absent or not a whole number. */
export function toCount(text: string | undefined): number {
  if (text === undefined) return 0
  const count = Number(text)
  return Number.isSafeInteger(count) && count > 0 ? count : 0
}

/** The CloudEvents attributes with the content type as `datacontenttype`, as documents show them. */
export function withContentType(attributes: Attributes, contentType: string | undefined): JsonObject {
  return contentType === undefined ? attributes : { ...attributes, datacontenttype: contentType }
}
