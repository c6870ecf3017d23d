import { BuzzerError } from '../../../message/index.ts'
import type { MessageState, OutgoingMessage, PeekedMessage, QueueFigures, TransportAdmin } from '../../index.ts'
import type { BrokerEngine } from './broker.ts'
import type { Entry } from './entry.ts'
import { checkMessage } from './message-checks.ts'
import type { MemoryQueue } from './queue.ts'
import { normalMatch } from './routing.ts'

/** What an operator may ask of a memory broker: everything in the contract. */
export function memoryAdmin(broker: BrokerEngine): Required<Omit<TransportAdmin, 'examine'>> {
  return {
    async queues() {
      return [...broker.queues.values()].map(figures)
    },
    async queue(name) {
      return figures(broker.queueNamed(name))
    },
    async peek(name, { state, after, limit = 50 } = {}) {
      if (!Number.isInteger(limit) || limit < 1 || limit > 1_000) {
        throw invalid('limit', limit, 'an integer from 1 to 1,000')
      }
      const from = after === undefined ? 0 : Number(after)
      if (!Number.isInteger(from)) throw invalid('after', after, 'the `next` of the page before')
      const found = allEntries(broker.queueNamed(name))
        .filter(({ entry, shown }) => entry.rank > from && (state === undefined || shown === state))
        .toSorted((a, b) => a.entry.rank - b.entry.rank)
      const page = found.slice(0, limit)
      const last = page.at(-1)
      const items = page.map(({ entry, shown }) => peeked(entry, shown))
      return found.length > limit && last !== undefined ? { items, next: String(last.entry.rank) } : { items }
    },
    async purge(name, { state = 'ready', before } = {}) {
      if (state === 'locked') throw invalid('state', state, "'ready', 'scheduled', 'parked' or 'dead'")
      const doomed = allEntries(broker.queueNamed(name)).filter(
        ({ entry, shown }) =>
          shown === state && entry.state !== 'locked' && (before === undefined || entry.enqueuedAt < before),
      )
      for (const { entry } of doomed) entry.queue.remove(entry)
      return doomed.length
    },
    async redrive(name, { ids, limit = Number.POSITIVE_INFINITY, to } = {}) {
      const source = broker.queueNamed(name)
      const target = to === undefined ? source : broker.queueNamed(to)
      if (target.dead === undefined) throw invalid('to', to ?? name, 'a queue, not a dead-letter queue')
      const chosen = deadEntries(source, ids).slice(0, limit)
      const now = broker.wall.now()
      for (const entry of chosen) {
        entry.queue.remove(entry)
        const message = redriven(entry, target.name, now)
        // What was accepted always finds room; the sum stays exact all the same.
        target.accept(message, checkMessage(message, Number.POSITIVE_INFINITY), now)
      }
      broker.touch(target)
      return chosen.length
    },
    async deleteDead(name, { ids } = {}) {
      const chosen = deadEntries(broker.queueNamed(name), ids)
      for (const entry of chosen) entry.queue.remove(entry)
      return chosen.length
    },
    async cancelScheduled(messageId) {
      return broker.cancelScheduled(messageId)
    },
    async unpark(name, ids) {
      const queue = broker.queueNamed(name)
      const chosen = [...queue.parked].filter(entry => queue.dead !== undefined && ids.includes(String(entry.rank)))
      for (const entry of chosen) queue.unpark(entry)
      return chosen.length
    },
    async alter(name, options) {
      broker.alter(name, options)
    },
    async deleteQueue(name) {
      const queue = broker.queueNamed(name)
      if (queue.dead === undefined) throw invalid('queue', name, 'a queue; its dead-letter queue goes with it')
      broker.deleteQueue(queue)
    },
    async bind(topic, name, match) {
      const queue = broker.queueNamed(name)
      broker.declare({
        queues: [],
        topics: [{ name: topic, bases: [] }],
        bindings: [{ topic, queue: queue.name, exclusive: false, ...(match === undefined ? {} : { match }) }],
      })
      normalMatch(match)
      broker.touch(queue)
    },
    async unbind(topic, name) {
      const queue = broker.queueNamed(name)
      broker.routing.unbind(topic, queue)
      broker.touch(queue)
    },
    async bindings(topic) {
      const bindings = broker.routing.topics.get(topic)?.bindings ?? []
      return bindings.map(({ queue, exclusive, match }) => ({
        queue: queue.name,
        exclusive,
        ...(match === undefined ? {} : { match }),
      }))
    },
  }
}

/** An entry with the state it is shown in: what lies in the dead-letter queue is `dead` to the queue it belongs to. */
interface Shown {
  readonly entry: Entry
  readonly shown: MessageState
}

function allEntries(queue: MemoryQueue): readonly Shown[] {
  const own = [...queue.entries()].map(entry => ({ entry, shown: entry.state as MessageState }))
  const dead = queue.dead === undefined ? [] : [...queue.dead.entries()]
  return [...own, ...dead.map(entry => ({ entry, shown: 'dead' as const }))]
}

function deadEntries(queue: MemoryQueue, ids: readonly string[] | undefined): readonly Entry[] {
  const wanted = ids === undefined ? undefined : new Set(ids)
  // A dead letter that somebody holds right now is left to them.
  return [...(queue.dead ?? queue).entries()]
    .filter(entry => entry.state !== 'locked' && (wanted === undefined || wanted.has(String(entry.rank))))
    .toSorted((a, b) => a.rank - b.rank)
}

function figures(queue: MemoryQueue): QueueFigures {
  let oldestReadyAt: number | undefined
  for (const entry of queue.entries()) {
    if (entry.state === 'ready' && (oldestReadyAt === undefined || entry.availableAt < oldestReadyAt)) {
      oldestReadyAt = entry.availableAt
    }
  }
  return {
    name: queue.name,
    options: { ...queue.options },
    ready: queue.readyCount,
    locked: queue.locked,
    scheduled: queue.scheduled.size,
    parked: queue.parked.size,
    dead: queue.dead?.messages ?? 0,
    bytes: queue.bytes + (queue.dead?.bytes ?? 0),
    receivers: queue.receivers.length,
    ...(oldestReadyAt === undefined ? {} : { oldestReadyAt }),
  }
}

function peeked(entry: Entry, state: MessageState): PeekedMessage {
  const { message } = entry
  return {
    id: String(entry.rank),
    messageId: message.id,
    state,
    attempt: entry.deadLetter === undefined ? entry.attempt : entry.attemptsBeforeDeath,
    enqueuedAt: entry.enqueuedAt,
    priority: message.priority,
    attributes: message.attributes,
    headers: message.headers,
    body: message.body,
    ...(entry.dueAt === undefined ? {} : { dueAt: entry.dueAt }),
    ...(entry.expiresAt === Number.POSITIVE_INFINITY ? {} : { expiresAt: entry.expiresAt }),
    ...(message.key === undefined ? {} : { key: message.key }),
    ...(message.contentType === undefined ? {} : { contentType: message.contentType }),
    ...(entry.deadLetter === undefined ? {} : { deadLetter: entry.deadLetter }),
  }
}

/** The message as it comes back: time to live anew, `redrives` one higher, past the deduplication window. */
function redriven(entry: Entry, queue: string, now: number): OutgoingMessage {
  const { deduplicationKey: _, deliverAt: __, expiresAt, attributes, ...rest } = entry.message
  const { expirytime, ...others } = attributes
  const newExpiry = expiresAt === undefined ? undefined : now + (expiresAt - entry.availableAt)
  return {
    ...rest,
    to: { queue },
    attributes: {
      ...others,
      ...(expirytime === undefined || newExpiry === undefined ? {} : { expirytime: new Date(newExpiry).toISOString() }),
      redrives: String(Number(attributes['redrives'] ?? '0') + 1),
    },
    ...(newExpiry === undefined ? {} : { expiresAt: newExpiry }),
  }
}

function invalid(option: string, value: unknown, wanted: string): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', `${option} ${JSON.stringify(value)} is not ${wanted}`, {
    details: { option, value },
  })
}
