import {
  type AnyContract,
  BuzzerError,
  checkHeaders,
  fromTimestamp,
  type JsonObject,
  json,
  mediaType,
  type MessageHeaders,
  toCount,
  toTimestamp,
} from '../../message/index.ts'
import type { Page, PageRequest } from '../../store/index.ts'
import type { OutgoingMessage, PeekedMessage, TransportAdmin } from '../../transport/index.ts'
import type { BusCore } from '../bus-core.ts'
import { type ErrorRecord, type FailureRecord, fingerprint } from '../dead-letter.ts'
import { askSchema, encodeWith, refusedBySchema, unsupported } from '../emission.ts'
import type { AdminSources } from './admin.ts'
import { type AuditEntry, audited, writeAudit } from './audit.ts'
import { deadLetterSource } from './dead-letter-source.ts'
import { type Edit, editsOf, forgetEdit, writeEdit } from './edits.ts'

/** A message that was given up, as it arrived, with what happened. Source: spec bus 4.5. */
export interface DeadLetter {
  /** Its own id: what `get`, `redrive`, `edit` and `delete` take. */
  readonly id: string
  readonly queue: string
  readonly messageId: string
  readonly type?: string
  readonly reason: string
  /** The last `ctx.attempt`; 0 when no handler ran. */
  readonly attempts: number
  readonly error?: ErrorRecord & { readonly causes: readonly ErrorRecord[] }
  readonly detail?: JsonObject
  /** Equal for the same fault of different messages. */
  readonly fingerprint: string
  readonly deadAt: Date
  readonly sentAt?: Date
  readonly redrives: number
  /** Who gave it up; empty where the broker itself did. */
  readonly host: FailureRecord['host']
  readonly body: Uint8Array
  readonly contentType?: string
  readonly headers: MessageHeaders
  readonly attributes: Readonly<Record<string, string>>
  /** The body decoded, where that is possible. */
  readonly data?: unknown
  readonly key?: string
  readonly correlationId?: string
  readonly conversationId?: string
  readonly causationId?: string
  readonly edited?: {
    readonly body: Uint8Array
    readonly headers: MessageHeaders
    readonly at: Date
    readonly by?: string
  }
}

/** All given fields must hold. `error` and `text` match within, without regard to case. */
export interface DeadLetterFilter {
  readonly type?: string
  readonly reason?: string
  readonly fingerprint?: string
  readonly messageId?: string
  readonly correlationId?: string
  /** Within the error's name and message. */
  readonly error?: string
  /** Within the body as UTF-8. */
  readonly text?: string
  readonly deadAfter?: Date
  readonly deadBefore?: Date
  readonly edited?: boolean
}

/** `'all'`: those there when the call began. */
export type WhichDeadLetters = 'all' | readonly string[] | DeadLetterFilter

export interface DeadLetterGroup {
  readonly fingerprint: string
  readonly count: number
  readonly type?: string
  readonly reason: string
  readonly error?: ErrorRecord
  readonly firstAt: Date
  readonly lastAt: Date
  readonly sampleId: string
}

export interface RedriveOptions {
  /** Another queue; changes nothing else. */
  readonly to?: string
  readonly delayMs?: number
  readonly perSecond?: number
  /** Who; for the audit. */
  readonly by?: string
}

/** The dead letters of one queue. Source: spec bus 4.12. */
export interface DeadLetters {
  /** Newest first. */
  list(page?: PageRequest): Promise<Page<DeadLetter>>
  search(filter: DeadLetterFilter, page?: PageRequest): Promise<Page<DeadLetter>>
  /** Largest first. */
  groups(filter?: DeadLetterFilter): Promise<readonly DeadLetterGroup[]>
  get(id: string): Promise<DeadLetter | undefined>
  /** Back on the queue as a new delivery: attempt 1, redrives + 1, same id, bytes and headers. */
  redrive(
    which: WhichDeadLetters,
    options?: RedriveOptions,
  ): Promise<{
    readonly redriven: number
    readonly failures: readonly { readonly id: string; readonly error: Error }[]
  }>
  /** Keeps the original beside the edited body. A known contract validates `data`. */
  edit(
    id: string,
    change: {
      readonly data?: unknown
      readonly body?: Uint8Array
      readonly headers?: MessageHeaders
      readonly by?: string
    },
  ): Promise<DeadLetter>
  delete(which: WhichDeadLetters, options?: { readonly by?: string }): Promise<number>
  /** Newest first. */
  audit(page?: PageRequest): Promise<Page<AuditEntry>>
}

const scanSize = 500

/** Built on the broker's peek, redrive and delete; edits and the audit are in the store. */
export class QueueDeadLetters implements DeadLetters {
  readonly #core: BusCore
  readonly #queue: string
  readonly #sources: AdminSources

  constructor(core: BusCore, queue: string, sources: AdminSources) {
    this.#core = core
    this.#queue = queue
    this.#sources = sources
  }

  list(page?: PageRequest): Promise<Page<DeadLetter>> {
    return this.search({}, page)
  }

  /** Brokers list in order of acceptance; a bounded window of the newest is kept while everything passes by once. */
  async search(filter: DeadLetterFilter, page: PageRequest = {}): Promise<Page<DeadLetter>> {
    const limit = Math.min(Math.max(1, page.limit ?? 50), 1_000)
    const newest: DeadLetter[] = []
    for await (const letter of this.#scan(filter)) {
      if (page.after !== undefined && orderOf(letter) >= page.after) continue
      newest.push(letter)
      if (newest.length > 2 * limit + 2) keepNewest(newest, limit + 1)
    }
    keepNewest(newest, limit + 1)
    const items = newest.slice(0, limit)
    const last = items.at(-1)
    return newest.length > limit && last !== undefined ? { items, next: orderOf(last) } : { items }
  }

  async groups(filter: DeadLetterFilter = {}): Promise<readonly DeadLetterGroup[]> {
    const groups = new Map<string, { -readonly [K in keyof DeadLetterGroup]: DeadLetterGroup[K] }>()
    for await (const letter of this.#scan(filter)) {
      const group = groups.get(letter.fingerprint)
      if (group === undefined) {
        const { causes: _, ...error } = letter.error ?? { causes: [], name: '', message: '' }
        groups.set(letter.fingerprint, {
          fingerprint: letter.fingerprint,
          count: 1,
          reason: letter.reason,
          firstAt: letter.deadAt,
          lastAt: letter.deadAt,
          sampleId: letter.id,
          ...(letter.type === undefined ? {} : { type: letter.type }),
          ...(letter.error === undefined ? {} : { error }),
        })
        continue
      }
      group.count++
      if (letter.deadAt < group.firstAt) group.firstAt = letter.deadAt
      if (letter.deadAt >= group.lastAt) {
        group.lastAt = letter.deadAt
        group.sampleId = letter.id
      }
    }
    return [...groups.values()].toSorted((a, b) => b.count - a.count)
  }

  async get(id: string): Promise<DeadLetter | undefined> {
    for await (const letter of this.#scan({})) if (letter.id === id) return letter
    return undefined
  }

  async redrive(
    which: WhichDeadLetters,
    options: RedriveOptions = {},
  ): Promise<{ redriven: number; failures: { id: string; error: Error }[] }> {
    const letters = await this.#which(which)
    const failures: { id: string; error: Error }[] = []
    const done: string[] = []
    if (options.to !== undefined) await this.#requireQueue(options.to)
    const { clock } = this.#core
    const startedAt = clock.monotonic()
    // Unhurried and unedited, the broker moves a whole list in one step.
    const size = options.perSecond === undefined ? 200 : 1
    for (let from = 0; from < letters.length; from += size) {
      if (options.perSecond !== undefined && from > 0) {
        const dueInMs = startedAt + (from * 1_000) / options.perSecond - clock.monotonic()
        if (dueInMs > 0) await new Promise<void>(resolve => void clock.setTimeout(resolve, dueInMs))
      }
      const some = letters.slice(from, from + size)
      for (const outcome of await this.#redriveSome(some, options)) {
        if (outcome.error === undefined) done.push(outcome.id)
        else failures.push({ id: outcome.id, error: outcome.error })
      }
    }
    if (done.length > 0) {
      await writeAudit(this.#core, this.#queue, {
        action: 'redrive',
        ids: done,
        ...(options.by === undefined ? {} : { by: options.by }),
        ...(options.to === undefined ? {} : { to: options.to }),
      })
    }
    return { redriven: done.length, failures }
  }

  async #redriveSome(
    letters: readonly DeadLetter[],
    options: RedriveOptions,
  ): Promise<readonly { readonly id: string; readonly error?: Error }[]> {
    const source = deadLetterSource(this.#core, this.#queue)
    const outcomes: { id: string; error?: Error }[] = []
    const plain = letters.filter(letter => letter.edited === undefined && options.delayMs === undefined)
    const changed = letters.filter(letter => !plain.includes(letter))
    const told = async (letter: DeadLetter): Promise<void> => {
      await this.#sources.redriven({
        id: letter.messageId,
        type: letter.type ?? '',
        queue: options.to ?? letter.queue,
        conversationId: letter.conversationId ?? letter.messageId,
        headers: letter.headers,
        delivery: 1,
        redrives: letter.redrives,
      })
      outcomes.push({ id: letter.id })
    }
    if (plain.length > 0) {
      // Followers hear of it first: once on its queue, the message may be handled at any moment.
      try {
        for (const letter of plain) await told(letter)
        await source.redrive(
          plain.map(letter => ({ ...letter, priority: Number(letter.attributes['priority'] ?? 4) })),
          options.to,
        )
      } catch (error) {
        outcomes.length = 0
        for (const letter of plain) outcomes.push({ id: letter.id, error: error as Error })
      }
    }
    for (const letter of changed) {
      try {
        await told(letter)
        await source.replace(letter.id, this.#copyOf(letter, options))
        if (letter.edited !== undefined) await forgetEdit(this.#core, this.#queue, letter.id)
      } catch (error) {
        outcomes.push({ id: letter.id, error: error as Error })
      }
    }
    return outcomes
  }

  /** An edited letter is a new message that tells where it comes from; any other keeps its id. */
  #copyOf(letter: DeadLetter, options: RedriveOptions): OutgoingMessage {
    const now = this.#core.clock.now()
    const { edited } = letter
    const id = edited === undefined ? letter.messageId : this.#core.newId()
    const { expirytime, ...attributes } = letter.attributes
    const sentAt = fromTimestamp(attributes['time'])
    const ttlMs =
      expirytime === undefined || sentAt === undefined ? undefined : (fromTimestamp(expirytime) ?? sentAt) - sentAt
    const deliverAt = options.delayMs === undefined ? undefined : now + options.delayMs
    const expiresAt = ttlMs === undefined ? undefined : (deliverAt ?? now) + ttlMs
    return {
      id,
      to: { queue: options.to ?? this.#queue },
      attributes: {
        ...attributes,
        ...(attributes['id'] === undefined && edited === undefined ? {} : { id }),
        redrives: String(letter.redrives + 1),
        ...(edited === undefined ? {} : { originalid: letter.messageId, causationid: letter.messageId }),
        ...(expiresAt === undefined ? {} : { expirytime: toTimestamp(expiresAt) }),
      },
      headers: edited?.headers ?? letter.headers,
      body: edited?.body ?? letter.body,
      priority: Number(attributes['priority'] ?? 4),
      mandatory: true,
      ...(letter.contentType === undefined ? {} : { contentType: letter.contentType }),
      ...(letter.key === undefined ? {} : { key: letter.key }),
      ...(deliverAt === undefined ? {} : { deliverAt }),
      ...(expiresAt === undefined ? {} : { expiresAt }),
    }
  }

  async edit(
    id: string,
    change: {
      readonly data?: unknown
      readonly body?: Uint8Array
      readonly headers?: MessageHeaders
      readonly by?: string
    },
  ): Promise<DeadLetter> {
    const letter = await this.get(id)
    if (letter === undefined) {
      throw new BuzzerError('BUZZER_INVALID_OPTION', `queue ${this.#queue} has no dead letter ${id}`, {
        details: { id },
      })
    }
    if (change.data !== undefined && change.body !== undefined) {
      throw new BuzzerError('BUZZER_INVALID_OPTION', 'give an edit data or body, not both')
    }
    if (change.headers !== undefined) checkHeaders(change.headers)
    const contract = letter.type === undefined ? undefined : this.#sources.contract(letter.type)
    const body = change.body ?? (change.data === undefined ? letter.body : await encodeEdit(contract, change.data))
    const edited: Edit = {
      body,
      headers: change.headers ?? letter.headers,
      at: new Date(this.#core.clock.now()),
      ...(change.by === undefined ? {} : { by: change.by }),
    }
    await writeEdit(this.#core, this.#queue, id, edited)
    const { by } = change
    await writeAudit(this.#core, this.#queue, { action: 'edit', ids: [id], ...(by === undefined ? {} : { by }) })
    return { ...letter, edited }
  }

  async delete(which: WhichDeadLetters, options: { readonly by?: string } = {}): Promise<number> {
    const ids = (await this.#which(which)).map(letter => letter.id)
    const source = deadLetterSource(this.#core, this.#queue)
    let count = 0
    for (let from = 0; from < ids.length; from += 500) {
      count += await source.delete(ids.slice(from, from + 500))
    }
    if (count > 0) {
      const { by } = options
      await writeAudit(this.#core, this.#queue, { action: 'delete', ids, ...(by === undefined ? {} : { by }) })
    }
    return count
  }

  audit(page?: PageRequest): Promise<Page<AuditEntry>> {
    return audited(this.#core, this.#queue, page)
  }

  async #which(which: WhichDeadLetters): Promise<readonly DeadLetter[]> {
    const wanted = Array.isArray(which) ? new Set(which as readonly string[]) : undefined
    const filter = which === 'all' || wanted !== undefined ? {} : (which as DeadLetterFilter)
    const letters: DeadLetter[] = []
    for await (const letter of this.#scan(filter))
      if (wanted === undefined || wanted.has(letter.id)) letters.push(letter)
    return letters
  }

  async *#scan(filter: DeadLetterFilter): AsyncGenerator<DeadLetter> {
    const source = deadLetterSource(this.#core, this.#queue)
    const edits = await editsOf(this.#core, this.#queue)
    let after: string | undefined
    do {
      const page = await source.peek(after, scanSize)
      for (const peeked of page.items) {
        const plain = deadLetterOf(this.#queue, peeked, type => this.#sources.contract(type))
        const edited = edits.get(peeked.id)
        const letter = edited === undefined ? plain : { ...plain, edited }
        if (accepts(filter, letter)) yield letter
      }
      after = page.next
    } while (after !== undefined)
  }

  #broker(): TransportAdmin {
    if (this.#core.transport.admin === undefined)
      throw unsupported(this.#core, 'administration', "the broker's own tools")
    return this.#core.transport.admin
  }

  async #requireQueue(name: string): Promise<void> {
    await this.#broker().queue(name)
  }
}

async function encodeEdit(contract: AnyContract | undefined, data: unknown): Promise<Uint8Array> {
  if (contract === undefined) return json.encode(data)
  if (contract.schema !== undefined) {
    const judged = await askSchema(contract.schema, data, contract.type)
    if (judged.issues !== undefined) throw refusedBySchema(contract.type, judged.issues)
  }
  return encodeWith(contract, data)
}

/** What the broker keeps, read as a dead letter; letters that the broker itself made have no record of ours. */
export function deadLetterOf(
  queue: string,
  peeked: PeekedMessage,
  contractOf: (type: string) => AnyContract | undefined,
): DeadLetter {
  const { attributes, contentType, key } = peeked
  const { type, correlationid, conversationid, causationid } = attributes
  const reason = peeked.deadLetter?.reason ?? 'unknown'
  const detail = peeked.deadLetter?.detail as unknown as Partial<FailureRecord> | undefined
  const known = detail?.fingerprint !== undefined
  const sentAt = fromTimestamp(attributes['time'])
  const data = readable(peeked, type === undefined ? undefined : contractOf(type))
  return {
    id: peeked.id,
    queue,
    messageId: peeked.messageId,
    reason,
    attempts: detail?.attempts ?? 0,
    fingerprint: detail?.fingerprint ?? fingerprint(type, reason, undefined),
    deadAt: new Date(peeked.deadLetter?.deadAt ?? peeked.enqueuedAt),
    redrives: toCount(attributes['redrives']),
    host: detail?.host ?? { bus: '', instanceId: '', hostname: '', pid: 0 },
    body: peeked.body,
    headers: peeked.headers,
    attributes,
    ...(type === undefined ? {} : { type }),
    ...(detail?.error === undefined ? {} : { error: detail.error }),
    ...(known
      ? detail?.detail === undefined
        ? {}
        : { detail: detail.detail }
      : detail === undefined
        ? {}
        : { detail: detail as unknown as JsonObject }),
    ...(sentAt === undefined ? {} : { sentAt: new Date(sentAt) }),
    ...(contentType === undefined ? {} : { contentType }),
    ...(data === undefined ? {} : { data: data.value }),
    ...(key === undefined ? {} : { key }),
    ...(correlationid === undefined ? {} : { correlationId: correlationid }),
    ...(conversationid === undefined ? {} : { conversationId: conversationid }),
    ...(causationid === undefined ? {} : { causationId: causationid }),
  }
}

function readable(peeked: PeekedMessage, contract: AnyContract | undefined): { readonly value: unknown } | undefined {
  const { contentType, body } = peeked
  const codec = contract?.codec ?? json
  const media = mediaType(contentType ?? codec.contentType)
  try {
    if (media === mediaType(codec.contentType)) return { value: codec.decode(body, contentType ?? codec.contentType) }
    if (media === 'application/json') return { value: json.decode(body, media) }
  } catch {
    // It lies here because it cannot be read.
  }
  return undefined
}

function accepts(filter: DeadLetterFilter, letter: DeadLetter): boolean {
  if (filter.type !== undefined && filter.type !== letter.type) return false
  if (filter.reason !== undefined && filter.reason !== letter.reason) return false
  if (filter.fingerprint !== undefined && filter.fingerprint !== letter.fingerprint) return false
  if (filter.messageId !== undefined && filter.messageId !== letter.messageId) return false
  if (filter.correlationId !== undefined && filter.correlationId !== letter.correlationId) return false
  if (filter.deadAfter !== undefined && letter.deadAt < filter.deadAfter) return false
  if (filter.deadBefore !== undefined && letter.deadAt >= filter.deadBefore) return false
  if (filter.edited !== undefined && filter.edited !== (letter.edited !== undefined)) return false
  if (filter.error !== undefined) {
    const text = `${letter.error?.name ?? ''} ${letter.error?.message ?? ''}`.toLowerCase()
    if (!text.includes(filter.error.toLowerCase())) return false
  }
  if (filter.text !== undefined) {
    const text = Buffer.from(letter.body.buffer, letter.body.byteOffset, letter.body.byteLength).toString('utf8')
    if (!text.toLowerCase().includes(filter.text.toLowerCase())) return false
  }
  return true
}

/** Sorts by time, then id; the same text is the cursor. */
function orderOf(letter: DeadLetter): string {
  return `${String(letter.deadAt.getTime()).padStart(16, '0')}.${letter.id.padStart(24, '0')}`
}

function keepNewest(letters: DeadLetter[], count: number): void {
  letters.sort((a, b) => (orderOf(a) < orderOf(b) ? 1 : -1))
  letters.length = Math.min(letters.length, count)
}
