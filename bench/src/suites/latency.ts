import { bareSync } from '../contenders/bare-sync.ts'
import { bullmqPaced } from '../contenders/bullmq.ts'
import { buzzerPaced } from '../contenders/buzzer.ts'
import { amqplibPaced } from '../contenders/amqplib.ts'
import { rabbitMqServer } from '../contenders/rabbitmq-server.ts'
import { paced } from '../paced.ts'
import type { Suite } from '../suite.ts'

const everyMs = 10
const timed = paced(everyMs)

export const suite: Suite = {
  title: 'Latency at 100 messages a second',
  cases: [
    {
      name: 'publish call → handler starts',
      operation: `message every ${everyMs} ms on an otherwise idle broker`,
      measure: 'latency',
      operations: 500,
      servers: { rabbitmq: rabbitMqServer },
      contenders: [
        bareSync(everyMs),
        buzzerPaced('embedded', timed),
        buzzerPaced('memory', timed),
        bullmqPaced('everysec', timed),
        amqplibPaced('quorum', timed),
      ],
      bars: [
        {
          ours: 'embedded',
          figure: 'p50 ms',
          atMost: 1,
          comparedWith: { as: 'above', contender: 'bare fdatasync' },
        },
        { ours: 'embedded', figure: 'p99 ms', atMost: 10, comparedWith: { as: 'times', figure: 'p50 ms' } },
      ],
    },
  ],
}
