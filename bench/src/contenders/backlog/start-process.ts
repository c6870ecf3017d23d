// One look at a broker that starts on a file with a backlog: arguments are the kind of backlog and the file.
import { setTimeout as sleep } from 'node:timers/promises'
import { embedded } from 'buzzer/embedded'
import { median } from '../../statistics.ts'
import { backlog, type BacklogKind, outgoing } from './backlog-file.ts'

const [kind, path] = process.argv.slice(2) as [BacklogKind, string]
const queue = 'readings'
const asks = 200

const transport = embedded({ path })
const startedAt = performance.now()
await transport.connect()
const waitingAtStart = await waiting()
const startMs = performance.now() - startedAt

// Where nothing is ready one message is sent, and that one is looked for.
const isEmpty = kind.startsWith('empty')
const isReady = !isEmpty && kind !== 'scheduled'
if (!isReady) await transport.send([outgoing(backlog)])
const askedAt = performance.now()
const first = Promise.withResolvers<number>()
const receiver = await transport.receive(
  queue,
  async () => {
    first.resolve(performance.now() - askedAt)
    return isReady ? { as: 'release' } : { as: 'ack' }
  },
  { maxInFlight: 1, orderBy: kind.includes('keyed') ? 'key' : 'none' },
)
const firstMs = await first.promise
await receiver.stop()

// A look at ten messages costs the same whatever stands behind them: the empty queue is given as many.
const looked = Array.from({ length: 10 }, (_, i) => outgoing(backlog + i))
if (isEmpty) await transport.send(looked)
await transport.declare({ queues: [{ name: 'probe' }], topics: [], bindings: [] })
const sendMs = await medianOf(i => transport.send([{ ...outgoing(i), to: { queue: 'probe' } }]))
const countsMs = await medianOf(() => transport.admin.queue(queue))
const peekMs = await medianOf(() => transport.admin.peek(queue, { limit: 10 }))
await transport.admin.deleteQueue('probe')
if (isEmpty) await transport.admin.purge(queue)

// Long enough for a collection of garbage that is under way.
await sleep(300)
const residentMb = process.memoryUsage.rss() / 1e6
const waitingAtEnd = await waiting()
const expected = isEmpty ? 0 : backlog
if (waitingAtStart !== expected || waitingAtEnd !== expected)
  throw new Error(`${waitingAtStart} messages waited at the start and ${waitingAtEnd} at the end, not ${expected}`)
await transport.close()

process.send?.({
  'start ms': startMs,
  'first delivery ms': firstMs,
  'resident MB': residentMb,
  'peak resident MB': (process.resourceUsage().maxRSS * 1_024) / 1e6,
  'send ms': sendMs,
  'counts ms': countsMs,
  'peek ms': peekMs,
})
process.disconnect?.()

async function waiting(): Promise<number> {
  const queues = await transport.admin.queues()
  return queues.reduce((sum, { ready, locked, scheduled }) => sum + ready + locked + scheduled, 0)
}

async function medianOf(ask: (i: number) => Promise<unknown>): Promise<number> {
  const samples: number[] = []
  for (let i = 0; i < asks; i++) {
    const calledAt = performance.now()
    await ask(i)
    samples.push(performance.now() - calledAt)
  }
  return median(samples)
}
