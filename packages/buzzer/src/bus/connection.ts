import { BuzzerError, isRetryable } from '../message/index.ts'
import type { ConnectionState, TransportContext } from '../transport/index.ts'
import type { BusCore } from './bus-core.ts'
import { lostQueue } from './queue-receivers.ts'

const firstPauseMs = 100
const longestPauseMs = 30_000

export interface ConnectionEvents {
  readonly onReconnected: () => void
  /** A queue was deleted at the broker while it was received from. */
  readonly onQueueLost: (queue: string, error: Error) => void
}

/** Transport and store of a bus: opened together, waited for while the broker is away, closed together. */
export class Connection {
  readonly #core: BusCore
  readonly #events: ConnectionEvents
  #state: ConnectionState | 'closed' = 'closed'
  #error: Error | undefined
  #wasOpened = false
  #closing: Promise<void> | undefined

  constructor(core: BusCore, events: ConnectionEvents) {
    this.#core = core
    this.#events = events
  }

  get state(): ConnectionState | 'closed' {
    return this.#state
  }

  /** What the transport said of its last trouble. */
  get error(): Error | undefined {
    return this.#error
  }

  /** Tries until it works, `signal` aborts (`BUZZER_ABORTED`), or an error says that trying is senseless. */
  async open(signal: AbortSignal): Promise<void> {
    const { name, instanceId, clock, logger } = this.#core
    const context = { bus: name, instanceId, clock, logger }
    this.#wasOpened = true
    // A program that awaits its start must not end for want of anything else to do: the pauses alone hold no process.
    const hold = setInterval(() => {}, 2 ** 30)
    try {
      await this.#openPatiently(context, signal)
    } finally {
      clearInterval(hold)
    }
  }

  async #openPatiently(context: Omit<TransportContext, 'onState'>, signal: AbortSignal): Promise<void> {
    const { logger, transport, store, random } = this.#core
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      try {
        await transport.connect({ ...context, onState: (state, error) => this.#changed(state, error) })
        if (store !== undefined && store !== transport.store) await store.connect(context)
        this.#state = 'connected'
        return
      } catch (error) {
        if (!isRetryable(error) || signal.aborted) throw error
        logger.warn({ error, pauseMs }, 'the broker is away; trying again')
        await this.#pause(pauseMs * (1 + random() * 0.2), signal)
      }
    }
  }

  /** Idempotent. A bus that was never opened has nothing to close. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#state = 'closed'
    if (!this.#wasOpened) return
    const { transport, store } = this.#core
    try {
      await transport.close()
    } finally {
      if (store !== undefined && store !== transport.store) await store.close()
    }
  }

  #changed(state: ConnectionState, error: Error | undefined): void {
    const before = this.#state
    if (this.#closing !== undefined) return
    const queue = state === 'connected' ? lostQueue(error) : undefined
    if (queue !== undefined) return this.#events.onQueueLost(queue, error as Error)
    this.#state = state
    this.#error = error
    if (state === 'connected' && before !== 'closed' && before !== 'connected') this.#events.onReconnected()
  }

  #pause(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const { clock, name } = this.#core
      const onAbort = (): void => {
        clock.clearTimeout(timer)
        const what = `the start of bus ${name} was aborted while it waited for the broker`
        reject(new BuzzerError('BUZZER_ABORTED', what, { cause: signal.reason }))
      }
      const timer = clock.setTimeout(() => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      }, ms)
      signal.addEventListener('abort', onAbort, { once: true })
    })
  }
}
