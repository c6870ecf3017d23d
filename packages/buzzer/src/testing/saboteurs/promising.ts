import { deadLetterQueue, type OutgoingMessage, type Settlement } from '../../transport/index.ts'
import { changedDelivery } from '../changed-delivery.ts'
import { admin, both, queues, saboteur, type Saboteur, sending, settlement, without } from './saboteur.ts'

type Ack = Extract<Settlement, { as: 'ack' }>

/** Changes acknowledgements and leaves other settlements alone. */
const acks = (change: (ack: Ack) => Settlement): ReturnType<typeof settlement> =>
  settlement(answer => (answer.as === 'ack' ? change(answer) : answer))

/** Saboteurs of time, deduplication, transactions and administration. */
export const promising: readonly Saboteur[] = [
  saboteur(
    'is early',
    ['a delayed message is not early'],
    sending(message => (message.deliverAt === undefined ? message : { ...message, deliverAt: message.deliverAt - 50 })),
  ),
  saboteur(
    'is late',
    ['a delayed message is not early'],
    sending(message =>
      message.deliverAt === undefined ? message : { ...message, deliverAt: message.deliverAt + 5_000 },
    ),
  ),
  saboteur('lets scheduled messages fall due in order of sending', ['messages fall due in order'], honest => ({
    send(messages, options) {
      const last = Math.max(...messages.map(message => message.deliverAt ?? 0))
      return honest.send(
        messages.map(message => (message.deliverAt === undefined ? message : { ...message, deliverAt: last })),
        options,
      )
    },
  })),
  saboteur('routes a scheduled publish when it is sent', ['a message scheduled to a topic'], honest => ({
    async send(messages, options) {
      const routed: OutgoingMessage[] = []
      for (const message of messages) {
        if (!('topic' in message.to) || message.deliverAt === undefined) routed.push(message)
        else {
          for (const { queue } of await honest.admin.bindings(message.to.topic)) {
            routed.push({ ...message, to: { queue } })
          }
        }
      }
      return honest.send(routed, options)
    },
  })),
  saboteur(
    'says it cancelled',
    ['cancelScheduled is true once', 'schedules survive a restart'],
    admin(() => ({ cancelScheduled: () => Promise.resolve(true) })),
  ),
  saboteur(
    'ignores the time to live of messages',
    [
      'an expired message is never delivered',
      "a message's time runs out",
      'deadLetterExpired',
      "orderBy 'key': when the head expires",
    ],
    sending(message => without(message, 'expiresAt')),
  ),
  saboteur('expires what is being handled', ["a message's time runs out"], honest => ({
    receive: (queue, onDelivery, options) =>
      honest.receive(
        queue,
        delivery => {
          const leftMs = (delivery.expiresAt ?? Number.POSITIVE_INFINITY) - Date.now()
          return onDelivery(
            leftMs < 1e6 ? changedDelivery(delivery, { signal: AbortSignal.timeout(leftMs) }) : delivery,
          )
        },
        options,
      ),
  })),
  saboteur(
    'ignores the time to live of queues',
    ["the queue's ttlMs"],
    queues(queue => without(queue, 'ttlMs')),
  ),
  saboteur(
    'loses what expired',
    ['deadLetterExpired'],
    queues(queue => without(queue, 'deadLetterExpired')),
  ),
  saboteur(
    'keeps every duplicate',
    ['of equal deduplication keys', 'a publish is judged by each queue', 'deduplication windows survive'],
    sending(message => without(message, 'deduplicationKey')),
  ),
  saboteur(
    'never forgets a deduplication key',
    ['outside the window'],
    queues(queue => (queue.deduplicationWindowMs === undefined ? queue : { ...queue, deduplicationWindowMs: 6e8 })),
  ),
  saboteur('deduplicates for all queues at once', ['a publish is judged by each queue'], (honest, scene) => ({
    send(messages, options) {
      const fresh = messages.filter(({ deduplicationKey: key }) => key === undefined || !scene.memory.has(key))
      for (const { deduplicationKey } of messages) {
        if (deduplicationKey !== undefined) scene.memory.set(deduplicationKey, true)
      }
      return honest.send(fresh, options)
    },
  })),
  saboteur(
    'takes the id for a deduplication key',
    ['a message without deduplication key'],
    sending(message => ({ ...message, deduplicationKey: message.deduplicationKey ?? message.id })),
  ),
  saboteur('keeps the key of a cancelled message', ['cancelling a scheduled message'], (honest, scene) => ({
    send(messages, options) {
      const fresh = messages.filter(({ deduplicationKey: key }) => key === undefined || !scene.memory.has(key))
      for (const { deduplicationKey: key } of fresh) if (key !== undefined) scene.memory.set(key, true)
      return honest.send(fresh, options)
    },
  })),
  saboteur(
    'loses the messages of an ack',
    ['the messages of an ack leave with it'],
    acks(ack => without(ack, 'send')),
  ),
  saboteur(
    'sends the messages of an ack before the handler is done',
    ['the messages of an ack leave with it'],
    honest => ({
      receive: (queue, onDelivery, options) =>
        honest.receive(
          queue,
          async delivery => {
            // Nobody can know the outputs before; a premature one shows the same.
            const topicless = { ...delivery, id: `${delivery.id}-early` }
            const { signal: _, attempt: __, enqueuedAt: ___, queue: ____, ...message } = topicless
            for (const figures of await honest.admin.queues()) {
              if (figures.name !== queue)
                await honest.send([{ ...message, to: { queue: figures.name }, mandatory: true }])
            }
            return onDelivery(delivery)
          },
          options,
        ),
    }),
  ),
  saboteur(
    'settles outputs of refused settlements',
    ['an ack whose message is unroutable', 'the settlements of a group'],
    honest => ({
      receive: (queue, onDelivery, options) =>
        honest.receive(
          queue,
          async delivery => {
            const answer = await onDelivery(delivery)
            if (answer.as !== 'ack') return answer
            for (const message of answer.send ?? []) await honest.send([message]).catch(() => undefined)
            return answer.send === undefined
              ? answer
              : { ...answer, send: answer.send.filter(one => 'queue' in one.to && one.to.queue.startsWith('nobody')) }
          },
          options,
        ),
    }),
  ),
  saboteur(
    'never asks onRefused',
    ['an ack whose message is unroutable', 'a group of which one part is refused', 'records and messages of an ack'],
    acks(ack => without(ack, 'onRefused')),
  ),
  saboteur(
    'acknowledges what was refused',
    ['a refused ack without onRefused'],
    acks(ack => ({ ...ack, onRefused: () => ({ as: 'ack' }) })),
  ),
  saboteur(
    'loses the records of a settlement',
    ['records and messages of an ack', 'records ride on a retry'],
    settlement(answer => ('state' in answer ? without(answer, 'state') : answer)),
  ),
  saboteur('commits the records of a send apart', ['records of a send'], honest => ({
    async send(messages, options) {
      for (const change of options?.state ?? []) await honest.store.commit([change]).catch(() => undefined)
      return honest.send(messages)
    },
  })),
  saboteur(
    'does not cancel with an ack',
    ['a schedule named in cancel'],
    acks(ack => without(ack, 'cancel')),
  ),
  saboteur('cancels though refused', ['a schedule named in cancel'], honest => ({
    receive: (queue, onDelivery, options) =>
      honest.receive(
        queue,
        async delivery => {
          const answer = await onDelivery(delivery)
          if (answer.as === 'ack') for (const id of answer.cancel ?? []) await honest.admin.cancelScheduled(id)
          return answer
        },
        options,
      ),
  })),
  saboteur(
    'knows no groups',
    ['the settlements of a group', 'a group that never becomes complete', 'a group of which one part'],
    acks(ack => without(ack, 'group')),
  ),
  saboteur(
    'loses the messages of a dead-lettering',
    ['the messages of a dead-lettering'],
    settlement(answer => (answer.as === 'dead-letter' ? without(answer, 'send') : answer)),
  ),
  saboteur("sends past the caller's transaction", ["a caller's transaction"], honest => ({
    send: messages => honest.send(messages),
  })),
  saboteur(
    'answers for queues that do not exist',
    ['admin calls on an unknown queue'],
    admin(honest => ({ purge: queue => honest.purge(queue).catch(() => 0) })),
  ),
  saboteur(
    'counts what is locked as ready',
    ['the counts of a queue'],
    admin(honest => ({
      async queue(name) {
        const figures = await honest.queue(name)
        return { ...figures, ready: figures.ready + figures.locked, locked: 0 }
      },
    })),
  ),
  saboteur(
    'shows one page',
    ['peek shows every state'],
    admin(honest => ({
      async peek(queue, options) {
        return { items: (await honest.peek(queue, options)).items }
      },
    })),
  ),
  saboteur(
    'purges everything',
    ['purge removes what is ready'],
    admin(honest => ({
      async purge(queue) {
        return (await honest.purge(queue)) + (await honest.purge(queue, { state: 'scheduled' }))
      },
    })),
  ),
  saboteur(
    'redrives everything, whatever was asked',
    ['redrive moves dead letters', 'redrive goes to another queue'],
    admin(honest => ({ redrive: queue => honest.redrive(queue) })),
  ),
  saboteur(
    'deletes all dead letters',
    ['deleteDead removes'],
    admin(honest => ({ deleteDead: queue => honest.deleteDead(queue) })),
  ),
  saboteur(
    'alters nothing',
    ['alter changes'],
    admin(() => ({ alter: () => Promise.resolve() })),
  ),
  saboteur(
    'does not unbind',
    ['bind and unbind', 'a message scheduled to a topic'],
    admin(() => ({ unbind: () => Promise.resolve() })),
  ),
  saboteur(
    'is about right with maxMessages',
    ['maxMessages is exact'],
    queues(queue => (queue.maxMessages === undefined ? queue : { ...queue, maxMessages: queue.maxMessages + 2 })),
  ),
  saboteur('finds no room for dead letters in a full queue', ['in a full queue retries'], (honest, scene) =>
    both(
      settlement(async (answer, delivery) => {
        const { options, ready, locked } = await honest.admin.queue(delivery.queue)
        const isFull = options.maxMessages !== undefined && ready + locked >= options.maxMessages
        return answer.as === 'dead-letter' && isFull ? { as: 'retry' } : answer
      }),
    )(honest, scene),
  ),
  saboteur(
    'keeps idle queues',
    ['a queue with expiresAfterIdleMs'],
    queues(queue => without(queue, 'expiresAfterIdleMs')),
  ),
  saboteur('lets dead-letter queues be declared', ['a dead-letter queue can be neither'], honest => ({
    declare: topology =>
      honest.declare({
        ...topology,
        queues: topology.queues.filter(({ name }) => name !== deadLetterQueue(name.slice(0, -5))),
      }),
  })),
]
