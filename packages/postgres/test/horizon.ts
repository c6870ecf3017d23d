/**
 * RP9 in its long form: `node --conditions=buzzer-source packages/postgres/test/horizon.ts [minutes] [rate]` on the server of
 * BUZZER_TEST_POSTGRES_URL. Sends at a steady rate while a transaction of somebody else's holds the vacuum horizon, and says
 * how fast a backlog drains before and after, and how late messages are. The bar: at least half the rate after ten minutes.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { consoleLogger, systemClock } from 'buzzer'
import type { OutgoingMessage } from 'buzzer/transport'
import { postgres } from '../src/index.ts'
import { ownSchema } from './own-schema.ts'

const minutes = Number(process.argv[2] ?? 10)
const rate = Number(process.argv[3] ?? 5_000)
const url = process.env['BUZZER_TEST_POSTGRES_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'
const everyMs = 20
const drained = 50_000

await using world = ownSchema(url)
const context = { bus: 'horizon', instanceId: 'x', clock: systemClock, logger: consoleLogger(), onState() {} }
const transport = postgres({ connectionString: url, schema: world.schema })
await transport.connect(context)
// A client of its own, so that every message is claimed.
const sender = postgres({ connectionString: url, schema: world.schema })
await sender.connect(context)
await transport.declare({ queues: [{ name: 'busy' }], topics: [], bindings: [] })

let handled = 0
let lateMs = 0
const receive = () =>
  transport.receive(
    'busy',
    async ({ headers }) => {
      handled++
      lateMs = Math.max(lateMs, Date.now() - Number(headers['sent']))
      return { as: 'ack' }
    },
    { maxInFlight: 1_000, orderBy: 'none' },
  )
const batch = (count: number): OutgoingMessage[] =>
  Array.from({ length: count }, (_, n) => ({
    id: `m${n}`,
    to: { queue: 'busy' },
    attributes: {},
    headers: { sent: String(Date.now()) },
    body: new Uint8Array(200),
    priority: 4,
    mandatory: false,
  }))

/** How fast a backlog drains, in messages a second. */
async function drainRate(): Promise<number> {
  for (let n = 0; n < drained; n += 100) await sender.send(batch(100))
  const before = handled
  const began = performance.now()
  const receiver = await receive()
  const isDrained = (): boolean => handled >= before + drained
  while (!isDrained()) await sleep(5)
  const perSecond = (drained / (performance.now() - began)) * 1_000
  await receiver.stop()
  return Math.round(perSecond)
}

await drainRate()
const fresh = await drainRate()
console.log(`before: ${fresh} messages/s`)
await world.transaction(async holder => {
  await holder.query('set transaction isolation level repeatable read')
  await holder.query('select txid_current()')
  const receiver = await receive()
  const endAt = performance.now() + minutes * 60_000
  for (let minute = 1; performance.now() < endAt; minute++) {
    const [before, began] = [handled, performance.now()]
    lateMs = 0
    for (let dueAt = began; dueAt < Math.min(began + 60_000, endAt); dueAt += everyMs) {
      await sender.send(batch(Math.round((rate * everyMs) / 1_000)))
      await sleep(Math.max(0, dueAt + everyMs - performance.now()))
    }
    const perSecond = Math.round(((handled - before) / (performance.now() - began)) * 1_000)
    console.log(`minute ${minute}: ${perSecond} messages/s handled, at most ${lateMs} ms after their send`)
  }
  await receiver.stop()
  const held = await drainRate()
  console.log(
    `with the horizon held for ${minutes} min: ${held} messages/s, ${Math.round((held / fresh) * 100)} % of before`,
  )
  process.exitCode = held * 2 >= fresh ? 0 : 1
})
await sender.close()
await transport.close()
