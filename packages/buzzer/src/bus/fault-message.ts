import { json, noHeaders, toTimestamp } from '../message/index.ts'
import { mediaType } from '../message/index.ts'
import type { OutgoingMessage } from '../transport/index.ts'
import type { BusCore } from './bus-core.ts'
import type { FailureRecord } from './dead-letter.ts'
import { anyFault, type Fault, isFaultType } from './fault.ts'
import type { Route } from './handler.ts'
import type { Incoming } from './pipeline/incoming.ts'

/**
 * The fault event of a dead letter, ready to leave with its settlement, or `undefined` where none is due: faults off, a
 * fault that failed itself, an expired message.
 */
export function faultMessage(
  core: BusCore,
  queue: { readonly name: string; readonly source: string },
  incoming: Incoming,
  route: Route | undefined,
  reason: string,
  record: FailureRecord,
): OutgoingMessage | undefined {
  const { type } = incoming
  if (!core.publishFaults || isFaultType(type) || reason === 'expired') return undefined
  const now = core.clock.now()
  const id = core.newId()
  const fault = faultOf(core, queue.name, incoming, route, reason, record, id, now)
  const bases = incoming.attributes['basetypes']?.split(',').map(base => `${base}.fault`) ?? []
  const faultType = type === undefined ? anyFault.type : `${type}.fault`
  const allBases = type === undefined ? [] : [...bases, anyFault.type]
  const { trace, correlationId, conversationId } = incoming.origin
  return {
    id,
    to: { topic: faultType, bases: allBases },
    attributes: {
      specversion: '1.0',
      id,
      type: faultType,
      source: queue.source,
      time: toTimestamp(now),
      messagekind: 'event',
      conversationid: conversationId,
      causationid: incoming.id,
      ...(allBases.length === 0 ? {} : { basetypes: allBases.join(',') }),
      ...(correlationId === undefined ? {} : { correlationid: correlationId }),
      ...trace,
    },
    headers: noHeaders,
    contentType: json.contentType,
    body: json.encode(fault),
    priority: 4,
    mandatory: false,
  }
}

/** The content of a fault, for the event and for the answer to a failed request. */
export function faultOf(
  core: BusCore,
  queue: string,
  incoming: Incoming,
  route: Route | undefined,
  reason: string,
  record: FailureRecord,
  faultId: string,
  now: number,
): Fault {
  const message = readable(incoming, route)
  const { causes, ...first } = record.error ?? { causes: [], name: '', message: '' }
  return {
    faultId,
    messageId: incoming.id,
    ...(incoming.type === undefined ? {} : { messageType: incoming.type }),
    queue,
    bus: core.name,
    reason,
    attempts: record.attempts,
    failedAt: toTimestamp(now),
    errors: record.error === undefined ? [] : [first, ...causes],
    ...(message === undefined ? {} : { message: message.value }),
    host: record.host,
  }
}

/** The message as its sender gave it, when JSON can carry it. */
function readable(incoming: Incoming, route: Route | undefined): { readonly value: unknown } | undefined {
  const media = mediaType(incoming.contentType ?? route?.reads.codec.contentType ?? json.contentType)
  if (media !== 'application/json' || incoming.encoded.length === 0) return undefined
  try {
    return { value: json.decode(incoming.encoded, media) }
  } catch {
    return undefined
  }
}
