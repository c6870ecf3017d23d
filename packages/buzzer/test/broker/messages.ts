import type { OutgoingMessage, Topology } from '../../src/transport/index.ts'

export const topology: Topology = {
  queues: [
    { name: 'orders', orderBy: 'none' },
    { name: 'accounts', orderBy: 'key' },
  ],
  topics: [],
  bindings: [],
}

/** A message to `orders`. */
export function message(id: string, more: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return {
    id,
    to: { queue: 'orders' },
    attributes: { type: 'test.made', source: 'test' },
    headers: {},
    contentType: 'application/json',
    body: Buffer.from(`{"id":"${id}"}`),
    priority: 4,
    mandatory: true,
    ...more,
  }
}
