/** A producer or consumer of the kill loop; started by `crew.ts` and killed at any moment. */
import { setTimeout as sleep } from 'node:timers/promises'
import { embedded } from '../src/broker/index.ts'
import { Journal, journalled, machineClock } from '../src/testing/index.ts'
import { consume, type Participation, produce } from './participation.ts'
import { randomFrom } from './random.ts'
import { deduplicationWindowMs, queuesOf, topology } from './workload.ts'

export interface ParticipantTask {
  readonly role: 'producer' | 'consumer'
  readonly name: string
  readonly seed: number
  readonly path: string
  readonly journals: string
  readonly lockMs: number
  readonly stallMs: number
}

const task = JSON.parse(process.argv[2] ?? '') as ParticipantTask
const { name, role, lockMs, stallMs } = task
const journal = new Journal(task.journals, name)
const inner = embedded({ path: task.path, lockMs, stallMs, connectTimeoutMs: 60_000 })
const transport = journalled(inner, {
  process: name,
  write: record => journal.write(record),
  queuesOf,
  deduplicationWindowMs,
})
const stop = new AbortController()
const stopped = new Promise<void>(resolve => {
  stop.signal.addEventListener('abort', () => resolve(), { once: true })
})

process.on('message', message => {
  if (message === 'stop') stop.abort()
  else if (typeof message === 'object' && message !== null && 'blockMs' in message) block(Number(message.blockMs))
})
process.on('disconnect', () => process.exit(0))

journal.write({ as: 'born', process: name, at: machineClock.monotonic() })
await inner.connect()
await transport.declare(topology)
process.send?.('up')
void watchEpoch()
const participation: Participation = {
  process: name,
  transport,
  admin: inner.admin,
  write: record => journal.write(record),
  random: randomFrom(task.seed),
  stop: stop.signal,
}
if (role === 'producer') await produce(participation)
else {
  const receivers = await consume(participation)
  await stopped
  await Promise.all(receivers.map(receiver => receiver.stop()))
}
journal.write({ as: 'ended', process: name, at: machineClock.monotonic() })
await transport.close()
process.exit(0)

/** What the owner says of itself: its epoch must never go down. */
async function watchEpoch(): Promise<void> {
  while (!stop.signal.aborted) {
    const since = machineClock.monotonic()
    const stats = await inner.admin.engine().catch(() => undefined)
    if (stats !== undefined) {
      journal.write({ as: 'epoch', process: name, since, at: machineClock.monotonic(), epoch: stats.epoch })
    }
    await sleep(200, undefined, { signal: stop.signal }).catch(() => undefined)
  }
}

/** A handler that spins: nothing else of this loop runs meanwhile. */
function block(ms: number): void {
  const until = machineClock.monotonic() + ms
  journal.write({ as: 'stopped', process: name, at: machineClock.monotonic(), what: 'loop' })
  while (machineClock.monotonic() < until);
  journal.write({ as: 'continued', process: name, at: machineClock.monotonic(), what: 'loop' })
  process.send?.('free')
}
