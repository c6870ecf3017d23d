import type { Clock } from 'buzzer'
import { type AmqpConnection, type Channel, closeChannel } from './amqplib-connection.ts'

/**
 * A channel for declarations and questions alone. A refusal closes a channel, and would take others' work with it; here the
 * next call opens a new one. One call at a time.
 */
export class ControlChannel {
  readonly #connection: AmqpConnection
  #channel: Channel | undefined

  constructor(connection: AmqpConnection) {
    this.#connection = connection
  }

  /** Rejects with what the client library rejects with; see `errors.ts`. */
  async run<T>(call: (channel: Channel) => Promise<T>): Promise<T> {
    this.#channel ??= await this.#connection.openChannel()
    try {
      return await call(this.#channel)
    } catch (error) {
      this.#channel = undefined
      throw error
    }
  }

  /** The answer, or the refusal as a value. */
  async ask<T>(call: (channel: Channel) => Promise<T>): Promise<{ readonly value: T } | { readonly refusal: unknown }> {
    try {
      return { value: await this.run(call) }
    } catch (refusal) {
      return { refusal }
    }
  }

  async close(): Promise<void> {
    const channel = this.#channel
    this.#channel = undefined
    if (channel !== undefined) await closeChannel(channel)
  }
}

/** How long messages that were given back may take to be there again, and how often that is looked at. */
const returnMs = 500
const returnLookMs = 10

/**
 * Waits until `count` messages that were given back are in their queue again: the server does it a moment after it was told,
 * and whoever looks next would miss them. With a consumer on the queue they are on their way to it, and nobody waits.
 */
export async function awaitReturn(control: ControlChannel, queue: string, count: number, clock: Clock): Promise<void> {
  const giveUpAt = clock.monotonic() + returnMs
  for (;;) {
    const asked = await control.ask(channel => channel.checkQueue(queue))
    if ('refusal' in asked || asked.value.consumerCount > 0 || asked.value.messageCount >= count) return
    if (clock.monotonic() >= giveUpAt) return
    await new Promise<void>(resolve => clock.setTimeout(resolve, returnLookMs))
  }
}
