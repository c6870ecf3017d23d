import type { BatchItem } from '../context.ts'
import type { Incoming } from './incoming.ts'

/** A message as a batch handler sees it. */
export function batchItem(incoming: Incoming, message: unknown, attempt: number): BatchItem {
  return {
    message,
    id: incoming.id,
    headers: incoming.headers,
    key: incoming.key,
    attempt,
    sentAt: new Date(incoming.sentAtMs),
    correlationId: incoming.attributes['correlationid'],
    conversationId: incoming.conversationId,
    body: incoming.delivery.body,
  }
}
