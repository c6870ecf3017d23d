/** A process of the chaos tests: consumes a queue until it is killed, and answers by the id and attempt of a message. */
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { silentLogger, systemClock } from 'buzzer'
import { Journal, journalled, machineClock } from 'buzzer/testing'
import type { OrderBy, Settlement, Transport } from 'buzzer/transport'
import { postgres } from '../src/index.ts'

interface Order {
  readonly url: string
  readonly schema: string
  readonly folder: string
  readonly name: string
  readonly queue: string
  readonly orderBy: OrderBy
  readonly maxInFlight: number
  readonly leaseMs: number
  readonly poison?: string
}

const order = JSON.parse(process.argv[2] ?? '{}') as Order
const journal = new Journal(order.folder, order.name)
journal.write({ as: 'born', process: order.name, at: machineClock.monotonic() })
const bare = postgres({ connectionString: order.url, schema: order.schema, leaseMs: order.leaseMs })
const transport = journalled(bare as unknown as Transport, {
  process: order.name,
  write: record => journal.write(record),
})
await transport.connect({
  bus: order.name,
  instanceId: order.name,
  clock: systemClock,
  logger: silentLogger,
  onState() {},
})
const turns = new Map<string, number>()
await transport.receive(
  order.queue,
  async ({ id, attempt }): Promise<Settlement> => {
    // Dead before anything is settled, as a handler that overflows its memory is.
    if (id === order.poison) process.kill(process.pid, 'SIGKILL')
    // A release is not counted, so the attempt alone would say the same for ever.
    const turn = (turns.get(id) ?? 0) + 1
    turns.set(id, turn)
    const chance = createHash('sha1').update(`${id}:${attempt}:${turn}`).digest()[0] as number
    await sleep(chance % 8)
    if (chance < 20) return { as: 'retry' }
    if (chance < 35) return { as: 'retry', delayMs: chance }
    if (chance < 50) return { as: 'release' }
    return { as: 'ack' }
  },
  { maxInFlight: order.maxInFlight, orderBy: order.orderBy },
)
process.send?.('ready')
process.once('SIGTERM', () => {
  void transport.close().then(() => {
    journal.write({ as: 'ended', process: order.name, at: machineClock.monotonic() })
    process.exit(0)
  })
})
