/**
 * One whole life of a broker file, as short as it can be: declare, send, fan out, schedule, cancel, deliver, ack with
 * sends and state, retry, release, dead-letter, redrive, deduplicate, expire, close. Run under an injected fault; what it
 * did stands in its journal.
 *
 *   node scenario.ts <database> <folder of journals> [fsync | os]
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { embedded } from '../src/broker/index.ts'
import { hasCode } from '../src/message/index.ts'
import { Journal, journalled, machineClock } from '../src/testing/index.ts'
import type { Delivery, OutgoingMessage, Settlement } from '../src/transport/index.ts'
import { collection, deduplicationWindowMs, queueNames, queuesOf, topology } from './workload.ts'

const [path, folder, durability = 'fsync'] = process.argv.slice(2) as [string, string, ('fsync' | 'os')?]
const name = 'scenario'
const journal = new Journal(folder, name)
const inner = embedded({ path, connectTimeoutMs: 5_000, durability })
const transport = journalled(inner, {
  process: name,
  write: record => journal.write(record),
  queuesOf,
  deduplicationWindowMs,
})
let ids = 0
const released = new Set<string>()

function message(to: OutgoingMessage['to'], change: Partial<OutgoingMessage> = {}): OutgoingMessage {
  const id = change.id ?? `m${++ids}`
  const sizes = [0, 1, 200, 200, 1_000, 8_192]
  return {
    id,
    to,
    attributes: { specversion: '1.0', id, type: 'faults.happened', source: '/faults' },
    headers: { check: id },
    contentType: 'application/octet-stream',
    body: Buffer.alloc(sizes[ids % sizes.length] ?? 0, `${id} `),
    priority: 4,
    mandatory: false,
    ...change,
  }
}

const put = (id: string): { op: 'put'; collection: string; id: string; value: string; expected: 'absent' } => ({
  op: 'put',
  collection,
  id,
  value: id,
  expected: 'absent',
})

/** A refused send changes nothing, and life goes on. */
async function send(messages: readonly OutgoingMessage[], record?: string): Promise<void> {
  const refusals = ['BUZZER_DISK_FULL', 'BUZZER_QUEUE_FULL', 'BUZZER_BROKER_FULL', 'BUZZER_UNROUTABLE'] as const
  try {
    await transport.send(messages, record === undefined ? {} : { state: [put(record)] })
  } catch (error) {
    if (!refusals.some(code => hasCode(error, code))) throw error
  }
}

/** Each message is treated by its number, so that every kind of settlement occurs. */
function answer({ id, attempt, queue }: Delivery): Settlement {
  const number = Number(/\d+/.exec(id)?.[0] ?? 0)
  if (attempt === 1 && number % 5 === 0) return { as: 'retry', delayMs: 5 }
  if (number % 7 === 0 && !released.has(id)) {
    released.add(id)
    return { as: 'release' }
  }
  if (number % 11 === 3) return { as: 'dead-letter', reason: 'the scenario says so', detail: { number } }
  if (number % 3 === 0 && queue !== 'results') {
    const output = message({ queue: 'results' }, { id: `o-${queue}-${id}-${attempt}` })
    return { as: 'ack', send: [output], state: [put(output.id)] }
  }
  return { as: 'ack' }
}

let operations = 0

async function operate(
  op: 'redrive' | 'cancel',
  queue: string,
  messages: readonly string[],
  act: () => Promise<unknown>,
): Promise<void> {
  const facts = { process: name, call: ++operations }
  journal.write({ as: 'operation', at: machineClock.monotonic(), ...facts, op, queue, ids: messages })
  const isDone = await act()
  const outcome = isDone === false ? 'fail' : 'ok'
  journal.write({ as: 'operated', at: machineClock.monotonic(), ...facts, outcome })
}

async function life(): Promise<void> {
  journal.write({ as: 'born', process: name, at: machineClock.monotonic() })
  await inner.connect()
  await transport.declare(topology)
  await send([message({ queue: 'orders' })], 'with-send')
  await send(Array.from({ length: 6 }, () => message({ queue: 'orders' })))
  await Promise.all(Array.from({ length: 4 }, () => send([message({ queue: 'orders' })])))
  await send([message({ topic: 'placed', bases: [] }), message({ topic: 'placed', bases: [] })])
  for (let n = 0; n < 4; n++) {
    await send([message({ queue: 'accounts' }, { key: `k${n % 2}` }), message({ queue: 'accounts' }, { key: 'k0' })])
  }
  for (let n = 0; n < 2; n++) await send([message({ queue: 'unique' }, { deduplicationKey: 'one' })])
  await send([message({ queue: 'fleeting' }, { expiresAt: Date.now() + 1 })])
  await send([message({ queue: 'ledger' }), message({ queue: 'ledger' })])
  const later = message({ queue: 'orders' }, { deliverAt: Date.now() + 3_600_000 })
  await send([later])
  await send([message({ queue: 'orders' }, { deliverAt: Date.now() + 20 })])
  await operate('cancel', 'orders', [later.id], () => inner.admin.cancelScheduled(later.id))
  await Promise.all(
    topology.queues.map(({ name: queue, orderBy = 'none' }) =>
      transport.receive(queue, async delivery => answer(delivery), { maxInFlight: 4, orderBy }),
    ),
  )
  await drained()
  const dead = await inner.admin.peek('orders', { state: 'dead' })
  const messages = dead.items.map(item => item.messageId)
  if (messages.length > 0) await operate('redrive', 'orders', messages, () => inner.admin.redrive('orders'))
  await drained()
  await send([message({ queue: 'orders' })])
  await drained()
}

async function drained(): Promise<void> {
  for (;;) {
    const queues = await Promise.all(queueNames.map(queue => inner.admin.queue(queue)))
    if (queues.every(queue => queue.ready + queue.locked + queue.scheduled === 0)) return
    await sleep(5)
  }
}

try {
  await life()
  await transport.close()
  journal.write({ as: 'ended', process: name, at: machineClock.monotonic() })
} catch (error) {
  // An engine that failed has said so to every caller; ending in good order is all that is left.
  const expected = ['BUZZER_BROKER_FAILED', 'BUZZER_DISK_FULL', 'BUZZER_DISCONNECTED', 'BUZZER_NOT_RUNNING'] as const
  const isExpected = expected.some(code => hasCode(error, code))
  if (!isExpected) console.error(error)
  await transport.close()
  process.exitCode = isExpected ? 3 : 1
}
