import { BuzzerError, type Clock } from 'buzzer'
import { deadLetterQueue, type PeekedMessage, type QueueFigures, type TransportAdmin } from 'buzzer/transport'
import type { Message } from './amqplib-connection.ts'
import { awaitReturn, ControlChannel } from './control-channel.ts'
import { isNotFound, queueNotFound, translated } from './errors.ts'
import { unsupported } from './server-version.ts'
import type { TopologyHost, TopologyKeeper } from './topology.ts'
import { decodeMessage } from './wire-message.ts'

export interface AdminHost extends TopologyHost {
  readonly topology: TopologyKeeper
  /** Queues this transport knows by name: declared or received from. */
  knownQueues(): Iterable<string>
  /** Deliveries of the queue in the hands of this process. */
  openHere(queue: string): number
  forgetQueue(queue: string): void
  clock(): Clock
}

/**
 * What AMQP can tell and do. It cannot list queues, so `queues` has those this transport knows; it shows no message without
 * delivering it, so `peek` shows dead letters only; and it tells no count of open or delayed messages of other processes.
 */
export type RabbitMqAdmin = Required<Pick<TransportAdmin, 'queues' | 'queue' | 'peek' | 'purge' | 'deleteQueue'>>

/** Figures that AMQP does not tell: `locked` counts this process alone, the others are 0. */
const unknownFigures = Object.freeze(['locked', 'scheduled', 'parked', 'bytes'] as const)

export function rabbitMqAdmin(host: AdminHost): RabbitMqAdmin {
  const { names, topology } = host

  const withControl = async <T>(work: (control: ControlChannel) => Promise<T>): Promise<T> => {
    const control = new ControlChannel(host.controlConnection())
    try {
      return await work(control)
    } catch (error) {
      throw translated(error, 'an administrative call')
    } finally {
      await control.close()
    }
  }

  /** The queues at the server that make up a queue. */
  const partsOf = async (queue: string): Promise<readonly string[]> => {
    const layout = await topology.layoutOf(queue)
    return layout.as === 'lanes'
      ? Array.from({ length: layout.count }, (_, at) => names.lane(queue, at))
      : [names.queue(queue)]
  }

  const counts = async (control: ControlChannel, queue: string): Promise<{ ready: number; receivers: number }> => {
    let ready = 0
    let receivers = 0
    for (const part of await partsOf(queue)) {
      const { messageCount, consumerCount } = await control.run(channel => channel.checkQueue(part))
      ready += messageCount
      // Every receiver consumes every lane.
      receivers = Math.max(receivers, consumerCount)
    }
    return { ready, receivers }
  }

  const figures = async (queue: string): Promise<QueueFigures> => {
    try {
      return await withControl(async control => {
        const { ready, receivers } = await counts(control, queue)
        const dead = queue.endsWith('.dead') ? 0 : await deadCount(control, queue)
        const { name: _, ...options } = topology.declaration(queue) ?? { name: queue }
        const locked = host.openHere(queue)
        return {
          name: queue,
          options,
          ready,
          locked,
          scheduled: 0,
          parked: 0,
          dead,
          bytes: 0,
          receivers,
          unknown: unknownFigures,
        }
      })
    } catch (error) {
      if (isNotFound((error as Error).cause)) {
        topology.forgetLayout(queue)
        throw queueNotFound(queue, error)
      }
      throw error
    }
  }

  const deadCount = async (control: ControlChannel, queue: string): Promise<number> => {
    const asked = await control.ask(channel => channel.checkQueue(names.queue(deadLetterQueue(queue))))
    if ('value' in asked) return asked.value.messageCount
    if (isNotFound(asked.refusal)) return 0
    throw asked.refusal
  }

  return {
    async queues() {
      const found: QueueFigures[] = []
      for (const queue of host.knownQueues()) {
        try {
          found.push(await figures(queue))
        } catch (error) {
          // Deleted, or expired with its instance.
          if ((error as { code?: unknown }).code !== 'BUZZER_QUEUE_NOT_FOUND') throw error
        }
      }
      return found
    },
    queue: name => figures(name),
    async peek(name, { state = 'dead', after, limit = 50 } = {}) {
      if (!Number.isInteger(limit) || limit < 1 || limit > 1_000)
        throw invalid('limit', limit, 'an integer from 1 to 1,000')
      const from = after === undefined ? 0 : Number(after)
      if (!Number.isInteger(from) || from < 0) throw invalid('after', after, 'the `next` of the page before')
      await topology.layoutOf(name)
      const dead = name.endsWith('.dead') ? name : deadLetterQueue(name)
      if ((state !== 'dead' && !(state === 'ready' && dead === name)) || (from > 0 && from + limit > mostPeeked)) {
        throw unsupported(
          `peek shows the first ${mostPeeked} dead letters alone: to show another message RabbitMQ has to deliver it, which counts and delays it. ` +
            'Nearest alternative: the management plug-in',
          { queue: name, state },
        )
      }
      return withControl(async control => {
        const asked = await control.ask(channel => channel.checkQueue(names.queue(dead)))
        if ('refusal' in asked) return { items: [] }
        const taken: Message[] = []
        await control.run(async channel => {
          while (taken.length < from + limit + 1) {
            const message = await channel.get(names.queue(dead), { noAck: false })
            if (message === false) break
            taken.push(message)
          }
        })
        // Given back at once and in their order; the end of the channel alone would do it a moment later.
        if (taken.length > 0) {
          await control.run(async channel => channel.nackAll(true))
          await awaitReturn(control, names.queue(dead), taken.length, host.clock())
        }
        const items = taken
          .slice(from, from + limit)
          .map((message, at) => peeked(message, from + at, host.clock().now()))
        return taken.length > from + limit ? { items, next: String(from + limit) } : { items }
      })
    },
    async purge(name, { state = 'ready', before } = {}) {
      const parts = await partsOf(name)
      if (before !== undefined || (state !== 'ready' && state !== 'dead')) {
        throw unsupported(
          `purge removes all that is ready, or all dead letters; not ${before === undefined ? state : 'what is older than a time'}`,
          {
            queue: name,
            state,
          },
        )
      }
      const doomed = state === 'ready' ? parts : [names.queue(deadLetterQueue(name))]
      return withControl(async control => {
        let count = 0
        for (const part of doomed) {
          const asked = await control.ask(channel => channel.purgeQueue(part))
          if ('value' in asked) count += asked.value.messageCount
          else if (!isNotFound(asked.refusal)) throw asked.refusal
        }
        return count
      })
    },
    async deleteQueue(name) {
      const parts = await partsOf(name)
      host.forgetQueue(name)
      await withControl(async control => {
        for (const part of parts) await control.run(channel => channel.deleteQueue(part))
        await control.run(channel => channel.deleteExchange(names.lanes(name)))
        await control.run(channel => channel.deleteQueue(names.turn(name)))
        if (!name.endsWith('.dead'))
          await control.run(channel => channel.deleteQueue(names.queue(deadLetterQueue(name))))
      })
    },
  }
}

/** A page behind this one would have to take all before it out of the queue for a moment. */
const mostPeeked = 1_000

function peeked(message: Message, at: number, now: number): PeekedMessage {
  const { attemptsBefore, ...received } = decodeMessage(message, now)
  const { id: messageId, enqueuedAt, priority, attributes, headers, body, contentType, key, expiresAt } = received
  return {
    id: String(at),
    messageId,
    state: 'dead',
    attempt: attemptsBefore,
    enqueuedAt,
    priority,
    attributes,
    headers,
    body,
    ...(contentType === undefined ? {} : { contentType }),
    ...(key === undefined ? {} : { key }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
  }
}

function invalid(option: string, value: unknown, wanted: string): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', `${option} ${JSON.stringify(value)} is not ${wanted}`, {
    details: { option, value },
  })
}
