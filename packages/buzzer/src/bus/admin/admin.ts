import type { AnyContract } from '../../message/index.ts'
import type { Page, PageRequest } from '../../store/index.ts'
import type { Topology, TransportAdmin } from '../../transport/index.ts'
import type { BusCore } from '../bus-core.ts'
import { unsupported } from '../emission.ts'
import type { TrackedMessage } from '../message-tracker.ts'
import { scheduleOf } from '../stored-sends.ts'
import { type DeadLetters, QueueDeadLetters } from './dead-letters.ts'
import { keepsDeadLetters, withKeptQueues } from './kept-queues.ts'

/** A queue as an operator sees it. `scheduled`: delayed sends and waiting retries. */
export interface QueueOverview {
  readonly name: string
  readonly ready: number
  readonly locked: number
  readonly scheduled: number
  readonly dead: number
  readonly receivers: number
  readonly oldestReadyAt?: Date
}

export interface Schedule {
  readonly messageId: string
  readonly type: string
  /** Queue or topic. */
  readonly to: string
  readonly dueAt: Date
}

export interface OutboxEntry {
  readonly id: string
  readonly messageId: string
  readonly type: string
  readonly attempts: number
  readonly error?: { readonly message: string; readonly code?: string }
}

/** Administration of every queue of the transport, ours or not. Needs a running bus. Source: spec bus 4.12. */
export interface Admin {
  queues(): Promise<readonly QueueOverview[]>
  deadLetters(queue: string): DeadLetters
  /** What waits for its time, soonest first within each queue. */
  schedules(page?: PageRequest): Promise<Page<Schedule>>
  /** Rows that wait for the relay, and those that it has given up. */
  readonly outbox: {
    list(state: 'pending' | 'parked', page?: PageRequest): Promise<Page<OutboxEntry>>
    retry(ids: readonly string[]): Promise<void>
    delete(ids: readonly string[]): Promise<void>
  }
  /** What this bus declares. */
  topology(): Promise<Topology>
}

/** What administration asks of the bus. */
export interface AdminSources {
  contract(type: string): AnyContract | undefined
  topology(): Topology
  redriven(message: TrackedMessage): Promise<void>
}

export function createAdmin(core: BusCore, sources: AdminSources): Admin {
  const broker = (): TransportAdmin => {
    if (core.transport.admin === undefined) throw unsupported(core, 'administration', "the broker's own tools")
    return core.transport.admin
  }
  const rows = (): NonNullable<BusCore['storedSends']> => {
    if (core.storedSends === undefined) throw unsupported(core, 'outbox without a store', 'the bus option `store`')
    return core.storedSends
  }
  return {
    async queues() {
      const told = await broker().queues()
      const figures = keepsDeadLetters(core) ? await withKeptQueues(core, broker(), told) : told
      return figures.map(({ name, ready, locked, scheduled, dead, receivers, oldestReadyAt }) => ({
        name,
        ready,
        locked,
        scheduled,
        dead,
        receivers,
        ...(oldestReadyAt === undefined ? {} : { oldestReadyAt: new Date(oldestReadyAt) }),
      }))
    },
    deadLetters: queue => new QueueDeadLetters(core, queue, sources),
    schedules: page => listSchedules(core, broker, page ?? {}),
    outbox: {
      async list(state, page) {
        const found = await rows().list(state, page)
        const items = found.items.map(({ id, value }) => ({
          id,
          messageId: value.message.id,
          type: value.message.attributes['type'] ?? '',
          attempts: value.attempts,
          ...(value.error === undefined ? {} : { error: value.error }),
        }))
        return found.next === undefined ? { items } : { items, next: found.next }
      },
      retry: ids => rows().retry(ids),
      delete: ids => rows().delete(ids),
    },
    topology: async () => sources.topology(),
  }
}

/** First the broker's queues, one after the other, then what lies in the store. The cursor says where it stands. */
async function listSchedules(core: BusCore, broker: () => TransportAdmin, page: PageRequest): Promise<Page<Schedule>> {
  const limit = Math.min(page.limit ?? 50, 1_000)
  const items: Schedule[] = []
  const separator = page.after?.indexOf('/') ?? -1
  let place = page.after === undefined ? '' : page.after.slice(0, separator)
  let within = page.after === undefined ? undefined : page.after.slice(separator + 1) || undefined
  const peek = broker().peek?.bind(broker())
  const names =
    peek === undefined ? [] : (await broker().queues()).filter(one => one.scheduled > 0).map(one => one.name)
  names.sort()
  for (const name of names) {
    if (place === 'store:' || name < place || peek === undefined) continue
    let after = name === place ? within : undefined
    do {
      const found = await peek(name, {
        state: 'scheduled',
        limit: limit - items.length,
        ...(after === undefined ? {} : { after }),
      })
      for (const one of found.items) {
        // A waiting retry is scheduled too, but it has been delivered: it is no schedule of a sender's.
        if (one.attempt > 1) continue
        const dueAt = new Date(one.dueAt ?? one.enqueuedAt)
        items.push({ messageId: one.messageId, type: one.attributes['type'] ?? '', to: name, dueAt })
      }
      after = found.next
      if (items.length >= limit) return { items, next: after === undefined ? `${name}\u0000/` : `${name}/${after}` }
    } while (after !== undefined)
  }
  if (core.storedSends === undefined) return { items }
  if (place !== 'store:') {
    place = 'store:'
    within = undefined
  }
  const stored = await core.storedSends.scheduled({
    limit: limit - items.length,
    ...(within === undefined ? {} : { after: within }),
  })
  for (const record of stored.items) items.push(scheduleOf(record))
  return stored.next === undefined ? { items } : { items, next: `store:/${stored.next}` }
}
