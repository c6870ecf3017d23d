import type { OutgoingMessage } from 'buzzer/transport'

/** A message to a queue whose body is its id. */
export function message(id: string, queue: string, more: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return {
    id,
    to: { queue },
    attributes: { id, source: '/test', specversion: '1.0', type: 'test' },
    headers: {},
    body: Buffer.from(id),
    priority: 4,
    mandatory: true,
    ...more,
  }
}
