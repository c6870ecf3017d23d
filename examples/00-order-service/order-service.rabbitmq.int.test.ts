import { randomBytes } from 'node:crypto'
import { anyFault, faultOf, silentLogger, systemClock } from 'buzzer'
import { service } from 'buzzer-servers'
import { describe } from 'vitest'
import { cornerOf } from '../../packages/rabbitmq/test/shared-server.ts'
import { OrderShipped, SubmitOrder } from './contracts.ts'
import { makeDatabase } from './database.ts'
import { walkOrderService } from './walk.ts'

const rabbitmq = await service('rabbitmq')
const postgres = await service('postgres')

describe.skipIf(rabbitmq.url === undefined || postgres.url === undefined)('with two servers', () => {
  walkOrderService('on RabbitMQ, its records in PostgreSQL', async () => {
    const url = rabbitmq.url ?? ''
    const database = await makeDatabase(postgres.url ?? '')
    const prefix = `shop-${randomBytes(4).toString('hex')}.`
    return {
      environment: { BUZZER_TRANSPORT: url, BUZZER_STORE: database.url, BUZZER_PREFIX: prefix },
      async [Symbol.asyncDispose]() {
        await Promise.all([database[Symbol.asyncDispose](), sweep(url, prefix)])
      },
    }
  })
})

/** Deletes what the shop declared on the server. */
async function sweep(url: string, prefix: string): Promise<void> {
  const corner = cornerOf(url, prefix)
  const transport = corner.create()
  await transport.connect({
    bus: 'sweep',
    instanceId: 'sweep',
    clock: systemClock,
    logger: silentLogger,
    onState: () => undefined,
  })
  const topics = [SubmitOrder, OrderShipped, faultOf(SubmitOrder), anyFault].map(({ type }) => type)
  await transport.declare({
    queues: ['orders', 'mailing', 'support'].map(name => ({ name })),
    topics: topics.map(name => ({ name, bases: [] })),
    bindings: [],
  })
  await corner.sweep()
  await transport.close()
}
