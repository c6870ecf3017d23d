import { type AmqpConnection, closeChannel } from './amqplib-connection.ts'
import { ControlChannel } from './control-channel.ts'
import { translated } from './errors.ts'
import type { Names } from './names.ts'
import { QueueConsumer } from './queue-consumer.ts'
import type { ConsumerHost } from './queue-consumer.ts'
import { outOfReachDeliveries } from './queue-arguments.ts'
import { sealQueues } from './seal.ts'

/** How often whoever has the turn looks whether the one before is gone. */
const lookMs = 50

/** What it needs of its transport. */
export interface TurnHost extends ConsumerHost {
  readonly names: Names
}

export interface TurnEvents {
  /** It is our turn, and nobody consumes the queue any more. */
  taken(): Promise<void>
  lost(): void
  failed(error: Error): void
}

/**
 * Makes receivers of one queue take turns, where the queue was declared before anybody knew that its order matters: a single
 * active consumer cannot be added to a queue that exists.
 *
 * A queue of our own, which has a single active consumer, holds a token; whoever has the token has the turn. When its holder
 * dies the server hands the token to the next in line. That one waits until the queue proper has no consumer: the server
 * removes a dead consumer and puts back what it held in one step, so nothing can be overtaken.
 */
export class Turn {
  /** The name of its own queue at the server. */
  readonly queue: string
  readonly #guardedQueue: string
  readonly #host: TurnHost
  readonly #consumer: QueueConsumer<number>
  #events: TurnEvents | undefined
  #timer: unknown
  #tag: number | undefined

  constructor(queue: string, serverQueue: string, turnQueue: string, host: TurnHost) {
    this.queue = turnQueue
    this.#guardedQueue = serverQueue
    this.#host = host
    this.#consumer = new QueueConsumer<number>(turnQueue, queue, 1, host, {
      accept: (_, tag) => tag,
      begin: tag => {
        this.#tag = tag
        this.#look()
      },
      onLost: () => this.#lose(),
      onCancelled: () => this.#restart(),
      onFailed: error => this.#events?.failed(error),
    })
  }

  /** Joins the line. Resolves when in it, turn or not. */
  async begin(events: TurnEvents): Promise<void> {
    this.#events = events
    await this.#makeToken()
    await this.#consumer.open()
  }

  async reopen(): Promise<void> {
    await this.#makeToken()
    await this.#consumer.reopen()
  }

  lost(): void {
    this.#consumer.lost('the connection was lost')
  }

  async end(): Promise<void> {
    this.#host.clock.clearTimeout(this.#timer)
    await this.#consumer.close()
  }

  async #makeToken(): Promise<void> {
    const connection = this.#host.connection()
    if (connection === undefined) return
    const control = new ControlChannel(connection)
    try {
      const { messageCount, consumerCount } = await control.run(channel =>
        channel.assertQueue(this.queue, {
          durable: true,
          arguments: {
            'x-queue-type': 'quorum',
            'x-delivery-limit': outOfReachDeliveries,
            'x-single-active-consumer': true,
          },
        }),
      )
      // Two tokens, made at the same moment, do no harm: only the active consumer gets any.
      if (messageCount === 0 && consumerCount === 0) {
        await sealQueues(control, this.#host.names)
        await publishToken(connection, this.queue)
      }
    } catch (error) {
      throw translated(error, `the declaration of queue ${this.queue}`)
    } finally {
      await control.close()
    }
  }

  #look(): void {
    this.#isFree().then(
      isFree => {
        if (this.#tag === undefined) return
        if (isFree) this.#events?.taken().catch((error: unknown) => this.#events?.failed(error as Error))
        else this.#timer = this.#host.clock.setTimeout(() => this.#look(), lookMs)
      },
      (error: unknown) => {
        if (this.#host.connection() !== undefined) this.#events?.failed(error as Error)
      },
    )
  }

  async #isFree(): Promise<boolean> {
    const connection = this.#host.connection()
    if (connection === undefined) return false
    const control = new ControlChannel(connection)
    try {
      const { consumerCount } = await control.run(channel => channel.checkQueue(this.#guardedQueue))
      return consumerCount === 0
    } finally {
      await control.close()
    }
  }

  #restart(): void {
    this.#lose()
    this.reopen().catch((error: unknown) => this.#events?.failed(error as Error))
  }

  #lose(): void {
    this.#tag = undefined
    this.#host.clock.clearTimeout(this.#timer)
    this.#events?.lost()
  }
}

async function publishToken(connection: AmqpConnection, queue: string): Promise<void> {
  const channel = await connection.openConfirmChannel()
  channel.sendToQueue(queue, Buffer.from('turn'), { persistent: true })
  await channel.waitForConfirms()
  await closeChannel(channel)
}
