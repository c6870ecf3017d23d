import { closeSync, copyFileSync, existsSync, fsyncSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { type Bus, createBus, type Queue } from 'buzzer'
import { embedded } from 'buzzer/embedded'
import type { OutgoingMessage } from 'buzzer/transport'
import { type Reading, reading } from '../../reading.ts'
import { ReadingTaken } from '../buzzer.ts'

/** So many messages wait. A smaller number (`BUZZER_BENCH_BACKLOG`) is for trying the suite out. */
export const backlog: number = Number(process.env['BUZZER_BENCH_BACKLOG'] ?? 1_000_000)

/**
 * `chunks`: of an unordered queue, as they come under load, many to a row. `keyed`: of a queue ordered by 1,000 keys.
 * `rows`: each in a row of its own, in 100 queues. `scheduled`: due in a week, each in a row of its own.
 */
export type BacklogKind = 'empty' | 'empty, keyed' | 'chunks' | 'keyed' | 'rows' | 'scheduled'

const keys = 1_000
/** The queues of `rows`. */
const rowQueues = 100
/** Published and not yet accepted, while a backlog is made. */
const window = 5_000
const weekMs = 7 * 24 * 3_600_000

export function isKeyed(kind: BacklogKind): boolean {
  return kind === 'keyed' || kind === 'empty, keyed'
}

/** A copy, in `folder`, of the file with this backlog; the first one to ask makes it. Contenders are set up one by one. */
export async function backlogFile(kind: BacklogKind, folder: string, sharedFolder: string): Promise<string> {
  const made = join(sharedFolder, `backlog-${kind.replaceAll(/\W+/g, '-')}.db`)
  if (!existsSync(made)) await make(kind, made)
  const copy = join(folder, 'bench.db')
  // Closed in good order, a broker's file is all there is of it.
  copyFileSync(made, copy)
  // Or the system writes the copy back in the middle of a round, and every sync waits for it.
  const file = openSync(copy, 'r+')
  fsyncSync(file)
  closeSync(file)
  return copy
}

async function make(kind: BacklogKind, path: string): Promise<void> {
  if (kind === 'rows') return await makeRows(path)
  const transport = embedded({ path })
  const bus = createBus({ name: 'bench', transport })
  const queue = handlingQueue(bus, kind, () => undefined)
  await bus.start()
  await queue.pause()
  if (kind === 'scheduled') {
    const deliverAt = Date.now() + weekMs
    // To the queue itself: what is scheduled for a topic stands in no queue before it is due.
    await inWindows(sequences => transport.send(sequences.map(each => ({ ...outgoing(each), deliverAt }))))
  } else if (!kind.startsWith('empty')) {
    const publish = (each: number): Promise<string> =>
      bus.publish(ReadingTaken, reading(each), kind === 'keyed' ? { key: keyOf(each) } : {})
    await inWindows(sequences => Promise.all(sequences.map(publish)))
  }
  const [figures] = await bus.admin.queues()
  const waiting = (figures?.ready ?? 0) + (figures?.scheduled ?? 0)
  const expected = kind.startsWith('empty') ? 0 : backlog
  if (waiting !== expected) throw new Error(`${waiting} messages wait instead of ${expected}`)
  await bus.stop()
}

/** The queue of all but `rows`; the same in every process that uses the file. */
export function handlingQueue(bus: Bus, kind: BacklogKind, handle: (message: Reading) => void): Queue {
  return bus
    .queue('readings', { concurrency: 256, prefetch: 1_000, orderBy: isKeyed(kind) ? 'key' : 'none' })
    .handle(ReadingTaken, message => handle(message))
}

export function keyOf(sequence: number): string {
  return `key-${sequence % keys}`
}

async function inWindows(send: (sequences: readonly number[]) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < backlog; from += window)
    await send(Array.from({ length: Math.min(window, backlog - from) }, (_, i) => from + i))
}

/** One message to a topic is one row in each of its queues, when nothing else is sent meanwhile. */
async function makeRows(path: string): Promise<void> {
  const transport = embedded({ path })
  await transport.connect()
  const queues = Array.from({ length: rowQueues }, (_, i) => (i === 0 ? 'readings' : `readings-${i}`))
  await transport.declare({
    queues: queues.map(name => ({ name })),
    topics: [{ name: 'readings', bases: [] }],
    bindings: queues.map(queue => ({ topic: 'readings', queue, exclusive: false })),
  })
  for (let i = 0; i < backlog / rowQueues; i++)
    await transport.send([{ ...outgoing(i), to: { topic: 'readings', bases: [] } }])
  await transport.close()
}

/** A reading as a transport takes it, to the queue `readings`. */
export function outgoing(sequence: number): OutgoingMessage {
  return {
    id: `reading-${sequence}`,
    to: { queue: 'readings' },
    attributes: { type: 'bench.reading-taken', source: '/bench' },
    headers: {},
    contentType: 'application/json',
    body: Buffer.from(JSON.stringify(reading(sequence))),
    priority: 0,
    mandatory: true,
  }
}
