import { AbortedError, BuzzerError, type Clock, silentLogger, systemClock } from '../../message/index.ts'
import { type Store, storeOver } from '../../store/index.ts'
import type {
  Consumer,
  OutgoingMessage,
  Receiver,
  ReceiveOptions,
  SendOptions,
  Transport,
  TransportAdmin,
  TransportContext,
} from '../index.ts'
import { memoryAdmin } from './memory/admin.ts'
import { BrokerEngine, type Session } from './memory/broker.ts'
import { type MemoryLog, memoryLogOver } from './memory/log.ts'
import { consumerOf, MemoryReceiver } from './memory/receiver.ts'
import type { Limits } from './memory/shipments.ts'
import type { MemoryTransaction } from './memory/transaction.ts'

export type { MemoryLog } from './memory/log.ts'
export type { MemoryTransaction } from './memory/transaction.ts'

export interface MemoryLimits {
  /** Messages held in all, dead letters too. Beyond it a send rejects with `BUZZER_QUEUE_FULL`. Default 100,000. */
  maxMessages?: number
  /** Attributes, headers and bodies held in all. Beyond it a send rejects with `BUZZER_QUEUE_FULL`. Default 256 MiB. */
  maxBytes?: number
  /** Attributes, headers and body of one message. Beyond it: `BUZZER_MESSAGE_TOO_LARGE`. Default 1 MiB. */
  maxMessageBytes?: number
}

/** Queues, topics and records that outlive the transports, and so the buses, that use them. */
export interface MemoryBroker {
  /**
   * Runs `work` with a transaction to give as `tx` to sends and to the transport's store. What they carry exists once `work`
   * has resolved, all in one step in the order of the calls; when it rejects, or the step is refused, none of it ever did.
   * Rejects with what `work` rejects with, or with the refusal (`BUZZER_CONFLICT`, `BUZZER_QUEUE_FULL`, `BUZZER_UNROUTABLE`).
   */
  transaction<T>(work: (tx: MemoryTransaction) => Promise<T>): Promise<T>
  /** Nothing can be delivered, and no delivery is open. What waits for its time, or for a receiver, does not count. */
  readonly isQuiet: boolean
  /** The clock it runs on: its own, or that of the transports connected now; undefined when there are none. */
  readonly clock: Clock | undefined
}

export interface MemoryOptions extends MemoryLimits {
  /** Default: a broker of its own. Limits given beside it hold for sends through this transport. */
  broker?: MemoryBroker
}

export interface MemoryTransport extends Transport<MemoryTransaction> {
  readonly broker: MemoryBroker
  readonly store: Store<MemoryTransaction>
  /** Streams of the same broker. Open while the transport is, or by a `connect` of its own. */
  readonly log: MemoryLog
  readonly admin: Required<Omit<TransportAdmin, 'examine'>>
}

/** The longest wait one timer of the platform can hold. */
const longestTimerMs = 2 ** 31 - 1

const defaultLimits: Limits = { maxMessages: 100_000, maxBytes: 256 * 1024 * 1024, maxMessageBytes: 1024 * 1024 }

/**
 * A broker in this process's memory, to be shared by several `memory({ broker })`. `clock`: Default that of the first
 * transport that connects while no other is connected, so a test's virtual clock rules all that share the broker.
 */
export function memoryBroker(options: MemoryLimits & { clock?: Clock } = {}): MemoryBroker {
  const { clock, ...limits } = options
  return new BrokerEngine(limitsOf(limits, defaultLimits), clock)
}

/**
 * The transport without a server and without durability: every promise of the contract but survival of the process. For
 * tests, and for work that may be lost with the process.
 *
 * - Semantics are those of the embedded broker; all steps are atomic, since each runs in one turn of the event loop.
 * - Messages are kept by reference: do not change a body after it was sent.
 * - While anything is received from a queue the process stays alive, as with any broker, until the transport is closed.
 * - A handler that runs when its transport closes has lost its lock; the message is released, uncounted.
 *
 * Source: spec bus 2.
 */
export function memory(options: MemoryOptions = {}): MemoryTransport {
  const broker = options.broker ?? memoryBroker(options)
  if (!(broker instanceof BrokerEngine)) {
    throw new BuzzerError('BUZZER_INVALID_OPTION', 'option broker of memory() is not made by memoryBroker()', {
      details: { option: 'broker' },
    })
  }
  const limits = limitsOf(options, broker.limits)
  let state: 'new' | 'open' | 'closed' = 'new'
  let context: TransportContext | undefined
  let alive: NodeJS.Timeout | undefined
  const session: Session = {
    get logger() {
      return context?.logger ?? silentLogger
    },
    limits,
    receivers: new Set(),
    onReceivers() {
      // As with any other broker, who receives is alive. Under a clock of somebody else's nothing happens by itself.
      const isWaiting = this.receivers.size > 0 && broker.clock === systemClock
      if (isWaiting) alive ??= setInterval(() => {}, longestTimerMs)
      else {
        clearInterval(alive)
        alive = undefined
      }
    },
    onReceiverEnded(error) {
      this.logger.error({ error }, error.message)
      // The connection is as it was; the error is news all the same.
      context?.onState?.('connected', error)
    },
  }
  const running = (): void => {
    if (state === 'open') return
    throw new BuzzerError(
      'BUZZER_NOT_RUNNING',
      state === 'new' ? 'the memory transport is not connected' : 'the memory transport is closed; make a new one',
    )
  }
  const store = (messages: readonly OutgoingMessage[], options: SendOptions<MemoryTransaction> | undefined): void => {
    running()
    if (options === undefined) return broker.send(messages, undefined, limits)
    const { tx, signal, state: changes } = options
    if (signal?.aborted === true) throw new AbortedError(signal, 'the send', { outcome: 'not-stored' })
    if (tx === undefined) broker.send(messages, changes, limits)
    else broker.sendIn(tx, messages, changes ?? [], limits)
  }
  const serve = async (name: string, consumer: Consumer, options: ReceiveOptions): Promise<Receiver> => {
    running()
    const queue = broker.queueNamed(name)
    const { orderBy, maxInFlight } = options
    if (!Number.isInteger(maxInFlight) || maxInFlight < 1) {
      throw new BuzzerError('BUZZER_INVALID_OPTION', `maxInFlight ${maxInFlight} is not an integer ≥ 1`, {
        details: { option: 'maxInFlight', value: maxInFlight },
      })
    }
    if (queue.dead !== undefined && orderBy !== undefined && orderBy !== 'none') {
      // A receiver asks for an order; a queue that was given none keeps it from now on, one that was given another refuses.
      broker.declare({ queues: [{ name, orderBy }], topics: [], bindings: [] })
    }
    broker.touch(queue)
    const receiver = new MemoryReceiver(queue, broker, consumer, options)
    broker.addReceiver(receiver, session)
    return receiver
  }
  const send: Transport<MemoryTransaction>['send'] = (messages, options) => {
    try {
      store(messages, options)
      return broker.answered()
    } catch (error) {
      return Promise.reject(error)
    }
  }
  const receive: Transport['receive'] = (name, onDelivery, options) =>
    serve(name, consumerOf(onDelivery, broker), options)
  const streams = memoryLogOver(broker, limits, () => state === 'open')
  return {
    name: 'memory',
    capabilities: Object.freeze({
      delayMaxMs: Number.POSITIVE_INFINITY,
      deadLetter: 'native',
      ordering: 'key',
      transactions: 'caller',
      redelivery: 'counted',
      deduplication: 'native',
      replay: true,
      maxMessageBytes: limits.maxMessageBytes,
      ttl: 'native',
      priorities: 10,
      mandatory: 'native',
      cancel: 'native',
      temporaryQueues: 'native',
    }),
    broker,
    store: storeOver<MemoryTransaction>(broker.records, {
      now: () => broker.wall.now(),
      enlist: (tx, changes) => broker.commitIn(tx, changes),
    }),
    log: streams.log,
    admin: memoryAdmin(broker),
    async connect(given) {
      if (state === 'open') return
      if (state === 'closed') running()
      context = given
      state = 'open'
      broker.connect(session, given.clock ?? systemClock)
      given.onState?.('connected')
    },
    async declare(topology) {
      running()
      broker.declare(topology)
    },
    send,
    receive,
    direct: {
      standsFor: { send, receive },
      submit(message, receipt, sendOptions) {
        try {
          store([message], sendOptions)
        } catch (error) {
          return receipt.refused(error)
        }
        broker.answer(receipt)
      },
      serve,
    },
    async close() {
      if (state === 'open') broker.disconnect(session)
      state = 'closed'
      streams.transportClosed()
    },
  }
}

/**
 * A log in this process's memory, for tests and for records that may be lost with the process: that of a `memory()`
 * transport nobody else needs. Several `memoryLog({ broker })` share their streams. Beyond `maxBytes` of its broker an
 * append rejects with `BUZZER_BROKER_FULL`. Source: spec streams 2.
 */
export function memoryLog(options: MemoryOptions = {}): MemoryLog {
  return memory(options).log
}

function limitsOf(given: MemoryLimits, defaults: Limits): Limits {
  const limits = {
    maxMessages: given.maxMessages ?? defaults.maxMessages,
    maxBytes: given.maxBytes ?? defaults.maxBytes,
    maxMessageBytes: given.maxMessageBytes ?? defaults.maxMessageBytes,
  }
  for (const [option, value] of Object.entries(limits)) {
    if (!(value > 0)) {
      throw new BuzzerError('BUZZER_INVALID_OPTION', `${option} ${value} is not a positive number`, {
        details: { option, value },
      })
    }
  }
  return limits
}
