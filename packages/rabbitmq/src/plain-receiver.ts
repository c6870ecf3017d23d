import type { BuzzerError } from 'buzzer'
import type { OnDelivery } from 'buzzer/transport'
import { restartConsumer } from './consumer-restart.ts'
import { OpenDelivery, type Settler } from './open-delivery.ts'
import { QueueConsumer } from './queue-consumer.ts'
import type { RabbitReceiver, ReceiverHost } from './receiver.ts'
import { handle } from './settling.ts'
import { decodeMessage } from './wire-message.ts'

/** Deliveries as they come, up to `maxInFlight` at once, in no order. */
export class PlainReceiver implements RabbitReceiver, Settler {
  readonly queue: string
  readonly serverQueues: readonly string[]
  readonly #host: ReceiverHost
  readonly #onDelivery: OnDelivery
  readonly #consumer: QueueConsumer<OpenDelivery>
  readonly #timers = new Set<unknown>()
  #whenQuiet: (() => void)[] = []
  #stopping: Promise<void> | undefined
  #cancels = 0

  constructor(queue: string, serverQueue: string, maxInFlight: number, onDelivery: OnDelivery, host: ReceiverHost) {
    this.queue = queue
    this.serverQueues = [serverQueue]
    this.#host = host
    this.#onDelivery = onDelivery
    this.#consumer = new QueueConsumer(serverQueue, queue, maxInFlight, host, {
      accept: (message, tag) => new OpenDelivery(decodeMessage(message, host.clock.now()), queue, tag, this),
      begin: open => this.#begin(open),
      onLost: (lost, why) => this.#lost(lost, why),
      onCancelled: () => void this.#cancelled(),
      onFailed: error => this.#failed(error),
    })
  }

  get openCount(): number {
    return this.#consumer.openCount
  }

  open(): Promise<void> {
    return this.#consumer.open()
  }

  reopen(): Promise<void> {
    return this.#consumer.reopen()
  }

  lost(why: string): void {
    this.#consumer.lost(why)
  }

  pause(): Promise<void> {
    return this.#consumer.pause()
  }

  resume(): Promise<void> {
    return this.#consumer.resume()
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop(): Promise<void> {
    await this.#consumer.pause()
    if (this.#consumer.openCount > 0) await new Promise<void>(resolve => this.#whenQuiet.push(resolve))
    await this.end()
    this.#host.stopped(this)
  }

  async end(): Promise<void> {
    for (const timer of this.#timers) this.#host.clock.clearTimeout(timer)
    this.#timers.clear()
    await this.#consumer.pause()
    await this.#consumer.releaseAll().catch(() => {})
    await this.#consumer.close()
  }

  #begin(open: OpenDelivery): void {
    if (open.expiresAt !== undefined && open.expiresAt <= this.#host.clock.now()) this.ack(open)
    else handle(open, this.#onDelivery, this.#host)
  }

  ack(open: OpenDelivery): void {
    open.isOpen = false
    this.#consumer.ack(open.tag)
    this.#settled()
  }

  retry(open: OpenDelivery, delayMs: number): void {
    if (!(delayMs > 0)) return this.#giveBack(open)
    const { clock, delayMaxMs } = this.#host
    const dueAt = clock.now() + delayMs
    if (open.expiresAt !== undefined && open.expiresAt <= dueAt) return this.ack(open)
    if (delayMs <= delayMaxMs) this.#sendCopy(open, dueAt)
    else this.#later(delayMs, () => open.isOpen && this.#giveBack(open))
  }

  release(open: OpenDelivery): void {
    open.isOpen = false
    this.#consumer.release(open.tag)
    this.#settled()
  }

  #giveBack(open: OpenDelivery): void {
    open.isOpen = false
    this.#consumer.reject(open.tag)
    this.#settled()
  }

  /** The copy is safe before the original is acknowledged; when it cannot be sent the original comes back at once. */
  #sendCopy(open: OpenDelivery, dueAt: number): void {
    this.#host.sendCopy(open.copyAt(dueAt), open.attempt).then(
      () => open.isOpen && this.ack(open),
      (error: unknown) => {
        if (!open.isOpen) return
        this.#host.logger.error(
          { error, queue: this.queue, messageId: open.id },
          'a retry could not be delayed; it comes at once',
        )
        this.#giveBack(open)
      },
    )
  }

  #later(delayMs: number, then: () => void): void {
    const timer = this.#host.clock.setTimeout(() => {
      this.#timers.delete(timer)
      then()
    }, delayMs)
    this.#timers.add(timer)
  }

  #lost(lost: readonly OpenDelivery[], why: string): void {
    for (const open of lost) open.lose(why)
    this.#settled()
  }

  #settled(): void {
    if (this.#whenQuiet.length === 0 || this.#consumer.openCount > 0) return
    for (const resolve of this.#whenQuiet.splice(0)) resolve()
  }

  async #cancelled(): Promise<void> {
    const error = await restartConsumer(this.queue, ++this.#cancels, this.#consumer, this.#host)
    if (error !== undefined) this.#failed(error)
  }

  #failed(error: Error): void {
    void this.#consumer.close()
    this.#host.ended(this, error as BuzzerError)
  }
}
