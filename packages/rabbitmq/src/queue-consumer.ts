import type { Clock } from 'buzzer'
import { type AckSink, AckWindow } from './ack-window.ts'
import {
  type AmqpConnection,
  type Channel,
  closeChannel,
  type ConsumeMessage,
  onChannelClosed,
} from './amqplib-connection.ts'
import { awaitReturn, ControlChannel } from './control-channel.ts'
import { disconnected, isNotFound, queueNotFound, translated } from './errors.ts'

/** Acknowledgements are collected until the event loop has gone round, and never more than this many. */
const mostCollected = 500
/**
 * How long a release waits for a pause that may follow: what goes back before the server knows of the pause would come again
 * at once, counted.
 */
const releaseWaitMs = 50
/** After the server closed a channel of ours. */
const reopenPauseMs = 200

export interface ConsumerEvents<T> {
  /** A delivery; answers what is kept with its tag until it is settled. */
  accept(message: ConsumeMessage, tag: number): T
  /** It is kept, and may be settled from now on. */
  begin(accepted: T): void
  /** These deliveries are open no more: the channel is gone. */
  onLost(lost: readonly T[], why: string): void
  /** The server ended the consumer: the queue was deleted, or an operator cancelled it. */
  onCancelled(): void
  /** The channel ended although the connection did not, and cannot be made again. */
  onFailed(error: Error): void
}

export interface ConsumerHost {
  readonly clock: Clock
  readonly random: () => number
  /** `undefined` while the connection is away; its return calls `reopen`. */
  connection(): AmqpConnection | undefined
}

/**
 * Consumes one queue of the server on a channel of its own, with manual acknowledgements.
 *
 * ```
 *  closed ──open──▶ consuming ◀──▶ paused        pause: no further delivery, what is open stays open
 *     ▲                │  │
 *     └────close───────┘  └─ channel or connection lost: what was open is lost; `reopen`, by itself or with the connection
 * ```
 */
export class QueueConsumer<T> {
  /** The name at the server. */
  readonly queue: string
  readonly #shownQueue: string
  readonly #prefetch: number
  readonly #host: ConsumerHost
  readonly #events: ConsumerEvents<T>
  readonly #window = new AckWindow<T>()
  readonly #sink: AckSink
  #channel: Channel | undefined
  #consumerTag: string | undefined
  #wanted: 'consuming' | 'paused' | 'closed' = 'closed'
  #step: Promise<void> | undefined
  #isFlushing = false
  #timer: unknown
  /** Since it no longer consumes. */
  #givenBack = 0
  #releaseTimer: unknown

  constructor(queue: string, shownQueue: string, prefetch: number, host: ConsumerHost, events: ConsumerEvents<T>) {
    this.queue = queue
    this.#shownQueue = shownQueue
    this.#prefetch = prefetch
    this.#host = host
    this.#events = events
    this.#sink = {
      ackUpTo: tag => this.#channel?.ack(frameOf(tag), true),
      ackOne: tag => this.#channel?.ack(frameOf(tag), false),
    }
  }

  get openCount(): number {
    return this.#window.openCount
  }

  get isConsuming(): boolean {
    return this.#consumerTag !== undefined
  }

  /** Begins to consume. Rejects with `BUZZER_QUEUE_NOT_FOUND` or `BUZZER_DISCONNECTED`; then it is closed. */
  async open(): Promise<void> {
    this.#wanted = 'consuming'
    try {
      await this.#align()
    } catch (error) {
      this.#wanted = 'closed'
      throw error
    }
  }

  /** Begins again after a loss, if it is to consume. */
  async reopen(): Promise<void> {
    if (this.#wanted === 'consuming') await this.#align()
  }

  get #isAligned(): boolean {
    return (this.#wanted === 'consuming') === (this.#consumerTag !== undefined)
  }

  /** Consumes or cancels until that is what is wanted, one step at a time; what is wanted may change meanwhile. */
  async #align(): Promise<void> {
    while (!this.#isAligned) {
      this.#step ??= (this.#wanted === 'consuming' ? this.#consume() : this.#cancel()).finally(() => {
        this.#step = undefined
      })
      await this.#step
    }
  }

  async #consume(): Promise<void> {
    const connection = this.#host.connection()
    if (connection === undefined) throw disconnected('the connection for consuming is away')
    try {
      let channel = this.#channel
      if (channel === undefined) {
        channel = await connection.openChannel()
        this.#opened(channel)
        // Per consumer, never per channel: newer servers refuse the latter.
        await channel.prefetch(this.#prefetch, false)
      }
      const consuming = channel
      // The first deliveries may come with the answer.
      const { consumerTag } = await consuming.consume(this.queue, message => this.#received(consuming, message))
      if (consuming === this.#channel) this.#consumerTag = consumerTag
    } catch (error) {
      if (isNotFound(error)) throw queueNotFound(this.#shownQueue, error)
      throw translated(error, `consuming queue ${this.#shownQueue}`)
    }
  }

  #opened(channel: Channel): void {
    this.#channel = channel
    onChannelClosed(channel, error => {
      if (channel !== this.#channel) return
      this.#lose(error === undefined ? 'its connection was lost' : `the server closed its channel: ${error.message}`)
      if (error !== undefined) this.#reopenSoon()
    })
  }

  /** The connection lives: the channel was closed over an acknowledgement that came too late, for instance. */
  #reopenSoon(): void {
    this.#timer = this.#host.clock.setTimeout(
      () => {
        // Without a connection its return reopens us.
        if (this.#wanted !== 'consuming' || this.#host.connection() === undefined) return
        this.reopen().catch((error: unknown) => {
          if (this.#host.connection() !== undefined) this.#events.onFailed(error as Error)
        })
      },
      reopenPauseMs * (1 + this.#host.random()),
    )
  }

  #received(channel: Channel, message: ConsumeMessage | null): void {
    if (channel !== this.#channel) return
    if (message === null) {
      this.#consumerTag = undefined
      this.#events.onCancelled()
      return
    }
    const { deliveryTag } = message.fields
    if (this.#wanted !== 'consuming') {
      // On its way when the pause began.
      this.#window.unwanted(deliveryTag)
      return
    }
    const accepted = this.#events.accept(message, deliveryTag)
    this.#window.open(deliveryTag, accepted)
    this.#events.begin(accepted)
  }

  /** All frames of one turn of the event loop are acknowledged together. */
  ack(tag: number): void {
    if (!this.#window.handled(tag)) return
    if (this.#window.unflushed >= mostCollected) this.flush()
    else if (!this.#isFlushing) {
      this.#isFlushing = true
      setImmediate(() => this.flush())
    }
  }

  flush(): void {
    this.#isFlushing = false
    if (this.#channel !== undefined) this.#window.flush(this.#sink)
  }

  /** Back to its queue, counted: from RabbitMQ 4.3 on only a reject counts, before that a nack counts too. */
  reject(tag: number): void {
    if (this.#window.gone(tag)) this.#channel?.reject(frameOf(tag), true)
  }

  /** Back to its queue, uncounted where the server can; in a moment, or as soon as a pause has taken effect. */
  release(tag: number): void {
    if (!this.#window.release(tag)) return
    if (this.#wanted === 'consuming')
      this.#releaseTimer ??= this.#host.clock.setTimeout(() => this.#giveBack(), releaseWaitMs)
    else if (this.#consumerTag === undefined) this.#giveBack()
  }

  #giveBack(): void {
    this.#host.clock.clearTimeout(this.#releaseTimer)
    this.#releaseTimer = undefined
    const releases = this.#window.takeReleases()
    if (this.#wanted !== 'consuming') this.#givenBack += releases.length
    for (const tag of releases) this.#channel?.nack(frameOf(tag), false, true)
  }

  /** Resolves when no further delivery will come. What is open stays open. */
  async pause(): Promise<void> {
    if (this.#wanted !== 'consuming') return
    this.#wanted = 'paused'
    await this.#align().catch(() => {})
    this.#giveBack()
  }

  async resume(): Promise<void> {
    if (this.#wanted !== 'paused') return
    this.#wanted = 'consuming'
    this.#givenBack = 0
    // While the connection is away its return begins again.
    if (this.#host.connection() !== undefined) await this.#align()
  }

  /**
   * Gives back all that is open, at once: what the end of a channel gives back comes a moment later, when whoever looks next
   * may have looked already. Not for ordered queues, where only the end of the channel keeps the order.
   */
  async releaseAll(): Promise<void> {
    this.flush()
    this.#giveBack()
    const open = this.#window.clear()
    if (open.length > 0) this.#channel?.nackAll(true)
    this.#events.onLost(open, 'its receiver ended')
    const count = this.#givenBack + open.length
    const connection = this.#host.connection()
    if (count === 0 || connection === undefined) return
    this.#givenBack = 0
    const control = new ControlChannel(connection)
    await awaitReturn(control, this.queue, count, this.#host.clock)
    await control.close()
  }

  /** Acknowledges what is handled and ends the channel; the server gives back what is open. */
  async close(): Promise<void> {
    this.#wanted = 'closed'
    this.#host.clock.clearTimeout(this.#timer)
    await this.#step?.catch(() => {})
    await this.#closeChannel()
  }

  async #closeChannel(): Promise<void> {
    const channel = this.#channel
    if (channel === undefined) return
    this.flush()
    this.#giveBack()
    this.#lose('its receiver ended')
    await closeChannel(channel)
  }

  async #cancel(): Promise<void> {
    const tag = this.#consumerTag
    if (tag !== undefined) await this.#channel?.cancel(tag).catch(() => {})
    if (tag === this.#consumerTag) this.#consumerTag = undefined
  }

  /** The connection is gone. */
  lost(why: string): void {
    if (this.#channel !== undefined) this.#lose(why)
  }

  #lose(why: string): void {
    this.#channel = undefined
    this.#consumerTag = undefined
    this.#host.clock.clearTimeout(this.#releaseTimer)
    this.#releaseTimer = undefined
    const lost = this.#window.clear()
    if (lost.length > 0) this.#events.onLost(lost, why)
  }
}

/** The library takes a message where a delivery tag would do. */
function frameOf(deliveryTag: number): ConsumeMessage {
  return { fields: { deliveryTag } } as ConsumeMessage
}
