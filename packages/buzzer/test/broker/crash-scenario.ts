/**
 * A process that lives through a whole scenario on the file named in its first argument and says on its output what was
 * acknowledged. The test kills it at every write; see engine/kill-at-every-write.test.ts.
 */
import { writeSync } from 'node:fs'
import type { AppendRecord } from '../../src/transport/index.ts'
import { EngineHost, messageTo } from './engine-client.ts'

const path = process.argv[2]
if (path === undefined) throw new Error('usage: crash-scenario.ts <path>')

function acknowledged(step: string): void {
  writeSync(1, `${step}\n`)
}

const host = new EngineHost(path, { durability: 'fsync' })
const client = host.connect()
client.declare({ name: 'in' }, { name: 'copy' }, { name: 'out' })
for (const queue of ['in', 'copy']) client.call({ call: 'admin', method: 'bind', topic: 't', queue })
acknowledged('declared')
client.send([messageTo('', 'fan-out', { to: { topic: 't', bases: [] } })])
acknowledged('fanned-out')
const wide = Array.from({ length: 50 }, (_, index) => ({ name: `wide-${index}` }))
const bindings = wide.map(({ name }) => ({ topic: 'wide', queue: name, exclusive: false }))
client.call({ call: 'declare', topology: { queues: wide, topics: [], bindings }, onConflict: 'refuse' })
client.send([messageTo('', 'to fifty', { to: { topic: 'wide', bases: [] } })])
acknowledged('fanned-wide')
const planned = messageTo('copy', 'planned', { deliverAt: host.clock.now() + 60_000 })
client.send([planned])
acknowledged('planned')
client.subscribe('in')
const [first] = client.take()
client.settle(
  first?.token ?? 0,
  {
    as: 'ack',
    state: [{ op: 'put', collection: 'c', id: 'done', value: 1, expected: 'absent' }],
    cancel: [planned.id],
  },
  [messageTo('out', 'answer')],
)
acknowledged('settled')
client.send([messageTo('in', 'poison')])
const [second] = client.take()
client.settle(second?.token ?? 0, { as: 'retry' })
const [third] = client.take()
client.settle(third?.token ?? 0, { as: 'dead-letter', reason: 'poison' })
acknowledged('buried')
client.call({ call: 'unsubscribe', receiverId: 1 })
client.call({ call: 'admin', method: 'redrive', queue: 'in' })
acknowledged('redriven')
const later = messageTo('out', 'later', { deliverAt: host.clock.now() + 60_000 })
client.send([later])
client.call({ call: 'admin', method: 'cancelScheduled', messageId: later.id })
acknowledged('cancelled')
const stream = { name: 's', partitions: 2, keyIndex: true, deduplicationWindowMs: 600_000 }
client.call({ call: 'log-declare', streams: [stream], onConflict: 'refuse' })
const record = (text: string): AppendRecord => ({ key: 'k', value: Buffer.from(text) })
const { epoch } = client.call<{ epoch: number }>({ call: 'log-producer', stream: 's', name: 'p' })
client.append([{ stream: 's', partition: 0, records: [record('a'), record('b')] }])
const producer = { name: 'p', epoch, sequence: 5 }
client.append([
  { stream: 's', partition: 0, records: [record('c')], producer, deduplicationKey: 'd' },
  { stream: 's', partition: 1, records: [record('d')] },
])
acknowledged('appended')
client.call({ call: 'log-trim', stream: 's', partition: 0, before: 4 })
acknowledged('trimmed')
host.engine.close()
acknowledged('closed')
