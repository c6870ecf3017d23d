import { type Clock, hasCode, type Logger } from 'buzzer'
import type { Database } from '../connection/database.ts'
import type { SqlHandle } from '../sql-handle.ts'
import type { RecordChange } from '../store/record-change.ts'
import type { Records } from '../store/records.ts'
import type { ChunkLimits } from './manifest.ts'
import { ServerTime } from './server-time.ts'
import { type QueueStatements, queueStatements } from './statements.ts'
import { TopologyView } from './topology.ts'

export interface SessionOptions {
  readonly database: Database
  readonly records: Records
  /** This client among all; a fresh UUID. */
  readonly client: string
  readonly prefix: string
  readonly clock: Clock
  readonly logger: Logger
  readonly chunkLimits: ChunkLimits
  readonly leaseMs: number
  readonly maxMessageBytes: number
}

/** What the parts of one connected transport share: its place in the database, its view of the topology and of time. */
export class Session {
  readonly options: SessionOptions
  readonly database: Database
  readonly records: Records
  readonly client: string
  readonly clock: Clock
  readonly logger: Logger
  readonly time: ServerTime
  readonly sql: QueueStatements
  isClosed = false
  #view: TopologyView | undefined
  #reading: Promise<TopologyView> | undefined
  #step = 0
  readonly #onView = new Set<(view: TopologyView) => void>()

  constructor(options: SessionOptions) {
    this.options = options
    this.database = options.database
    this.records = options.records
    this.client = options.client
    this.clock = options.clock
    this.logger = options.logger
    this.time = new ServerTime(options.clock)
    this.sql = queueStatements(options.database.quotedSchema)
  }

  /** The topology as last read. Reads it when it never was. */
  topology(): Promise<TopologyView> {
    return this.#view === undefined ? this.readTopology() : Promise.resolve(this.#view)
  }

  /** Reads the topology anew; who asks meanwhile gets the reading that begins after. */
  async readTopology(): Promise<TopologyView> {
    const under = this.#reading
    if (under !== undefined) await under.catch(() => {})
    if (this.#reading !== undefined && this.#reading !== under) return this.#reading
    const { quotedSchema } = this.database
    this.#reading = this.database.repeat(connection => TopologyView.read(connection, quotedSchema, this.options.prefix))
    const reading = this.#reading
    try {
      const view = await reading
      if (this.#view === undefined || view.version >= this.#view.version) {
        this.#view = view
        for (const listener of this.#onView) listener(view)
      }
      return this.#view
    } finally {
      if (this.#reading === reading) this.#reading = undefined
    }
  }

  /** The topology as a transaction sees it. */
  topologyThrough(handle: SqlHandle): Promise<TopologyView> {
    return TopologyView.read(handle, this.database.quotedSchema, this.options.prefix)
  }

  get knownTopology(): number {
    return this.#view?.version ?? 0
  }

  onTopology(listener: (view: TopologyView) => void): void {
    this.#onView.add(listener)
  }

  /** A number for the receipt of a step, never used twice by this client. */
  nextStep(): number {
    return ++this.#step
  }

  /** Whether the server has already done this step. */
  async hasReceipt(handle: SqlHandle, step: number): Promise<boolean> {
    const { rows } = await handle.query(
      `select 1 as one from ${this.database.quotedSchema}.receipt where client = $1::uuid and number = $2::bigint`,
      [this.client, step],
    )
    return rows.length > 0
  }

  committed(state: readonly RecordChange[]): void {
    if (state.length > 0) this.records.committed(state)
  }
}

/** Whether a step may be sent again: the connection broke, or the server gave way to somebody else. */
export function isWorthRepeating(error: unknown): boolean {
  return hasCode(error, 'BUZZER_DISCONNECTED') || isSerialization(error)
}

function isSerialization(error: unknown): boolean {
  const state = (error as { details?: { sqlState?: unknown } }).details?.sqlState
  return state === '40001' || state === '40P01' || state === '55P03' || state === '57014'
}
