// A program that does nothing but declare and close: the close must be waited for, although nothing else runs.
import { embedded } from '../../src/broker/index.ts'

const transport = embedded({ path: process.argv[2] as string })
await transport.connect()
await transport.declare({ queues: [{ name: 'orders' }], topics: [], bindings: [] })
await transport.close()
process.stdout.write('closed')
