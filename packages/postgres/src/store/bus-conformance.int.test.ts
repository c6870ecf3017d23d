import type { Store } from 'buzzer/store'
import { memory, memoryBroker } from 'buzzer/memory'
import { busConformance, type BusConformanceOptions, faulty, runCases } from 'buzzer/testing'
import { type Capabilities, defineTransport, type Transport } from 'buzzer/transport'
import { service } from 'buzzer-servers'
import { afterAll, describe, test } from 'vitest'
import { ownSchema } from '../../test/own-schema.ts'
import type { Tx } from '../sql-handle.ts'
import { postgresStore } from './postgres-store.ts'

const { url = '' } = await service('postgres')

/** A broker that can do little, with a store that is PostgreSQL: what `postgresStore()` beside RabbitMQ is for. */
const weaknesses: readonly { readonly name: string; readonly capabilities: Partial<Capabilities> }[] = [
  { name: 'no transactions: outbox and inbox', capabilities: { transactions: 'none', deduplication: 'none' } },
  { name: 'no delays and no cancel: schedules', capabilities: { transactions: 'none', delayMaxMs: 0, cancel: 'none' } },
  { name: 'no dead letters', capabilities: { transactions: 'none', deadLetter: 'none' } },
]

describe.skipIf(url === '')('a bus whose records are in PostgreSQL', () => {
  const world = ownSchema(url)
  const store = postgresStore({ connectionString: url, schema: world.schema })
  // Every bus of the suite shares it, so none of them may close it.
  const shared: Store<Tx> = { ...store, close: () => Promise.resolve() }
  afterAll(async () => {
    await store.close()
    await world[Symbol.asyncDispose]()
  })
  const broker = memoryBroker({ maxMessages: 1_000_000 })

  const weak = (capabilities: Partial<Capabilities>): Transport => {
    const transport = faulty(memory({ broker }), { capabilities })
    const { name, admin } = transport
    const connect: Transport['connect'] = context => transport.connect(context)
    return defineTransport({
      name,
      capabilities: transport.capabilities,
      connect,
      declare: topology => transport.declare(topology),
      send: (messages, options) => transport.send(messages, options),
      receive: (queue, onDelivery, options) => transport.receive(queue, onDelivery, options),
      close: () => transport.close(),
      ...(admin === undefined ? {} : { admin }),
    })
  }
  for (const { name, capabilities } of weaknesses) {
    const options: BusConformanceOptions = {
      name,
      create: () => weak(capabilities),
      options: { store: shared },
      transaction: work => world.transaction(work),
      patienceMs: 20_000,
    }
    runCases(busConformance(options), test.concurrent)
  }
})
