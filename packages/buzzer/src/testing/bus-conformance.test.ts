import { test } from 'vitest'
import type { Store } from '../store/index.ts'
import { memoryStore } from '../store/stores/memory.ts'
import { type Capabilities, defineTransport, type Transport } from '../transport/index.ts'
import { memory, memoryBroker, type MemoryTransaction } from '../transport/transports/memory.ts'
import { busConformance, type BusConformanceOptions } from './bus-conformance.ts'
import { runCases } from './conformance/case.ts'
import { faulty } from './faulty.ts'

const broker = memoryBroker({ maxMessages: 1_000_000 })

/** Records shared by all buses of the suite, so that none of them may close it. */
const sharedStore: Store = { ...memoryStore(), close: async () => {} }

/** A transport of the memory broker that can do less, so that the core's own way is what runs. */
function weak(capabilities: Partial<Capabilities>): Transport {
  return faulty(memory({ broker }), { capabilities })
}

function withoutStore(transport: Transport): Transport {
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

const variants: readonly BusConformanceOptions[] = [
  {
    name: 'memory',
    create: () => memory({ broker }),
    transaction: work => broker.transaction((tx: MemoryTransaction) => work(tx)),
  },
  {
    name: 'memory with a store of its own',
    create: () => withoutStore(memory({ broker })),
    options: { store: sharedStore },
  },
  { name: 'no transactions, with a store', create: () => weak({ transactions: 'none' }) },
  { name: 'no transactions, no store', create: () => withoutStore(weak({ transactions: 'none' })) },
  { name: 'no delays and no cancel', create: () => weak({ delayMaxMs: 0, cancel: 'none' }) },
  { name: 'no dead letters', create: () => weak({ deadLetter: 'none' }) },
  { name: 'no dead letters, no store', create: () => withoutStore(weak({ deadLetter: 'none', transactions: 'none' })) },
  {
    name: 'next to nothing',
    create: () =>
      weak({
        delayMaxMs: 0,
        cancel: 'none',
        transactions: 'none',
        ttl: 'none',
        priorities: 1,
        mandatory: 'none',
        deduplication: 'none',
        temporaryQueues: 'none',
        ordering: 'none',
      }),
  },
]

for (const variant of variants) runCases(busConformance(variant), test.concurrent)
