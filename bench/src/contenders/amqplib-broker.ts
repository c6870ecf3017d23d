import type { Channel, ChannelModel, ConfirmChannel } from 'amqplib'
import type { Reading } from '../reading.ts'

export type QueueType = 'classic' | 'quorum'

/** One connection for publishing and one for consuming, and a durable queue of this process's own. */
export interface AmqplibBroker {
  readonly producer: ConfirmChannel
  readonly consumer: Channel
  readonly queue: string
  readonly version: string
  /** Deletes the queue; rejects when messages were left on it. */
  close(): Promise<void>
}

export async function openAmqplib(url: string, type: QueueType): Promise<AmqplibBroker> {
  const { connect } = await import('amqplib')
  const connections = [await connect(url), await connect(url)] as const
  const producer = await connections[0].createConfirmChannel()
  const consumer = await connections[1].createChannel()
  const queue = `buzzer-bench-${type}-${process.pid}`
  await producer.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': type } })
  return {
    producer,
    consumer,
    queue,
    version: versionOf(connections[0]),
    async close() {
      await consumer.close()
      const { messageCount } = await producer.deleteQueue(queue)
      await Promise.all(connections.map(connection => connection.close()))
      if (messageCount > 0) throw new Error(`${messageCount} messages were left on the queue after the last round`)
    },
  }
}

/** `whole`: with a message id and mandatory, so that a queue that is not there is told. */
export function publish(
  { producer, queue }: AmqplibBroker,
  message: Reading,
  whole?: { readonly messageId: string },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const body = Buffer.from(JSON.stringify(message))
    const options = { persistent: true, contentType: 'application/json' }
    producer.sendToQueue(
      queue,
      body,
      whole === undefined ? options : { ...options, mandatory: true, messageId: whole.messageId },
      error => (error === null ? resolve() : reject(error as Error)),
    )
  })
}

/** Removes what a transport with this prefix has declared. */
export async function deleteTopology(
  url: string,
  prefix: string,
  names: { readonly queues: Iterable<string>; readonly topics: Iterable<string> },
): Promise<void> {
  const { connect } = await import('amqplib')
  const connection = await connect(url)
  const channel = await connection.createChannel()
  for (const queue of names.queues)
    for (const suffix of ['', '.dead']) await channel.deleteQueue(`${prefix}${queue}${suffix}`)
  for (const topic of names.topics)
    for (const suffix of ['', ':match', ':owner']) await channel.deleteExchange(`${prefix}${topic}${suffix}`)
  await connection.close()
}

export function versionOf({ connection }: ChannelModel): string {
  return connection.serverProperties.version
}
