import { BuzzerError } from '../message/index.ts'
import {
  type Capabilities,
  deadLetterQueue,
  type Delivery,
  type OutgoingMessage,
  type QueueFigures,
  type ReceiveOptions,
  type SendOptions,
  type Settlement,
  type Topology,
  type Transport,
  type TransportAdmin,
} from '../transport/index.ts'
import { changedDelivery } from './changed-delivery.ts'

/** What a weakened transport lets through and what it no longer does. */
export interface Weakening {
  readonly capabilities: Capabilities
  readonly admin: TransportAdmin | undefined
  innerQueue(queue: string): string
  topology(topology: Topology): Topology
  /** @throws BUZZER_UNSUPPORTED for what is no longer claimed */
  checkSend(messages: readonly OutgoingMessage[], options: SendOptions<unknown> | undefined, now: number): void
  outgoing(message: OutgoingMessage): OutgoingMessage
  delivery(delivery: Delivery): Delivery
  receiveOptions(options: ReceiveOptions): ReceiveOptions
  /** Why a settlement asks for more than is claimed. */
  refusal(settlement: Settlement, now: number): BuzzerError | undefined
  settlement(settlement: Settlement): Settlement
}

/** From the weakest value to the strongest. */
const ranks: { readonly [K in keyof Capabilities]?: readonly Capabilities[K][] } = {
  deadLetter: ['none', 'native'],
  ordering: ['none', 'queue', 'key'],
  transactions: ['none', 'settle-and-send', 'caller'],
  redelivery: ['in-place', 'uncounted', 'counted'],
  deduplication: ['none', 'native'],
  replay: [false, true],
  ttl: ['none', 'native'],
  mandatory: ['none', 'native'],
  cancel: ['none', 'native'],
  temporaryQueues: ['none', 'native'],
}

/** `<queue>.dead` is an ordinary queue of the core's where dead letters are not native; at the real broker it is reserved. */
const plainDead = '.dead-by-hand'

export function weakening(inner: Transport<unknown>, weaker: Partial<Capabilities>): Weakening {
  for (const name of Object.keys(weaker) as (keyof Capabilities)[]) checkWeaker(inner.capabilities, weaker, name)
  const capabilities = Object.create(null) as Capabilities
  for (const name of Object.keys(inner.capabilities) as (keyof Capabilities)[]) {
    Object.defineProperty(capabilities, name, { enumerable: true, get: () => weaker[name] ?? inner.capabilities[name] })
  }
  const weak = <K extends keyof Capabilities>(name: K, value: Capabilities[K]): boolean => weaker[name] === value
  const isDeadByHand = weak('deadLetter', 'none')

  const innerQueue = (queue: string): string =>
    isDeadByHand && queue.endsWith('.dead') ? `${queue.slice(0, -'.dead'.length)}${plainDead}` : queue

  const unsupported = (feature: string): BuzzerError =>
    new BuzzerError('BUZZER_UNSUPPORTED', `faulty: transport ${inner.name} was weakened and has no ${feature}`, {
      details: { transport: inner.name, feature },
    })

  const lackOf = (message: OutgoingMessage, now: number): BuzzerError | undefined => {
    const { deliverAt } = message
    const { delayMaxMs } = weaker
    if (delayMaxMs !== undefined && deliverAt !== undefined && deliverAt - now > delayMaxMs) {
      return unsupported(`delay above ${delayMaxMs} ms`)
    }
    if (weaker.maxMessageBytes !== undefined && message.body.byteLength > weaker.maxMessageBytes) {
      return new BuzzerError(
        'BUZZER_MESSAGE_TOO_LARGE',
        `message ${message.id} has ${message.body.byteLength} bytes; the limit is ${weaker.maxMessageBytes}`,
        { details: { bytes: message.body.byteLength, maxBytes: weaker.maxMessageBytes } },
      )
    }
    return undefined
  }

  return {
    capabilities,
    admin: inner.admin === undefined ? undefined : weakAdmin(inner.admin, weaker, innerQueue),
    innerQueue,
    topology: ({ queues, topics, bindings }) => ({
      topics,
      bindings: bindings.map(binding => ({ ...binding, queue: innerQueue(binding.queue) })),
      queues: queues.map(
        ({ orderBy, ttlMs, deadLetterExpired, deduplicationWindowMs, expiresAfterIdleMs, ...queue }) => ({
          ...queue,
          name: innerQueue(queue.name),
          ...(orderBy === undefined || weak('ordering', 'none') ? {} : { orderBy }),
          ...(ttlMs === undefined || weak('ttl', 'none') ? {} : { ttlMs }),
          ...(deadLetterExpired === undefined || weak('ttl', 'none') || isDeadByHand ? {} : { deadLetterExpired }),
          ...(deduplicationWindowMs === undefined || weak('deduplication', 'none') ? {} : { deduplicationWindowMs }),
          ...(expiresAfterIdleMs === undefined || weak('temporaryQueues', 'none') ? {} : { expiresAfterIdleMs }),
        }),
      ),
    }),
    checkSend(messages, options, now) {
      if (options?.tx !== undefined && weaker.transactions !== undefined && weaker.transactions !== 'caller') {
        throw unsupported('caller transactions')
      }
      if ((options?.state?.length ?? 0) > 0 && weak('transactions', 'none')) throw unsupported('transactions')
      for (const message of messages) {
        const lack = lackOf(message, now)
        if (lack !== undefined) throw lack
      }
    },
    outgoing(message) {
      const { expiresAt, deduplicationKey, ...rest } = message
      return {
        ...rest,
        to: 'queue' in message.to ? { queue: innerQueue(message.to.queue) } : message.to,
        ...(expiresAt === undefined || weak('ttl', 'none') ? {} : { expiresAt }),
        ...(deduplicationKey === undefined || weak('deduplication', 'none') ? {} : { deduplicationKey }),
        ...(weak('mandatory', 'none') && 'topic' in message.to ? { mandatory: false } : {}),
        ...(weaker.priorities === undefined
          ? {}
          : { priority: Math.floor((message.priority * weaker.priorities) / 10) }),
      }
    },
    delivery: delivery =>
      changedDelivery(delivery, {
        queue: outerQueue(delivery.queue),
        ...(weaker.redelivery === undefined || weaker.redelivery === 'counted' ? {} : { attempt: 1 }),
      }),
    receiveOptions: options => (weak('ordering', 'none') ? { ...options, orderBy: 'none' } : options),
    refusal(settlement, now) {
      if (settlement.as === 'release') return undefined
      if (settlement.as === 'dead-letter' && isDeadByHand) return unsupported('dead letters')
      const send = 'send' in settlement ? (settlement.send ?? []) : []
      const cancel = settlement.as === 'ack' ? (settlement.cancel ?? []) : []
      if (weak('transactions', 'none')) {
        const asks = send.length + cancel.length + (settlement.state?.length ?? 0) > 0
        if (asks || (settlement.as === 'ack' && settlement.group !== undefined)) return unsupported('transactions')
      }
      if (cancel.length > 0 && weak('cancel', 'none')) return unsupported('cancelling')
      return send.map(message => lackOf(message, now)).find(lack => lack !== undefined)
    },
    // In place means at once: such a broker cannot set a message aside.
    settlement: settlement =>
      settlement.as === 'retry' && weak('redelivery', 'in-place') ? { ...settlement, delayMs: 0 } : settlement,
  }
}

function checkWeaker(own: Capabilities, weaker: Partial<Capabilities>, name: keyof Capabilities): void {
  const [wanted, given] = [weaker[name], own[name]]
  if (wanted === undefined) return
  const rank = ranks[name] as readonly unknown[] | undefined
  const isWeaker =
    rank === undefined
      ? Number(wanted) <= Number(given)
      : rank.includes(wanted) && rank.indexOf(wanted) <= rank.indexOf(given)
  if (isWeaker) return
  throw new BuzzerError(
    'BUZZER_INVALID_OPTION',
    `faulty() can only weaken: ${name} ${String(wanted)} is not weaker than the transport's own ${String(given)}`,
    { details: { option: `capabilities.${name}`, value: wanted } },
  )
}

function outerQueue(queue: string): string {
  return queue.endsWith(plainDead) ? deadLetterQueue(queue.slice(0, -plainDead.length)) : queue
}

function figures(one: QueueFigures): QueueFigures {
  return { ...one, name: outerQueue(one.name) }
}

type Renaming = (queue: string) => string

function weakAdmin(admin: TransportAdmin, weaker: Partial<Capabilities>, innerQueue: Renaming): TransportAdmin {
  const hidden = new Set<keyof TransportAdmin>([
    ...(weaker.deadLetter === 'none' ? (['redrive', 'deleteDead'] as const) : []),
    ...(weaker.cancel === 'none' ? (['cancelScheduled'] as const) : []),
  ])
  const offered = <K extends keyof TransportAdmin>(
    name: K,
    call: NonNullable<TransportAdmin[K]>,
  ): Pick<TransportAdmin, K> =>
    admin[name] === undefined || hidden.has(name)
      ? ({} as Pick<TransportAdmin, K>)
      : ({ [name]: call } as Pick<TransportAdmin, K>)
  return {
    queues: async () => (await admin.queues()).map(figures),
    queue: async queue => figures(await admin.queue(innerQueue(queue))),
    ...offered('peek', async (queue, options) => (await admin.peek?.(innerQueue(queue), options)) ?? { items: [] }),
    ...offered('purge', async (queue, options) => (await admin.purge?.(innerQueue(queue), options)) ?? 0),
    ...offered('redrive', async (queue, options) => (await admin.redrive?.(queue, options)) ?? 0),
    ...offered('deleteDead', async (queue, options) => (await admin.deleteDead?.(queue, options)) ?? 0),
    ...offered('cancelScheduled', async messageId => (await admin.cancelScheduled?.(messageId)) ?? false),
    ...offered('unpark', async (queue, ids) => (await admin.unpark?.(innerQueue(queue), ids)) ?? 0),
    ...offered('alter', async (queue, options) => admin.alter?.(innerQueue(queue), options)),
    ...offered('deleteQueue', async queue => admin.deleteQueue?.(innerQueue(queue))),
    ...offered('bind', async (topic, queue, match) => admin.bind?.(topic, innerQueue(queue), match)),
    ...offered('unbind', async (topic, queue) => admin.unbind?.(topic, innerQueue(queue))),
    ...offered('bindings', async topic =>
      ((await admin.bindings?.(topic)) ?? []).map(binding => ({ ...binding, queue: outerQueue(binding.queue) })),
    ),
  }
}
