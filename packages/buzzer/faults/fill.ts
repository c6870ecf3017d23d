/**
 * Makes a file with messages in every state, some of them in the write-ahead file only, one send after the other; then
 * closes it, or waits to be killed.
 *
 *   node fill.ts <database> <folder of journals> closed | killed
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { embedded } from '../src/broker/index.ts'
import { Journal, journalled, machineClock } from '../src/testing/index.ts'
import type { Delivery, OutgoingMessage, Settlement } from '../src/transport/index.ts'
import { deduplicationWindowMs, queuesOf, topology } from './workload.ts'

const [path, folder, end] = process.argv.slice(2) as [string, string, 'closed' | 'killed']
const name = 'fill'
const journal = new Journal(folder, name)
const inner = embedded({ path })
const transport = journalled(inner, {
  process: name,
  write: record => journal.write(record),
  queuesOf,
  deduplicationWindowMs,
})
/** The broker empties the write-ahead file after a second of rest. */
const restMs = 1_500
const sizes = [0, 40, 200, 200, 1_000, 20_000]
let number = 0

function message(to: OutgoingMessage['to'], change: Partial<OutgoingMessage> = {}): OutgoingMessage {
  const id = `f${++number}`
  return {
    id,
    to,
    attributes: { specversion: '1.0', id, type: 'faults.filled', source: '/faults' },
    headers: { check: id },
    body: Buffer.alloc(sizes[number % sizes.length] ?? 0, `${id} `),
    priority: 4,
    mandatory: false,
    ...change,
  }
}

async function part(rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    await transport.send([message({ queue: 'orders' })])
    await transport.send(Array.from({ length: 5 }, () => message({ queue: 'accounts' }, { key: `k${round % 7}` })))
    await transport.send([message({ topic: 'placed', bases: [] }, { key: `k${round % 3}` })])
    await transport.send([message({ queue: 'orders' }, { deliverAt: machineClock.now() + 3_600_000 })])
  }
}

journal.write({ as: 'born', process: name, at: machineClock.monotonic() })
await inner.connect()
await transport.declare(topology)
await part(20)
const answer = async ({ id }: Delivery): Promise<Settlement> =>
  Number(id.slice(1)) % 2 === 0 ? { as: 'ack' } : { as: 'dead-letter', reason: 'the filler says so' }
const receiver = await transport.receive('audit', answer, { maxInFlight: 4, orderBy: 'none' })
while ((await inner.admin.queue('audit')).ready > 0) await sleep(5)
await receiver.stop()
await sleep(restMs)
await part(20)
if (end === 'killed') {
  console.log('filled')
  setInterval(() => {}, 60_000)
} else {
  journal.write({ as: 'ended', process: name, at: machineClock.monotonic() })
  await transport.close()
}
