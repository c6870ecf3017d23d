import { AbortedError, BuzzerError, type Clock, hasCode } from '../message/index.ts'
import type { StateChange } from '../store/index.ts'
import { directPathOf, type OutgoingMessage, type Receipt, type SendOptions } from '../transport/index.ts'
import type { BusCore } from './bus-core.ts'
import { type Deadlined, DeadlineList } from './deadline-list.ts'
import { unsupported } from './emission.ts'

/** What a send outside a handler's outbox may ask for. */
export interface SendWish {
  readonly tx?: unknown
  readonly state?: readonly StateChange[]
  readonly signal?: AbortSignal | undefined
}

const retryPauseMs = 100
/** Sends that wait for a lost connection; each is a pending promise of some caller. */
const maxHeld = 100_000

/**
 * The way out for everything that does not ride on a settlement. Keeps the order of the calls, limits the time, waits out
 * a lost connection, and falls back on the store where the transport cannot delay, cancel or join a transaction.
 */
export class Sender {
  readonly #core: BusCore
  readonly #deadlines: DeadlineList
  readonly #held: PendingSend[] = []
  #holding = false
  #timer: unknown
  #inFlight = 0

  constructor(core: BusCore, clock: Clock, timeoutMs: number) {
    this.#core = core
    this.#deadlines = new DeadlineList(clock, timeoutMs)
  }

  /** Sends without confirmation, and those waiting for the connection. */
  get inFlight(): number {
    return this.#inFlight
  }

  /**
   * Resolves to the id once durably accepted. Rejects with `BUZZER_SEND_TIMEOUT`, `BUZZER_ABORTED`, `BUZZER_UNSUPPORTED`
   * or what the transport says.
   */
  send(message: OutgoingMessage, wish?: SendWish): Promise<string> {
    const core = this.#core
    if (needsSchedule(core, message)) return this.#schedule(message, wish)
    if (wish?.tx !== undefined && core.capabilities.transactions !== 'caller') return this.#store(message, wish)
    if (wish?.state !== undefined && wish.state.length > 0 && !core.jointStore) return this.#store(message, wish)
    if (wish?.signal?.aborted === true) {
      return Promise.reject(new AbortedError(wish.signal, 'the send', { outcome: 'not-stored' }))
    }
    const pending = new PendingSend(this, message, wish)
    this.#start(pending)
    return pending.outcome()
  }

  /** Sends what must keep its order as one step; for the relay and for handlers on transports without transactions. */
  async sendAll(messages: readonly OutgoingMessage[]): Promise<void> {
    for (const message of messages) await this.send(message)
  }

  /** The connection is back: what was held leaves in its order. */
  resume(): void {
    if (!this.#holding) return
    this.#core.clock.clearTimeout(this.#timer)
    this.#holding = false
    const held = this.#held.splice(0)
    for (const pending of held) this.#start(pending)
  }

  close(): void {
    this.#deadlines.close()
    this.#core.clock.clearTimeout(this.#timer)
    const error = new BuzzerError(
      'BUZZER_NOT_RUNNING',
      `bus ${this.#core.name} was stopped before this send was confirmed`,
    )
    for (const pending of this.#held.splice(0)) pending.fail(error)
  }

  #start(pending: PendingSend): void {
    if (pending.done) return
    if (this.#holding) this.#hold(pending)
    else this.#hand(pending)
    // What a transport in this process has accepted by now needs no time limit.
    if (pending.done || pending.listed) return
    pending.listed = true
    this.#inFlight++
    this.#deadlines.add(pending)
    pending.listen()
  }

  #hand(pending: PendingSend): void {
    const { transport } = this.#core
    try {
      const direct = directPathOf(transport)
      if (direct !== undefined) return direct.submit(pending.message, pending, pending.sendOptions)
      transport.send([pending.message], pending.sendOptions).then(
        () => pending.accepted(),
        (error: unknown) => pending.refused(error),
      )
    } catch (error) {
      pending.fail(error)
    }
  }

  /** @internal The transport did not take it. */
  refused(pending: PendingSend, error: unknown): void {
    // Nothing was stored and the transport is reconnecting: waiting keeps the promise that sends outlive a lost link.
    if (hasCode(error, 'BUZZER_DISCONNECTED') && !this.#core.draining && this.#core.state === 'running') {
      this.#hold(pending)
      return
    }
    const queue = this.#core.router.missed(error)
    if (queue === undefined || pending.declared || pending.done) return pending.fail(error)
    // Somebody deleted the queue since it was declared here. Once, not for ever: the broker may mean it.
    pending.declared = true
    this.#core.router.declareAgain(queue).then(
      () => this.#hand(pending),
      () => pending.fail(error),
    )
  }

  #hold(pending: PendingSend): void {
    if (pending.done) return
    if (this.#held.length >= maxHeld) {
      pending.fail(
        new BuzzerError(
          'BUZZER_DISCONNECTED',
          `${maxHeld} sends wait for the connection already; this one was not stored`,
        ),
      )
      return
    }
    this.#held.push(pending)
    if (this.#holding) return
    this.#holding = true
    this.#timer = this.#core.clock.setTimeout(() => this.resume(), retryPauseMs)
  }

  /** @internal */
  ended(pending: PendingSend): void {
    if (!pending.listed) return
    this.#inFlight--
    this.#deadlines.remove(pending)
  }

  /** @internal */
  timedOut(pending: PendingSend): BuzzerError {
    return new BuzzerError(
      'BUZZER_SEND_TIMEOUT',
      `message ${pending.message.id} was not confirmed within ${this.#core.sendTimeoutMs} ms; it may or may not be stored: ` +
        'send again with the same messageId',
      { details: { messageId: pending.message.id, timeoutMs: this.#core.sendTimeoutMs } },
    )
  }

  /** @internal */
  accepted(messageId: string): void {
    const { observers } = this.#core
    if (observers.size > 0) for (const observer of observers) observer.accepted?.(messageId)
  }

  async #schedule(message: OutgoingMessage, wish: SendWish | undefined): Promise<string> {
    const { storedSends } = this.#core
    if (storedSends === undefined) {
      throw unsupported(
        this.#core,
        'delay that long',
        'a store (bus option `store`), whose scheduler holds the message',
      )
    }
    await storedSends.add([message], { tx: wish?.tx, state: wish?.state ?? [] })
    this.accepted(message.id)
    return message.id
  }

  async #store(message: OutgoingMessage, wish: SendWish): Promise<string> {
    const { storedSends, store } = this.#core
    if (storedSends === undefined || store === undefined) {
      throw unsupported(this.#core, wish.tx === undefined ? 'store' : 'caller transactions', 'the bus option `store`')
    }
    if (wish.tx !== undefined && store.capabilities.callerTransactions === 'none') {
      throw unsupported(
        this.#core,
        `caller transactions, nor has store ${store.name}`,
        'a store of the same database as the transaction',
      )
    }
    await storedSends.add([message], { tx: wish.tx, state: wish.state ?? [] })
    this.accepted(message.id)
    return message.id
  }
}

/** Whether the message has to wait in the store because the transport cannot hold or cancel it. */
export function needsSchedule(core: BusCore, message: OutgoingMessage): boolean {
  if (message.deliverAt === undefined) return false
  const { capabilities } = core
  const leftMs = message.deliverAt - core.clock.now()
  if (leftMs <= 0) return false
  if (capabilities.cancel === 'none' && core.storedSends !== undefined) return true
  return capabilities.delayMaxMs < leftMs
}

class PendingSend implements Deadlined, Receipt {
  dueAt = 0
  before: Deadlined | undefined
  after: Deadlined | undefined
  listed = false
  done = false
  /** Its queue was declared again for it. */
  declared = false
  readonly message: OutgoingMessage
  readonly sendOptions: SendOptions<unknown> | undefined
  readonly #sender: Sender
  readonly #signal: AbortSignal | undefined
  #resolve: ((id: string) => void) | undefined
  #reject: ((error: unknown) => void) | undefined
  /** In a box: anything may be thrown. */
  #failure: { readonly error: unknown } | undefined
  #onAbort: (() => void) | undefined

  constructor(sender: Sender, message: OutgoingMessage, wish: SendWish | undefined) {
    this.#sender = sender
    this.message = message
    this.#signal = wish?.signal
    this.sendOptions = wish === undefined ? undefined : optionsOf(wish)
  }

  /** For the caller. Asked for once. */
  outcome(): Promise<string> {
    if (!this.done) {
      return new Promise((resolve, reject) => {
        this.#resolve = resolve
        this.#reject = reject
      })
    }
    return this.#failure === undefined ? Promise.resolve(this.message.id) : Promise.reject(this.#failure.error)
  }

  listen(): void {
    if (this.#signal === undefined) return
    const signal = this.#signal
    this.#onAbort = () => this.fail(new AbortedError(signal, 'the send', { outcome: 'unknown' }))
    signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  accepted(): void {
    if (this.done) return
    this.#end()
    this.#sender.accepted(this.message.id)
    this.#resolve?.(this.message.id)
  }

  refused(error: unknown): void {
    this.#sender.refused(this, error)
  }

  fail(error: unknown): void {
    if (this.done) return
    this.#end()
    if (this.#reject === undefined) this.#failure = { error }
    else this.#reject(error)
  }

  overdue(): void {
    this.fail(this.#sender.timedOut(this))
  }

  #end(): void {
    this.done = true
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#sender.ended(this)
  }
}

function optionsOf(wish: SendWish): SendOptions<unknown> | undefined {
  if (wish.tx === undefined && wish.signal === undefined && (wish.state === undefined || wish.state.length === 0)) {
    return undefined
  }
  return {
    ...(wish.tx === undefined ? {} : { tx: wish.tx }),
    ...(wish.state === undefined || wish.state.length === 0 ? {} : { state: wish.state }),
    ...(wish.signal === undefined ? {} : { signal: wish.signal }),
  }
}
