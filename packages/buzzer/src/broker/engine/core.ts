import type { BrokerFile } from '../storage/broker-file.ts'
import { AsideStore } from '../storage/aside-store.ts'
import { ChunkStore } from '../storage/chunk-store.ts'
import { RecordStore } from '../storage/record-store.ts'
import { SeenStore } from '../storage/seen-store.ts'
import { SessionStore } from '../storage/session-store.ts'
import { TopologyStore } from '../storage/topology-store.ts'
import { Agenda } from './agenda.ts'
import type { Chunk } from './chunk.ts'
import { ChunkBuilder } from './chunk-builder.ts'
import { isSparse } from './compact.ts'
import { Deliveries } from './deliveries.ts'
import type { EngineOptions } from './engine.ts'
import type { LogRead } from './log-reads.ts'
import type { LogPartition } from './log-state.ts'
import { Logs } from './logs.ts'
import type { Queue } from './queue.ts'
import { Routes } from './routes.ts'
import type { Session, Watch } from './session.ts'
import type { Group } from './settle.ts'

/** Bodies kept in memory ahead of receivers; the rest is read again from the file. */
const cacheBytes = 32 * 1024 * 1024
/** Sequences are reserved in the file in steps: a crash skips at most so many. */
const sequenceStep = 1_000_000

export interface Counters {
  commits: number
  commitMs: number
  sent: number
  delivered: number
  settled: number
  locksLost: number
  damaged: number
  expired: number
  clockJumps: number
  largestBatch: number
}

/** What the parts of the engine share: the tables, what is in memory, and what the commit of the moment must write. */
export class Core {
  readonly options: EngineOptions
  readonly file: BrokerFile
  readonly chunks: ChunkStore
  readonly aside: AsideStore
  readonly records: RecordStore
  readonly seen: SeenStore
  readonly sessionRows: SessionStore
  readonly topology: TopologyStore
  readonly logs: Logs
  readonly deliveries: Deliveries
  readonly agenda: Agenda
  readonly routes: Routes = new Routes()
  readonly queues: Map<string, Queue> = new Map()
  readonly queuesById: Map<number, Queue> = new Map()
  /** By id; sessions before their hello are in none. */
  readonly sessions: Map<string, Session> = new Map()
  readonly counters: Counters = {
    commits: 0,
    commitMs: 0,
    sent: 0,
    delivered: 0,
    settled: 0,
    locksLost: 0,
    damaged: 0,
    expired: 0,
    clockJumps: 0,
    largestBatch: 0,
  }
  /** Wall clock of the pump of the moment. */
  now: number
  /** Monotonic clock of the same moment. */
  monotonic: number
  /** Who watches a record, by collection and id as JSON. */
  readonly watchers: Map<string, Set<Watch>> = new Map()
  /** Queues that may have something to hand out. */
  readonly toDispatch: Set<Queue> = new Set()
  /** Records changed since the last commit: collection and id as JSON. */
  readonly changedRecords: Set<string> = new Set()
  /** Partitions that grew with the commit of the moment. */
  readonly logsGrown: Set<LogPartition> = new Set()
  readonly readsToServe: Set<LogRead> = new Set()
  /** By partition and stream. */
  readonly readsWaiting: Map<string, Set<LogRead>> = new Map()
  /** Deliveries of sessions of the owner before may still be claimed. */
  reclaiming = false
  /** Chunks with deliveries of the owner before. */
  openBefore: (readonly [queue: number, lane: number, id: number])[] = []
  /** Sessions of other processes that may still return. */
  expectedSessions = 0
  /** Monotonic time of the last round. */
  lookedAt = 0
  /** Monotonic end of the window. */
  reclaimUntil = 0
  readonly groups: Map<string, Group> = new Map()
  /** Dead letters that were returned with a delay. */
  deadReturns: { readonly queue: Queue; readonly sequence: number; readonly at: number }[] = []
  /** While the disk is full (monotonic): sends are refused without trying. */
  diskFullUntil = 0
  /** What must run outside of a transaction, once the one of the moment is committed; answers leave after it. */
  readonly afterCommit: (() => void)[] = []
  /** Work on the file that other threads do, by what it is. */
  readonly workBeside: Map<string, Promise<unknown>> = new Map()
  /** Writes the answers of what was done there. */
  readonly answersBeside: (() => void)[] = []
  /** Chunks that a few stragglers may keep alive, by id. */
  readonly sparse: Map<number, { readonly queue: number; readonly lane: number }> = new Map()
  /** Bytes of all messages in the file. */
  liveBytes = 0
  /** Bytes of the frames that share the commit of the moment. */
  pendingBytes = 0
  /** Bytes written since the last checkpoint, about. */
  writtenBytes = 0
  readonly #builders = new Map<number, ChunkBuilder>()
  #dirty: Chunk[] = []
  readonly #cached = new Set<Chunk>()
  #cachedBytes = 0
  #nextSequence = 0
  #reservedSequence = 0

  constructor(options: EngineOptions, file: BrokerFile) {
    this.options = options
    this.now = options.clock.now()
    this.monotonic = options.clock.monotonic()
    this.file = file
    const { db, epoch } = file
    this.chunks = new ChunkStore(db)
    this.aside = new AsideStore(db)
    this.records = new RecordStore(db, options.maxMessageBytes, error => {
      this.counters.damaged++
      options.report('error', { error }, 'a stored record is damaged')
    })
    this.seen = new SeenStore(db)
    this.sessionRows = new SessionStore(db)
    this.topology = new TopologyStore(db)
    this.logs = new Logs(db)
    this.agenda = new Agenda(options)
    // Tokens of an owner before must name nothing here.
    this.deliveries = new Deliveries(epoch * 7_919_417)
  }

  /** Reads the clock; returns by how much the wall clock ran ahead of the monotonic one since the last call. */
  readClock(): number {
    const { clock } = this.options
    const now = clock.now()
    const monotonic = clock.monotonic()
    const jump = now - this.now - (monotonic - this.monotonic)
    this.now = now
    this.monotonic = monotonic
    return jump
  }

  /** The number of the next message. Unique in the file and never used again. */
  takeSequences(count: number): number {
    const first = this.#nextSequence
    this.#nextSequence += count
    if (this.#nextSequence > this.#reservedSequence) {
      this.#reservedSequence = this.#nextSequence + sequenceStep
      this.file.begin()
      this.topology.reserveSequences(this.#reservedSequence)
    }
    return first
  }

  resetSequences(): void {
    this.#nextSequence = Math.max(this.#nextSequence, this.topology.nextSequence())
    this.#reservedSequence = 0
  }

  /** Where new messages for `queue` of this priority gather until they become a chunk. */
  builder(queue: Queue, priority: number): ChunkBuilder {
    const { orderBy } = queue.settings
    const lane = orderBy === 'none' ? priority : 0
    const name = queue.id * 16 + lane
    let builder = this.#builders.get(name)
    if (builder === undefined) {
      builder = new ChunkBuilder(queue, lane, orderBy === 'key')
      this.#builders.set(name, builder)
    } else if (builder.full) this.#finish(builder)
    return builder
  }

  #finish(builder: ChunkBuilder): void {
    if (builder.count === 0) return
    const { queue } = builder
    const chunk = builder.take(this.takeSequences(builder.count), this.now)
    this.agenda.expiryAt(chunk.expires)
    this.toDispatch.add(queue)
    if (queue.order.add(chunk)) {
      queue.chunks.set(chunk.id, chunk)
      this.touch(chunk)
      this.cache(chunk)
    } else this.#insert(chunk)
  }

  /** Makes chunks of all that has gathered. Whoever looks at queues calls it first. */
  finishChunks(): void {
    if (this.#builders.size === 0) return
    for (const builder of this.#builders.values()) this.#finish(builder)
    this.#builders.clear()
  }

  /** The row of `chunk` must be written with this commit. */
  touch(chunk: Chunk): void {
    if (chunk.dirty) return
    chunk.dirty = true
    this.#dirty.push(chunk)
  }

  get hasDirtyChunks(): boolean {
    return this.#dirty.length > 0
  }

  #insert(chunk: Chunk): void {
    this.file.begin()
    const bodies = chunk.bodies as Buffer
    this.chunks.insert(chunk.queue, chunk.row(), bodies, chunk.marks)
    chunk.stored = true
    this.writtenBytes += bodies.length + 512
  }

  /** Makes the rows agree with the memory, for those who read rows in the middle of a transaction. */
  flush(): void {
    this.finishChunks()
    this.writeChunks()
  }

  /** Writes what was touched. */
  writeChunks(): void {
    for (const chunk of this.#dirty) {
      this.file.begin()
      if (chunk.live === 0) {
        if (chunk.stored) this.chunks.delete(chunk.queue, chunk.lane, chunk.id)
        this.sparse.delete(chunk.id)
      } else if (chunk.stored) {
        const { queue, lane, id, bytes, marks } = chunk
        this.chunks.update(queue, lane, id, bytes, chunk.storedExpires(), marks)
        this.writtenBytes += 4_096
        if (isSparse(chunk.live, chunk.count)) this.sparse.set(chunk.id, { queue: chunk.queue, lane: chunk.lane })
      } else this.#insert(chunk)
    }
  }

  /** Writes what logs got. Whoever looks at chunks of logs in the middle of a transaction calls it first. */
  writeLogs(): void {
    if (!this.logs.hasChanges) return
    this.file.begin()
    for (const partition of this.logs.dirty) this.logsGrown.add(partition)
    this.writtenBytes += this.logs.write()
  }

  /** After the commit: what nobody needs leaves the memory. */
  settleChunks(): void {
    for (const chunk of this.#dirty) {
      chunk.dirty = false
      const done = chunk.live === 0 || chunk.cursor >= chunk.count
      if (done) this.uncache(chunk)
      if (done || chunk.keys !== undefined) this.queuesById.get(chunk.queue)?.forget(chunk)
    }
    this.#dirty = []
    this.trimCache()
  }

  /** Keeps the bodies in memory within bounds. What is not written yet stays. */
  trimCache(): void {
    for (const chunk of this.#cached) {
      if (this.#cachedBytes <= cacheBytes) return
      if (!chunk.stored) continue
      this.uncache(chunk)
      if (chunk.keys !== undefined && !chunk.dirty) this.queuesById.get(chunk.queue)?.forget(chunk)
    }
  }

  /** Forgets what a rolled back transaction would have written. */
  dropChanges(): void {
    this.#builders.clear()
    this.#dirty = []
    this.#cached.clear()
    this.#cachedBytes = 0
    this.changedRecords.clear()
    this.afterCommit.length = 0
    this.logsGrown.clear()
  }

  cache(chunk: Chunk): void {
    if (chunk.bodies === undefined || this.#cached.has(chunk)) return
    this.#cached.add(chunk)
    this.#cachedBytes += chunk.bodies.length
  }

  uncache(chunk: Chunk): void {
    if (chunk.bodies === undefined || !this.#cached.delete(chunk)) return
    this.#cachedBytes -= chunk.bodies.length
    chunk.dropBodies()
    chunk.verified = false
  }
}
