import { checkHeaders, checkMessageId, newId, noHeaders } from '../message/index.ts'
import type { Destination, OutgoingMessage } from '../transport/index.ts'
import type { RawMessage } from './bus-interface.ts'
import { checkKey, invalidOption } from './option-check.ts'

/** Bytes on their way, with no attribute but those given. @throws BUZZER_INVALID_OPTION */
export function rawMessage(to: Destination, raw: RawMessage): OutgoingMessage {
  const id = raw.id === undefined ? newId() : checkMessageId(raw.id)
  if (raw.headers !== undefined) checkHeaders(raw.headers)
  if (!(raw.body instanceof Uint8Array)) throw invalidOption('body', raw.body, 'a Uint8Array')
  return {
    id,
    to,
    attributes: {
      ...(raw.type === undefined ? {} : { type: raw.type }),
      ...(raw.key === undefined ? {} : { partitionkey: checkKey(raw.key) }),
    },
    headers: raw.headers ?? noHeaders,
    body: raw.body,
    priority: 4,
    mandatory: 'queue' in to,
    ...(raw.contentType === undefined ? {} : { contentType: raw.contentType }),
    ...(raw.key === undefined ? {} : { key: raw.key }),
  }
}
