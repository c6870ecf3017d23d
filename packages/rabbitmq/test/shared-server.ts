import { randomUUID } from 'node:crypto'
import { systemClock } from 'buzzer'
import { openConnection } from '../src/amqplib-connection.ts'
import { ControlChannel } from '../src/control-channel.ts'
import { delayLevels } from '../src/delay-keys.ts'
import { bucketCount } from '../src/names.ts'
import { type RabbitMqOptions, resolveOptions } from '../src/options.ts'
import { RabbitMq } from '../src/rabbitmq.ts'

/** A run's own corner of a server that others use too. */
export interface Corner {
  readonly prefix: string
  create(options?: RabbitMqOptions): RabbitMq
  /** Deletes everything that the transports made by `create` have declared. */
  sweep(): Promise<void>
}

/** Names of its own, under a fresh prefix, or under one that another process was given. */
export function cornerOf(url: string, prefix: string = `t${randomUUID().slice(0, 8)}.`): Corner {
  const made: RabbitMq[] = []
  const create = (options: RabbitMqOptions = {}): RabbitMq => {
    const transport = new RabbitMq(resolveOptions({ url, prefix, ...options }))
    made.push(transport)
    return transport
  }
  const sweep = async (): Promise<void> => {
    const queues = new Set<string>()
    const exchanges = new Set<string>()
    for (const { names, topology } of made) {
      for (const queue of topology.declaredQueues) {
        for (const one of [queue, `${queue}.dead`]) {
          queues.add(names.queue(one)).add(names.turn(one))
          exchanges.add(names.lanes(one))
        }
        for (let lane = 0; lane < bucketCount; lane++) queues.add(names.lane(queue, lane))
      }
      for (const topic of topology.declaredTopics)
        exchanges.add(names.topic(topic)).add(names.match(topic)).add(names.owner(topic))
      for (let level = 0; level < delayLevels; level++) {
        queues.add(names.delay(level))
        exchanges.add(names.delay(level)).add(names.delayMark(level))
      }
      exchanges.add(names.due)
    }
    const connection = await openConnection(url, 'sweep', resolveOptions({ url }))
    const control = new ControlChannel(connection)
    // Deleting what is not there is no error in RabbitMQ.
    for (const queue of queues) await control.ask(channel => channel.deleteQueue(queue))
    for (const exchange of exchanges) await control.ask(channel => channel.deleteExchange(exchange))
    await connection.close(systemClock, 5_000)
  }
  return { prefix, create, sweep }
}
