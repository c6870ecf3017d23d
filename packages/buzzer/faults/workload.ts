import type { OutgoingMessage, SendOptions, Settlement, Topology } from '../src/transport/index.ts'
import type { Delivery } from '../src/transport/index.ts'

/** What a process of a fault run sends and answers: every kind of send and of settlement, chosen by a seeded random. */

const deduplicationMs = 60_000
/** Out of reach for a message that is not poison, within reach of nothing that a run does. */
const maxDeliveries = 200

export const topology: Topology = {
  queues: [
    { name: 'orders', orderBy: 'none', maxDeliveries },
    { name: 'accounts', orderBy: 'key', maxDeliveries },
    { name: 'ledger', orderBy: 'queue', maxDeliveries },
    { name: 'unique', orderBy: 'none', maxDeliveries, deduplicationWindowMs: deduplicationMs },
    { name: 'fleeting', orderBy: 'none', maxDeliveries, deadLetterExpired: false },
    { name: 'results', orderBy: 'key', maxDeliveries },
    { name: 'audit', orderBy: 'none', maxDeliveries },
    { name: 'billing', orderBy: 'key', maxDeliveries },
  ],
  topics: [{ name: 'placed', bases: [] }],
  bindings: [
    { topic: 'placed', queue: 'audit', exclusive: false },
    { topic: 'placed', queue: 'billing', exclusive: false },
  ],
}

export const queueNames: readonly string[] = topology.queues.map(({ name }) => name)

/** For `checkHistory`. */
export const orderOf: Readonly<Record<string, 'none' | 'queue' | 'key'>> = Object.fromEntries(
  topology.queues.map(({ name, orderBy = 'none' }) => [name, orderBy]),
)

export const deduplicationWindowMs = (queue: string): number => (queue === 'unique' ? deduplicationMs : 0)
export const queuesOf = (message: OutgoingMessage): readonly string[] =>
  'queue' in message.to ? [message.to.queue] : ['audit', 'billing']

/** Collection of the records that sends and settlements write; each id once. */
export const collection = 'fault-records'

const destinations = [
  ['accounts', 33],
  ['orders', 20],
  ['placed', 10],
  ['array', 10],
  ['ledger', 2],
  ['unique', 10],
  ['fleeting', 5],
  ['scheduled', 5],
  ['with state', 5],
] as const

type Kind = (typeof destinations)[number][0]

export interface Sending {
  readonly messages: readonly OutgoingMessage[]
  readonly options?: SendOptions
  /** It is to be cancelled soon after. */
  readonly cancel?: string
}

/** The next send of a lane: lanes are the keys, so that one process's sends of a key have an order. */
export function nextSending(process: string, lane: number, number: number, now: number, random: () => number): Sending {
  const base = `${process}.${number}`
  const key = `${process}.${lane}`
  const to = (queue: string, more: Partial<OutgoingMessage> = {}): OutgoingMessage => ({
    ...newMessage(more.id ?? base, { queue }, random),
    ...more,
  })
  const kind = choose(destinations, random)
  switch (kind) {
    case 'accounts':
      return { messages: [to('accounts', { key })] }
    case 'orders':
      return { messages: [to('orders', { priority: Math.floor(random() * 10) })] }
    case 'placed':
      return { messages: [{ ...newMessage(base, { topic: 'placed', bases: [] }, random), key }] }
    case 'array':
      return {
        messages: Array.from({ length: 2 + Math.floor(random() * 5) }, (_, n) =>
          random() < 0.5 ? to('accounts', { id: `${base}.${n}`, key }) : to('orders', { id: `${base}.${n}` }),
        ),
      }
    case 'ledger':
      return { messages: [to('ledger')] }
    case 'unique':
      return { messages: [to('unique', { deduplicationKey: `${process}.${Math.floor(number / 20)}` })] }
    case 'fleeting':
      return { messages: [to('fleeting', { expiresAt: now + Math.floor(random() * 400) })] }
    case 'scheduled': {
      const isLong = random() < 0.3
      const deliverAt = now + (isLong ? 3_600_000 : Math.floor(random() * 500))
      return { messages: [to('orders', { deliverAt })], ...(isLong ? { cancel: base } : {}) }
    }
    case 'with state':
      return { messages: [to('accounts', { key })], options: { state: [putOf(base)] } }
    default:
      return kind satisfies never
  }
}

/** How a handler answers. Effects have ids of their own attempt and process: a second answer never repeats the first. */
export function answerTo(delivery: Delivery, process: string, random: () => number): Settlement {
  const dice = random()
  if (dice < 0.02) return { as: 'dead-letter', reason: 'dice' }
  if (dice < 0.08) return { as: 'retry', delayMs: Math.floor(random() * 50) }
  if (dice < 0.1) return { as: 'release' }
  if (dice < 0.2 && delivery.queue !== 'results') return answerWithEffects(delivery, process, random)
  return { as: 'ack' }
}

/** Done, with a message and a record in the same step. */
export function answerWithEffects(delivery: Delivery, process: string, random: () => number): Settlement {
  const id = `${delivery.queue}.${delivery.id}.${delivery.attempt}.${process}`
  const output = { ...newMessage(id, { queue: 'results' }, random), key: `of ${delivery.key ?? delivery.queue}` }
  return { as: 'ack', send: [output], state: [putOf(id)] }
}

function putOf(id: string): { op: 'put'; collection: string; id: string; value: { id: string }; expected: 'absent' } {
  return { op: 'put', collection, id, value: { id }, expected: 'absent' }
}

const sizes = [0, 1, 200, 200, 200, 1_000, 8_192] as const

function newMessage(id: string, to: OutgoingMessage['to'], random: () => number): OutgoingMessage {
  const body = new Uint8Array(sizes[Math.floor(random() * sizes.length)] ?? 0)
  let state = Math.floor(random() * 2 ** 32)
  for (let at = 0; at < body.length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    body[at] = state >>> 24
  }
  return {
    id,
    to,
    attributes: { specversion: '1.0', id, type: 'faults.made', source: '/faults' },
    headers: { check: id },
    contentType: 'application/octet-stream',
    body,
    priority: 4,
    mandatory: false,
  }
}

function choose(weighted: typeof destinations, random: () => number): Kind {
  const total = weighted.reduce((sum, [, weight]) => sum + weight, 0)
  let left = random() * total
  for (const [kind, weight] of weighted) {
    left -= weight
    if (left < 0) return kind
  }
  return 'orders'
}
