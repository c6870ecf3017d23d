import type { OutgoingMessage } from '../../transport/index.ts'
import type { BusCore } from '../bus-core.ts'
import { type Incoming, roundsHeader } from './incoming.ts'

/** The same message, back on its queue after a deferral: attempts begin anew, and so do the rounds of earlier copies. */
export function deferredCopy(core: BusCore, incoming: Incoming, delayMs: number): OutgoingMessage {
  const { [roundsHeader]: _, ...headers } = incoming.delivery.headers
  const attributes = { ...incoming.delivery.attributes, deferrals: String(incoming.deferrals + 1) }
  return { ...copyOf(core, incoming, delayMs), attributes, headers }
}

/** The same message, back on its queue for its next round, where the broker itself cannot count or wait. */
export function retryCopy(core: BusCore, incoming: Incoming, delayMs: number, round: number): OutgoingMessage {
  const headers = { ...incoming.delivery.headers, [roundsHeader]: String(round) }
  return { ...copyOf(core, incoming, delayMs), headers }
}

function copyOf(core: BusCore, incoming: Incoming, delayMs: number): OutgoingMessage {
  const { delivery } = incoming
  return {
    id: delivery.id,
    to: { queue: delivery.queue },
    attributes: delivery.attributes,
    headers: delivery.headers,
    body: delivery.body,
    priority: delivery.priority,
    mandatory: true,
    deliverAt: core.clock.now() + delayMs,
    ...(delivery.contentType === undefined ? {} : { contentType: delivery.contentType }),
    ...(delivery.key === undefined ? {} : { key: delivery.key }),
    ...(delivery.expiresAt === undefined ? {} : { expiresAt: delivery.expiresAt }),
  }
}
