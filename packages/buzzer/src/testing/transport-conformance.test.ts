import { test } from 'vitest'
import { memory, memoryBroker, type MemoryTransaction } from '../transport/transports/memory.ts'
import { runCases } from './conformance/case.ts'
import { transportConformance, type TransportConformanceOptions } from './transport-conformance.ts'

for (const clients of ['one', 'two'] as const) {
  const broker = memoryBroker()
  const options: TransportConformanceOptions = {
    name: 'memory',
    clients,
    create: () => memory({ broker }),
    transaction: work => broker.transaction((tx: MemoryTransaction) => work(tx)),
    // A memory broker outlives its transports, so the suite can at least restart those.
    restartBroker: () => Promise.resolve(),
  }
  runCases(transportConformance(options), test.concurrent)
}
