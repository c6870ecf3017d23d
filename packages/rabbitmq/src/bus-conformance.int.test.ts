import { memoryStore, type Store } from 'buzzer/store'
import { busConformance, runCases, type TestFunction } from 'buzzer/testing'
import { service } from 'buzzer-servers'
import { afterAll, describe, test } from 'vitest'
import { cornerOf } from '../test/shared-server.ts'

const rabbitmq = await service('rabbitmq')
/** The cases have limits of their own; the runner's is only for one that has none. */
const patiently: TestFunction = (name, run) => test.concurrent(name, run, 180_000)

/** What RabbitMQ cannot do although no capability says so. */
const countedRelease = 'before RabbitMQ 4.3 a nack with requeue counts as a delivery'
const exceptions: Readonly<Record<string, string>> = {
  'F10 a fault that no queue can take → dead letter all the same':
    'a quorum queue refuses once it is over its limit, not at it; see admin.int.test.ts',
  'stop drains: what runs finishes with a working context and is acknowledged, what has not begun stays in the broker':
    countedRelease,
  'L4 a handler that fails after its signal aborted at the stop → released: no attempt spent, no dead letter':
    countedRelease,
}

describe.skipIf(rabbitmq.url === undefined)('the bus on RabbitMQ', () => {
  const corner = cornerOf(rabbitmq.url ?? '')
  afterAll(() => corner.sweep(), 120_000)
  const create = () => corner.create()
  const patience = { patienceMs: 30_000, quietMs: 200, startMs: 3_000, exceptions }
  /** Shared by all buses of the suite, so that none of them may close it. */
  const store: Store = { ...memoryStore(), close: async () => {} }
  runCases(busConformance({ name: 'alone', create, ...patience }), patiently)
  runCases(busConformance({ name: 'with a store', create, ...patience, options: { store } }), patiently)
})
