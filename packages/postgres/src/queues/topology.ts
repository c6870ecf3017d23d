import type { Match, OrderBy, OutgoingMessage, QueueLimits } from 'buzzer/transport'
import { rowsOf, type SqlHandle } from '../sql-handle.ts'

/** A queue as declared. Its dead-letter queue has the same number, negative. */
export interface QueueEntry {
  readonly id: number
  /** Without the transport's prefix. */
  readonly name: string
  readonly limits: QueueLimits
  readonly orderBy: OrderBy
  /** A bit for each priority that its messages are known to have had; grows as they are stored. */
  priorities: number
}

interface BindingEntry {
  readonly queue: QueueEntry
  readonly exclusive: boolean
  readonly match: Match | undefined
}

interface TopicEntry {
  readonly bases: readonly string[]
  readonly bindings: readonly BindingEntry[]
}

interface Row {
  readonly version: string
  readonly queues: string | null
  readonly topics: string | null
  readonly bindings: string | null
}

/** Columns of the table `queue`, with the option they hold. */
export const limitColumns: Readonly<Record<keyof QueueLimits, string>> = {
  orderBy: 'order_by',
  maxDeliveries: 'max_deliveries',
  ttlMs: 'ttl_ms',
  deadLetterExpired: 'dead_letter_expired',
  deadLetterTtlMs: 'dead_letter_ttl_ms',
  deduplicationWindowMs: 'deduplication_window_ms',
  maxMessages: 'max_messages',
  maxBytes: 'max_bytes',
  expiresAfterIdleMs: 'expires_after_idle_ms',
}

/** Queues, topics and bindings of one version: what sends are planned by. The server refuses a plan by an older version. */
export class TopologyView {
  readonly version: number
  readonly queues: ReadonlyMap<string, QueueEntry>
  readonly queuesById: ReadonlyMap<number, QueueEntry>
  readonly topics: ReadonlyMap<string, TopicEntry>
  readonly #routes = new Map<
    string,
    { readonly bases: readonly string[]; readonly bindings: readonly BindingEntry[] }
  >()

  private constructor(
    version: number,
    queues: ReadonlyMap<string, QueueEntry>,
    topics: ReadonlyMap<string, TopicEntry>,
  ) {
    this.version = version
    this.queues = queues
    this.queuesById = new Map([...queues.values()].map(queue => [queue.id, queue]))
    this.topics = topics
  }

  /** Reads everything as one statement, so as of one moment. Names come without `prefix`; others' are left out. */
  static async read(handle: SqlHandle, quotedSchema: string, prefix: string): Promise<TopologyView> {
    const [row] = await rowsOf<Row>(
      handle,
      `select (select topology from ${quotedSchema}.broker)::text as version,
        (select json_agg(q order by q.id) from ${quotedSchema}.queue q where starts_with(q.name, $1::text))::text as queues,
        (select json_agg(t) from ${quotedSchema}.topic t where starts_with(t.name, $1::text))::text as topics,
        (select json_agg(b order by b.topic, b.queue, b.match) from ${quotedSchema}.binding b where starts_with(b.topic, $1::text))::text as bindings`,
      [prefix],
    )
    const bare = (name: string): string => name.slice(prefix.length)
    const queues = new Map<string, QueueEntry>()
    const byId = new Map<number, QueueEntry>()
    for (const found of JSON.parse(row?.queues ?? '[]') as Record<string, unknown>[]) {
      const limits: Record<string, unknown> = {}
      for (const [option, column] of Object.entries(limitColumns)) {
        if (found[column] !== null) limits[option] = found[column]
      }
      const name = bare(found['name'] as string)
      const queue = {
        id: found['id'] as number,
        name,
        limits,
        orderBy: (limits['orderBy'] ?? 'none') as OrderBy,
        priorities: found['priorities'] as number,
      }
      queues.set(name, queue)
      byId.set(queue.id, queue)
    }
    const topics = new Map<string, { bases: readonly string[]; bindings: BindingEntry[] }>()
    const topic = (name: string): { bases: readonly string[]; bindings: BindingEntry[] } => {
      const known = topics.get(name) ?? { bases: [], bindings: [] }
      topics.set(name, known)
      return known
    }
    for (const found of JSON.parse(row?.topics ?? '[]') as { name: string; bases: string[] }[]) {
      topic(bare(found.name)).bases = found.bases
    }
    const bindings = JSON.parse(row?.bindings ?? '[]') as {
      topic: string
      queue: number
      match: string
      exclusive: boolean
    }[]
    for (const { topic: name, queue: id, match, exclusive } of bindings) {
      const queue = byId.get(id)
      if (queue === undefined) continue
      topic(bare(name)).bindings.push({
        queue,
        exclusive,
        match: match === '' ? undefined : (JSON.parse(match) as Match),
      })
    }
    return new TopologyView(Number(row?.version ?? 0), queues, topics)
  }

  /** Each queue that takes a publish, once. Bases are those of the message and those declared. */
  queuesOf(message: OutgoingMessage, topic: string, bases: readonly string[]): readonly QueueEntry[] {
    const taken = new Set<QueueEntry>()
    for (const { queue, match } of this.#route(topic, bases)) {
      if (!taken.has(queue) && accepts(match, message)) taken.add(queue)
    }
    return [...taken]
  }

  exclusiveQueue(topic: string): QueueEntry | undefined {
    return this.topics.get(topic)?.bindings.find(binding => binding.exclusive)?.queue
  }

  #route(topic: string, bases: readonly string[]): readonly BindingEntry[] {
    const known = this.#routes.get(topic)
    if (known !== undefined && sameItems(known.bases, bases)) return known.bindings
    const names = new Set([topic, ...bases, ...(this.topics.get(topic)?.bases ?? [])])
    const bindings = [...names].flatMap(name => this.topics.get(name)?.bindings ?? [])
    // Topics nobody declared are not remembered: a sender could make up any number of names.
    if (this.topics.has(topic)) this.#routes.set(topic, { bases, bindings })
    return bindings
  }
}

/** The text of a match as the table `binding` holds it, the same for equal ones. An empty match is none. */
export function matchText(match: Match | undefined): string {
  const headers = Object.entries(match?.headers ?? {}).toSorted(([a], [b]) => (a < b ? -1 : 1))
  if (match?.key === undefined && headers.length === 0) return ''
  return JSON.stringify({
    ...(match?.key === undefined ? {} : { key: match.key }),
    ...(headers.length === 0 ? {} : { headers: Object.fromEntries(headers) }),
  })
}

function accepts(match: Match | undefined, message: OutgoingMessage): boolean {
  if (match === undefined) return true
  if (match.key !== undefined && match.key !== message.key) return false
  return Object.entries(match.headers ?? {}).every(([name, value]) => message.headers[name] === value)
}

function sameItems(a: readonly string[], b: readonly string[]): boolean {
  return a === b || (a.length === b.length && a.every((item, at) => item === b[at]))
}
