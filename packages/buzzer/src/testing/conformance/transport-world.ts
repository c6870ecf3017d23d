import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { newId, silentLogger, systemClock } from '../../message/index.ts'
import type {
  Capabilities,
  Delivery,
  OutgoingMessage,
  QueueFigures,
  QueueLimits,
  Receiver,
  Settlement,
  Transport,
  TransportAdmin,
} from '../../transport/index.ts'
import { rejection, settles, until } from './waiting.ts'

export interface TransportConformanceOptions {
  readonly name: string
  /** A new, unconnected client. All clients made by it reach one and the same broker. */
  create(): Transport | Promise<Transport>
  /** Sends and receives through one client, or through two that share nothing but the broker. Default `one`. */
  readonly clients?: 'one' | 'two'
  /** Stops the broker as hard as possible and starts it again. Clients made before are closed by then. */
  restartBroker?(): Promise<void>
  /** With `transactions: 'caller'`: runs `work` in a transaction of the caller. */
  readonly transaction?: <T>(work: (tx: unknown) => Promise<T>) => Promise<T>
  /** Cases this broker cannot serve although no capability says so, with the reason that is reported. */
  readonly exceptions?: Readonly<Record<string, string>>
  /** How long a case waits for what must happen. Default 10,000. */
  readonly patienceMs?: number
  /** How long a case listens for what must not happen. Default 150. */
  readonly quietMs?: number
  /** How late a delayed message may be. Default 1,000: machines that run tests are busy. */
  readonly lateMs?: number
}

/** A case of the transport suite. `needs` answers the reason why it does not apply. */
export interface TransportCase {
  readonly name: string
  readonly source: string
  readonly needs?: (world: TransportWorld) => string | undefined
  readonly run: (world: TransportWorld) => Promise<void>
}

export interface Received {
  readonly delivery: Delivery
  /** Wall clock. */
  readonly at: number
}

/** What a case may do: two clients of one broker, names nobody else uses, and waits with a deadline. */
export class TransportWorld {
  readonly options: TransportConformanceOptions
  readonly patienceMs: number
  readonly quietMs: number
  readonly lateMs: number
  producer!: Transport
  consumer!: Transport
  readonly #clients: Transport[] = []
  readonly #prefix: string = `c-${newId().slice(-12)}`
  #names = 0

  constructor(options: TransportConformanceOptions) {
    this.options = options
    this.patienceMs = options.patienceMs ?? 10_000
    this.quietMs = options.quietMs ?? 150
    this.lateMs = options.lateMs ?? 1_000
  }

  get capabilities(): Capabilities {
    return this.consumer.capabilities
  }

  get admin(): TransportAdmin {
    assert.ok(this.producer.admin !== undefined)
    return this.producer.admin
  }

  async open(): Promise<void> {
    this.producer = await this.client()
    this.consumer = this.options.clients === 'two' ? await this.client() : this.producer
  }

  /** Another client of the same broker, connected. */
  async client(): Promise<Transport> {
    const transport = await this.options.create()
    this.#clients.push(transport)
    await settles(transport.connect(this.context()), 'connect', this.patienceMs)
    return transport
  }

  context(): Parameters<Transport['connect']>[0] {
    return {
      bus: 'conformance',
      instanceId: newId().slice(-12),
      clock: systemClock,
      logger: silentLogger,
      onState() {},
    }
  }

  async close(): Promise<void> {
    await settles(Promise.all(this.#clients.map(client => client.close())), 'close', this.patienceMs)
  }

  /** Closes all clients, restarts the broker and opens fresh ones. */
  async restart(): Promise<void> {
    await this.close()
    this.#clients.length = 0
    await this.options.restartBroker?.()
    await this.open()
  }

  name(what = 'queue'): string {
    return `${this.#prefix}-${what}${++this.#names}`
  }

  /** A fresh queue, declared by the consumer. Deliveries are out of the broker's own count unless asked. */
  async queue(options: QueueLimits = {}): Promise<string> {
    const name = this.name()
    await this.consumer.declare({
      queues: [{ name, maxDeliveries: 1_000_000, ...options }],
      topics: [],
      bindings: [],
    })
    return name
  }

  /** Queues bound to one fresh topic. */
  async topic(queues: readonly string[]): Promise<string> {
    const topic = this.name('topic')
    await this.consumer.declare({
      queues: [],
      topics: [{ name: topic, bases: [] }],
      bindings: queues.map(queue => ({ topic, queue, exclusive: false })),
    })
    return topic
  }

  message(to: string | OutgoingMessage['to'], change: Partial<OutgoingMessage> = {}): OutgoingMessage {
    const id = change.id ?? newId()
    return {
      id,
      to: typeof to === 'string' ? { queue: to } : to,
      attributes: {
        specversion: '1.0',
        id,
        type: 'conformance.happened',
        source: '/conformance',
        time: new Date(systemClock.now()).toISOString(),
        conversationid: id,
        messagekind: 'event',
      },
      headers: {},
      contentType: 'application/json',
      body: new TextEncoder().encode(`{"id":"${id}"}`),
      priority: 4,
      mandatory: false,
      ...change,
    }
  }

  published(topic: string, change: Partial<OutgoingMessage> = {}, bases: readonly string[] = []): OutgoingMessage {
    return this.message({ topic, bases }, change)
  }

  /** Messages with ids `1`, `2`, … sent one by one; their ids. */
  async sendMany(
    queue: string,
    count: number,
    change: (n: number) => Partial<OutgoingMessage> = () => ({}),
  ): Promise<void> {
    const messages = Array.from({ length: count }, (_, at) =>
      this.message(queue, { id: String(at + 1), ...change(at + 1) }),
    )
    await this.send(...messages)
  }

  async send(...messages: readonly OutgoingMessage[]): Promise<void> {
    await settles(this.producer.send(messages), 'send', this.patienceMs)
  }

  /** A first delay to a queue may have to make what holds delays; sent and taken here, it disturbs no measured one. */
  async prepareDelays(queue: string): Promise<void> {
    await this.send(this.message(queue, { deliverAt: Date.now() + Math.max(5, this.lateMs / 5) }))
    const inbox = await this.receive(queue)
    await inbox.take(1)
    await this.settles(inbox.receiver.stop(), 'stop')
  }

  /** Receives until the case ends. `settle` answers each delivery; default: ack. */
  async receive(
    queue: string,
    settle: (delivery: Delivery, inbox: Inbox) => Settlement | Promise<Settlement> = () => ({ as: 'ack' }),
    options: { maxInFlight?: number; orderBy?: 'none' | 'queue' | 'key'; through?: Transport } = {},
  ): Promise<Inbox> {
    const inbox = new Inbox(this.patienceMs)
    const through = options.through ?? this.consumer
    inbox.receiver = await settles(
      through.receive(
        queue,
        async delivery => {
          inbox.begin(delivery)
          try {
            return await settle(delivery, inbox)
          } finally {
            inbox.end(delivery)
          }
        },
        { maxInFlight: options.maxInFlight ?? 16, orderBy: options.orderBy ?? 'none' },
      ),
      `receive from ${queue}`,
      this.patienceMs,
    )
    return inbox
  }

  /** Listens for a while, so that what must not happen would show. */
  async quiet(ms: number = this.quietMs): Promise<void> {
    await sleep(ms)
  }

  until(holds: () => boolean | Promise<boolean>, what: string | (() => string)): Promise<void> {
    return until(holds, what, this.patienceMs)
  }

  settles<T>(promise: Promise<T>, what: string): Promise<T> {
    return settles(promise, what, this.patienceMs)
  }

  rejects(promise: Promise<unknown>, code: string, what: string): ReturnType<typeof rejection> {
    return rejection(promise, code, what, this.patienceMs)
  }

  figures(queue: string): Promise<QueueFigures> {
    return this.admin.queue(queue)
  }

  /** Waits until the figures of the queue are these. */
  async figuresBecome(queue: string, wanted: Partial<QueueFigures>): Promise<void> {
    let seen: Partial<QueueFigures> = {}
    const holds = async (): Promise<boolean> => {
      seen = await this.figures(queue)
      return Object.entries(wanted).every(([name, value]) => seen[name as keyof QueueFigures] === value)
    }
    await this.until(holds, () => `figures of ${queue} are ${JSON.stringify(seen)}, not ${JSON.stringify(wanted)}`)
  }
}

/** What a receiver got, in order of arrival. */
export class Inbox {
  receiver!: Receiver
  readonly received: Received[] = []
  /** Deliveries whose handling has begun and not ended. */
  readonly running: Set<Delivery> = new Set()
  mostRunning = 0
  readonly #patienceMs: number

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs
  }

  get count(): number {
    return this.received.length
  }

  get ids(): readonly string[] {
    return this.received.map(({ delivery }) => delivery.id)
  }

  get attempts(): readonly number[] {
    return this.received.map(({ delivery }) => delivery.attempt)
  }

  begin(delivery: Delivery): void {
    this.received.push({ delivery, at: systemClock.now() })
    this.running.add(delivery)
    this.mostRunning = Math.max(this.mostRunning, this.running.size)
  }

  end(delivery: Delivery): void {
    this.running.delete(delivery)
  }

  /** The first `count` deliveries, as soon as there are so many. */
  async take(count: number): Promise<readonly Received[]> {
    await until(
      () => this.received.length >= count,
      () => `${this.received.length} of ${count} deliveries came: ${this.ids.slice(0, 20).join(', ')}`,
      this.#patienceMs,
    )
    return this.received.slice(0, count)
  }

  /** The one delivery that came first. */
  async one(): Promise<Delivery> {
    const [first] = await this.take(1)
    return (first as Received).delivery
  }
}

/** A promise that a case resolves when it wants a handler to go on. */
export function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { opened: promise, open: resolve }
}
