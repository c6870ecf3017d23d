import { randomUUID } from 'node:crypto'
import type { ConsumeMessage } from 'amqplib'
import { Flow } from '../flow.ts'
import { packageVersion } from '../machine.ts'
import type { Timed } from '../paced.ts'
import type { Reading } from '../reading.ts'
import type { Contender, Facts } from '../suite.ts'
import { type AmqplibBroker, openAmqplib, publish, type QueueType } from './amqplib-broker.ts'

const durability: Readonly<Record<QueueType, string>> = {
  classic: 'power loss (confirmed after fsync, at most 200 ms apart)',
  quorum: 'power loss (confirmed after fsync of the write-ahead log)',
}

export interface AmqplibOptions {
  readonly type: QueueType
  readonly inFlight: number
  readonly prefetch: number
  /** Deliveries of one cumulative acknowledgement; what is left over goes at the end of the turn of the event loop. */
  readonly ackEvery: number
  /** Default: `RabbitMQ <type>`. */
  readonly name?: string
  /** With a message id and mandatory, as `@buzzer/rabbitmq` sends. Default `plain`. */
  readonly messages?: 'plain' | 'identified'
}

/** amqplib on RabbitMQ: persistent messages, publisher confirms, acknowledgement by hand, one connection each way. */
export function amqplib(options: AmqplibOptions): Contender {
  const { type, inFlight, prefetch, ackEvery, messages = 'plain' } = options
  return {
    name: options.name ?? `RabbitMQ ${type}`,
    side: 'rival',
    durability: durability[type],
    async setup(context) {
      const broker = await openAmqplib(context.server('rabbitmq').url, type)
      const flow = new Flow({
        inFlight,
        publish: ([message]) =>
          publish(broker, message as Reading, messages === 'plain' ? undefined : { messageId: randomUUID() }),
      })
      broker.producer.on('return', () => flow.fail(new Error('a message was returned: its queue is not there')))
      await broker.consumer.prefetch(prefetch)
      let unacknowledged: ConsumeMessage | undefined
      let unsettled = 0
      const acknowledge = (): void => {
        if (unacknowledged !== undefined) broker.consumer.ack(unacknowledged, true)
        unacknowledged = undefined
        unsettled = 0
      }
      await broker.consumer.consume(broker.queue, delivery => {
        if (delivery === null) return flow.fail(new Error('RabbitMQ has cancelled the consumer'))
        const message = JSON.parse(delivery.content.toString()) as Reading
        if (unacknowledged === undefined) setImmediate(acknowledge)
        unacknowledged = delivery
        if (++unsettled >= ackEvery) acknowledge()
        flow.handled(message)
      })
      return {
        facts: facts(broker, `prefetch ${prefetch}, cumulative acknowledgement of up to ${ackEvery}`),
        run: n => flow.run(n),
        teardown: () => broker.close(),
      }
    },
  }
}

/** Messages at a steady pace on an otherwise idle queue: from the call of `publish` to the start of the consumer's callback. */
export function amqplibPaced(type: QueueType, timed: Timed): Contender {
  return {
    name: `RabbitMQ ${type}`,
    side: 'rival',
    durability: durability[type],
    async setup(context) {
      const broker = await openAmqplib(context.server('rabbitmq').url, type)
      const rounds = timed(message => publish(broker, message))
      await broker.consumer.prefetch(10)
      await broker.consumer.consume(broker.queue, delivery => {
        if (delivery === null) return
        rounds.started(JSON.parse(delivery.content.toString()) as Reading)
        broker.consumer.ack(delivery)
      })
      return { facts: facts(broker, 'prefetch 10'), run: n => rounds.run(n), teardown: () => broker.close() }
    },
  }
}

function facts(broker: AmqplibBroker, settings: string): Facts {
  return { versions: `amqplib ${packageVersion('amqplib')}, RabbitMQ ${broker.version}; ${settings}` }
}
