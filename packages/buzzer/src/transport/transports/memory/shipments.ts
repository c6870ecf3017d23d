import { BuzzerError } from '../../../message/index.ts'
import type { OutgoingMessage } from '../../index.ts'
import { checkMessage } from './message-checks.ts'
import type { MemoryQueue } from './queue.ts'
import type { Routing } from './routing.ts'

/** A checked message with the queues that will take it; `later`: to a topic, routed when due. */
export interface Shipment {
  readonly message: OutgoingMessage
  readonly bytes: number
  readonly queues: readonly MemoryQueue[] | 'later'
}

export interface Limits {
  readonly maxMessages: number
  readonly maxBytes: number
  readonly maxMessageBytes: number
}

/** The smaller of each. */
export function tighter(a: Limits, b: Limits): Limits {
  return {
    maxMessages: Math.min(a.maxMessages, b.maxMessages),
    maxBytes: Math.min(a.maxBytes, b.maxBytes),
    maxMessageBytes: Math.min(a.maxMessageBytes, b.maxMessageBytes),
  }
}

/** What there is to judge a send by. */
export interface Premises {
  readonly queues: ReadonlyMap<string, MemoryQueue>
  readonly routing: Routing
  readonly limits: Limits
  /** Held by the broker in all. */
  readonly messages: number
  readonly bytes: number
  readonly now: number
}

/**
 * Judges all messages of a send together and changes nothing, so that a refusal leaves no trace.
 * @throws BUZZER_UNROUTABLE, BUZZER_QUEUE_FULL, and what `checkMessage` throws
 */
export function planShipments(messages: readonly OutgoingMessage[], premises: Premises): readonly Shipment[] {
  const shipments = messages.map(message => planShipment(message, premises))
  checkRoom(shipments, premises)
  return shipments
}

function planShipment(message: OutgoingMessage, { queues, routing, limits, now }: Premises): Shipment {
  const bytes = checkMessage(message, limits.maxMessageBytes)
  const { to } = message
  if ('queue' in to) {
    const queue = queues.get(to.queue)
    if (queue === undefined) throw unroutable(message, `there is no queue ${to.queue}`, { queue: to.queue })
    return { message, bytes, queues: [queue] }
  }
  const targets = routing.queuesOf(message, to.topic, to.bases)
  if (targets.length === 0 && message.mandatory) {
    throw unroutable(message, `no queue takes topic ${to.topic}, and the message is mandatory`, { topic: to.topic })
  }
  return { message, bytes, queues: message.deliverAt !== undefined && message.deliverAt > now ? 'later' : targets }
}

/** The queues of a scheduled publish that has come due. What was accepted always finds room. */
export function routeNow(message: OutgoingMessage, routing: Routing): readonly MemoryQueue[] {
  return 'queue' in message.to ? [] : routing.queuesOf(message, message.to.topic, message.to.bases)
}

/** Whether the queue accepted this message's deduplication key within its window. */
export function isDuplicate(message: OutgoingMessage, queue: MemoryQueue, now: number): boolean {
  const windowMs = queue.options.deduplicationWindowMs ?? 0
  return (
    message.deduplicationKey !== undefined && windowMs > 0 && queue.window.has(message.deduplicationKey, windowMs, now)
  )
}

function checkRoom(shipments: readonly Shipment[], premises: Premises): void {
  const { limits, now } = premises
  let messages = premises.messages
  let bytes = premises.bytes
  // Made only for queues with limits of their own: most sends need none.
  let added: Map<MemoryQueue, { messages: number; bytes: number; keys: Set<string> }> | undefined
  for (const shipment of shipments) {
    if (shipment.queues === 'later') {
      messages++
      bytes += shipment.bytes
    } else {
      for (const queue of shipment.queues) {
        const { deduplicationKey: key } = shipment.message
        const { maxMessages, maxBytes, deduplicationWindowMs = 0 } = queue.options
        messages++
        bytes += shipment.bytes
        if (maxMessages === undefined && maxBytes === undefined) continue
        if (isDuplicate(shipment.message, queue, now)) continue
        added ??= new Map()
        const sum = added.get(queue) ?? { messages: 0, bytes: 0, keys: new Set<string>() }
        added.set(queue, sum)
        if (key !== undefined && deduplicationWindowMs > 0) {
          if (sum.keys.has(key)) continue
          sum.keys.add(key)
        }
        sum.messages++
        sum.bytes += shipment.bytes
        // Dead letters count too.
        const held = queue.messages + (queue.dead?.messages ?? 0)
        const heldBytes = queue.bytes + (queue.dead?.bytes ?? 0)
        if (maxMessages !== undefined && held + sum.messages > maxMessages) {
          throw full(`queue ${queue.name}`, 'maxMessages', maxMessages, held, queue.name)
        }
        if (maxBytes !== undefined && heldBytes + sum.bytes > maxBytes) {
          throw full(`queue ${queue.name}`, 'maxBytes', maxBytes, heldBytes, queue.name)
        }
      }
    }
  }
  if (messages > limits.maxMessages) {
    throw full('the memory broker', 'maxMessages', limits.maxMessages, premises.messages)
  }
  if (bytes > limits.maxBytes) throw full('the memory broker', 'maxBytes', limits.maxBytes, premises.bytes)
}

function full(what: string, limit: string, value: number, present: number, queue?: string): BuzzerError {
  return new BuzzerError(
    'BUZZER_QUEUE_FULL',
    `${what} is full: ${present} of ${limit} ${value}; nothing of this send was stored, try again later`,
    { details: { ...(queue === undefined ? {} : { queue }), limit, value, present } },
  )
}

function unroutable(message: OutgoingMessage, why: string, details: Readonly<Record<string, unknown>>): BuzzerError {
  return new BuzzerError('BUZZER_UNROUTABLE', `message ${message.id} reaches nobody: ${why}`, {
    details: { messageId: message.id, ...details },
  })
}
