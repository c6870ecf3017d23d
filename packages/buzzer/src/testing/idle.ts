import { AssertionError } from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { BusPort } from '../bus/index.ts'
import type { Transport } from '../transport/index.ts'
import type { MemoryBroker } from '../transport/transports/memory.ts'
import type { Recorder } from './recorder.ts'
import { turn } from './virtual-clock.ts'

/** What says whether anything is left to do. */
export interface Watched {
  readonly port: BusPort
  readonly recorder: Recorder
  readonly transport: Transport<unknown>
  /** The transport's broker, when it is in memory: it knows exactly. */
  readonly broker: MemoryBroker | undefined
}

/** Turns of the event loop watched closely before real time is spent between two looks. */
const closeTurns = 100

/**
 * Resolves when nothing is ready, running, unsettled or unrelayed. What is scheduled for later, and what nobody receives,
 * does not count. Rejects with an
 * `AssertionError` after `timeoutMs` of real time, saying what is left.
 */
export async function untilIdle(watched: Watched, timeoutMs: number): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs
  for (let turns = 0; !(await isIdle(watched)); turns++) {
    if (performance.now() > giveUpAt) throw await notIdle(watched, timeoutMs)
    if (turns > closeTurns) await sleep(1)
  }
}

/**
 * Resolves when idle, or when nothing has moved for `stillMs` of real time: then what is left waits for the clock, and only
 * moving that can help. For a virtual clock between two timers.
 */
export async function untilStill(watched: Watched, stillMs: number): Promise<void> {
  let { changes } = watched.recorder
  let since = performance.now()
  for (let turns = 0; !(await isIdle(watched)); turns++) {
    if (changes !== watched.recorder.changes) {
      changes = watched.recorder.changes
      since = performance.now()
    } else if (performance.now() - since > stillMs) return
    if (turns > closeTurns) await sleep(1)
  }
}

/** Two equal looks with a turn of the event loop between: what one look cannot see, like a continuation, shows in the other. */
async function isIdle(watched: Watched): Promise<boolean> {
  const { recorder } = watched
  await turn()
  const before = recorder.changes
  if ((await activity(watched)) > 0) return false
  await turn()
  return (await activity(watched)) === 0 && recorder.changes === before
}

async function activity(watched: Watched): Promise<number> {
  const { port, recorder, broker, transport } = watched
  if (recorder.open > 0) return recorder.open
  const ofBus = await port.activity()
  if (ofBus > 0) return ofBus
  if (broker !== undefined) return broker.isQuiet ? 0 : 1
  const queues = (await transport.admin?.queues()) ?? []
  let left = 0
  for (const { receivers, ready, locked } of queues) left += locked + (receivers > 0 ? ready : 0)
  return left
}

async function notIdle(watched: Watched, timeoutMs: number): Promise<AssertionError> {
  const { port, recorder, transport } = watched
  const queues = (await transport.admin?.queues().catch(() => [])) ?? []
  const busy = queues
    .filter(({ ready, locked }) => ready + locked > 0)
    .map(({ name, ready, locked }) => `; queue ${name}: ${ready} ready, ${locked} locked`)
  return new AssertionError({
    message:
      `the bus is not idle after ${timeoutMs} ms: ${recorder.open} sends or deliveries are open, ` +
      `${await port.activity()} are at work in the bus${busy.join('')}. What waits for a virtual clock needs advance()`,
  })
}
