import { hasCode } from '../../message/index.ts'
import type { QueueFigures, TransportAdmin } from '../../transport/index.ts'
import type { BusCore } from '../bus-core.ts'
import { keptLetters } from './kept-letters.ts'

const collection = 'buzzer.queues'
const pageSize = 1_000

/** Whether dead letters lie in the store, because the broker can only hold them in an ordinary queue. */
export function keepsDeadLetters(core: BusCore): boolean {
  return core.capabilities.deadLetter === 'none' && core.store !== undefined
}

/** Queues whose dead letters are kept, by name: a broker without dead letters of its own may not list its queues either. */
export async function declareKeptQueues(core: BusCore): Promise<void> {
  await core.store?.declare([{ name: collection, indexes: ['name'] }])
}

export async function rememberKeptQueue(core: BusCore, name: string): Promise<void> {
  await core.store?.commit([{ op: 'put', collection, id: name, value: {}, expected: 'any', indexes: { name } }])
}

/**
 * What the broker tells of its queues, with the dead letters that lie in the store, and with the queues that other buses on
 * the same store have and this one's transport does not know.
 */
export async function withKeptQueues(
  core: BusCore,
  admin: TransportAdmin,
  told: readonly QueueFigures[],
): Promise<readonly QueueFigures[]> {
  const figures = new Map(told.map(one => [one.name, one]))
  for (const name of await keptQueueNames(core)) {
    const found = figures.get(name) ?? (await admin.queue(name).catch(ignoreMissing))
    if (found !== undefined) figures.set(name, { ...found, dead: found.dead + (await countKept(core, name)) })
  }
  return [...figures.values()]
}

/** A queue that was deleted at the broker is no queue any more, though it is remembered. */
function ignoreMissing(error: unknown): undefined {
  if (hasCode(error, 'BUZZER_QUEUE_NOT_FOUND')) return undefined
  throw error
}

async function keptQueueNames(core: BusCore): Promise<readonly string[]> {
  const names: string[] = []
  for (let after: string | undefined; ; ) {
    const page = { limit: pageSize, ...(after === undefined ? {} : { after }) }
    const found = await core.store?.query(collection, { index: 'name' }, page)
    names.push(...(found?.items ?? []).map(({ id }) => id))
    after = found?.next
    if (after === undefined) return names
  }
}

async function countKept(core: BusCore, queue: string): Promise<number> {
  let count = 0
  for (let after: string | undefined; ; ) {
    const { items, next } = await keptLetters(core, queue, after, pageSize)
    count += items.length
    if (next === undefined) return count
    after = next
  }
}
