import { randomUUID } from 'node:crypto'
import { BuzzerError, type Clock, consoleLogger, systemClock } from '../message/index.ts'
import type {
  Capabilities,
  DirectPath,
  OrderBy,
  OutgoingMessage,
  Receipt,
  ReceiveOptions,
  Receiver,
  SendOptions,
  Topology,
  Transport,
  TransportContext,
} from '../transport/index.ts'
import { type EmbeddedAdmin, embeddedAdmin } from './client/embedded-admin.ts'
import { EmbeddedLog } from './client/embedded-log.ts'
import { EmbeddedStore, refuseTransaction } from './client/embedded-store.ts'
import type { EmbeddedOnDelivery } from './client/open-locks.ts'
import { consumerOf, type EmbeddedConsumer } from './client/receiver.ts'
import { type EmbeddedOptions, type ResolvedOptions, resolveOptions } from './client/options.ts'
import { Session } from './client/session.ts'
import type { Request } from './protocol/index.ts'

/** The embedded broker as a transport: durable queues in one file, shared by all processes of this machine that name it. */
export interface EmbeddedTransport extends Transport, AsyncDisposable {
  /** The broker's file. */
  readonly path: string
  /** Every field of the context has a default. Idempotent while open. */
  connect(context?: Partial<TransportContext>): Promise<void>
  /** As in the contract; `onDelivery` may also answer `{ as: 'park' }`: set aside until `admin.unpark`. */
  receive(queue: string, onDelivery: EmbeddedOnDelivery, options: ReceiveOptions): Promise<Receiver>
  readonly admin: EmbeddedAdmin
  /** Records in the same file: they commit with settlements and sends. */
  readonly store: EmbeddedStore
  /** Streams in the same file, read again by whoever likes. Open while the transport is, or by a `connect` of its own. */
  readonly log: EmbeddedLog
}

/**
 * Makes a transport on the broker in the file `path`. Nothing is opened before `connect`.
 *
 * - One worker thread for each file and process carries it; the first process to take the file's owner lock hosts the
 *   engine there, the others reach it over a socket, and another takes over when the owner dies.
 * - `send` resolves when its messages are durable in the class of `durability`, in the order of the calls.
 *
 * Source: spec broker.
 * @throws BUZZER_INVALID_OPTION
 */
export function embedded(options: EmbeddedOptions): EmbeddedTransport {
  return new Embedded(resolveOptions(options))
}

class Embedded implements EmbeddedTransport {
  readonly name = 'embedded'
  readonly path: string
  readonly capabilities: Capabilities
  readonly direct: DirectPath
  readonly admin: EmbeddedAdmin
  readonly store: EmbeddedStore
  readonly log: EmbeddedLog
  readonly #options: ResolvedOptions
  #session: Session | undefined
  /** The end of a session that could not connect. */
  #ending: Promise<void> | undefined
  #clock: Clock = systemClock
  #closed = false
  /** Who connected: the session ends when none is left. */
  readonly #users = new Set<'transport' | 'store' | 'log'>()

  constructor(options: ResolvedOptions) {
    this.#options = options
    this.path = options.path
    this.direct = {
      // oxlint-disable-next-line typescript/unbound-method -- compared, not called
      standsFor: { send: this.send, receive: this.receive },
      submit: (message, receipt, sendOptions) => this.#submit(message, receipt, sendOptions),
      serve: (queue, consumer, receiveOptions) => this.#serve(queue, consumer, receiveOptions),
    }
    this.capabilities = capabilitiesOf(options.maxMessageBytes)
    this.admin = embeddedAdmin(async request => await this.#ask(request))
    this.store = new EmbeddedStore({
      connect: context => this.#connect('store', context),
      close: () => this.#leave('store'),
      ask: async request => await this.#ask(request),
      send: async (messages, state, signal) => await this.#running('commit').send(messages, state, signal),
      watch: async (collection, id, onChange) => await this.#running('watch').watch(collection, id, onChange),
      maxValueBytes: options.maxMessageBytes,
    })
    this.log = new EmbeddedLog({
      connect: context => this.#connect('log', context),
      close: () => this.#leave('log'),
      check: what => void this.#running(what),
      ask: async request => await this.#ask(request),
      append: async (batches, signal) => await this.#running('append').append(batches, signal),
      clock: () => this.#clock,
      onConflict: options.onTopologyConflict,
      maxRecordBytes: options.maxMessageBytes,
    })
  }

  connect(context: Partial<TransportContext> = {}): Promise<void> {
    return this.#connect('transport', context)
  }

  async #connect(user: 'transport' | 'store' | 'log', context: Partial<TransportContext>): Promise<void> {
    if (this.#closed) throw this.#notRunning('connect')
    this.#users.add(user)
    const whole = withDefaults(context)
    if (this.#session === undefined) this.#clock = whole.clock
    const session = (this.#session ??= new Session(this.#options, whole))
    try {
      await session.connect()
    } catch (error) {
      // A later call tries afresh.
      if (this.#session === session) {
        this.#session = undefined
        this.#ending = session.close()
      }
      throw error
    }
  }

  async declare(topology: Topology): Promise<void> {
    await this.#ask({ call: 'declare', topology, onConflict: this.#options.onTopologyConflict })
  }

  send(messages: readonly OutgoingMessage[], options: SendOptions = {}): Promise<void> {
    try {
      refuseTransaction(options.tx)
      return this.#running('send').send(messages, options.state, options.signal)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  receive(queue: string, onDelivery: EmbeddedOnDelivery, options: ReceiveOptions): Promise<Receiver> {
    return this.#serve(queue, consumerOf(onDelivery), options)
  }

  async #serve(queue: string, consumer: EmbeddedConsumer, options: ReceiveOptions): Promise<Receiver> {
    const session = this.#running('receive')
    const { orderBy } = options
    if (orderBy !== undefined && orderBy !== 'none' && !queue.endsWith('.dead')) await this.#keepOrder(queue, orderBy)
    return await session.receive(queue, consumer, options)
  }

  #submit(message: OutgoingMessage, receipt: Receipt, options: SendOptions | undefined): void {
    try {
      refuseTransaction(options?.tx)
      this.#running('send').submit(message, options?.state, options?.signal, receipt)
    } catch (error) {
      receipt.refused(error)
    }
  }

  /** A receiver asks for an order: a queue that was given none keeps it from now on, one that was given another refuses. */
  async #keepOrder(queue: string, orderBy: OrderBy): Promise<void> {
    const { options } = await this.admin.queue(queue)
    if (options.orderBy === orderBy) return
    const topology = { queues: [{ name: queue, orderBy }], topics: [], bindings: [] }
    await this.#ask({ call: 'declare', topology, onConflict: 'refuse' })
  }

  facts(): Readonly<Record<string, string | number>> {
    return this.#session?.facts() ?? { path: this.path, durability: this.#options.durability }
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#users.clear()
    this.log.endReads()
    await this.#session?.close()
    await this.#ending
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #leave(user: 'transport' | 'store' | 'log'): Promise<void> {
    if (!this.#users.delete(user) || this.#users.size > 0) return
    const session = this.#session
    this.#session = undefined
    await session?.close()
    await this.#ending
  }

  async #ask(request: Request): Promise<unknown> {
    return await this.#running(request.call).ask(request)
  }

  #running(what: string): Session {
    if (this.#session === undefined || this.#closed) throw this.#notRunning(what)
    return this.#session
  }

  #notRunning(what: string): BuzzerError {
    const why = this.#closed ? 'is closed; make a new one' : 'is not connected; call connect() first'
    return new BuzzerError('BUZZER_NOT_RUNNING', `${what}: the transport on ${this.#options.path} ${why}`, {
      details: { path: this.#options.path },
    })
  }
}

function capabilitiesOf(maxMessageBytes: number): Capabilities {
  return Object.freeze({
    delayMaxMs: Infinity,
    deadLetter: 'native',
    ordering: 'key',
    transactions: 'settle-and-send',
    redelivery: 'counted',
    deduplication: 'native',
    replay: true,
    maxMessageBytes,
    ttl: 'native',
    priorities: 10,
    mandatory: 'native',
    cancel: 'native',
    temporaryQueues: 'native',
  } as const)
}

function withDefaults(context: Partial<TransportContext>): TransportContext {
  return {
    bus: context.bus ?? 'embedded',
    instanceId: context.instanceId ?? randomUUID(),
    clock: context.clock ?? systemClock,
    logger: context.logger ?? consoleLogger(),
    onState: (state, error) => context.onState?.(state, error),
  }
}
