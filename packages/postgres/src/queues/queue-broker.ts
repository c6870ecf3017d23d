import { BuzzerError } from 'buzzer'
import type {
  Delivery,
  OnDelivery,
  OutgoingMessage,
  QueueLimits,
  ReceiveOptions,
  Receiver,
  Settlement,
  Topology,
} from 'buzzer/transport'
import { deadLetterQueue } from 'buzzer/transport'
import type { StateChange } from 'buzzer/store'
import type { Notifications } from '../connection/notifications.ts'
import { anything, Notices } from '../notices.ts'
import type { MigrateMode } from '../migrations/index.ts'
import { rowsOf, type SqlHandle } from '../sql-handle.ts'
import { checkTopology, lockTopology, missingOf, writeTopology } from './declaration.ts'
import { heldAsStored } from './claim-answer.ts'
import { Intake, type IntakeEvents, type IntakeQueue, queueNotFound } from './intake.ts'
import { ChunkLease, type Held } from './lease.ts'
import { LeaseKeeper } from './lease-keeper.ts'
import { LocalReceiver, type ReceiverHost } from './local-receiver.ts'
import { type Manifest, scheduleQueue } from './manifest.ts'
import { OpenDelivery, PostgresDelivery } from './open-delivery.ts'
import { Publisher, type Reservation } from './publisher.ts'
import { breakUpChunks, reorder } from './reordering.ts'
import type { Session } from './session.ts'
import { Settler } from './settler.ts'
import { TopologyView } from './topology.ts'
import { Upkeep } from './upkeep.ts'

export interface QueueBrokerOptions {
  readonly session: Session
  readonly notifications: Notifications | undefined
  readonly pollMs: number
  readonly declare: MigrateMode
  /** A receiver ended although nobody stopped it. */
  onReceiverEnded(error: BuzzerError): void
}

const maxRouted = 500
/** Settlements that may wait before nothing more is claimed. */
const maxBacklog = 20_000
const closeMs = 30_000
const farewellMs = 5_000

/** The host of a receiver that only gives back. */
const nowhere: ReceiverHost = {
  onCredit() {},
  onAnswer() {},
  onFailure() {},
  onPause: () => Promise.resolve(),
  onResume() {},
  onStop: () => Promise.resolve(),
}

/** The queues of a connected transport. */
export class QueueBroker implements IntakeEvents {
  readonly session: Session
  readonly #options: QueueBrokerOptions
  readonly #publisher: Publisher
  readonly #settler: Settler
  readonly #keeper: LeaseKeeper
  readonly #upkeep: Upkeep
  readonly #intakes = new Map<number, Intake>()
  readonly #notices: Notices
  readonly #listening: readonly Disposable[]
  #wasBehind = false

  constructor(options: QueueBrokerOptions) {
    const { session, notifications } = options
    this.session = session
    this.#options = options
    const onStored = (queues: Iterable<number>, awaited: readonly number[]): void => this.#onStored(queues, awaited)
    this.#publisher = new Publisher(session, { onStored, reserve: manifest => this.#reserve(manifest) })
    this.#settler = new Settler(session, this.#publisher, {
      onSettled: open => this.#over(open),
      onLost: open => this.#lose(open, 'its lease ran out'),
      onChunkLost: chunk => {
        for (const open of this.#openDeliveries()) {
          const { place } = open.held
          if (place.kind === 'chunk' && place.chunk === chunk) this.#lose(open, 'its lease ran out')
        }
      },
      onStored,
    })
    this.#keeper = new LeaseKeeper(session, {
      deliveries: () => this.#openDeliveries(),
      receivers: () =>
        [...this.#intakes].flatMap(([id, { receivers }]) =>
          receivers.length === 0 ? [] : [{ q: id, n: receivers.length }],
        ),
      onLost: (open, why) => this.#lose(open, why),
    })
    this.#upkeep = new Upkeep(session, () => this.#changedTopology())
    this.#notices = new Notices(async payload => notifications?.notify('queue', payload), session.clock)
    this.#listening =
      notifications === undefined
        ? []
        : [
            notifications.listen('queue', {
              onPayload: payload => this.#hear(payload),
              onGap: () => this.#lookAtAll(),
            }),
            notifications.listen('topology', {
              onPayload: () => this.#readTopology(),
              onGap: () => this.#readTopology(),
            }),
          ]
    session.onTopology(view => this.#onTopology(view))
    session.database.onReady(() => {
      this.#readTopology()
      this.#lookAtAll()
      void this.#keeper.renewNow()
    })
  }

  async start(): Promise<void> {
    await this.session.readTopology()
    this.#upkeep.start()
    this.#keeper.start()
    // Publishes that wait for their time are routed by whoever is there when it comes.
    const schedule = new Intake(
      this.session,
      { id: scheduleQueue, name: 'schedule', orderBy: 'none' },
      this.#options.pollMs,
      this,
    )
    this.#intakes.set(scheduleQueue, schedule)
    await this.#keeper.announce(scheduleQueue, 1)
    schedule.add(delivery => Promise.resolve(this.#route(delivery)), maxRouted)
  }

  // Topology.

  async declare(topology: Topology): Promise<void> {
    const { declare: mode } = this.#options
    if (mode === 'none') return
    if (mode === 'create') {
      await this.declareNow(topology)
      return
    }
    const view = await this.session.readTopology()
    checkTopology(topology, view)
    const missing = missingOf(topology, view)
    if (missing.length === 0) return
    throw new BuzzerError(
      'BUZZER_TOPOLOGY_CONFLICT',
      `declare: 'verify' changed nothing, and found:\n${missing.join('\n')}`,
      {
        details: { missing },
      },
    )
  }

  /** Makes queues, topics and bindings exist, whatever the option `declare` says. */
  async declareNow(topology: Topology): Promise<void> {
    const { database, options } = this.session
    checkTopology(topology, await this.session.readTopology())
    const { quotedSchema } = database
    const isChanged = await database.repeating(() =>
      database.transaction(async handle => {
        await lockTopology(handle, quotedSchema)
        const view = await TopologyView.read(handle, quotedSchema, options.prefix)
        checkTopology(topology, view)
        await this.#touch(handle, topology)
        if (missingOf(topology, view).length === 0) return false
        await writeTopology(handle, quotedSchema, options.prefix, topology, view)
        for (const { name, orderBy = 'none' } of topology.queues) {
          const known = view.queues.get(name)
          if (known !== undefined && orderBy !== 'none' && known.orderBy !== orderBy) {
            await reorder(handle, quotedSchema, known.id, orderBy)
          }
        }
        return true
      }),
    )
    if (isChanged) await this.#changedTopology()
  }

  /** Changes the topology on purpose: `change` runs in the transaction, under its lock. */
  async changeTopology<T>(change: (handle: SqlHandle, view: TopologyView) => Promise<T>): Promise<T> {
    const { database, options } = this.session
    const result = await database.transaction(async handle => {
      await lockTopology(handle, database.quotedSchema)
      const view = await TopologyView.read(handle, database.quotedSchema, options.prefix)
      const done = await change(handle, view)
      await handle.query(`update ${database.quotedSchema}.broker set topology = topology + 1`)
      return done
    })
    await this.#changedTopology()
    return result
  }

  /** Runs `work` in a transaction that holds the topology as it is; what it puts into `queues` is looked for at once. */
  async withTopology<T>(
    work: (handle: SqlHandle, view: TopologyView) => Promise<T>,
    queues: readonly number[],
  ): Promise<T> {
    const { database, options } = this.session
    const result = await database.transaction(async handle => {
      await lockTopology(handle, database.quotedSchema)
      return work(handle, await TopologyView.read(handle, database.quotedSchema, options.prefix))
    })
    for (const id of queues) this.hint(id)
    return result
  }

  /** Something may be found in a queue: told to our receivers and to those of others. */
  hint(queue: number): void {
    this.#intakes.get(queue)?.hint()
    this.#notices.tell([String(queue)])
  }

  /** The number of a queue, negative for its dead letters. @throws BUZZER_QUEUE_NOT_FOUND */
  async queueNamed(name: string): Promise<IntakeQueue & { readonly limits: QueueLimits }> {
    const find = (view: TopologyView): (IntakeQueue & { readonly limits: QueueLimits }) | undefined => {
      const queue = view.queues.get(name)
      if (queue !== undefined) return queue
      const owner = name.endsWith('.dead') ? view.queues.get(name.slice(0, -5)) : undefined
      return owner === undefined || deadLetterQueue(owner.name) !== name
        ? undefined
        : { id: -owner.id, name, orderBy: 'none', limits: owner.limits }
    }
    const queue = find(await this.session.topology()) ?? find(await this.session.readTopology())
    if (queue === undefined) throw queueNotFound(name)
    return queue
  }

  // Sending and receiving.

  send(
    messages: readonly OutgoingMessage[],
    state: readonly StateChange[] | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const encoded = this.#publisher.encode(messages)
    return this.#publisher.send(encoded, this.session.records.prepare(state ?? []), signal)
  }

  sendIn(
    tx: SqlHandle,
    messages: readonly OutgoingMessage[],
    state: readonly StateChange[] | undefined,
  ): Promise<void> {
    const encoded = this.#publisher.encode(messages)
    return this.#publisher.sendIn(tx, encoded, this.session.records.prepare(state ?? []))
  }

  async receive(name: string, onDelivery: OnDelivery, { maxInFlight, orderBy }: ReceiveOptions): Promise<Receiver> {
    if (!Number.isInteger(maxInFlight) || maxInFlight < 1) {
      throw new BuzzerError('BUZZER_INVALID_OPTION', `maxInFlight ${maxInFlight} is not an integer ≥ 1`, {
        details: { option: 'maxInFlight', value: maxInFlight },
      })
    }
    let queue = await this.queueNamed(name)
    if (queue.id > 0 && orderBy !== undefined && orderBy !== 'none' && queue.orderBy !== orderBy) {
      // A receiver asks for an order; a queue that was given none keeps it from now on, one that was given another refuses.
      await this.declare({ queues: [{ name, orderBy }], topics: [], bindings: [] })
      queue = await this.queueNamed(name)
    }
    let intake = this.#intakes.get(queue.id)
    if (intake === undefined) {
      intake = new Intake(this.session, queue, this.#options.pollMs, this)
      this.#intakes.set(queue.id, intake)
    }
    await this.#keeper.announce(queue.id, intake.receivers.length + 1)
    if (this.session.isClosed || this.#intakes.get(queue.id) !== intake) throw queueNotFound(name)
    return intake.add(onDelivery, maxInFlight)
  }

  /** What is sent and settled is finished (at most 30 s), what runs loses its lock, what was leased is given back. */
  async close(): Promise<void> {
    const { session } = this
    this.#upkeep.close()
    const intakes = [...this.#intakes.values()]
    for (const intake of intakes) for (const receiver of intake.receivers) receiver.end()
    const within = (ms: number, work: Promise<unknown>): Promise<unknown> => {
      const { promise, resolve } = Promise.withResolvers<void>()
      const timer = session.clock.setTimeout(resolve, ms)
      return Promise.race([work, promise]).finally(() => session.clock.clearTimeout(timer))
    }
    const farewell = async (): Promise<void> => {
      await Promise.all(intakes.map(intake => intake.end()))
      await this.#settler.idle()
      await this.#keeper.leave()
    }
    this.#releaseAll('its transport was closed')
    const leaving = farewell().catch((error: unknown) => {
      session.logger.warn({ error }, 'what was leased comes back when its lease runs out')
    })
    // What was promised to senders is worth a longer wait than what the others get anyway when our leases run out.
    await within(closeMs, this.#publisher.idle())
    await within(farewellMs, leaving)
    session.isClosed = true
    this.#keeper.close()
    this.#notices.close()
    for (const listening of this.#listening) listening[Symbol.dispose]()
    const error = new BuzzerError('BUZZER_NOT_RUNNING', 'the PostgreSQL transport was closed before this was stored', {
      details: { outcome: 'unknown' },
    })
    this.#publisher.abandon(error)
  }

  // What intakes and their receivers tell.

  get isBehind(): boolean {
    const isBehind = this.#settler.backlog > maxBacklog
    this.#wasBehind ||= isBehind
    return isBehind
  }

  get isHearing(): boolean {
    return this.#options.notifications?.isHearing === true
  }

  onAnswer(open: OpenDelivery, settlement: Settlement): void {
    this.#settler.settle(open, settlement, open.receiver.queueId === scheduleQueue ? 'passed' : 'kept')
  }

  onFailure(open: OpenDelivery, error: unknown): void {
    this.session.logger.error(
      { error, queue: open.queue, messageId: open.held.message.id },
      'onDelivery rejected; the message is retried',
    )
    this.#settler.settle(open, { as: 'retry' })
  }

  async giveBack(held: readonly Held[], queue: IntakeQueue): Promise<void> {
    const nobody = new LocalReceiver(nowhere, queue, () => Promise.resolve({ as: 'release' }), 1)
    for (const one of held) this.#settler.settle(new OpenDelivery(one, queue.name, nobody), { as: 'release' })
    await this.#settler.idle()
  }

  async breakUp(queue: IntakeQueue): Promise<void> {
    const { database } = this.session
    let isMore = true
    while (isMore && !this.session.isClosed) {
      isMore = await database.transaction(handle =>
        breakUpChunks(handle, database.quotedSchema, queue.id, queue.orderBy),
      )
    }
  }

  onGone(intake: Intake): void {
    if (this.#intakes.get(intake.queue.id) !== intake) return
    this.#intakes.delete(intake.queue.id)
    const { name } = intake.queue
    for (const receiver of intake.receivers) {
      for (const open of receiver.openDeliveries) this.#lose(open, 'its queue was deleted')
    }
    void intake.end()
    this.#options.onReceiverEnded(
      new BuzzerError('BUZZER_QUEUE_NOT_FOUND', `queue ${name} was deleted under its receiver, which has ended`, {
        details: { queue: name },
      }),
    )
  }

  async onStopped(intake: Intake): Promise<void> {
    const { id } = intake.queue
    if (this.#intakes.get(id) !== intake) return
    if (intake.receivers.length === 0) {
      this.#intakes.delete(id)
      await intake.end()
    }
    await this.#keeper.announce(id, intake.receivers.length)
  }

  *#openDeliveries(): Generator<OpenDelivery> {
    for (const { receivers } of this.#intakes.values()) {
      for (const receiver of receivers) yield* receiver.openDeliveries
    }
  }

  #over(open: OpenDelivery): void {
    open.receiver.forget(open)
    if (!this.#wasBehind || this.isBehind) return
    this.#wasBehind = false
    for (const intake of this.#intakes.values()) intake.onCredit()
  }

  #lose(open: OpenDelivery, why: string): void {
    if (open.state === 'over') return
    this.#settler.leave(open)
    open.receiver.forget(open)
    open.lose(why)
  }

  /** Gives back, uncounted, all that is not being settled: what its handlers answer from now on is dropped. */
  #releaseAll(why: string): void {
    const release = (open: OpenDelivery): void => {
      open.state = 'settling'
      open.lose(why)
      this.#settler.settle(open, { as: 'release' })
    }
    for (const open of this.#settler.dissolve()) release(open)
    for (const open of this.#openDeliveries()) if (open.state === 'open') release(open)
  }

  /** A publish that has come due, to the queues that are bound now. What was accepted always finds room. */
  #route(delivery: Delivery): Settlement {
    const { topic, ...message } = PostgresDelivery.heldBy(delivery).message
    if (topic === undefined) return { as: 'ack' }
    return { as: 'ack', send: [{ ...message, to: { topic: topic.name, bases: topic.bases }, mandatory: false }] }
  }

  // Hints.

  #onStored(queues: Iterable<number>, awaited: readonly number[]): void {
    for (const id of queues) this.#intakes.get(id)?.hint()
    if (awaited.length > 0) this.#notices.tell(awaited.map(String))
  }

  #reserve({ chunks }: Manifest): Reservation | undefined {
    const kept = new Map<number, { readonly intake: Intake; readonly count: number; held: Held[] }>()
    for (const [queue, own] of Map.groupBy(chunks, chunk => chunk.queue)) {
      const intake = this.#intakes.get(queue)
      const count = own.reduce((sum, { records }) => sum + records.length, 0)
      if (intake?.reserve(count) === true) kept.set(queue, { intake, count, held: [] })
    }
    if (kept.size === 0) return undefined
    return {
      queues: [...kept.keys()],
      end: (answer, askedAt) => {
        const { taken, lease, ranks } = answer ?? {}
        if (answer !== undefined && typeof lease === 'number') {
          const enqueuedAt = this.session.time.toOurs(answer.now)
          const stored = chunks.filter(({ queue }) => taken?.includes(queue))
          for (const [at, { queue, records }] of stored.entries()) {
            const chunk = new ChunkLease(ranks?.[at] as number, lease, 0, records.length)
            kept.get(queue)?.held.push(...heldAsStored(records, chunk, askedAt, enqueuedAt))
          }
        }
        for (const { intake, count, held } of kept.values()) void intake.release(count, held, askedAt)
      },
    }
  }

  #hear(payload: string): void {
    if (payload === anything) this.#lookAtAll()
    else for (const id of payload.split(',')) this.#intakes.get(Number(id))?.hint()
  }

  #lookAtAll(): void {
    for (const intake of this.#intakes.values()) intake.hint()
  }

  #readTopology(): void {
    if (this.session.isClosed) return
    this.session.readTopology().catch((error: unknown) => {
      if (!this.session.isClosed) this.session.logger.warn({ error }, 'the topology cannot be read')
    })
  }

  async #changedTopology(): Promise<void> {
    await this.session.readTopology()
    // Told after the commit, and only a hint: who sends by an older topology is told so by the server.
    this.#options.notifications?.notify('topology', '').catch(() => {})
  }

  #onTopology(view: TopologyView): void {
    for (const intake of this.#intakes.values()) {
      const { id } = intake.queue
      if (id === scheduleQueue) continue
      const queue = view.queuesById.get(Math.abs(id))
      if (queue === undefined) this.onGone(intake)
      else if (id > 0) intake.queue = queue
    }
  }

  async #touch(handle: SqlHandle, topology: Topology): Promise<void> {
    const names = topology.queues.map(({ name }) => this.session.options.prefix + name)
    if (names.length === 0) return
    await rowsOf(
      handle,
      `update ${this.session.database.quotedSchema}.queue set used_at = clock_timestamp()
      where expires_after_idle_ms is not null and name = any(array(select json_array_elements_text($1::json)))`,
      [JSON.stringify(names)],
    )
  }
}
