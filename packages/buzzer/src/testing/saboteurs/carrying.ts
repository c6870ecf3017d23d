import { randomUUID } from 'node:crypto'
import { silentLogger, systemClock } from '../../message/index.ts'
import type { OutgoingMessage, Topology } from '../../transport/index.ts'
import { memory, memoryBroker, type MemoryTransport } from '../../transport/transports/memory.ts'
import type { TransportConformanceOptions } from '../transport-conformance.ts'
import { changedDelivery } from '../changed-delivery.ts'
import {
  after,
  declaring,
  delivering,
  handling,
  queues,
  saboteur,
  type Saboteur,
  sending,
  type Scene,
  without,
} from './saboteur.ts'

const none = { queues: [], topics: [], bindings: [] }

function topicOf(message: OutgoingMessage): string | undefined {
  return 'topic' in message.to ? message.to.topic : undefined
}

/** A list that all clients of a scene share. */
function shared<T>(scene: Scene, name: string): T[] {
  const list = (scene.memory.get(name) ?? []) as T[]
  scene.memory.set(name, list)
  return list
}

/** Saboteurs of life, topology and sending. */
export const carrying: readonly Saboteur[] = [
  saboteur('connects once', ['connect is idempotent'], honest => {
    let isConnected = false
    return {
      connect(context) {
        if (isConnected) return Promise.reject(new Error('connected already'))
        isConnected = true
        return honest.connect(context)
      },
    }
  }),
  saboteur(
    'never closes',
    ['close is idempotent', 'a transport closed under a running handler', 'nothing is acknowledged before'],
    () => ({ close: () => Promise.resolve() }),
  ),
  saboteur('stores on its own time, and close does not wait', ['what was sent before close'], honest => ({
    async send(messages, options) {
      await after(30)
      return honest.send(messages, options)
    },
  })),
  saboteur('makes queues that are received from', ['receiving from an unknown queue'], honest => ({
    async receive(queue, onDelivery, options) {
      if (!queue.endsWith('.dead')) await honest.declare({ ...none, queues: [{ name: queue }] })
      return honest.receive(queue, onDelivery, options)
    },
  })),
  saboteur(
    'never tells of a lost lock',
    ['a transport closed under a running handler', 'a queue deleted under a receiver'],
    delivering(delivery => changedDelivery(delivery, { signal: new AbortController().signal })),
  ),
  saboteur('sends outputs of settlements without lock', ['the settlement of a lost lock'], (honest, scene) => {
    const accomplice = scene.honest()
    return {
      async connect(context) {
        await accomplice.connect(context)
        await honest.connect(context)
      },
      receive: (queue, onDelivery, options) =>
        honest.receive(
          queue,
          async delivery => {
            const answer = await onDelivery(delivery)
            if (answer.as === 'ack' && answer.send !== undefined) await accomplice.send(answer.send)
            return { as: 'ack' }
          },
          options,
        ),
    }
  }),
  saboteur('declares once', ['the same declaration twice'], (honest, scene) => ({
    declare(topology) {
      const known = shared<string>(scene, 'queues')
      for (const { name } of topology.queues) {
        if (known.includes(name)) return Promise.reject(new Error(`${name} exists`))
        known.push(name)
      }
      return honest.declare(topology)
    },
  })),
  saboteur('keeps the first options of a queue', ['a declaration by name alone'], (honest, scene) => ({
    declare(topology) {
      const known = shared<string>(scene, 'queues')
      const fresh = topology.queues.filter(({ name }) => !known.includes(name))
      known.push(...fresh.map(({ name }) => name))
      return honest.declare({ ...topology, queues: fresh })
    },
    receive: (queue, onDelivery, options) => honest.receive(queue, onDelivery, { ...options, orderBy: 'none' }),
  })),
  saboteur('lets the newer declaration win', ['an option given twice'], honest => ({
    async declare(topology) {
      for (const { name } of topology.queues) await honest.declare({ ...none, queues: [{ name }] })
      for (const { name, ...options } of topology.queues) await honest.admin.alter(name, options)
      await honest.declare({ ...topology, queues: [] })
    },
  })),
  saboteur(
    'gives a command two queues',
    ['two exclusive bindings'],
    declaring(topology => ({
      ...topology,
      bindings: topology.bindings.map(binding => ({ ...binding, exclusive: false })),
    })),
  ),
  saboteur('gives a topic to one queue only', ['each queue bound to a topic'], honest => ({
    async send(messages, options) {
      const routed: OutgoingMessage[] = []
      for (const message of messages) {
        const topic = topicOf(message)
        const bindings = topic === undefined ? [] : await honest.admin.bindings(topic)
        const first = bindings[0]
        routed.push(first === undefined ? message : { ...message, to: { queue: first.queue } })
      }
      return honest.send(routed, options)
    },
  })),
  saboteur(
    'makes a copy for each topic on the way',
    ['a queue bound to the topic and to its bases'],
    sending(message =>
      'topic' in message.to
        ? [message.to.topic, ...message.to.bases].map(topic => ({ ...message, to: { topic, bases: [] } }))
        : message,
    ),
  ),
  saboteur('keeps publishes for who comes later', ['a topic nobody is bound to'], (honest, scene) => ({
    async send(messages, options) {
      shared<OutgoingMessage>(scene, 'published').push(...messages.filter(message => 'topic' in message.to))
      return honest.send(messages, options)
    },
    async declare(topology) {
      await honest.declare(topology)
      const topics = topology.bindings.map(binding => binding.topic)
      await honest.send(
        shared<OutgoingMessage>(scene, 'published').filter(message => topics.includes(topicOf(message) ?? '')),
      )
    },
  })),
  saboteur(
    'ignores mandatory',
    ['a mandatory message'],
    sending(message => ({ ...message, mandatory: false })),
  ),
  saboteur(
    'ignores a match',
    ['a match lets through'],
    declaring(topology => ({
      ...topology,
      bindings: topology.bindings.map(binding => without(binding, 'match')),
    })),
  ),
  saboteur(
    'forgets headers',
    ['attributes, headers, content type'],
    sending(message => ({ ...message, headers: {} })),
  ),
  saboteur(
    'reads bodies as text',
    ['attributes, headers, content type'],
    sending(message => ({ ...message, body: new TextEncoder().encode(new TextDecoder().decode(message.body)) })),
  ),
  saboteur(
    'invents a content type',
    ['an empty body'],
    delivering(delivery =>
      changedDelivery(delivery, { contentType: delivery.contentType ?? 'application/octet-stream' }),
    ),
  ),
  saboteur('knows no limit of size', ['the largest message'], honest => {
    const vast = memory({ broker: honest.broker, maxMessageBytes: Number.MAX_SAFE_INTEGER })
    return { ...vast, capabilities: honest.capabilities }
  }),
  saboteur(
    'repairs ids and bodies',
    ['an id that is no id'],
    sending(message => ({
      ...message,
      id: message.id.replaceAll(' ', '').slice(0, 128) || randomUUID(),
      body: typeof message.body === 'string' ? new TextEncoder().encode(message.body) : message.body,
    })),
  ),
  saboteur('drops one in a hundred', ['a message is delivered once'], (honest, scene) => ({
    send(messages, options) {
      const count = shared<number>(scene, 'count')
      return honest.send(
        messages.filter(() => count.push(1) % 100 !== 0),
        options,
      )
    },
  })),
  saboteur('doubles one in a hundred', ['a message is delivered once'], (honest, scene) => ({
    send(messages, options) {
      const count = shared<number>(scene, 'count')
      return honest.send(
        messages.flatMap(message => (count.push(1) % 100 === 0 ? [message, message] : [message])),
        options,
      )
    },
  })),
  saboteur('turns arrays round', ['messages of one array keep their order'], honest => ({
    send: (messages, options) => honest.send(messages.toReversed(), options),
  })),
  saboteur('lets a later send overtake', ['messages of one array keep their order'], honest => {
    let calls = 0
    return {
      async send(messages, options) {
        if (calls++ % 3 === 0) await after(10)
        return honest.send(messages, options)
      },
    }
  }),
  saboteur('resolves a send before it is stored', ['a resolved send is stored'], honest => ({
    send(messages, options) {
      void after(20).then(() => honest.send(messages, options).catch(() => undefined))
      return Promise.resolve()
    },
  })),
  saboteur('makes queues that are sent to', ['a send to an unknown queue'], honest => ({
    async send(messages, options) {
      for (const { to } of messages) if ('queue' in to) await honest.declare({ ...none, queues: [{ name: to.queue }] })
      return honest.send(messages, options)
    },
  })),
  saboteur(
    'stores arrays piece by piece',
    ['a send to an unknown queue', 'a mandatory message', 'a full queue refuses a whole array'],
    honest => ({
      async send(messages, options) {
        for (const message of messages) await honest.send([message], options)
      },
    }),
  ),
  saboteur('ignores the signal', ['a send whose signal'], honest => ({
    send: (messages, options) => honest.send(messages, { ...options, signal: new AbortController().signal }),
  })),
  saboteur('takes equal ids for one message', ['equal ids without deduplication key'], (honest, scene) => ({
    send(messages, options) {
      const seen = shared<string>(scene, 'ids')
      const fresh = messages.filter(({ id }) => !seen.includes(id))
      seen.push(...messages.map(({ id }) => id))
      return honest.send(fresh, options)
    },
  })),
  saboteur(
    'knows one priority',
    ['of waiting messages the highest'],
    sending(message => ({ ...message, priority: 4 })),
  ),
  saboteur(
    'forgets all messages at a restart',
    [
      'after a restart every accepted message',
      'delivery counts survive',
      'a message open at the restart',
      'schedules survive a restart',
      'dead letters survive a restart',
      'deduplication windows survive',
      'the order of a key survives',
    ],
    () => ({}),
    () =>
      restarting(async before => ({
        ...none,
        queues: (await before.admin.queues()).map(({ name, options }) => ({ name, ...options })),
      })),
  ),
  saboteur(
    'forgets bindings at a restart',
    ['topology survives'],
    () => ({}),
    () =>
      restarting(async before => ({ ...none, queues: (await before.admin.queues()).map(({ name }) => ({ name })) })),
  ),
  saboteur(
    'acknowledges before the handler is done',
    ['nothing is acknowledged before', 'stop waits'],
    handling(onDelivery => delivery => {
      void onDelivery(delivery).catch(() => undefined)
      return Promise.resolve({ as: 'ack' })
    }),
  ),
  saboteur(
    'ignores every limit of a queue',
    ['maxMessages is exact', 'in a full queue', 'a full queue refuses'],
    queues(queue => without(queue, 'maxMessages')),
  ),
]

/** A suite whose broker comes back from a restart with nothing but what `kept` says. */
function restarting(
  kept: (before: MemoryTransport) => Promise<Topology>,
): Pick<TransportConformanceOptions, 'create' | 'restartBroker'> {
  let broker = memoryBroker()
  return {
    create: () => memory({ broker }),
    async restartBroker() {
      const topology = await kept(memory({ broker }))
      broker = memoryBroker()
      const fresh = memory({ broker })
      await fresh.connect({ bus: 'b', instanceId: 'i', clock: systemClock, logger: silentLogger, onState() {} })
      await fresh.declare(topology)
      await fresh.close()
    },
  }
}
