import { setTimeout as sleep } from 'node:timers/promises'
import type { Store } from '../src/store/index.ts'
import { type HistoryRecord, machineClock, notePresent, recordsOf } from '../src/testing/index.ts'
import type { Transport, TransportAdmin } from '../src/transport/index.ts'
import { collection, queueNames } from './workload.ts'

export interface Ended extends Pick<Transport, 'declare' | 'send'> {
  readonly admin: Required<Pick<TransportAdmin, 'queue' | 'queues' | 'peek' | 'cancelScheduled'>>
  readonly store: Pick<Store, 'get'>
}

export const drainMsPerMessage = 20

/** What is scheduled further away than this is cancelled, so that the rest can drain. */
const soonMs = 60_000

/**
 * The faults are over and nobody sends any more: a new send must succeed and the queues drain within `withinMs` and a little
 * for each message that waits, by consumers that the caller runs. One key's messages go one by one, and a fast machine has
 * thousands of them. Then what is there is written down. `seen` is the history so far, for the records that
 * it names.
 */
export async function endRun(
  transport: Ended,
  write: (record: HistoryRecord) => void,
  seen: () => readonly HistoryRecord[],
  withinMs = 10_000,
): Promise<void> {
  const isDeclared = (await transport.admin.queues()).some(({ name }) => name === 'orders')
  if (isDeclared) await cancelLate(transport, write)
  let left = isDeclared ? await waiting(transport) : 0
  write({ as: 'quiet', at: machineClock.monotonic(), waiting: left })
  const until = machineClock.monotonic() + withinMs + left * drainMsPerMessage
  const probing = probe(transport).then(
    () => 'ok' as const,
    () => 'fail' as const,
  )
  const outcome = await Promise.race([probing, sleep(withinMs, 'fail' as const, { ref: false })])
  write({ as: 'probe', at: machineClock.monotonic(), outcome })
  while (left > 0 && machineClock.monotonic() < until) {
    await sleep(10)
    left = await waiting(transport)
  }
  write({ as: 'drained', at: machineClock.monotonic(), left })
  if (isDeclared) await notePresent(transport.admin, queueNames, write)
  for (const id of recordIds(seen())) {
    const record = await transport.store.get(collection, id.slice(collection.length + 1))
    if (record !== undefined) write({ as: 'record', id })
  }
}

async function cancelLate({ admin }: Ended, write: (record: HistoryRecord) => void): Promise<void> {
  let after: string | undefined
  let call = 0
  do {
    const page = await admin.peek('orders', {
      state: 'scheduled',
      limit: 1_000,
      ...(after === undefined ? {} : { after }),
    })
    for (const { messageId, dueAt } of page.items) {
      if (dueAt === undefined || dueAt < machineClock.now() + soonMs) continue
      const facts = { process: 'the end', call: ++call }
      write({
        as: 'operation',
        at: machineClock.monotonic(),
        ...facts,
        op: 'cancel',
        queue: 'orders',
        ids: [messageId],
      })
      const isCancelled = await admin.cancelScheduled(messageId)
      write({ as: 'operated', at: machineClock.monotonic(), ...facts, outcome: isCancelled ? 'ok' : 'fail' })
    }
    after = page.next
  } while (after !== undefined)
}

/** Of another queue, so that nobody takes it for a message of the run. */
async function probe(transport: Ended): Promise<void> {
  await transport.declare({ queues: [{ name: 'probe' }], topics: [], bindings: [] })
  await transport.send([
    {
      id: 'probe',
      to: { queue: 'probe' },
      attributes: {},
      headers: {},
      body: new Uint8Array(1),
      priority: 4,
      mandatory: true,
    },
  ])
}

async function waiting({ admin }: Ended): Promise<number> {
  const figures = await Promise.all(queueNames.map(name => admin.queue(name)))
  return figures.reduce((sum, { ready, locked, scheduled }) => sum + ready + locked + scheduled, 0)
}

function recordIds(history: readonly HistoryRecord[]): ReadonlySet<string> {
  return new Set(recordsOf(history, 'send', 'answered').flatMap(({ records }) => records ?? []))
}
