import type { QueueLimits } from '../../transport/index.ts'
import type { ChunkRow, ChunkStore } from '../storage/chunk-store.ts'
import { mark, unavailable } from '../storage/chunk-format.ts'
import { Chunk } from './chunk.ts'
import { KeyOrdered } from './key-ordered.ts'
import { type QueueSettings, toSettings } from './queue-options.ts'
import type { ChunkSource, Place, ReadyOrder } from './ready-order.ts'
import type { Receiver } from './session.ts'
import { StrictlyOrdered } from './strictly-ordered.ts'
import { Unordered } from './unordered.ts'

/** Exact at every moment; what is open since before a takeover counts as locked until the window ends. */
export interface QueueCounts {
  ready: number
  locked: number
  scheduled: number
  parked: number
  dead: number
  bytes: number
}

const lanes = 10

/** A queue in memory: its counts, its order, the chunks that are loaded. */
export class Queue implements ChunkSource {
  readonly id: number
  readonly name: string
  readonly counts: QueueCounts = { ready: 0, locked: 0, scheduled: 0, parked: 0, dead: 0, bytes: 0 }
  readonly chunks: Map<number, Chunk> = new Map()
  readonly receivers: Receiver[] = []
  readonly deadReceivers: Receiver[] = []
  /** Whose turn it is. */
  turn = 0
  /** Deliveries that two deaths in a row are known of: one at a time. */
  suspectsOpen = 0
  waitingSuspects: Place[] = []
  /** Dead letters open at a receiver, by sequence. */
  readonly deadOpen: Set<number> = new Set()
  /** Monotonic time of the last sign of use. */
  usedAt = 0
  /** Monotonic time at which old deduplication keys were last dropped. */
  seenDroppedAt = 0
  order: ReadyOrder
  #declared: QueueLimits
  #settings: QueueSettings
  readonly #store: ChunkStore

  constructor(id: number, name: string, declared: QueueLimits, store: ChunkStore) {
    this.id = id
    this.name = name
    this.#declared = declared
    this.#settings = toSettings(declared)
    this.#store = store
    this.order = this.#makeOrder(new Set())
  }

  get declared(): QueueLimits {
    return this.#declared
  }

  get settings(): QueueSettings {
    return this.#settings
  }

  setOptions(declared: QueueLimits): void {
    this.#declared = declared
    this.#settings = toSettings(declared)
  }

  /** Everything in it, dead letters too. */
  get total(): number {
    const { ready, locked, scheduled, parked, dead } = this.counts
    return ready + locked + scheduled + parked + dead
  }

  #makeOrder(inFile: ReadonlySet<number>): ReadyOrder {
    switch (this.#settings.orderBy) {
      case 'none':
        return new Unordered(this, inFile)
      case 'queue':
        return new StrictlyOrdered(this, inFile)
      case 'key':
        return new KeyOrdered(this)
      default:
        return this.#settings.orderBy satisfies never
    }
  }

  /** Begins anew from the file; `inFile` are the lanes with chunks. */
  reload(inFile: ReadonlySet<number>): void {
    this.chunks.clear()
    this.waitingSuspects = []
    this.suspectsOpen = 0
    this.order = this.#makeOrder(inFile)
    if (this.#settings.orderBy !== 'key') return
    for (const row of this.#store.ofQueue(this.id)) this.order.add(new Chunk(this.id, row, true))
  }

  #adopt(row: ChunkRow): Chunk {
    const known = this.chunks.get(row.id)
    if (known !== undefined) return known
    const chunk = new Chunk(this.id, row, true)
    if (this.order.passed(chunk)) chunk.cursor = chunk.count
    this.chunks.set(chunk.id, chunk)
    return chunk
  }

  window(lane: number, after: number, limit: number): Chunk[] {
    return this.#store.window(this.id, lane, after, limit).map(row => this.#adopt(row))
  }

  chunk(lane: number, id: number): Chunk | undefined {
    const known = this.chunks.get(id)
    if (known !== undefined) return known
    const row = this.#store.byId(this.id, lane, id)
    return row === undefined ? undefined : this.#adopt(row)
  }

  /** The message with this sequence, if it lies in a chunk of this queue and is not gone. */
  place(sequence: number): Place | undefined {
    const id = this.#store.idHolding(sequence)
    if (id === undefined) return undefined
    let chunk = this.chunks.get(id)
    for (let lane = 0; chunk === undefined && lane < lanes; lane++) chunk = this.chunk(lane, id)
    if (chunk === undefined || sequence >= id + chunk.count) return undefined
    const index = sequence - id
    return (chunk.marks[index] as number) & mark.gone ? undefined : { chunk, index }
  }

  /** Lets go of a chunk that will not be needed soon: nothing of it is open or ready to be handed out. */
  forget(chunk: Chunk): void {
    if (chunk.live > 0) {
      if (chunk.open > 0 || !this.order.canForget(chunk)) return
      if (this.#settings.orderBy !== 'key') {
        for (const word of chunk.marks) if ((word & unavailable) === 0) return
      }
    }
    this.chunks.delete(chunk.id)
  }
}
