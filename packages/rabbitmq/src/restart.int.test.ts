import { runCases, transportConformance } from 'buzzer/testing'
import { service, startRabbitMq, type PrivateRabbitMq } from 'buzzer-servers'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { rabbitmq } from './rabbitmq.ts'

const there = await service('rabbitmq')

/** The cases that restart the broker, on a node of our own, which is killed each time. */
describe.skipIf(there.url === undefined)('RabbitMQ killed and started again', () => {
  let server: PrivateRabbitMq
  beforeAll(async () => {
    server = await startRabbitMq()
  }, 180_000)
  afterAll(() => server?.[Symbol.asyncDispose](), 60_000)

  const cases = transportConformance({
    name: 'rabbitmq',
    create: () => rabbitmq({ url: server.url }),
    patienceMs: 60_000,
    lateMs: 10_000,
    async restartBroker() {
      await server.kill()
      await server.start()
    },
  })
  const persistent = cases.filter(({ name }) => /restart/.test(name))
  // One after the other: each takes the broker from under the others.
  runCases(persistent, (name, run) => test(name, run, 180_000))
})
