import { BuzzerError, hasCode, type JsonValue } from '../message/index.ts'
import type { StateChange, Store } from '../store/index.ts'
import type { BusCore } from './bus-core.ts'
import type { MessageInfo } from './context.ts'
import type { ResolvedDeduplicate } from './handler.ts'
import type { Incoming } from './pipeline/incoming.ts'

/** What was handled, or is being handled, by which queue. Source: spec bus 4.10. */
const inboxCollection = 'buzzer.inbox'

type InboxRecord =
  | { readonly state: 'handled'; readonly at: number }
  | { readonly state: 'running'; readonly owner: string; readonly until: number }

const leaseMs = 30_000
const pollMs = 100
/** How long an enlisted or relayed message is remembered: longer than any broker redelivers by itself. */
const keepMs = 7 * 24 * 3_600_000

/** The place of a running message in the inbox. */
export interface InboxEntry {
  /** Rides on the settlement of a success. */
  handled(): StateChange
  /** Rides on any other end: only success counts. */
  forget(): StateChange
}

function storeOf(core: BusCore): Store<unknown> {
  if (core.store === undefined) {
    throw new BuzzerError('BUZZER_UNSUPPORTED', 'deduplication needs a store (bus option `store`)')
  }
  return core.store
}

function recordId(queue: string, key: string): string {
  return `${queue}\u0001${key}`
}

/**
 * Enters a message: `handled` when this queue handled its key within the window. While another copy runs, in whatever
 * process, it waits for that one's outcome; `given-up` when the queue closed meanwhile.
 */
export async function enterInbox(
  core: BusCore,
  incoming: Incoming,
  deduplicate: ResolvedDeduplicate,
  message: unknown,
  stillOpen: () => boolean,
): Promise<InboxEntry | 'handled' | 'given-up'> {
  const store = storeOf(core)
  const key = deduplicate.by === undefined ? incoming.id : deduplicate.by(message, infoOf(incoming))
  const id = recordId(incoming.queue, key)
  while (stillOpen()) {
    const now = core.clock.now()
    const found = await store.get<InboxRecord>(inboxCollection, id)
    const record = found?.value
    if (record?.state === 'handled' && now - record.at < deduplicate.windowMs) return 'handled'
    if (record?.state === 'running' && record.until > now) {
      await pause(core, pollMs)
      continue
    }
    const entry = new RunningEntry(core, store, id, (found?.version ?? 0) + 1, deduplicate.windowMs)
    if (await entry.take(found?.version ?? 'absent')) return entry
  }
  return 'given-up'
}

/** A lease that is renewed while the handler runs, so that a crash frees it and a slow handler does not. */
class RunningEntry implements InboxEntry {
  readonly #core: BusCore
  readonly #store: Store<unknown>
  readonly #id: string
  readonly #windowMs: number
  #version: number
  #timer: unknown
  #ended = false

  constructor(core: BusCore, store: Store<unknown>, id: string, version: number, windowMs: number) {
    this.#core = core
    this.#store = store
    this.#id = id
    this.#version = version
    this.#windowMs = windowMs
  }

  async take(expected: number | 'absent'): Promise<boolean> {
    try {
      await this.#store.commit([this.#running(expected)])
    } catch (error) {
      if (hasCode(error, 'BUZZER_CONFLICT')) return false
      throw error
    }
    this.#renewLater()
    return true
  }

  handled(): StateChange {
    this.#end()
    const now = this.#core.clock.now()
    return {
      op: 'put',
      collection: inboxCollection,
      id: this.#id,
      value: { state: 'handled', at: now },
      expected: 'any',
      expiresAt: now + this.#windowMs,
    }
  }

  forget(): StateChange {
    this.#end()
    return { op: 'delete', collection: inboxCollection, id: this.#id, expected: 'any' }
  }

  #end(): void {
    this.#ended = true
    this.#core.clock.clearTimeout(this.#timer)
  }

  #running(expected: number | 'absent'): StateChange {
    const until = this.#core.clock.now() + leaseMs
    const value: JsonValue = { state: 'running', owner: this.#core.instanceId, until }
    return { op: 'put', collection: inboxCollection, id: this.#id, value, expected, expiresAt: until + this.#windowMs }
  }

  #renewLater(): void {
    this.#timer = this.#core.clock.setTimeout(() => {
      if (this.#ended) return
      this.#store.commit([this.#running(this.#version)]).then(
        () => {
          this.#version++
          if (!this.#ended) this.#renewLater()
        },
        (error: unknown) => {
          this.#core.logger.warn({ error, id: this.#id }, 'an inbox entry could not be renewed; another copy may run')
        },
      )
    }, leaseMs / 3)
  }
}

/** Whether an earlier delivery of this message was handled and only its acknowledgement got lost. */
export async function wasHandled(core: BusCore, incoming: Incoming): Promise<boolean> {
  const found = await storeOf(core).get<InboxRecord>(inboxCollection, recordId(incoming.queue, incoming.id))
  return found?.value.state === 'handled'
}

/** Joins the store commit of a success where the acknowledgement cannot. */
export function handledRecord(core: BusCore, incoming: Incoming): StateChange {
  const now = core.clock.now()
  return {
    op: 'put',
    collection: inboxCollection,
    id: recordId(incoming.queue, incoming.id),
    value: { state: 'handled', at: now },
    expected: 'any',
    expiresAt: now + keepMs,
  }
}

/** `ctx.enlist`: the inbox record becomes part of the caller's transaction. @throws BUZZER_ALREADY_HANDLED */
export async function writeInbox(core: BusCore, incoming: Incoming, tx: unknown): Promise<void> {
  const store = storeOf(core)
  const id = recordId(incoming.queue, `tx\u0001${incoming.id}`)
  const now = core.clock.now()
  const already = (cause?: unknown): BuzzerError =>
    new BuzzerError(
      'BUZZER_ALREADY_HANDLED',
      `message ${incoming.id} was handled on queue ${incoming.queue} before; let this error pass and it is acknowledged`,
      { cause, details: { messageId: incoming.id, queue: incoming.queue } },
    )
  if ((await store.get(inboxCollection, id)) !== undefined) throw already()
  try {
    await store.commit(
      [
        {
          op: 'put',
          collection: inboxCollection,
          id,
          value: { state: 'handled', at: now },
          expected: 'absent',
          expiresAt: now + keepMs,
        },
      ],
      { tx },
    )
  } catch (error) {
    throw hasCode(error, 'BUZZER_CONFLICT') ? already(error) : error
  }
}

function pause(core: BusCore, ms: number): Promise<void> {
  return new Promise(resolve => {
    core.clock.setTimeout(resolve, ms)
  })
}

function infoOf(incoming: Incoming): MessageInfo {
  const { delivery, attributes } = incoming
  return {
    id: incoming.id,
    name: incoming.type ?? '',
    queue: incoming.queue,
    source: attributes['source'] ?? '',
    contentType: incoming.contentType ?? '',
    headers: incoming.headers,
    body: delivery.body,
    attempt: delivery.attempt,
    deferrals: incoming.deferrals,
    redrives: incoming.redrives,
    sentAt: new Date(incoming.sentAtMs),
    expiresAt: delivery.expiresAt === undefined ? undefined : new Date(delivery.expiresAt),
    key: incoming.key,
    correlationId: attributes['correlationid'],
    causationId: attributes['causationid'],
    conversationId: incoming.conversationId,
  }
}
