import { BuzzerError, silentLogger, systemClock } from '../src/message/index.ts'
import type { HistoryRule } from '../src/testing/index.ts'
import type { Delivery, OnDelivery, OutgoingMessage, Settlement } from '../src/transport/index.ts'
import { memory, type MemoryTransport } from '../src/transport/transports/memory.ts'
import type { Sabotage, Scene } from './rehearsal.ts'

/** A broker that breaks one promise in the middle of an ordinary run, and the rule that must find it. */
export interface RunSaboteur {
  readonly name: string
  readonly rule: HistoryRule
  readonly sabotage: Sabotage
}

/** How often a broker errs that errs now and then. */
const rarely = 0.02

function sending(change: (message: OutgoingMessage, scene: Scene) => OutgoingMessage | undefined): Sabotage {
  return (honest, scene) => ({
    send: (messages, options) =>
      honest.send(
        messages.flatMap(message => change(message, scene) ?? []),
        options,
      ),
  })
}

function delivering(change: (delivery: Delivery, scene: Scene) => Partial<Delivery>): Sabotage {
  return handling((onDelivery, scene) => delivery => onDelivery({ ...plain(delivery), ...change(delivery, scene) }))
}

function settling(change: (settlement: Settlement, delivery: Delivery, scene: Scene) => Settlement): Sabotage {
  return handling((onDelivery, scene) => async delivery => change(await onDelivery(delivery), delivery, scene))
}

function handling(wrap: (onDelivery: OnDelivery, scene: Scene, honest: MemoryTransport) => OnDelivery): Sabotage {
  return (honest, scene) => ({
    receive: (queue, onDelivery, options) => honest.receive(queue, wrap(onDelivery, scene, honest), options),
  })
}

function without<T extends object>(value: T, ...names: readonly string[]): T {
  return Object.fromEntries(Object.entries(value).filter(([name]) => !names.includes(name))) as T
}

/** A delivery's fields may be computed; a copy has them all. */
function plain(delivery: Delivery): Delivery {
  const { id, attributes, headers, body, priority, queue, attempt, enqueuedAt, signal } = delivery
  const { contentType, key, deliverAt, expiresAt } = delivery
  return {
    id,
    attributes,
    headers,
    body,
    priority,
    queue,
    attempt,
    enqueuedAt,
    signal,
    ...(contentType === undefined ? {} : { contentType }),
    ...(key === undefined ? {} : { key }),
    ...(deliverAt === undefined ? {} : { deliverAt }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
  }
}

/** A client of the same broker that nobody watches. */
async function accomplice({ broker }: Scene): Promise<MemoryTransport> {
  const transport = memory({ broker })
  await transport.connect({ bus: 'b', instanceId: 'x', clock: systemClock, logger: silentLogger, onState() {} })
  return transport
}

function outputsOf(settlement: Settlement): readonly OutgoingMessage[] {
  return settlement.as === 'ack' ? (settlement.send ?? []) : []
}

export const runSaboteurs: readonly RunSaboteur[] = [
  {
    name: 'forgets a message now and then',
    rule: 'durability',
    sabotage: sending((message, { random }) => (random() < rarely ? undefined : message)),
  },
  {
    name: 'acknowledges sends before they are stored, and loses what it holds when a client goes',
    rule: 'durability',
    sabotage: (honest, scene) => ({
      async send(messages, options) {
        const stored = new Promise(resolve => setTimeout(resolve, scene.closed.size === 0 ? 5_000 : 0).unref())
        void stored.then(() => honest.send(messages, options)).catch(() => undefined)
      },
    }),
  },
  {
    name: 'changes a byte',
    rule: 'no invention',
    sabotage: delivering(({ body }, { random }) => {
      if (body.length === 0 || random() >= rarely) return {}
      const changed = Uint8Array.from(body)
      changed[0] = (changed[0] ?? 0) ^ 1
      return { body: changed }
    }),
  },
  {
    name: 'loses a header',
    rule: 'no invention',
    sabotage: delivering((_, { random }) => (random() < rarely ? { headers: {} } : {})),
  },
  {
    name: 'delivers a message that nobody sent',
    rule: 'no invention',
    sabotage: delivering(({ id }, { random }) => (random() < rarely ? { id: `${id}.twin` } : {})),
  },
  {
    name: 'stores what it refuses',
    rule: 'no invention',
    sabotage: (honest, { random }) => ({
      async send(messages, options) {
        await honest.send(messages, options)
        if (random() < rarely) throw new BuzzerError('BUZZER_QUEUE_FULL', 'there was room')
      },
    }),
  },
  {
    name: 'forgets a message when its handler begins',
    rule: 'at least once',
    sabotage: handling((onDelivery, { random }) => async delivery => {
      if (random() >= 0.2) return onDelivery(delivery)
      void onDelivery(delivery).catch(() => undefined)
      return { as: 'ack' }
    }),
  },
  {
    name: 'drops what is to be tried again',
    rule: 'at least once',
    sabotage: settling(settlement => (settlement.as === 'retry' ? { as: 'ack' } : settlement)),
  },
  {
    name: 'turns arrays round',
    rule: 'order',
    sabotage: honest => ({ send: (messages, options) => honest.send(messages.toReversed(), options) }),
  },
  {
    name: 'lets the key go on while a message waits for its retry',
    rule: 'order',
    sabotage: handling((onDelivery, scene) => async delivery => {
      const settlement = await onDelivery(delivery)
      if (settlement.as !== 'retry') return settlement
      const client = await accomplice(scene)
      const again = { ...plain(delivery), to: { queue: delivery.queue }, mandatory: false }
      await client.send([{ ...again, deliverAt: Date.now() + 60 }])
      return { as: 'ack' }
    }),
  },
  {
    name: 'handles a key in parallel',
    rule: 'exclusion',
    sabotage: honest => ({
      declare: topology =>
        honest.declare({ ...topology, queues: topology.queues.map(queue => ({ ...queue, orderBy: 'none' as const })) }),
      receive: (queue, onDelivery, options) => honest.receive(queue, onDelivery, { ...options, orderBy: 'none' }),
    }),
  },
  {
    name: 'hands one message to two handlers',
    rule: 'exclusion',
    sabotage: handling((onDelivery, { random }) => async delivery => {
      if (random() < rarely)
        void onDelivery({ ...plain(delivery), attempt: delivery.attempt + 100 }).catch(() => undefined)
      return onDelivery(delivery)
    }),
  },
  {
    name: 'stores a message twice',
    rule: 'once in',
    sabotage: (honest, { random }) => ({
      send: (messages, options) =>
        honest.send(
          messages.flatMap(message => (random() < rarely ? [message, message] : [message])),
          options,
        ),
    }),
  },
  {
    name: 'forgets an acknowledgement',
    rule: 'once in',
    sabotage: settling((settlement, _, { random }) =>
      settlement.as === 'ack' && settlement.send === undefined && random() < rarely ? { as: 'retry' } : settlement,
    ),
  },
  {
    name: 'ignores the fence',
    rule: 'fencing',
    sabotage: handling((onDelivery, scene, honest) => async delivery => {
      const settlement = await onDelivery(delivery)
      const outputs = outputsOf(settlement)
      if (scene.closed.has(honest) && outputs.length > 0) await (await accomplice(scene)).send(outputs)
      return settlement
    }),
  },
  {
    name: 'acknowledges without the outputs',
    rule: 'atomicity',
    sabotage: settling((settlement, _, { random }) =>
      settlement.as === 'ack' && random() < 0.2 ? without(settlement, 'send') : settlement,
    ),
  },
  {
    name: 'acknowledges without the state',
    rule: 'atomicity',
    sabotage: settling((settlement, _, { random }) =>
      settlement.as === 'ack' && random() < 0.2 ? without(settlement, 'state') : settlement,
    ),
  },
  {
    name: 'sends the outputs first, and forgets the acknowledgement',
    rule: 'atomicity',
    sabotage: handling((onDelivery, scene) => async delivery => {
      const settlement = await onDelivery(delivery)
      const outputs = outputsOf(settlement)
      if (outputs.length === 0 || scene.random() >= 0.2) return settlement
      await (await accomplice(scene)).send(outputs)
      return { as: 'retry' }
    }),
  },
  {
    name: 'stores half of an array and fails',
    rule: 'atomicity',
    sabotage: (honest, { random }) => ({
      async send(messages, options) {
        if (messages.length === 1 || random() >= 0.3) return honest.send(messages, options)
        await honest.send(messages.slice(0, 1), options)
        throw new Error('the connection is gone')
      },
    }),
  },
  {
    name: 'gives one queue of a topic its copy, and fails',
    rule: 'atomicity',
    sabotage: (honest, { random }) => ({
      async send(messages, options) {
        const [message] = messages
        if (message === undefined || 'queue' in message.to || random() >= 0.3) return honest.send(messages, options)
        await honest.send([{ ...message, to: { queue: 'audit' } }], options)
        throw new Error('the connection is gone')
      },
    }),
  },
  {
    name: 'keeps no window',
    rule: 'deduplication',
    sabotage: sending(message => without(message, 'deduplicationKey')),
  },
  {
    name: 'delivers before the time',
    rule: 'time',
    sabotage: sending(message => without(message, 'deliverAt')),
  },
  {
    name: 'delivers long after the expiry',
    rule: 'time',
    sabotage: sending(message =>
      message.expiresAt === undefined
        ? message
        : { ...without(message, 'expiresAt'), deliverAt: message.expiresAt + 1_200 },
    ),
  },
  {
    name: 'retries at once',
    rule: 'time',
    sabotage: settling(settlement => (settlement.as === 'retry' ? { as: 'retry' } : settlement)),
  },
  {
    name: 'counts twice',
    rule: 'count',
    sabotage: delivering(({ attempt }) => ({ attempt: attempt * 2 - 1 })),
  },
  {
    name: 'counts down',
    rule: 'count',
    sabotage: delivering(({ attempt }) => ({ attempt: Math.max(1, 4 - attempt) })),
  },
  {
    name: 'stops delivering',
    rule: 'liveness',
    sabotage: handling((onDelivery, scene) => async delivery => {
      const count = ((scene.memory.get('count') as number | undefined) ?? 0) + 1
      scene.memory.set('count', count)
      return count < 300 ? onDelivery(delivery) : new Promise<Settlement>(() => {})
    }),
  },
  {
    name: 'takes no send any more',
    rule: 'liveness',
    sabotage: honest => ({
      send: (messages, options) =>
        messages.some(({ id }) => id === 'probe') ? new Promise(() => {}) : honest.send(messages, options),
    }),
  },
]
