import { BuzzerError, type Clock } from '../message/index.ts'
import type { Receiver } from '../transport/index.ts'
import type { BusCore } from './bus-core.ts'
import type { BusQueue } from './queue.ts'
import type { Requests } from './request.ts'

const firstPauseMs = 100
const longestPauseMs = 30_000

export interface QueueReceiversOptions {
  readonly core: BusCore
  /** As the broker calls it. */
  readonly queue: string
  readonly receive: (maxInFlight: number) => Promise<Receiver>
  /** Makes the queue and its bindings exist again. */
  readonly declare: () => Promise<void>
}

/**
 * The receivers of one queue of this bus: paused, resumed and stopped together. A queue that is deleted at the broker (by
 * an operator, or because nobody used it while this process stood still) ends them; then it is declared again and
 * received from again, for as long as it takes. Source: spec bus L2.
 */
export class QueueReceivers {
  readonly #options: QueueReceiversOptions
  readonly #end = new AbortController()
  #receivers: Receiver[] = []
  #held = 0
  #paused = false
  #trouble: Error | undefined
  #losses = 0

  constructor(options: QueueReceiversOptions) {
    this.#options = options
  }

  /** Deliveries that may be open at once. */
  get held(): number {
    return this.#held
  }

  /** Why nothing is received at the moment, though it should be. */
  get trouble(): Error | undefined {
    return this.#trouble
  }

  async open(maxInFlight: number): Promise<void> {
    this.#held += maxInFlight
    const receiver = await this.#options.receive(maxInFlight)
    this.#receivers.push(receiver)
    if (this.#paused) await receiver.pause()
    if (this.#end.signal.aborted) await receiver.stop()
  }

  async pause(): Promise<void> {
    this.#paused = true
    await Promise.all(this.#receivers.map(receiver => receiver.pause()))
  }

  async resume(): Promise<void> {
    this.#paused = false
    await Promise.all(this.#receivers.map(receiver => receiver.resume()))
  }

  async stop(): Promise<void> {
    this.#end.abort()
    await Promise.all(this.#receivers.map(receiver => receiver.stop()))
  }

  /** The queue is gone, and these receivers with it. */
  lost(error: Error): void {
    this.#losses++
    if (this.#trouble !== undefined || this.#held === 0) return
    this.#trouble = error
    void this.#regain(this.#held)
  }

  async #regain(maxInFlight: number): Promise<void> {
    const { core, queue, declare } = this.#options
    const { signal } = this.#end
    for (let pauseMs = firstPauseMs; !signal.aborted; pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
      const losses = this.#losses
      this.#receivers = []
      this.#held = 0
      try {
        await declare()
        await this.open(maxInFlight)
        if (losses === this.#losses) {
          this.#trouble = undefined
          core.logger.warn({ queue }, 'a queue was deleted at the broker; it was declared again and is received from')
          return
        }
      } catch (error) {
        core.logger.warn({ error, queue, pauseMs }, 'a queue was deleted at the broker and cannot be had again yet')
      }
      await pause(core.clock, pauseMs, signal)
    }
  }
}

/** What a transport says when a receiver ended because its queue is gone. */
export function lostQueue(error: Error | undefined): string | undefined {
  if (!(error instanceof BuzzerError) || error.code !== 'BUZZER_QUEUE_NOT_FOUND') return undefined
  const { queue } = error.details
  return typeof queue === 'string' ? queue : undefined
}

/** Tells whoever of this bus received from `queue`. */
export function tellLost(queue: string, error: Error, queues: Iterable<BusQueue>, requests: Requests): void {
  for (const one of queues) if (one.brokerName === queue) one.lost(error)
  requests.lost(queue)
}

function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const end = (): void => {
      clock.clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = clock.setTimeout(end, ms)
    signal.addEventListener('abort', end, { once: true })
  })
}
