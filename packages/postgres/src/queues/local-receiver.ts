import type { OnDelivery, Receiver, Settlement } from 'buzzer/transport'
import type { Held } from './lease.ts'
import { OpenDelivery, PostgresDelivery } from './open-delivery.ts'

/** Where a receiver gets its messages from, and takes what became of them. */
export interface ReceiverHost {
  /** There is room for more. */
  onCredit(): void
  onAnswer(open: OpenDelivery, settlement: Settlement): void
  onFailure(open: OpenDelivery, error: unknown): void
  /** The receiver takes nothing more. Resolves when the server knows. */
  onPause(receiver: LocalReceiver): Promise<void>
  onResume(): void
  onStop(receiver: LocalReceiver): Promise<void>
}

/**
 * One `receive` call: running ──pause──▶ paused ──resume──▶ running; from both: stop ──▶ stopped. Hands out at most
 * `maxInFlight` messages at a time; a message counts until its handler has answered, its settlement until the server has it.
 */
export class LocalReceiver implements Receiver {
  readonly maxInFlight: number
  /** Negative for dead letters. */
  readonly queueId: number
  readonly #host: ReceiverHost
  readonly #queue: string
  readonly #onDelivery: OnDelivery
  readonly #open = new Set<OpenDelivery>()
  readonly #whenQuiet: (() => void)[] = []
  #handling = 0
  #state: 'running' | 'paused' | 'stopped' = 'running'
  #stopping: Promise<void> | undefined

  constructor(
    host: ReceiverHost,
    queue: { readonly id: number; readonly name: string },
    onDelivery: OnDelivery,
    maxInFlight: number,
  ) {
    this.#host = host
    this.#queue = queue.name
    this.queueId = queue.id
    this.#onDelivery = onDelivery
    this.maxInFlight = maxInFlight
  }

  get credit(): number {
    return this.#state === 'running' ? this.maxInFlight - this.#handling : 0
  }

  get isStopped(): boolean {
    return this.#state === 'stopped'
  }

  /** Handed out and not settled in the server. */
  get openDeliveries(): Iterable<OpenDelivery> {
    return this.#open
  }

  deliver(held: Held): void {
    const open = new OpenDelivery(held, this.#queue, this)
    this.#open.add(open)
    this.#handling++
    let answer: Settlement | Promise<Settlement>
    try {
      answer = this.#onDelivery(new PostgresDelivery(open))
    } catch (error) {
      this.#failed(open, error)
      return
    }
    // The contract promises a promise; JavaScript does not.
    Promise.resolve(answer).then(
      settlement => {
        this.#handled(open)
        if (open.state === 'open') {
          open.state = 'settling'
          this.#host.onAnswer(open, settlement)
        }
      },
      (error: unknown) => this.#failed(open, error),
    )
  }

  /** The delivery is settled in the server, or its lease is gone. */
  forget(open: OpenDelivery): void {
    open.state = 'over'
    if (this.#open.delete(open)) this.#checkQuiet()
  }

  async pause(): Promise<void> {
    if (this.#state === 'running') this.#state = 'paused'
    await this.#host.onPause(this)
  }

  resume(): Promise<void> {
    if (this.#state === 'paused') {
      this.#state = 'running'
      this.#host.onResume()
    }
    return Promise.resolve()
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  /** Takes nothing more, from now on. */
  end(): void {
    this.#state = 'stopped'
  }

  async #stop(): Promise<void> {
    this.end()
    await this.#host.onPause(this)
    if (this.#open.size > 0 || this.#handling > 0) await new Promise<void>(resolve => this.#whenQuiet.push(resolve))
    await this.#host.onStop(this)
  }

  #failed(open: OpenDelivery, error: unknown): void {
    this.#handled(open)
    if (open.state !== 'open') return
    open.state = 'settling'
    this.#host.onFailure(open, error)
  }

  #handled(open: OpenDelivery): void {
    this.#handling--
    if (open.state === 'over') this.#checkQuiet()
    if (this.#state === 'running') this.#host.onCredit()
  }

  #checkQuiet(): void {
    if (this.#open.size > 0 || this.#handling > 0) return
    for (const resolve of this.#whenQuiet.splice(0)) resolve()
  }
}
