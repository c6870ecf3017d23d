import { deadLetterQueue, type Delivery, type Receiver } from '../../transport/index.ts'
import type { BusCore } from '../bus-core.ts'
import { acknowledged, released } from '../pipeline/settle.ts'
import { fromDeadHeaders } from './dead-letter-headers.ts'
import { declareKeptLetters, type KeptLetter, putKeptLetter } from './kept-letters.ts'
import { declareKeptQueues, rememberKeptQueue } from './kept-queues.ts'

/**
 * Moves dead letters out of the queues `<queue>.dead`, where the broker can only hold them, into the store, where they can be
 * searched, edited and deleted. Acknowledged once stored; stored twice under one id after a crash, which is once.
 */
export class DeadLetterKeeper {
  readonly #core: BusCore
  readonly #receivers: Receiver[] = []

  constructor(core: BusCore) {
    this.#core = core
  }

  async declare(): Promise<void> {
    await declareKeptLetters(this.#core)
    await declareKeptQueues(this.#core)
  }

  async keep(queue: string): Promise<void> {
    const onDelivery = (delivery: Delivery): Promise<typeof acknowledged> =>
      this.#store(queue, delivery).then(
        () => acknowledged,
        (error: unknown) => {
          this.#core.logger.error({ error, queue }, 'a dead letter could not be stored; it stays in its queue')
          return new Promise(resolve => this.#core.clock.setTimeout(() => resolve(released), 1_000))
        },
      )
    await rememberKeptQueue(this.#core, queue)
    const options = { maxInFlight: 16, orderBy: 'none' } as const
    this.#receivers.push(await this.#core.transport.receive(deadLetterQueue(queue), onDelivery, options))
  }

  async close(): Promise<void> {
    await Promise.all(this.#receivers.map(receiver => receiver.stop()))
  }

  async #store(queue: string, delivery: Delivery): Promise<void> {
    const { deadLetter, headers } = fromDeadHeaders(delivery)
    const { body, attempt, enqueuedAt, priority, attributes, contentType, key } = delivery
    const id = `${String(deadLetter.deadAt).padStart(16, '0')}-${delivery.id}`
    const letter: KeptLetter = {
      id,
      queue,
      messageId: delivery.id,
      state: 'dead',
      attempt,
      enqueuedAt,
      priority,
      attributes,
      headers,
      body: Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('base64'),
      deadLetter,
      ...(contentType === undefined ? {} : { contentType }),
      ...(key === undefined ? {} : { key }),
    }
    await putKeptLetter(this.#core, letter)
  }
}
