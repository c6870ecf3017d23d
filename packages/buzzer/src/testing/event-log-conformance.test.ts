import { test } from 'vitest'
import { memory, memoryBroker, memoryLog } from '../transport/transports/memory.ts'
import { runCases } from './conformance/case.ts'
import { eventLogConformance } from './event-log-conformance.ts'

const broker = memoryBroker()
runCases(
  eventLogConformance({
    name: 'memoryLog()',
    create: () => memoryLog({ broker }),
    transaction: work => broker.transaction(work),
  }),
  test.concurrent,
)

// The log of a transport is open with it.
const shared = memoryBroker()
runCases(
  eventLogConformance({
    name: 'log of memory()',
    create: () => {
      const transport = memory({ broker: shared })
      return { ...transport.log, connect: context => transport.connect(context), close: () => transport.close() }
    },
    transaction: work => shared.transaction(work),
  }),
  test.concurrent,
)
