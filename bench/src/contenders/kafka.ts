import { join } from 'node:path'
import { startKafka } from 'buzzer-servers'
import { Flow } from '../flow.ts'
import { packageVersion } from '../machine.ts'
import type { Reading } from '../reading.ts'
import type { CaseServer, Contender } from '../suite.ts'

/** One broker for all contenders of a case: an idle one takes some hundredths of a core. Heap as Kafka's own script gives it. */
export function kafkaServer(folder: string): Promise<CaseServer> {
  return startKafka({ folder: join(folder, 'kafka'), heapMiB: 1_024 })
}

export interface KafkaOptions {
  /**
   * `single`: `producer.send` for each message, a request of its own. `stream`: each message written to the client's
   * producer stream, which sends batches as Java's producer does by `linger.ms`; accepted when the report of its batch comes.
   */
  readonly send: 'single' | 'stream'
  /** `each-batch`: the broker syncs what it appends before it answers (`flush.messages=1`). Default of Kafka: `later`. */
  readonly sync: 'later' | 'each-batch'
  readonly inFlight: number
  /** `single`: requests on the way to the broker. */
  readonly maxInflights: number
  /** `stream`: messages of a batch at most, and how long it waits for them. */
  readonly batchSize: number
  readonly batchTimeMs: number
}

/** @platformatic/kafka: acknowledged by all replicas, one partition, a consumer group that commits every second. */
export function kafka(options: KafkaOptions): Contender {
  const { send, sync, inFlight } = options
  return {
    name: `Kafka, ${send === 'single' ? 'single sends' : 'producer stream'}${sync === 'later' ? '' : ', synced'}`,
    side: 'rival',
    durability:
      sync === 'each-batch'
        ? 'power loss (fsync of each batch)'
        : 'process death; power loss takes what the kernel has not written',
    async setup(context) {
      const server = context.server('kafka')
      const { Admin, Consumer, ProduceAcks, Producer } = await import('@platformatic/kafka')
      const bootstrapBrokers = [server.url]
      const topic = `bench-${process.pid}`
      const admin = new Admin({ clientId: 'bench', bootstrapBrokers })
      const configs = sync === 'later' ? [] : [{ name: 'flush.messages', value: '1' }]
      await admin.createTopics({ topics: [topic], partitions: 1, replicas: 1, configs })
      await admin.close()

      const producer = new Producer({
        clientId: 'bench',
        bootstrapBrokers,
        acks: ProduceAcks.ALL,
        ...(send === 'single' ? { maxInflights: options.maxInflights } : {}),
      })
      const outgoing = (message: Reading): { topic: string; value: Buffer } => ({
        topic,
        value: Buffer.from(JSON.stringify(message)),
      })
      const stream =
        send === 'single'
          ? undefined
          : producer.asStream({
              batchSize: options.batchSize,
              batchTime: options.batchTimeMs,
              highWaterMark: 2 * inFlight,
              reportMode: 'batch',
            })
      // Batches go out one after the other, so reports come in the order of the writes.
      const unreported: (() => void)[] = []
      stream?.on('delivery-report', ({ count }: { count: number }) => {
        for (const accepted of unreported.splice(0, count)) accepted()
      })
      const publish = ([message]: readonly Reading[]): Promise<unknown> => {
        if (stream === undefined) return producer.send({ messages: [outgoing(message as Reading)] })
        stream.write(outgoing(message as Reading))
        return new Promise<void>(resolve => unreported.push(resolve))
      }
      const flow = new Flow({ inFlight, publish })
      const consumer = new Consumer({ clientId: 'bench', groupId: topic, bootstrapBrokers })
      const messages = await consumer.consume({
        topics: [topic],
        mode: 'committed',
        fallbackMode: 'earliest',
        autocommit: 1_000,
        // The client's defaults are a wait as long as its own time-out of a request, and 1,024 messages ahead.
        maxWaitTime: 100,
        highWaterMark: 4_096,
      })
      messages.on('data', ({ value }) => flow.handled(JSON.parse(value.toString()) as Reading))
      for (const each of [messages, ...(stream === undefined ? [] : [stream])])
        each.on('error', (error: Error) => flow.fail(error))
      return {
        facts: facts(server.version, options),
        run: n => flow.run(n),
        async teardown() {
          await stream?.close()
          await messages.close()
          await consumer.close()
          await producer.close()
        },
      }
    },
  }
}

function facts(version: string, options: KafkaOptions): Readonly<Record<string, string>> {
  const settings =
    options.send === 'single'
      ? `maxInflights ${options.maxInflights}`
      : `batches of up to ${options.batchSize}, ${options.batchTimeMs} ms`
  return {
    versions: `@platformatic/kafka ${packageVersion('@platformatic/kafka')}, Kafka ${version} (KRaft, one node); acks all, ${settings}`,
  }
}
