import { isRetryable, type JsonValue } from '../message/index.ts'
import type { Page, PageRequest, StateChange, Store, StoredRecord } from '../store/index.ts'
import type { Destination, OutgoingMessage } from '../transport/index.ts'
import type { BusCore } from './bus-core.ts'
import type { OutboxOptions } from './options.ts'

/** Messages that wait in the store: outbox rows of handlers, and delays the broker cannot hold. Source: spec bus 4.8, 4.9. */
export const outboxCollection = 'buzzer.outbox'

/** A message in the store. `dueAt` indexes what the relay shall try next; parked rows have none. */
export interface OutboxRow {
  readonly message: StoredMessage
  readonly state: 'pending' | 'parked'
  readonly createdAt: number
  readonly attempts: number
  /** Rows of one lane keep their order. */
  readonly lane: string
  readonly scheduled: boolean
  readonly error?: { readonly message: string; readonly code?: string }
}

interface StoredMessage {
  readonly id: string
  readonly to: Destination
  readonly attributes: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly contentType?: string
  readonly key?: string
  readonly priority: number
  readonly deliverAt?: number
  readonly expiresAt?: number
  readonly mandatory: boolean
  readonly deduplicationKey?: string
}

const maxBackoffMs = 60_000
const batchSize = 100

/**
 * Sends what lies in the store: at once what was just committed, by polling what another instance left. Owned by lease per
 * row: a dead instance's rows are free when their lease runs out, and nobody is ever elected.
 */
export class StoredSends {
  readonly #core: BusCore
  readonly #store: Store<unknown>
  readonly #options: Required<OutboxOptions>
  #timer: unknown
  #running: Promise<void> | undefined
  #again = false
  #closed = false
  #sequence = 0
  /** Lanes whose first row failed, and until when they wait. */
  readonly #blocked = new Map<string, number>()
  #pending = 0

  constructor(core: BusCore, store: Store<unknown>, options: OutboxOptions) {
    this.#core = core
    this.#store = store
    this.#options = {
      maxAttempts: options.maxAttempts ?? 20,
      backoffMs: options.backoffMs ?? 200,
      pollMs: options.pollMs ?? 1_000,
      leaseMs: options.leaseMs ?? 30_000,
    }
  }

  async start(): Promise<void> {
    await this.#store.declare([{ name: outboxCollection, indexes: ['dueAt', 'parkedAt', 'messageId', 'scheduledAt'] }])
    if (this.#isNeeded) this.#pollLater()
  }

  /** Where the broker does everything itself no instance can leave rows behind, and nobody needs to look for them. */
  get #isNeeded(): boolean {
    const { capabilities, jointStore } = this.#core
    const takesTransactions =
      this.#store.capabilities.callerTransactions === 'native' && capabilities.transactions !== 'caller'
    return (
      !jointStore ||
      takesTransactions ||
      capabilities.delayMaxMs !== Number.POSITIVE_INFINITY ||
      capabilities.cancel === 'none'
    )
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#core.clock.clearTimeout(this.#timer)
    await this.#running
  }

  /** Rows committed by this instance and not yet sent. */
  get unrelayed(): number {
    return this.#pending
  }

  /** The row of a message, to be committed with other records. */
  row(message: OutgoingMessage): StateChange {
    const now = this.#core.clock.now()
    const scheduled = message.deliverAt !== undefined && message.deliverAt > now
    const dueAt = scheduled ? Math.max(now, this.#handOverAt(message)) : now
    const value: OutboxRow = {
      message: toStored(message),
      state: 'pending',
      createdAt: now,
      attempts: 0,
      lane: laneOf(message),
      scheduled,
    }
    // Ids rise in the order of the calls, so rows of one moment keep it.
    const id = `${String(now).padStart(15, '0')}-${String(this.#sequence++).padStart(9, '0')}-${this.#core.instanceId}-${message.id}`
    return {
      op: 'put',
      collection: outboxCollection,
      id,
      value: value as unknown as JsonValue,
      expected: 'absent',
      indexes: { dueAt, messageId: message.id, ...(scheduled ? { scheduledAt: message.deliverAt } : {}) },
    }
  }

  /** Where the broker holds delays in part, the row is handed over as soon as the rest is short enough. */
  #handOverAt(message: OutgoingMessage): number {
    const { delayMaxMs, cancel } = this.#core.capabilities
    const deliverAt = message.deliverAt ?? 0
    return cancel === 'none' ? deliverAt : deliverAt - delayMaxMs
  }

  /** Commits rows for the messages together with other records. Nothing leaves before the commit, nor before `tx`'s. */
  async add(
    messages: readonly OutgoingMessage[],
    options: { readonly tx: unknown; readonly state: readonly StateChange[] },
  ): Promise<void> {
    const rows = messages.map(message => this.row(message))
    await this.#store.commit([...rows, ...options.state], options.tx === undefined ? {} : { tx: options.tx })
    // With a transaction of the caller's the commit is still to come: polling finds the rows.
    if (options.tx === undefined) this.wakeSoon()
  }

  /** Rows may have become due. */
  wakeSoon(): void {
    void this.#relay()
  }

  /** Waits until what was committed has been tried once; what failed stays with the relay. */
  async relayed(): Promise<void> {
    await this.#relay()
  }

  async cancel(messageId: string): Promise<boolean> {
    let cancelled = false
    const found = await this.#store.query<OutboxRow>(outboxCollection, { index: 'messageId', equals: messageId })
    for (const record of found.items) {
      if (!record.value.scheduled) continue
      try {
        await this.#store.commit([
          { op: 'delete', collection: outboxCollection, id: record.id, expected: record.version },
        ])
        cancelled = true
      } catch {
        // It is being released at this moment: too late.
      }
    }
    return cancelled
  }

  async list(state: 'pending' | 'parked', page?: PageRequest): Promise<Page<StoredRecord<OutboxRow>>> {
    return this.#store.query<OutboxRow>(outboxCollection, { index: state === 'parked' ? 'parkedAt' : 'dueAt' }, page)
  }

  async scheduled(page?: PageRequest): Promise<Page<StoredRecord<OutboxRow>>> {
    return this.#store.query<OutboxRow>(outboxCollection, { index: 'scheduledAt' }, page)
  }

  async count(state: 'pending' | 'parked'): Promise<number> {
    let count = 0
    let after: string | undefined
    do {
      const page = await this.list(state, { limit: 1_000, ...(after === undefined ? {} : { after }) })
      count += page.items.filter(record => state === 'parked' || !record.value.scheduled).length
      after = page.next
    } while (after !== undefined)
    return count
  }

  /** Parked rows are tried again from the first attempt. */
  async retry(ids: readonly string[]): Promise<void> {
    const now = this.#core.clock.now()
    for (const id of ids) {
      const found = await this.#store.get<OutboxRow>(outboxCollection, id)
      if (found === undefined || found.value.state !== 'parked') continue
      const { error: _, ...row } = found.value
      await this.#put(found, { ...row, state: 'pending', attempts: 0 }, { dueAt: now })
    }
    this.wakeSoon()
  }

  async delete(ids: readonly string[]): Promise<void> {
    await this.#store.commit(
      ids.map(id => ({ op: 'delete' as const, collection: outboxCollection, id, expected: 'any' as const })),
    )
  }

  #pollLater(): void {
    if (this.#closed) return
    this.#timer = this.#core.clock.setTimeout(() => {
      void this.#relay().finally(() => this.#pollLater())
    }, this.#options.pollMs)
  }

  #relay(): Promise<void> {
    if (this.#running !== undefined) {
      this.#again = true
      return this.#running
    }
    this.#running = this.#passes().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async #passes(): Promise<void> {
    do {
      this.#again = false
      try {
        while (await this.#pass()) if (this.#closed) return
      } catch (error) {
        this.#core.logger.warn({ error }, 'the outbox relay could not read the store; it tries again')
        return
      }
    } while (this.#again && !this.#closed)
  }

  /** One claim; whether there may be more. */
  async #pass(): Promise<boolean> {
    const records = await this.#store.claim<OutboxRow>(outboxCollection, {
      index: 'dueAt',
      upTo: this.#core.clock.now(),
      limit: batchSize,
      leaseMs: this.#options.leaseMs,
      owner: this.#core.instanceId,
    })
    this.#pending = records.length
    const ordered = records.toSorted((a, b) => (a.id < b.id ? -1 : 1))
    for (const record of ordered) {
      await this.#sendOne(record)
      this.#pending--
    }
    return records.length === batchSize
  }

  async #sendOne(record: StoredRecord<OutboxRow>): Promise<void> {
    const row = record.value
    const now = this.#core.clock.now()
    const blockedUntil = this.#blocked.get(row.lane)
    if (blockedUntil !== undefined && blockedUntil > now) {
      // An earlier row of the lane is to be tried again first.
      return this.#put(record, row, { dueAt: blockedUntil }).catch(() => {})
    }
    const message = fromStored(row.message, now)
    try {
      await this.#core.sender.send(message)
    } catch (error) {
      return this.#failed(record, error)
    }
    this.#blocked.delete(row.lane)
    await this.#store
      .commit([{ op: 'delete', collection: outboxCollection, id: record.id, expected: 'any' }])
      .catch((error: unknown) => {
        this.#core.logger.warn({ error, messageId: message.id }, 'a relayed row was not deleted; it may be sent again')
      })
  }

  async #failed(record: StoredRecord<OutboxRow>, error: unknown): Promise<void> {
    const { code, message } = error as { code?: string; message?: string }
    const brokenConnection =
      code === 'BUZZER_DISCONNECTED' || code === 'BUZZER_SEND_TIMEOUT' || code === 'BUZZER_NOT_RUNNING'
    const attempts = record.value.attempts + (brokenConnection ? 0 : 1)
    const parked = !isRetryable(error) || attempts >= this.#options.maxAttempts
    const failure = { message: message ?? String(error), ...(code === undefined ? {} : { code }) }
    const now = this.#core.clock.now()
    const row: OutboxRow = { ...record.value, attempts, state: parked ? 'parked' : 'pending', error: failure }
    const waitMs = Math.min(maxBackoffMs, this.#options.backoffMs * 2 ** Math.max(0, attempts - 1))
    if (parked) this.#blocked.delete(row.lane)
    else this.#blocked.set(row.lane, now + waitMs)
    try {
      await this.#put(record, row, parked ? { parkedAt: now } : { dueAt: now + waitMs })
    } catch (conflict) {
      this.#core.logger.warn({ error: conflict, id: record.id }, 'a failed outbox row could not be updated')
    }
    if (parked) {
      this.#core.telemetry?.parked()
      this.#core.logger.error({ error, messageId: row.message.id }, 'an outbox row is parked; see admin.outbox')
    }
  }

  #put(record: StoredRecord<OutboxRow>, row: OutboxRow, index: Record<string, number>): Promise<void> {
    return this.#store.commit([
      {
        op: 'put',
        collection: outboxCollection,
        id: record.id,
        value: row as unknown as JsonValue,
        expected: 'any',
        indexes: { ...index, messageId: row.message.id },
      },
    ])
  }
}

function laneOf(message: OutgoingMessage): string {
  const to = 'queue' in message.to ? `q:${message.to.queue}` : `t:${message.to.topic}`
  return `${to}\u0001${message.key ?? ''}`
}

function toStored(message: OutgoingMessage): StoredMessage {
  const { body } = message
  return { ...message, body: Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('base64') }
}

function fromStored(stored: StoredMessage, now: number): OutgoingMessage {
  const { deliverAt, ...rest } = stored
  const body = Buffer.from(stored.body, 'base64')
  // The rest of a delay is the broker's where it can hold it.
  return deliverAt === undefined || deliverAt <= now ? { ...rest, body } : { ...rest, body, deliverAt }
}

/** The rows of a store-held schedule, as admin shows them. */
export function scheduleOf(record: StoredRecord<OutboxRow>): {
  messageId: string
  type: string
  to: string
  dueAt: Date
} {
  const { message } = record.value
  return {
    messageId: message.id,
    type: message.attributes['type'] ?? '',
    to: 'queue' in message.to ? message.to.queue : message.to.topic,
    dueAt: new Date(message.deliverAt ?? record.value.createdAt),
  }
}
