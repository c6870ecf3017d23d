import { BuzzerError, type Clock, type Logger, silentLogger, systemClock } from '../../../message/index.ts'
import { MemoryRecords, type StateChange } from '../../../store/index.ts'
import type {
  AppendBatch,
  OutgoingMessage,
  Receipt,
  QueueDeclaration,
  QueueLimits,
  Settlement,
  Topology,
} from '../../index.ts'
import { checkTopology } from './declaration.ts'
import { Dispatcher } from './dispatcher.ts'
import type { Entry } from './entry.ts'
import { MemoryQueue, type QueueHost } from './queue.ts'
import type { DeliveryHost, MemoryReceiver, OpenDelivery } from './receiver.ts'
import { normalMatch, Routing } from './routing.ts'
import { isDuplicate, type Limits, planShipments, routeNow, type Shipment, tighter } from './shipments.ts'
import { applySettlement, Groups } from './settling.ts'
import { MemoryStreams } from './streams.ts'
import { Timers, type Timer } from './timers.ts'
import { type MemoryTransaction, OpenTransaction, openTransaction } from './transaction.ts'

/** A message to a topic that waits for its time; routed when due. */
interface ScheduledPublish {
  readonly message: OutgoingMessage
  readonly bytes: number
  readonly timer: Timer
}

/** One connected transport: where its receivers' troubles are told. */
export interface Session {
  readonly logger: Logger
  readonly limits: Limits
  readonly receivers: Set<MemoryReceiver>
  /** A receiver came or went. */
  onReceivers(): void
  /** A receiver ended although nobody stopped it. */
  onReceiverEnded(error: BuzzerError): void
}

/**
 * The broker in memory: queues, topics, records and time, in one thread. Every change is made in one turn of the event loop,
 * checked before it is applied; that is what makes each step atomic.
 */
export class BrokerEngine implements QueueHost, DeliveryHost {
  readonly queues: Map<string, MemoryQueue> = new Map()
  readonly routing: Routing = new Routing()
  readonly records: MemoryRecords
  readonly limits: Limits
  readonly groups: Groups = new Groups()
  readonly streams: MemoryStreams
  wall: Timers
  monotonic: Timers
  #messages = 0
  #bytes = 0
  #sequence = 0
  readonly #sessions = new Set<Session>()
  readonly #receiverSessions = new WeakMap<MemoryReceiver, Session>()
  readonly #scheduled = new Map<string, Set<Entry | ScheduledPublish>>()
  readonly #idleTimers = new Map<MemoryQueue, Timer>()
  readonly #dispatcher = new Dispatcher()
  #clock: Clock
  readonly #fixedClock: Clock | undefined

  constructor(limits: Limits, clock?: Clock) {
    this.limits = limits
    this.records = new MemoryRecords(limits.maxMessageBytes)
    this.#fixedClock = clock
    this.#clock = clock ?? systemClock
    this.wall = new Timers(this.#clock, 'now')
    this.monotonic = new Timers(this.#clock, 'monotonic')
    this.streams = new MemoryStreams({ wall: this.wall, maxBytes: limits.maxBytes })
  }

  // Sessions and time.

  get clock(): Clock | undefined {
    return this.#fixedClock ?? (this.#sessions.size === 0 ? undefined : this.#clock)
  }

  /** The clock of the first transport connected is the broker's, until none is connected. */
  connect(session: Session, clock: Clock): void {
    if (this.#sessions.size === 0 && this.#fixedClock === undefined && clock !== this.#clock) {
      this.#clock = clock
      this.wall.moveTo(clock)
      this.monotonic.moveTo(clock)
    }
    this.#sessions.add(session)
  }

  /** Gives back, uncounted, what the session had not settled, and aborts its signals. */
  disconnect(session: Session): void {
    this.#sessions.delete(session)
    for (const receiver of session.receivers) {
      receiver.end()
      for (const open of receiver.openDeliveries()) {
        if (this.#holdsLock(open)) {
          open.entry.queue.release(open.entry)
          this.#loseLock(open, 'its transport was closed')
        } else receiver.forget(open)
      }
    }
    session.receivers.clear()
  }

  nextSequence(): number {
    return ++this.#sequence
  }

  /** Whether nothing can be delivered, is open, or waits for the next turn. What waits for a time does not count. */
  get isQuiet(): boolean {
    if (this.#dispatcher.isBusy) return false
    for (const queue of this.queues.values()) if (isBusy(queue) || isBusy(queue.dead as MemoryQueue)) return false
    return true
  }

  // Topology.

  declare(topology: Topology): void {
    checkTopology(topology, { queues: this.queues, routing: this.routing })
    for (const declaration of topology.queues) this.#declareQueue(declaration)
    for (const topic of topology.topics) this.routing.declareTopic(topic.name, topic.bases)
    for (const { topic, queue, exclusive, match } of topology.bindings) {
      this.routing.bind(topic, { queue: this.queueNamed(queue), exclusive, match: normalMatch(match) })
    }
  }

  /** @throws BUZZER_QUEUE_NOT_FOUND */
  queueNamed(name: string): MemoryQueue {
    const queue =
      this.queues.get(name) ?? (name.endsWith('.dead') ? this.queues.get(name.slice(0, -5))?.dead : undefined)
    if (queue === undefined) {
      throw new BuzzerError('BUZZER_QUEUE_NOT_FOUND', `there is no queue ${name}`, { details: { queue: name } })
    }
    return queue
  }

  alter(name: string, options: QueueLimits): void {
    const queue = this.queueNamed(name)
    if (queue.dead === undefined) {
      throw invalid(`${name} is a dead-letter queue; alter the queue it belongs to`, { queue: name })
    }
    const orderBy = options.orderBy ?? queue.orderBy
    if (orderBy !== queue.orderBy && queue.locked > 0) {
      throw invalid(`orderBy of queue ${name} cannot change while ${queue.locked} of its deliveries are open`, {
        queue: name,
        option: 'orderBy',
      })
    }
    queue.configure({ ...queue.options, ...options })
    this.touch(queue)
  }

  deleteQueue(queue: MemoryQueue): void {
    this.queues.delete(queue.name)
    this.routing.forget(queue)
    Timers.cancel(this.#idleTimers.get(queue))
    this.#idleTimers.delete(queue)
    for (const one of [queue, queue.dead as MemoryQueue]) {
      one.isDeleted = true
      for (const receiver of one.receivers.slice()) this.#endReceiver(receiver)
      for (const entry of Array.from(one.entries())) one.remove(entry)
    }
  }

  /** Keeps a queue that is deleted when idle. */
  touch(queue: MemoryQueue): void {
    const { expiresAfterIdleMs } = queue.options
    if (expiresAfterIdleMs === undefined) {
      Timers.cancel(this.#idleTimers.get(queue))
      this.#idleTimers.delete(queue)
      return
    }
    queue.lastUseAt = this.monotonic.now()
    if ((this.#idleTimers.get(queue)?.position ?? -1) < 0) this.#watchIdle(queue, expiresAfterIdleMs)
  }

  // Sending.

  /** One atomic step: all messages and records, or an error and nothing. */
  send(messages: readonly OutgoingMessage[], state: readonly StateChange[] | undefined, limits: Limits): void {
    const now = this.wall.now()
    const shipments = this.plan(messages, limits, now)
    if (state !== undefined && state.length > 0) {
      this.records.check(state, now)
      this.records.apply(state, now)
    }
    this.load(shipments, now)
  }

  /** When the send just made is answered. */
  answered(): Promise<void> {
    return this.#dispatcher.answered()
  }

  answer(receipt: Receipt): void {
    this.#dispatcher.answer(receipt)
  }

  plan(messages: readonly OutgoingMessage[], limits: Limits, now: number = this.wall.now()): readonly Shipment[] {
    return planShipments(messages, {
      queues: this.queues,
      routing: this.routing,
      limits,
      messages: this.#messages,
      bytes: this.#bytes,
      now,
    })
  }

  /** Stores what `plan` accepted in this same turn. Never fails. */
  load(shipments: readonly Shipment[], now: number = this.wall.now()): void {
    for (const { message, bytes, queues } of shipments) {
      if (queues === 'later') this.#schedulePublish(message, bytes)
      else for (const queue of queues) this.#accept(queue, message, bytes, now)
    }
  }

  /** True when the message was still waiting for its time; it is never delivered then. */
  cancelScheduled(messageId: string): boolean {
    const waiting = this.#scheduled.get(messageId)
    if (waiting === undefined) return false
    for (const one of Array.from(waiting)) {
      if ('timer' in one) {
        Timers.cancel(one.timer)
        this.occupy(-1, -one.bytes)
      } else {
        const { deduplicationKey } = one.message
        if (deduplicationKey !== undefined) one.queue.window.forget(deduplicationKey)
        one.queue.remove(one)
      }
    }
    this.#scheduled.delete(messageId)
    return true
  }

  async transaction<T>(work: (tx: MemoryTransaction) => Promise<T>): Promise<T> {
    const tx = new OpenTransaction(this)
    try {
      const result = await work(tx)
      this.#commit(tx)
      tx.state = 'committed'
      return result
    } finally {
      if (tx.state === 'open') tx.state = 'rolled-back'
    }
  }

  /** Adds sends to a transaction. What is wrong already is refused here, the rest at the commit. */
  sendIn(
    tx: MemoryTransaction,
    messages: readonly OutgoingMessage[],
    state: readonly StateChange[],
    limits: Limits,
  ): void {
    const open = openTransaction(tx, this)
    this.plan(messages, limits)
    this.records.check([...open.changes, ...state], this.wall.now())
    open.sends.push({ messages, limits })
    open.changes.push(...state)
  }

  commitIn(tx: MemoryTransaction, changes: readonly StateChange[]): void {
    const open = openTransaction(tx, this)
    this.records.check([...open.changes, ...changes], this.wall.now())
    open.changes.push(...changes)
  }

  /** Adds appends to a transaction; they are judged now, and once more when they are stored. */
  appendIn(tx: MemoryTransaction, batches: readonly AppendBatch[]): void {
    const open = openTransaction(tx, this)
    this.streams.plan([...open.appends, ...batches])
    open.appends.push(...batches)
  }

  // Receiving.

  addReceiver(receiver: MemoryReceiver, session: Session): void {
    session.receivers.add(receiver)
    session.onReceivers()
    this.#receiverSessions.set(receiver, session)
    receiver.queue.receivers.push(receiver)
    if (receiver.queue.hasDeliverable) this.deliverable(receiver.queue)
  }

  creditFreed(queue: MemoryQueue): void {
    if (queue.readyNow > 0) this.deliverable(queue)
  }

  settle(open: OpenDelivery, settlement: Settlement): void {
    if (this.#holdsLock(open)) applySettlement(this, open, settlement)
    else open.receiver.forget(open)
  }

  failed(open: OpenDelivery, error: unknown): void {
    const { entry, receiver } = open
    this.report(
      receiver,
      { error, queue: entry.queue.name, messageId: entry.message.id },
      'onDelivery rejected; the message is retried',
    )
    if (this.#holdsLock(open)) entry.queue.retry(entry, 0, 'retry')
    receiver.forget(open)
  }

  ended(receiver: MemoryReceiver): void {
    const session = this.#receiverSessions.get(receiver)
    session?.receivers.delete(receiver)
    session?.onReceivers()
  }

  report(receiver: MemoryReceiver, fields: Readonly<Record<string, unknown>>, message: string): void {
    const logger = this.#receiverSessions.get(receiver)?.logger ?? silentLogger
    logger.error(fields, message)
  }

  /** The limits that hold for what a settlement of this receiver sends. */
  limitsOf(receiver: MemoryReceiver): Limits {
    return this.#receiverSessions.get(receiver)?.limits ?? this.limits
  }

  // What queues tell.

  occupy(messages: number, bytes: number): void {
    this.#messages += messages
    this.#bytes += bytes
  }

  deliverable(queue: MemoryQueue): void {
    this.#dispatcher.deliverable(queue)
  }

  returned(queue: MemoryQueue): void {
    this.#dispatcher.returned(queue)
  }

  unscheduled(entry: Entry | ScheduledPublish): void {
    const waiting = this.#scheduled.get(entry.message.id)
    if (waiting?.delete(entry) === true && waiting.size === 0) this.#scheduled.delete(entry.message.id)
  }

  #accept(queue: MemoryQueue, message: OutgoingMessage, bytes: number, now: number): void {
    const { deduplicationWindowMs = 0, expiresAfterIdleMs } = queue.options
    if (message.deduplicationKey !== undefined && deduplicationWindowMs > 0) {
      if (isDuplicate(message, queue, now)) return
      queue.window.add(message.deduplicationKey, deduplicationWindowMs, now)
    }
    if (expiresAfterIdleMs !== undefined) this.touch(queue)
    const entry = queue.accept(message, bytes, now)
    if (entry.state === 'scheduled') this.#remember(entry)
  }

  #schedulePublish(message: OutgoingMessage, bytes: number): void {
    this.occupy(1, bytes)
    const scheduled: ScheduledPublish = {
      message,
      bytes,
      timer: this.wall.set(message.deliverAt as number, () => {
        this.unscheduled(scheduled)
        this.occupy(-1, -bytes)
        const now = this.wall.now()
        for (const queue of routeNow(message, this.routing)) this.#accept(queue, message, bytes, now)
      }),
    }
    this.#remember(scheduled)
  }

  #remember(scheduled: Entry | ScheduledPublish): void {
    const { id } = scheduled.message
    const waiting = this.#scheduled.get(id)
    if (waiting === undefined) this.#scheduled.set(id, new Set([scheduled]))
    else waiting.add(scheduled)
  }

  #commit(tx: OpenTransaction): void {
    const now = this.wall.now()
    // Planned as one send, so that the quotas see the whole; each part under the limits of its transport.
    const messages = tx.sends.flatMap(send => send.messages)
    const limits = tx.sends.map(send => send.limits).reduce(tighter, this.limits)
    const shipments = this.plan(messages, limits)
    const appends = this.streams.plan(tx.appends)
    this.records.check(tx.changes, now)
    this.records.apply(tx.changes, now)
    this.streams.apply(tx.appends, appends)
    this.load(shipments)
  }

  #declareQueue({ name, ...given }: QueueDeclaration): void {
    let queue = this.queues.get(name)
    if (queue === undefined) {
      queue = new MemoryQueue(name, this)
      this.queues.set(name, queue)
    }
    const options = withoutUndefined(given)
    if (Object.keys(options).some(option => queue.options[option as keyof QueueLimits] === undefined)) {
      queue.configure({ ...queue.options, ...options })
    }
    this.touch(queue)
  }

  #watchIdle(queue: MemoryQueue, idleMs: number): void {
    const timer = this.monotonic.set(queue.lastUseAt + idleMs, () => {
      const limit = queue.options.expiresAfterIdleMs
      if (limit === undefined || queue.isDeleted) return
      const isUsed = queue.receivers.length > 0 || (queue.dead as MemoryQueue).receivers.length > 0
      if (isUsed) queue.lastUseAt = this.monotonic.now()
      if (queue.lastUseAt + limit > this.monotonic.now()) this.#watchIdle(queue, limit)
      else this.deleteQueue(queue)
    })
    this.#idleTimers.set(queue, timer)
  }

  #endReceiver(receiver: MemoryReceiver): void {
    const { queue } = receiver
    receiver.end()
    for (const open of receiver.openDeliveries()) {
      if (this.#holdsLock(open)) queue.remove(open.entry)
      this.#loseLock(open, `queue ${queue.name} was deleted`)
    }
    this.#receiverSessions.get(receiver)?.onReceiverEnded(
      new BuzzerError('BUZZER_QUEUE_NOT_FOUND', `queue ${queue.name} was deleted while it was received from`, {
        details: { queue: queue.name },
      }),
    )
  }

  #holdsLock(open: OpenDelivery): boolean {
    return open.entry.open === open && open.entry.state === 'locked'
  }

  #loseLock(open: OpenDelivery, why: string): void {
    const { entry, receiver } = open
    this.groups.leave(open)
    receiver.forget(open)
    // Also for one who looks at the signal only from now on.
    open.lock ??= new AbortController()
    open.lock.abort(
      new BuzzerError(
        'BUZZER_LOCK_LOST',
        `the lock of message ${entry.message.id} of ${receiver.queue.name} is lost: ${why}`,
        {
          details: { queue: receiver.queue.name, messageId: entry.message.id },
        },
      ),
    )
  }
}

function isBusy(queue: MemoryQueue): boolean {
  return queue.locked > 0 || (queue.hasDeliverable && queue.receivers.some(receiver => receiver.isRunning))
}

function withoutUndefined(options: QueueLimits): QueueLimits {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

function invalid(message: string, details: Readonly<Record<string, unknown>>): BuzzerError {
  return new BuzzerError('BUZZER_INVALID_OPTION', message, { details })
}
