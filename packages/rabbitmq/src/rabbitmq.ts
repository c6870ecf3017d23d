import { BuzzerError, type Clock, type Logger, silentLogger, systemClock } from 'buzzer'
import type {
  Capabilities,
  OutgoingMessage,
  ReceiveOptions,
  SendOptions,
  Transport,
  TransportContext,
} from 'buzzer/transport'
import { type RabbitMqAdmin, rabbitMqAdmin } from './admin.ts'
import { type AmqpConnection, openConnection } from './amqplib-connection.ts'
import { longestDelayMs } from './delay-keys.ts'
import { disconnected } from './errors.ts'
import { Link } from './link.ts'
import { type Names, namesWith } from './names.ts'
import { type RabbitMqOptions, type ResolvedOptions, resolveOptions } from './options.ts'
import { OrderedReceiver } from './ordered-receiver.ts'
import { PlainReceiver } from './plain-receiver.ts'
import { Publisher } from './publisher.ts'
import { ReceiverRecovery } from './receiver-recovery.ts'
import type { RabbitReceiver, ReceiverHost } from './receiver.ts'
import { Routes } from './routes.ts'
import { type ServerBehaviour, serverBehaviour, unsupported } from './server-version.ts'
import { TopologyKeeper } from './topology.ts'
import { Turn } from './turn.ts'
import type { MessageLimits } from './wire-message.ts'

/** RabbitMQ as a transport. */
export interface RabbitMqTransport extends Transport {
  readonly admin: RabbitMqAdmin
}

/** Patience with what was sent before a close, and with the server's goodbye. */
const closePatienceMs = 30_000
const goodbyeMs = 2_000

/**
 * RabbitMQ 3.10 or newer as a transport: quorum queues, publisher confirms, delays without a plug-in, order by key over
 * partitioned queues. Needs no plug-in of the server.
 *
 * - Two connections, one for publishing alone: a server in trouble stops reading from those who publish, and acknowledgements
 *   must go on. Both come back by themselves, with everything on them.
 * - `send` resolves when the server has confirmed each message; what had no confirm when a connection ended is sent again with
 *   the same id. An array is not atomic: its rejection carries `details.results`, what became of each message.
 * - No transactions and no dead letters of its own: the bus does both, safely with a store.
 *
 * @throws BUZZER_INVALID_OPTION
 */
export function rabbitmq(options: RabbitMqOptions = {}): RabbitMqTransport {
  return new RabbitMq(resolveOptions(options))
}

/** @internal Its topology and names are for tests, which delete what they made. */
export class RabbitMq implements RabbitMqTransport, ReceiverHost {
  readonly name = 'rabbitmq'
  readonly admin: RabbitMqAdmin
  readonly options: ResolvedOptions
  readonly names: Names
  readonly topology: TopologyKeeper
  readonly limits: MessageLimits
  clock: Clock = systemClock
  logger: Logger = silentLogger
  readonly random: () => number = Math.random
  readonly #routes: Routes
  readonly #receivers = new Set<RabbitReceiver>()
  readonly #recovery: ReceiverRecovery
  #publisher: Publisher | undefined
  /** For delayed retries: they neither wait for the user's sends nor hold them up. */
  #copies: Publisher | undefined
  #publishing: Link | undefined
  #consuming: Link | undefined
  #context: TransportContext | undefined
  #behaviour: ServerBehaviour | undefined
  #state: 'new' | 'open' | 'closed' = 'new'
  #connecting: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #wasConnected = false
  #nextUrl: number
  #maxHeaderBytes = 48 * 1024
  #blockedBecause: BuzzerError | undefined

  constructor(options: ResolvedOptions) {
    this.options = options
    this.names = namesWith(options.prefix)
    this.#nextUrl = Math.floor(this.random() * options.urls.length)
    this.topology = new TopologyKeeper(this)
    this.#routes = new Routes(this, this.topology)
    const maxHeaderBytes = (): number => this.#maxHeaderBytes
    const logger = (): Logger => this.logger
    const behaviour = (): ServerBehaviour => this.behaviour
    this.#recovery = new ReceiverRecovery(this)
    this.limits = {
      maxMessageBytes: options.maxMessageBytes,
      get maxHeaderBytes() {
        return maxHeaderBytes()
      },
    }
    this.admin = rabbitMqAdmin({
      names: this.names,
      options,
      topology: this.topology,
      get logger() {
        return logger()
      },
      get behaviour() {
        return behaviour()
      },
      controlConnection: () => this.controlConnection(),
      knownQueues: () =>
        new Set([...this.topology.declaredQueues, ...[...this.#receivers].map(receiver => receiver.queue)]),
      openHere: queue => {
        let open = 0
        for (const receiver of this.#receivers) if (receiver.queue === queue) open += receiver.openCount
        return open
      },
      forgetQueue: queue => {
        this.topology.forgetQueue(queue)
        this.#routes.forgetQueue(queue)
      },
      clock: () => this.clock,
    })
  }

  get capabilities(): Capabilities {
    const behaviour = this.#behaviour
    return {
      delayMaxMs: this.delayMaxMs,
      deadLetter: 'none',
      ordering: 'key',
      transactions: 'none',
      redelivery: this.options.queueType === 'quorum' ? 'counted' : 'uncounted',
      deduplication: 'none',
      replay: false,
      maxMessageBytes: this.options.maxMessageBytes,
      ttl: 'native',
      priorities: behaviour?.priorities ?? 1,
      mandatory: 'native',
      cancel: 'none',
      temporaryQueues: 'native',
    }
  }

  get delayMaxMs(): number {
    return this.options.delays === 'chain' ? longestDelayMs : 0
  }

  get behaviour(): ServerBehaviour {
    if (this.#behaviour === undefined) throw this.#notRunning()
    return this.#behaviour
  }

  /** What `bus.health()` shows of it. */
  facts(): Readonly<Record<string, string | number>> {
    return {
      durability: this.options.queueType === 'quorum' ? 'replicated, confirmed' : 'confirmed',
      ...(this.#behaviour === undefined ? {} : { server: `RabbitMQ ${this.#behaviour.version}` }),
      unconfirmed: this.#publishers.reduce((sum, publisher) => sum + publisher.outstanding, 0),
    }
  }

  connect(context: TransportContext): Promise<void> {
    if (this.#state === 'closed') return Promise.reject(this.#notRunning())
    this.#connecting ??= this.#connect(context).catch((error: unknown) => {
      this.#connecting = undefined
      throw error
    })
    return this.#connecting
  }

  async #connect(context: TransportContext): Promise<void> {
    this.#context = context
    this.clock = context.clock ?? systemClock
    this.logger = context.logger ?? silentLogger
    this.#publisher ??= this.#newPublisher()
    this.#copies ??= this.#newPublisher()
    this.#consuming ??= this.#link('consume', connection => this.#openConsuming(connection))
    this.#publishing ??= this.#link('publish', connection => this.#openPublishing(connection))
    await this.#consuming.connect()
    await this.#publishing.connect()
    if (this.#isClosed) throw this.#notRunning()
    this.#state = 'open'
    this.#wasConnected = true
    context.onState?.('connected')
  }

  #newPublisher(): Publisher {
    const publisher: Publisher = new Publisher({
      clock: this.clock,
      logger: this.logger,
      routes: this.#routes,
      limits: this.limits,
      maxUnconfirmed: this.options.maxUnconfirmed,
      sendTimeoutMs: this.options.sendTimeoutMs,
      hasLimit: queue => {
        const { maxMessages, maxBytes } = this.topology.declaration(queue) ?? {}
        return maxMessages !== undefined || maxBytes !== undefined
      },
      reopen: () => this.#reopenPublisher(publisher),
    })
    return publisher
  }

  get #publishers(): readonly Publisher[] {
    return [this.#publisher, this.#copies].filter(one => one !== undefined)
  }

  #link(purpose: 'consume' | 'publish', onOpen: (connection: AmqpConnection) => Promise<void>): Link {
    return new Link({
      clock: this.clock,
      random: this.random,
      open: () => this.#openNext(this.#connectionName(purpose)),
      onOpen,
      onReady: () => this.#ready(),
      onLost: error => this.#lost(purpose, error),
      onRefused: error => {
        this.logger.error({ error }, 'rabbitmq refuses the connection; the next attempt is in half a minute')
        this.#context?.onState?.('lost', error)
      },
    })
  }

  /** As the server shows it. */
  #connectionName(purpose: string): string {
    const { bus, instanceId } = this.#context as TransportContext
    return `${bus}.${instanceId} ${purpose}`
  }

  #openNext(name: string): Promise<AmqpConnection> {
    const { urls } = this.options
    const url = urls[this.#nextUrl++ % urls.length] as string
    return openConnection(url, name, this.options)
  }

  /** Topology first, then receivers; sends wait for both. */
  async #openConsuming(connection: AmqpConnection): Promise<void> {
    this.#behaviour = serverBehaviour(connection.serverVersion, this.options.queueType)
    this.#control = connection
    // Attributes and headers travel in one frame with what the server adds on the way.
    this.#maxHeaderBytes = Math.max(1_024, Math.min(48 * 1024, connection.frameMaxBytes - 2_048))
    if (this.#wasConnected) await this.topology.restore()
  }

  #control: AmqpConnection | undefined

  async #openPublishing(connection: AmqpConnection): Promise<void> {
    connection.onBlocked(reason => this.#blocked(reason))
    this.#routes.forget()
    for (const publisher of this.#publishers) await publisher.open(connection)
  }

  /** One of the connections is ready. */
  #ready(): void {
    if (!this.#wasConnected || this.#consuming?.isReady !== true) return
    this.#recovery.reopen(this.#receivers)
    if (this.#publishing?.isReady !== true) return
    for (const publisher of this.#publishers) publisher.resume()
    this.#tellConnected()
  }

  #lost(purpose: 'consume' | 'publish', error: Error): void {
    this.logger.warn({ error, purpose }, 'the connection to rabbitmq is lost; reconnecting')
    if (purpose === 'consume') {
      this.#control = undefined
      this.topology.forgetLayouts()
      this.#recovery.lost(error)
      for (const receiver of this.#receivers) receiver.lost(`the connection was lost (${error.message})`)
    } else {
      this.#blockedBecause = undefined
      for (const publisher of this.#publishers) publisher.lost()
    }
    this.#context?.onState?.('reconnecting', disconnected(error.message, error))
  }

  /** And what is wrong all the same, if anything is. */
  #tellConnected(): void {
    this.#context?.onState?.('connected', this.#blockedBecause ?? this.#recovery.trouble)
  }

  #reopenPublisher(publisher: Publisher): void {
    const connection = this.#publishing?.connection
    if (connection === undefined) return
    publisher.open(connection).then(
      () => publisher.resume(),
      (error: unknown) => this.#publishing?.abandon(error as Error),
    )
  }

  #blocked(reason: string | undefined): void {
    for (const publisher of this.#publishers) publisher.blocked(reason !== undefined)
    if (reason === undefined) {
      this.#blockedBecause = undefined
      this.logger.info({}, 'rabbitmq takes messages again')
      this.#tellConnected()
      return
    }
    this.#blockedBecause = new BuzzerError(
      'BUZZER_BROKER_BLOCKED',
      `rabbitmq takes no messages for now (${reason}); sends wait, deliveries go on`,
      {
        details: { reason },
      },
    )
    this.logger.warn({ reason }, 'rabbitmq takes no messages for now: sends wait')
    this.#tellConnected()
  }

  async declare(topology: Parameters<Transport['declare']>[0]): Promise<void> {
    const refusal = this.#refusal()
    if (refusal !== undefined) throw refusal
    try {
      await this.topology.declare(topology)
    } catch (error) {
      throw this.#isClosed ? this.#notRunning() : error
    }
  }

  send(messages: readonly OutgoingMessage[], options?: SendOptions): Promise<void> {
    if (this.#state !== 'open' || this.#publisher === undefined) return Promise.reject(this.#notRunning())
    if (options?.tx !== undefined) return Promise.reject(noTransactions("the caller's transactions"))
    if (options?.state !== undefined && options.state.length > 0)
      return Promise.reject(noTransactions('records in a send'))
    return this.#publisher.send(messages, options?.signal)
  }

  async receive(
    queue: string,
    onDelivery: Parameters<Transport['receive']>[1],
    options: ReceiveOptions,
  ): Promise<RabbitReceiver> {
    const refusal = this.#refusal()
    if (refusal !== undefined) throw refusal
    const { maxInFlight, orderBy } = options
    if (!Number.isInteger(maxInFlight) || maxInFlight < 1 || maxInFlight > 65_535) {
      throw new BuzzerError('BUZZER_INVALID_OPTION', `maxInFlight ${maxInFlight} is not an integer from 1 to 65,535`, {
        details: { option: 'maxInFlight', value: maxInFlight },
      })
    }
    const receiver = await this.#receiverOf(queue, onDelivery, maxInFlight, orderBy ?? 'none')
    this.#receivers.add(receiver)
    try {
      await receiver.open()
    } catch (error) {
      this.#receivers.delete(receiver)
      void receiver.end()
      throw error
    }
    return receiver
  }

  async #receiverOf(
    queue: string,
    onDelivery: Parameters<Transport['receive']>[1],
    maxInFlight: number,
    orderBy: ReceiveOptions['orderBy'],
  ): Promise<RabbitReceiver> {
    const { names } = this
    // Not what is remembered: somebody may have made the queue in another way a moment ago.
    this.topology.forgetLayout(queue)
    const layout = await this.topology.layoutOf(queue)
    if (layout.as === 'lanes') {
      if (orderBy === 'queue') {
        throw new BuzzerError(
          'BUZZER_TOPOLOGY_CONFLICT',
          `queue ${queue} has orderBy "key"; the receiver asks for "queue"`,
          {
            details: { what: `queue ${queue}`, option: 'orderBy', present: 'key', given: 'queue' },
          },
        )
      }
      const serverQueues = Array.from({ length: layout.count }, (_, at) => names.lane(queue, at))
      return new OrderedReceiver(queue, onDelivery, this, { serverQueues, orderBy: 'key', maxInFlight })
    }
    const serverQueue = names.queue(queue)
    if (orderBy === 'none') return new PlainReceiver(queue, serverQueue, maxInFlight, onDelivery, this)
    const settings = { serverQueues: [serverQueue], orderBy, maxInFlight }
    if (!(await this.topology.needsTurns(queue, orderBy))) return new OrderedReceiver(queue, onDelivery, this, settings)
    if (orderBy === 'key') {
      this.logger.warn(
        { queue },
        'the queue was declared before its order was known, so one process at a time handles its keys; see the guide to spread them',
      )
    }
    if (this.options.declare !== 'create') {
      throw unsupported(
        `queue ${queue} was declared without its order, and declare: '${this.options.declare}' may not make the queue by which its receivers take turns; ` +
          `nearest alternative: declare queue ${queue} with orderBy '${orderBy}' where it is made`,
        { queue, orderBy },
      )
    }
    const turn = new Turn(queue, serverQueue, names.turn(queue), this)
    return new OrderedReceiver(queue, onDelivery, this, { ...settings, turn })
  }

  /** Open deliveries lose their locks at once, what was sent is finished, then both connections end. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#state = 'closed'
    const receivers = [...this.#receivers]
    this.#receivers.clear()
    this.#recovery.close()
    await Promise.all(receivers.map(receiver => receiver.end()))
    await Promise.all(this.#publishers.map(publisher => publisher.close(closePatienceMs)))
    await Promise.all([this.#publishing?.close(goodbyeMs), this.#consuming?.close(goodbyeMs)])
  }

  // What topology and receivers ask of their transport.

  controlConnection(): AmqpConnection {
    if (this.#control === undefined) throw disconnected('the connection for consuming is away')
    return this.#control
  }

  connection(): AmqpConnection | undefined {
    return this.#consuming?.connection
  }

  openTrial(): Promise<AmqpConnection> {
    return this.#openNext(this.#connectionName('trial'))
  }

  onTrouble(): void {
    if (this.#consuming?.isReady === true && this.#publishing?.isReady === true) this.#tellConnected()
  }

  sendCopy(copy: OutgoingMessage, attempts: number): Promise<void> {
    return this.#copies?.send([copy], undefined, attempts) ?? Promise.reject(this.#notRunning())
  }

  restoreQueue(queue: string): Promise<boolean> {
    this.#routes.forgetQueue(queue)
    return this.topology.restoreQueue(queue)
  }

  ended(receiver: RabbitReceiver, error: BuzzerError): void {
    if (!this.#receivers.delete(receiver)) return
    this.#recovery.forget(receiver)
    void receiver.end()
    this.logger.error({ error, queue: receiver.queue }, error.message)
    // The connection is as it was; the error is news all the same.
    this.#context?.onState?.('connected', error)
  }

  stopped(receiver: RabbitReceiver): void {
    this.#receivers.delete(receiver)
    this.#recovery.forget(receiver)
  }

  get #isClosed(): boolean {
    return this.#state === 'closed'
  }

  #refusal(): BuzzerError | undefined {
    return this.#state === 'open' ? undefined : this.#notRunning()
  }

  #notRunning(): BuzzerError {
    const why = this.#state === 'closed' ? 'is closed; make a new one' : 'is not connected'
    return new BuzzerError('BUZZER_NOT_RUNNING', `the rabbitmq transport ${why}`)
  }
}

function noTransactions(feature: string): BuzzerError {
  return unsupported(`there are no ${feature}; nearest alternative: the bus option \`store\`, whose outbox does it`, {
    feature,
  })
}
