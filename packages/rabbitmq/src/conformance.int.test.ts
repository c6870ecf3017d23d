import { runCases, type TestFunction, transportConformance } from 'buzzer/testing'
import { service } from 'buzzer-servers'
import { afterAll, describe, test } from 'vitest'
import { cornerOf } from '../test/shared-server.ts'

const rabbitmq = await service('rabbitmq')
/** The cases have limits of their own; the runner's is only for one that has none. */
const patiently: TestFunction = (name, run) => test.concurrent(name, run, 180_000)

/** What RabbitMQ cannot do although no capability says so. Source: spec transports 1, 2. */
const exceptions: Readonly<Record<string, string>> = {
  'a release brings the message back uncounted':
    'before RabbitMQ 4.3 a nack with requeue counts as a delivery; the versions that do not count it are in server-version.test.ts',
  'an expired message is never delivered and leaves the counts within a second; its neighbours stay':
    'expired messages leave a queue of RabbitMQ, and its counts, at the head only; that none is delivered is in time.int.test.ts',
  'peek shows every state in queue order, page by page, and neither locks nor counts':
    'AMQP shows a message by delivering it, which counts; dead letters alone can be peeked, see admin.int.test.ts',
  'purge removes what is ready, leaves what is locked and scheduled, and says how many':
    'AMQP does not tell how many messages are scheduled; the rest of the sentence is in admin.int.test.ts',
  'maxMessages is exact under concurrent senders; one more fits after one ack':
    'a quorum queue refuses once it is over its limit, and lets in what is on its way meanwhile; see admin.int.test.ts',
  'a full queue refuses a whole array and a whole fan-out':
    'a quorum queue refuses once it is over its limit; a fan-out reaches those that have room, and the send says that one had none',
}

describe.skipIf(rabbitmq.url === undefined)('RabbitMQ', () => {
  const corner = cornerOf(rabbitmq.url ?? '')
  afterAll(() => corner.sweep(), 60_000)
  const patience = { patienceMs: 30_000, lateMs: 5_000, quietMs: 200, exceptions }
  for (const clients of ['one', 'two'] as const) {
    runCases(transportConformance({ name: 'rabbitmq', clients, create: () => corner.create(), ...patience }), patiently)
  }
})
