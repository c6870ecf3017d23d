import { bullmq } from '../contenders/bullmq.ts'
import { buzzer } from '../contenders/buzzer.ts'
import { buzzerProcesses } from '../contenders/buzzer-processes.ts'
import { kafka, kafkaServer } from '../contenders/kafka.ts'
import { amqplib } from '../contenders/amqplib.ts'
import { rabbitMqServer } from '../contenders/rabbitmq-server.ts'
import { rawLimit } from '../contenders/raw-limit.ts'
import type { Suite } from '../suite.ts'

const inFlight = 1_000
const ours = { transport: 'embedded', inFlight, concurrency: 256, prefetch: 1_000 } as const
// The fastest of the settings tried: addBulk of 50 to 500 by concurrency 50 to 500; prefetch 300 to 2,000 by single and
// cumulative acknowledgement. They lie within 20 % of each other.
const bullMqSettings = { inFlight, batch: 500, concurrency: 200 }
const rabbitMqSettings = { inFlight, prefetch: 300, ackEvery: 50 }
// Single sends: maxInflights 5 to 2,000 by one and four partitions, classic and consumer protocol; from 1,000 on no faster.
// Stream: batches of 100 to 1,000 by a wait of 0 to 5 ms.
const kafkaSettings = { inFlight, maxInflights: 1_000, batchSize: 500, batchTimeMs: 0 }

const operation = `JSON message of 200 bytes published, handled and acknowledged; ${inFlight} in flight`
const keyed = 'key-ordered, 1,000 keys'

export const suite: Suite = {
  title: 'The embedded broker beside servers',
  cases: [
    {
      name: 'publish → handle → acknowledge',
      operation,
      measure: 'per-second',
      servers: { kafka: kafkaServer, rabbitmq: rabbitMqServer },
      contenders: [
        buzzer(ours),
        buzzerProcesses({ ...ours, consumers: 1 }),
        buzzer({ ...ours, transport: 'memory' }),
        rawLimit('append + fdatasync', ours),
        bullmq({ appendfsync: 'everysec', ...bullMqSettings }),
        bullmq({ appendfsync: 'always', ...bullMqSettings }),
        amqplib({ type: 'classic', ...rabbitMqSettings }),
        amqplib({ type: 'quorum', ...rabbitMqSettings }),
        kafka({ send: 'single', sync: 'later', ...kafkaSettings }),
        kafka({ send: 'stream', sync: 'later', ...kafkaSettings }),
        kafka({ send: 'stream', sync: 'each-batch', ...kafkaSettings }),
      ],
      bars: [
        { ours: 'embedded', rival: 'BullMQ, AOF everysec', atLeast: 20 },
        { ours: 'embedded', rival: 'RabbitMQ quorum', atLeast: 6 },
        { ours: 'embedded', rival: 'Kafka, single sends', atLeast: 2 },
        { ours: 'embedded, two processes', rival: 'embedded', atLeast: 0.6 },
        { ours: 'memory', rival: 'embedded', atLeast: 1.5 },
      ],
    },
    {
      name: 'queues, order and processes',
      operation,
      measure: 'per-second',
      contenders: [
        buzzer({ ...ours, name: 'one queue' }),
        buzzer({ ...ours, name: 'four queues', queues: 4, prefetch: ours.prefetch / 4 }),
        buzzer({ ...ours, name: keyed, keys: 1_000 }),
        buzzer({ ...ours, name: 'beside a hot key', keys: 1_000, hot: 20_000 }),
        buzzerProcesses({ ...ours, name: 'one consumer process', consumers: 1 }),
        buzzerProcesses({ ...ours, name: 'three consumer processes', consumers: 3, prefetch: 333 }),
      ],
      bars: [
        { ours: 'four queues', rival: 'one queue', atLeast: 0.8 },
        { ours: 'one queue', rival: 'four queues', atLeast: 0.8 },
        { ours: keyed, rival: 'one queue', atLeast: 0.7 },
        { ours: 'beside a hot key', rival: keyed, atLeast: 0.9 },
        { ours: 'three consumer processes', rival: 'one consumer process', atLeast: 1 },
      ],
    },
  ],
}
