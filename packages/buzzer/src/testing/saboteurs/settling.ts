import type { Delivery, OnDelivery, Receiver, Settlement } from '../../transport/index.ts'
import { changedDelivery } from '../changed-delivery.ts'
import {
  admin,
  delivering,
  handling,
  queues,
  saboteur,
  type Saboteur,
  type Scene,
  settlement,
  without,
} from './saboteur.ts'

function isDeadLetter(delivery: Delivery): boolean {
  return delivery.queue.endsWith('.dead')
}

/** Sends a copy to the end of the queue and acknowledges. */
function toTheEnd(delivery: Delivery): Settlement {
  const { queue, attempt: _, enqueuedAt: __, signal: ___, deadLetter: ____, ...message } = delivery
  return { as: 'ack', send: [{ ...message, to: { queue }, mandatory: true }] }
}

function handlers(scene: Scene, queue: string): OnDelivery[] {
  const all = (scene.memory.get(queue) ?? []) as OnDelivery[]
  scene.memory.set(queue, all)
  return all
}

/** Saboteurs of deliveries, settlements and order. */
export const settling: readonly Saboteur[] = [
  saboteur(
    'redelivers what was acknowledged',
    ['an acknowledged message never comes back'],
    settlement((answer, delivery) => (answer.as === 'ack' && delivery.attempt === 1 ? { as: 'retry' } : answer)),
  ),
  saboteur(
    'acknowledges what should be retried',
    ['a retry brings the message back', 'a retry with a delay', 'redelivery passes through'],
    settlement(answer => (answer.as === 'retry' ? { as: 'ack' } : answer)),
  ),
  saboteur(
    'does not count',
    ['a retry brings the message back', 'an onDelivery that rejects'],
    delivering(delivery => changedDelivery(delivery, { attempt: 1 })),
  ),
  saboteur(
    'is early with retries',
    ['a retry with a delay'],
    settlement(answer => (answer.as === 'retry' ? { as: 'retry' } : answer)),
  ),
  saboteur(
    'counts a release',
    ['a release brings the message back'],
    settlement(answer => (answer.as === 'release' ? { as: 'retry' } : answer)),
  ),
  saboteur(
    'takes a release for an ack',
    ['a release brings the message back', "orderBy 'key': a released head"],
    settlement(answer => (answer.as === 'release' ? { as: 'ack' } : answer)),
  ),
  saboteur(
    'takes a defect for an ack',
    ['an onDelivery that rejects'],
    handling(onDelivery => delivery => onDelivery(delivery).catch(() => ({ as: 'ack' as const }))),
  ),
  saboteur(
    'redelivers without the event loop',
    ['redelivery passes through'],
    handling(onDelivery => async delivery => {
      let answer = await onDelivery(delivery)
      for (let attempt = 2; answer.as === 'retry' && attempt < 100; attempt++) {
        answer = await onDelivery(changedDelivery(delivery, { attempt }))
      }
      return answer
    }),
  ),
  saboteur('ignores maxInFlight', ['maxInFlight n'], honest => ({
    receive: (queue, onDelivery, options) => honest.receive(queue, onDelivery, { ...options, maxInFlight: 50 }),
  })),
  saboteur(
    'has one delivery open at most',
    ['maxInFlight n', 'hundreds of open deliveries', "orderBy 'key': messages without a key"],
    honest => ({
      receive: (queue, onDelivery, options) => honest.receive(queue, onDelivery, { ...options, maxInFlight: 1 }),
    }),
  ),
  saboteur('gives each message to every receiver', ['two receivers on one queue'], (honest, scene) => ({
    receive(queue, onDelivery, options) {
      const all = handlers(scene, queue)
      all.push(onDelivery)
      return honest.receive(
        queue,
        async delivery => {
          const answers = await Promise.all(all.map(one => one(delivery)))
          return answers[0] ?? { as: 'ack' }
        },
        options,
      )
    },
  })),
  saboteur('does not pause', ['pause: once it has resolved'], honest => ({
    async receive(queue, onDelivery, options) {
      const receiver: Receiver = await honest.receive(queue, onDelivery, options)
      return { pause: () => Promise.resolve(), resume: () => Promise.resolve(), stop: () => receiver.stop() }
    },
  })),
  saboteur('stop does not wait', ['stop waits for what runs'], honest => ({
    async receive(queue, onDelivery, options) {
      const receiver: Receiver = await honest.receive(queue, onDelivery, options)
      return { pause: () => receiver.pause(), resume: () => receiver.resume(), stop: () => receiver.pause() }
    },
  })),
  saboteur(
    'loses the detail of a dead letter',
    ['a dead letter keeps everything', 'a dead letter can be peeked'],
    settlement(answer => (answer.as === 'dead-letter' ? { as: 'dead-letter', reason: answer.reason } : answer)),
  ),
  saboteur(
    'delivers once more than allowed',
    ['a message is delivered exactly maxDeliveries'],
    queues(queue => (queue.maxDeliveries === undefined ? queue : { ...queue, maxDeliveries: queue.maxDeliveries + 1 })),
  ),
  saboteur(
    'loses dead letters that die again',
    ['a dead letter that is dead-lettered again'],
    settlement((answer, delivery) => (answer.as === 'dead-letter' && isDeadLetter(delivery) ? { as: 'ack' } : answer)),
  ),
  saboteur('ends receivers in silence', ['a queue deleted under a receiver'], honest => ({
    connect: context => honest.connect({ ...context, onState: state => context.onState(state) }),
  })),
  saboteur(
    'knows no order',
    ["orderBy 'key': of one key", "orderBy 'queue'", 'a declaration by name alone', "orderBy 'key': what a client"],
    (honest, scene) => ({
      ...queues(queue => without(queue, 'orderBy'))(honest, scene),
      receive: (queue, onDelivery, options) => honest.receive(queue, onDelivery, { ...options, orderBy: 'none' }),
    }),
  ),
  saboteur(
    'lets a key overtake a retry',
    ["orderBy 'key': a retry, delayed or not"],
    settlement((answer, delivery) => (answer.as === 'retry' ? toTheEnd(delivery) : answer)),
  ),
  saboteur(
    'puts a released message at the end',
    ["orderBy 'key': a released head"],
    settlement((answer, delivery) => (answer.as === 'release' ? toTheEnd(delivery) : answer)),
  ),
  saboteur(
    'holds a key for ever when its head dies',
    ["orderBy 'key': when the head is dead-lettered", "orderBy 'key': when the head expires"],
    settlement((answer, delivery) => {
      if (delivery.key === undefined || (answer.as !== 'dead-letter' && answer.as !== 'retry')) return answer
      return new Promise<Settlement>(() => {})
    }),
  ),
  saboteur('takes all messages without a key for one key', ["orderBy 'key': messages without a key"], honest => ({
    send: (messages, options) =>
      honest.send(
        messages.map(message => ({ ...message, key: message.key ?? 'none' })),
        options,
      ),
  })),
  saboteur(
    'lets a busy key hide the others',
    ["orderBy 'key': thousands of messages", "orderBy 'key': of one key"],
    (honest, scene) => ({
      ...queues(queue => (queue.orderBy === 'key' ? { ...queue, orderBy: 'queue' } : queue))(honest, scene),
      receive: (queue, onDelivery, options) =>
        honest.receive(queue, onDelivery, {
          ...options,
          orderBy: options.orderBy === 'key' ? 'queue' : options.orderBy,
        }),
    }),
  ),
  saboteur(
    'loses what peek should show of a dead letter',
    ['a dead letter can be peeked'],
    admin(honest => ({
      async peek(queue, options) {
        const page = await honest.peek(queue, options)
        return { ...page, items: page.items.map(item => without(item, 'deadLetter')) }
      },
    })),
  ),
]
