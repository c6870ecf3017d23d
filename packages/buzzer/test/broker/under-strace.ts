/**
 * A process that sends to a broker on the file named in its first argument and marks on its output what it does, for
 * tests that look at its system calls or slow them down; see sync-order.test.ts.
 */
import { fork } from 'node:child_process'
import { writeSync } from 'node:fs'
import { embedded } from '../../src/broker/index.ts'
import { silentLogger } from '../../src/message/index.ts'
import { message, topology } from './messages.ts'

const [path, mode] = process.argv.slice(2) as [string, 'alone' | 'owner' | 'client' | 'load']

const transport = embedded({ path, host: mode === 'client' ? 'never' : 'auto' })
await transport.connect({ logger: silentLogger })
await transport.declare(topology)

if (mode === 'owner') {
  const client = fork(process.argv[1] as string, [path, 'client'], { execArgv: process.execArgv, stdio: 'inherit' })
  await new Promise(resolve => client.on('exit', resolve))
} else if (mode === 'load') {
  const { commits } = await transport.admin.engine()
  const lanes = Array.from({ length: 200 }, async (_, lane) => {
    for (let number = 0; number < 10; number++) await transport.send([message(`m${lane}-${number}`)])
  })
  await Promise.all(lanes)
  const after = await transport.admin.engine()
  const { ready } = await transport.admin.queue('orders')
  writeSync(1, JSON.stringify({ ready, commits: after.commits - commits, largestBatch: after.largestBatch }))
} else {
  for (let number = 0; number < 20; number++) {
    writeSync(1, `begin ${number}\n`)
    await transport.send([message(`m${number}`)])
    writeSync(1, `acknowledged ${number}\n`)
  }
}
await transport.close()
