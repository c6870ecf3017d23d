import { createHash } from 'node:crypto'
import { BuzzerError } from 'buzzer'
import type { OutgoingMessage } from 'buzzer/transport'
import { joinRecords } from './message-record.ts'
import type { ServerTime } from './server-time.ts'
import { numberArray } from './statements.ts'
import type { QueueEntry, TopologyView } from './topology.ts'

/** One message with its record, encoded when `send` was called. */
export interface Encoded {
  readonly message: OutgoingMessage
  readonly record: Buffer
}

/** What the function `accept` is told of one row; the names are those of the migration. */
interface Item {
  readonly q: number
  readonly p: number
  n?: number
  s?: number[]
  y?: boolean
  b: number
  readonly k?: string
  readonly d?: number
  readonly x?: number
  readonly l?: number
  readonly h?: string
  readonly m?: string
}

/** A chunk as it will be stored. */
export interface StoredChunk {
  readonly queue: number
  readonly records: readonly Buffer[]
}

/** Queue 0: publishes that wait for their time. */
export const scheduleQueue = 0
/** A row has 1,024 ranks: see the migration. */
const maxChunkMessages = 1_000
const longestKeyBytes = 256
const longestSpanMs = 1e14

export interface ChunkLimits {
  readonly maxMessages: number
  readonly maxBytes: number
}

/**
 * The rows that a step will store, in the order of acceptance: messages that nothing sets apart share chunks, by queue and
 * priority. Built by one view of the topology; nothing in it needs undoing.
 */
export class Manifest {
  readonly topology: TopologyView
  /** The queues that get something. */
  readonly queues: Set<number> = new Set()
  readonly #time: ServerTime
  readonly #chunkLimits: ChunkLimits
  readonly #items: Item[] = []
  readonly #records: Buffer[][] = []
  readonly #openChunks = new Map<number, number>()
  readonly #limited = new Set<number>()
  readonly #idle = new Set<number>()
  readonly #keys = new Set<string>()
  readonly #masks = new Map<QueueEntry, number>()
  #hashed = false

  constructor(topology: TopologyView, time: ServerTime, chunkLimits: ChunkLimits) {
    this.topology = topology
    this.#time = time
    this.#chunkLimits = chunkLimits
  }

  get isEmpty(): boolean {
    return this.#items.length === 0
  }

  /**
   * Adds one message, for each queue that takes it. `limits: 'passed'`: what was accepted long ago finds room.
   * @throws BUZZER_UNROUTABLE
   */
  add({ message, record }: Encoded, limits: 'kept' | 'passed' = 'kept'): void {
    const { to, deliverAt } = message
    // What has come due by the server's clock is not scheduled again by ours.
    const isLater = limits === 'kept' && deliverAt !== undefined && deliverAt > this.#time.now()
    for (const queue of this.targets(message)) {
      if (isLater && 'topic' in to) continue
      this.#addTo(queue, message, record, isLater)
      if (limits === 'kept' && (queue.limits.maxMessages !== undefined || queue.limits.maxBytes !== undefined)) {
        this.#limited.add(queue.id)
      }
    }
    if (isLater && 'topic' in to) this.#addPublish(message, record)
  }

  /** The queues that take a message now. @throws BUZZER_UNROUTABLE */
  targets(message: OutgoingMessage): readonly QueueEntry[] {
    const { to } = message
    if ('queue' in to) {
      const queue = this.topology.queues.get(to.queue)
      if (queue === undefined) throw unroutable(message, `there is no queue ${to.queue}`, { queue: to.queue })
      return [queue]
    }
    const queues = this.topology.queuesOf(message, to.topic, to.bases)
    if (queues.length === 0 && message.mandatory) {
      throw unroutable(message, `no queue takes topic ${to.topic}, and the message is mandatory`, { topic: to.topic })
    }
    return queues
  }

  /** Its chunks, in the order of acceptance. */
  get chunks(): readonly StoredChunk[] {
    return this.#items.flatMap(({ q, n }, at) =>
      n === undefined ? [] : [{ queue: q, records: this.#records[at] as Buffer[] }],
    )
  }

  /** The parameters of `accept` and its callers, from `items` on. */
  get itemsText(): string {
    return JSON.stringify(this.#items)
  }

  get data(): Buffer {
    return joinRecords(this.#records.flat())
  }

  get limited(): string | null {
    return numberArray(this.#limited)
  }

  get hashed(): boolean {
    return this.#hashed
  }

  get idle(): string | null {
    return numberArray(this.#idle)
  }

  /** Priorities that queues get for the first time, as far as this view of the topology knows. */
  get masks(): string | null {
    if (this.#masks.size === 0) return null
    return JSON.stringify([...this.#masks].map(([{ id }, m]) => ({ q: id, m })))
  }

  /** The server has it: what it was told of priorities need not be told again. */
  stored(): void {
    for (const [queue, mask] of this.#masks) queue.priorities |= mask
  }

  #addTo(queue: QueueEntry, message: OutgoingMessage, record: Buffer, isLater: boolean): void {
    const { limits, orderBy, id } = queue
    const { key, priority, expiresAt, deliverAt, deduplicationKey } = message
    const isKeyed = orderBy === 'queue' || (orderBy === 'key' && key !== undefined)
    const isJudged = deduplicationKey !== undefined && (limits.deduplicationWindowMs ?? 0) > 0
    if (isJudged) {
      // The second of two in one step would meet the first only in the server.
      const known = `${id}:${deduplicationKey}`
      if (this.#keys.has(known)) return
      this.#keys.add(known)
    }
    this.queues.add(id)
    const bit = 1 << (orderBy === 'queue' ? 0 : priority)
    if ((queue.priorities & bit) === 0) this.#masks.set(queue, (this.#masks.get(queue) ?? 0) | bit)
    if (limits.expiresAfterIdleMs !== undefined) this.#idle.add(id)
    const life = limits.ttlMs === undefined ? {} : { l: Math.min(limits.ttlMs, longestSpanMs) }
    if (!isKeyed && !isLater && !isJudged && expiresAt === undefined) {
      this.#addToChunk(id, priority, life, record, key !== undefined)
      return
    }
    const rank = orderBy === 'queue' ? 0 : priority
    this.#openChunks.delete(id * 10 + rank)
    this.#hashed ||= isJudged
    this.#push(
      {
        q: id,
        p: rank,
        b: record.byteLength,
        ...life,
        ...(isKeyed ? { k: laneKey(orderBy === 'queue' ? '' : (key as string)) } : {}),
        ...(isLater ? { d: this.#time.toServer(deliverAt as number), m: message.id } : {}),
        ...(expiresAt === undefined ? {} : { x: this.#time.toServer(expiresAt) }),
        ...(isJudged ? { h: hashOf(deduplicationKey) } : {}),
      },
      record,
    )
  }

  #addToChunk(queue: number, priority: number, life: { l?: number }, record: Buffer, hasKey: boolean): void {
    const slot = queue * 10 + priority
    const at = this.#openChunks.get(slot)
    const open = at === undefined ? undefined : (this.#items[at] as Item)
    const { maxMessages, maxBytes } = this.#chunkLimits
    if (
      open === undefined ||
      (open.n as number) >= Math.min(maxMessages, maxChunkMessages) ||
      open.b + record.byteLength > maxBytes
    ) {
      const bytes = record.byteLength
      this.#openChunks.set(slot, this.#items.length)
      this.#push({ q: queue, p: priority, n: 1, s: [bytes], y: hasKey, b: bytes, ...life }, record)
      return
    }
    open.n = (open.n as number) + 1
    open.s?.push(record.byteLength)
    open.b += record.byteLength
    open.y ||= hasKey
    this.#records[at as number]?.push(record)
  }

  #addPublish(message: OutgoingMessage, record: Buffer): void {
    this.queues.add(scheduleQueue)
    const { deliverAt, expiresAt, id, priority } = message
    this.#push(
      {
        q: scheduleQueue,
        p: priority,
        b: record.byteLength,
        d: this.#time.toServer(deliverAt as number),
        m: id,
        ...(expiresAt === undefined ? {} : { x: this.#time.toServer(expiresAt) }),
      },
      record,
    )
  }

  #push(item: Item, record: Buffer): void {
    this.#items.push(item)
    this.#records.push([record])
  }
}

/** A key as the tables hold it: its bytes, or their hash where they would not fit an index. As base64. */
export function laneKey(key: string): string {
  const bytes = Buffer.from(key, 'utf8')
  if (bytes.byteLength <= longestKeyBytes) return bytes.toString('base64')
  return createHash('sha256').update(bytes).digest('base64')
}

/** 128 bits of a deduplication key, as a UUID. */
function hashOf(deduplicationKey: string): string {
  return createHash('sha256').update(deduplicationKey).digest('hex').slice(0, 32)
}

function unroutable(message: OutgoingMessage, why: string, details: Readonly<Record<string, unknown>>): BuzzerError {
  return new BuzzerError('BUZZER_UNROUTABLE', `message ${message.id} reaches nobody: ${why}`, {
    details: { messageId: message.id, ...details },
  })
}
