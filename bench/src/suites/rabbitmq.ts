import { rabbitMqServer } from '../contenders/rabbitmq-server.ts'
import { amqplib } from '../contenders/amqplib.ts'
import { buzzer } from '../contenders/buzzer.ts'
import { transportAlone } from '../contenders/transport-alone.ts'
import type { Suite } from '../suite.ts'

const window = 500

export const suite: Suite = {
  title: '@buzzer/rabbitmq beside bare amqplib',
  cases: [
    {
      name: 'publish → handle → acknowledge on a quorum queue',
      operation: `JSON message of 200 bytes, persistent, mandatory, confirmed, handled and acknowledged; ${window} in flight`,
      measure: 'per-second',
      servers: { rabbitmq: rabbitMqServer },
      contenders: [
        transportAlone({
          name: '@buzzer/rabbitmq, transport',
          transport: 'rabbitmq',
          inFlight: window,
          prefetch: window,
        }),
        buzzer({
          name: '@buzzer/rabbitmq, bus',
          transport: 'rabbitmq',
          inFlight: window,
          concurrency: 256,
          prefetch: window,
        }),
        amqplib({
          name: 'amqplib',
          type: 'quorum',
          inFlight: window,
          prefetch: window,
          ackEvery: 50,
          messages: 'identified',
        }),
      ],
      bars: [
        { ours: '@buzzer/rabbitmq, transport', rival: 'amqplib', atLeast: 0.9 },
        { ours: '@buzzer/rabbitmq, bus', rival: 'amqplib', atLeast: 0.9 },
      ],
    },
  ],
}
