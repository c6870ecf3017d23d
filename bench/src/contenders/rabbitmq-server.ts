import { startRabbitMq } from 'buzzer-servers'
import type { CaseServer } from '../suite.ts'
import { versionOf } from './amqplib-broker.ts'
import { ownOrFound } from './own-server.ts'

/** The node that all contenders of a case use, each with queues of its own. */
export function rabbitMqServer(): Promise<CaseServer> {
  return ownOrFound('rabbitmq', startRabbitMq, async url => {
    const { connect } = await import('amqplib')
    const connection = await connect(url)
    const version = versionOf(connection)
    await connection.close()
    return version
  })
}
