import type { Delivery } from '../transport/index.ts'

/** The same delivery with other fields. Field by field, since a transport's own class may compute some of them. */
export function changedDelivery(delivery: Delivery, change: Partial<Delivery>): Delivery {
  const { contentType, key, deliverAt, expiresAt, deadLetter } = delivery
  return {
    id: delivery.id,
    attributes: delivery.attributes,
    headers: delivery.headers,
    body: delivery.body,
    priority: delivery.priority,
    queue: delivery.queue,
    attempt: delivery.attempt,
    enqueuedAt: delivery.enqueuedAt,
    signal: delivery.signal,
    ...(contentType === undefined ? {} : { contentType }),
    ...(key === undefined ? {} : { key }),
    ...(deliverAt === undefined ? {} : { deliverAt }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(deadLetter === undefined ? {} : { deadLetter }),
    ...change,
  }
}
