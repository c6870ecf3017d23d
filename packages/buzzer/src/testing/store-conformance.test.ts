import { test } from 'vitest'
import { MemoryRecords, storeOver } from '../store/index.ts'
import { memory, memoryBroker, type MemoryTransaction } from '../transport/transports/memory.ts'
import { runCases } from './conformance/case.ts'
import { storeConformance } from './store-conformance.ts'

const broker = memoryBroker()
runCases(
  storeConformance({
    name: 'store of memory()',
    create: () => memory({ broker }).store,
    transaction: work => broker.transaction((tx: MemoryTransaction) => work(tx)),
  }),
  test.concurrent,
)

// memoryStore() is this over records of its own; the suite wants several stores on the same ones.
const records = new MemoryRecords(1024 * 1024)
runCases(storeConformance({ name: 'memoryStore()', create: () => storeOver(records, {}) }), test.concurrent)
