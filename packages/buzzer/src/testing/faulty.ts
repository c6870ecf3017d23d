import { BuzzerError, type Clock, type Logger, silentLogger, systemClock } from '../message/index.ts'
import type {
  Capabilities,
  ConnectionState,
  Delivery,
  OnDelivery,
  OutgoingMessage,
  Receiver,
  ReceiveOptions,
  SendOptions,
  Settlement,
  Transport,
} from '../transport/index.ts'
import { changedDelivery } from './changed-delivery.ts'
import { type Weakening, weakening } from './weakening.ts'

/** Faults to order. Each is consumed by the next thing it fits, or stays until it is taken back. */
export interface Inject {
  /** The next `times` steps that send reject with `BUZZER_SEND_FAILED`, nothing stored. Default 1. */
  failSend(times?: number): void
  /** Every step with a message that fits rejects so, until the function returned is called. */
  failSendWhen(predicate: (message: OutgoingMessage) => boolean): () => void
  /** The next `times` steps that send store their messages twice, with the same ids. Default 1. */
  duplicateSend(times?: number): void
  /** The next `times` settlements are lost: nothing of them is applied, the messages come again, attempt + 1. Default 1. */
  loseSettlement(times?: number): void
  /**
   * The connection is gone for `ms` of the bus's clock: sends reject with `BUZZER_DISCONNECTED`, open deliveries lose their
   * locks, nothing is delivered. Then it is back, and what was open comes again.
   */
  disconnect(ms: number): void
}

export interface FaultyTransport<Tx, Inner = Transport<Tx>> extends Transport<Tx> {
  readonly inject: Inject
  /** The transport that works. */
  readonly inner: Inner
}

type TxOf<T> = T extends Transport<infer Tx> ? Tx : never

/**
 * A transport that fails when told to, over any transport, its `store` and `admin` included. `capabilities` may only be
 * weakened: what is no longer claimed is also no longer done, so that the bus's own fallback is what a test sees.
 *
 * The messages of a settlement are a step that sends, too: when it is told to fail, the settlement is refused
 * (`onRefused`), as a broker would. Throws `BUZZER_INVALID_OPTION` for a capability stronger than the transport's own.
 */
export function faulty<T extends Transport>(
  transport: T,
  options: { readonly capabilities?: Partial<Capabilities> } = {},
): FaultyTransport<TxOf<T>, T> {
  return new Faulty<TxOf<T>>(transport, options.capabilities ?? {}) as unknown as FaultyTransport<TxOf<T>, T>
}

/** A delivery handed out, and the way to take it back when the connection goes. */
interface OpenDelivery {
  readonly lose: () => void
}

class Faulty<Tx> implements FaultyTransport<Tx> {
  readonly inner: Transport<Tx>
  readonly inject: Inject
  readonly capabilities: Capabilities
  readonly #weak: Weakening
  readonly #receivers = new Set<{ receiver: Receiver; state: 'running' | 'paused' }>()
  readonly #open = new Set<OpenDelivery>()
  readonly #lostGroups = new Set<string>()
  readonly #knownGroups = new Set<string>()
  readonly #predicates = new Set<(message: OutgoingMessage) => boolean>()
  #failures = 0
  #duplicates = 0
  #losses = 0
  #reconnection: unknown
  #isConnected = true
  #clock: Clock = systemClock
  #logger: Logger = silentLogger
  #onState: (state: ConnectionState, error?: Error) => void = () => {}

  constructor(inner: Transport<Tx>, weaker: Partial<Capabilities>) {
    this.inner = inner
    this.#weak = weakening(inner, weaker)
    this.capabilities = this.#weak.capabilities
    this.inject = {
      failSend: (times = 1) => {
        this.#failures += times
      },
      failSendWhen: predicate => {
        // A predicate given twice is two faults, each with its own end.
        const own = (message: OutgoingMessage): boolean => predicate(message)
        this.#predicates.add(own)
        return () => void this.#predicates.delete(own)
      },
      duplicateSend: (times = 1) => {
        this.#duplicates += times
      },
      loseSettlement: (times = 1) => {
        this.#losses += times
      },
      disconnect: ms => this.#disconnect(ms),
    }
  }

  get name(): string {
    return this.inner.name
  }

  get store(): NonNullable<Transport<Tx>['store']> {
    return this.inner.store as NonNullable<Transport<Tx>['store']>
  }

  get admin(): NonNullable<Transport<Tx>['admin']> {
    return this.#weak.admin as NonNullable<Transport<Tx>['admin']>
  }

  connect(context: Parameters<Transport<Tx>['connect']>[0]): Promise<void> {
    this.#clock = context.clock ?? systemClock
    this.#logger = context.logger ?? silentLogger
    this.#onState = (state, error) => context.onState?.(state, error)
    return this.inner.connect(context)
  }

  declare(topology: Parameters<Transport<Tx>['declare']>[0]): Promise<void> {
    if (!this.#isConnected) return Promise.reject(this.#disconnected())
    return this.inner.declare(this.#weak.topology(topology))
  }

  async send(messages: readonly OutgoingMessage[], options?: SendOptions<Tx>): Promise<void> {
    if (!this.#isConnected) throw this.#disconnected()
    this.#weak.checkSend(messages, options, this.#clock.now())
    const failure = this.#failure(messages)
    if (failure !== undefined) throw failure
    const weakened = messages.map(message => this.#weak.outgoing(message))
    await this.inner.send(weakened, options)
    if (!this.#takesDuplicate(messages)) return
    // The copy carries no records: those were committed with the first.
    await this.inner.send(weakened, options?.tx === undefined ? undefined : { tx: options.tx })
  }

  async receive(queue: string, onDelivery: OnDelivery, options: ReceiveOptions): Promise<Receiver> {
    if (!this.#isConnected) throw this.#disconnected()
    const receiver = await this.inner.receive(
      this.#weak.innerQueue(queue),
      delivery => this.#handle(this.#weak.delivery(delivery), onDelivery),
      this.#weak.receiveOptions(options),
    )
    const entry: { receiver: Receiver; state: 'running' | 'paused' } = { receiver, state: 'running' }
    this.#receivers.add(entry)
    return {
      pause: () => {
        entry.state = 'paused'
        return receiver.pause()
      },
      resume: async () => {
        entry.state = 'running'
        if (this.#isConnected) await receiver.resume()
      },
      stop: () => {
        this.#receivers.delete(entry)
        return receiver.stop()
      },
    }
  }

  async close(): Promise<void> {
    this.#clock.clearTimeout(this.#reconnection)
    this.#isConnected = true
    await this.inner.close()
  }

  /** Hands a delivery out; what comes first, its settlement or the loss of the connection, decides. */
  #handle(delivery: Delivery, onDelivery: OnDelivery): Promise<Settlement> {
    const lost = new AbortController()
    const signal = AbortSignal.any([delivery.signal, lost.signal])
    return new Promise((resolve, reject) => {
      const open: OpenDelivery = {
        lose: () => {
          this.#open.delete(open)
          resolve({ as: 'retry' })
          lost.abort(
            new BuzzerError('BUZZER_LOCK_LOST', `the lock of message ${delivery.id} is lost: the connection is gone`),
          )
        },
      }
      this.#open.add(open)
      onDelivery(changedDelivery(delivery, { signal })).then(
        settlement => {
          if (this.#open.delete(open)) resolve(this.#settle(settlement))
        },
        (error: unknown) => {
          if (this.#open.delete(open)) reject(error)
        },
      )
    })
  }

  #settle(settlement: Settlement): Settlement | Promise<Settlement> {
    if (this.#losesSettlement(settlement)) return { as: 'retry' }
    const messages = 'send' in settlement ? (settlement.send ?? []) : []
    const refusal = this.#weak.refusal(settlement, this.#clock.now()) ?? this.#failure(messages)
    const onRefused = 'onRefused' in settlement ? settlement.onRefused : undefined
    if (refusal !== undefined) {
      if (onRefused !== undefined) return this.#settleLater(onRefused(refusal))
      this.#logger.error({ error: refusal }, `faulty refused to ${settlement.as} a delivery; the message is retried`)
      return { as: 'retry' }
    }
    const weakened = messages.map(message => this.#weak.outgoing(message))
    const stored = this.#takesDuplicate(messages) ? [...weakened, ...weakened] : weakened
    return {
      ...this.#weak.settlement(settlement),
      ...(messages.length === 0 ? {} : { send: stored }),
      ...(onRefused === undefined ? {} : { onRefused: error => this.#settleLater(onRefused(error)) }),
    }
  }

  async #settleLater(answer: Settlement | Promise<Settlement>): Promise<Settlement> {
    return this.#settle(await answer)
  }

  /** A group is lost whole: with one of its settlements missing, none of the others may be applied. */
  #losesSettlement(settlement: Settlement): boolean {
    const group = settlement.as === 'ack' ? settlement.group?.id : undefined
    if (group !== undefined && this.#lostGroups.has(group)) return true
    const isKnown = group !== undefined && this.#knownGroups.has(group)
    if (group !== undefined) this.#knownGroups.add(group)
    if (this.#losses === 0 || isKnown) return false
    this.#losses--
    if (group !== undefined) this.#lostGroups.add(group)
    return true
  }

  #failure(messages: readonly OutgoingMessage[]): BuzzerError | undefined {
    if (messages.length === 0) return undefined
    const fits = messages.some(message => [...this.#predicates].some(predicate => predicate(message)))
    if (!fits && this.#failures === 0) return undefined
    if (!fits) this.#failures--
    return new BuzzerError('BUZZER_SEND_FAILED', 'faulty: this send was told to fail; nothing of it was stored', {
      details: { outcome: 'not-stored', ids: messages.map(message => message.id) },
    })
  }

  #takesDuplicate(messages: readonly OutgoingMessage[]): boolean {
    if (messages.length === 0 || this.#duplicates === 0) return false
    this.#duplicates--
    return true
  }

  #disconnect(ms: number): void {
    const error = this.#disconnected()
    this.#isConnected = false
    this.#clock.clearTimeout(this.#reconnection)
    for (const { receiver } of this.#receivers) void receiver.pause()
    for (const open of this.#open) open.lose()
    this.#onState('reconnecting', error)
    this.#reconnection = this.#clock.setTimeout(() => {
      this.#isConnected = true
      for (const { receiver, state } of this.#receivers) if (state === 'running') void receiver.resume()
      this.#onState('connected')
    }, ms)
  }

  #disconnected(): BuzzerError {
    return new BuzzerError('BUZZER_DISCONNECTED', 'faulty: the connection was told to be gone; nothing was stored', {
      details: { outcome: 'not-stored' },
    })
  }
}
