import type { Clock, Logger } from 'buzzer'
import type { SharedDatabase } from '../connection/shared-database.ts'
import { rowsOf } from '../sql-handle.ts'
import { readGiven } from './streams.ts'
import { resolveStreamOptions } from 'buzzer/transport'

export interface KeeperSettings {
  /** A segment larger than that is followed by the next one. */
  readonly segmentBytes: number
  /** A segment older than that, and not empty, is followed by the next one. Milliseconds. */
  readonly segmentMs: number
  /** How often all streams are looked at. Milliseconds. */
  readonly everyMs: number
}

interface StreamRow {
  readonly id: number
  readonly given: string
  readonly segment: number
  readonly bytes: number
  readonly age: number
  readonly ahead: boolean
}

/** After an append its stream is looked at, but not more often than this. */
const soonMs = 1_000
/** A shorter life of a segment would make tables without end. */
const shortestSegmentMs = 60_000

/**
 * Forgets what retention lets go, and turns over segments. Every process with a log does so; of several one at a time.
 * Records go at once for readers, their tables when nothing in them is kept.
 */
export class LogKeeper {
  readonly #database: SharedDatabase
  readonly #schema: string
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #settings: KeeperSettings
  readonly #touched = new Set<string>()
  #timer: unknown
  #nextAt = Number.POSITIVE_INFINITY
  #lastAllAt: number
  #running: Promise<void> | undefined
  #isClosed = false

  /** `schema`: quoted. */
  constructor(options: {
    database: SharedDatabase
    schema: string
    clock: Clock
    logger: Logger
    settings: KeeperSettings
  }) {
    this.#database = options.database
    this.#schema = options.schema
    this.#clock = options.clock
    this.#logger = options.logger
    this.#settings = options.settings
    this.#lastAllAt = this.#clock.monotonic()
  }

  /** Idempotent. */
  start(): void {
    this.#arm(this.#settings.everyMs)
  }

  /** Streams that have grown. */
  touch(streams: Iterable<string>): void {
    for (const stream of streams) this.#touched.add(stream)
    this.#arm(soonMs)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#clock.clearTimeout(this.#timer)
    await this.#running
  }

  #arm(ms: number): void {
    const at = this.#clock.monotonic() + ms
    if (this.#isClosed || at >= this.#nextAt) return
    this.#clock.clearTimeout(this.#timer)
    this.#nextAt = at
    this.#timer = this.#clock.setTimeout(() => {
      this.#running = this.#keep().finally(() => {
        this.#nextAt = Number.POSITIVE_INFINITY
        this.#arm(this.#touched.size > 0 ? soonMs : this.#settings.everyMs)
      })
    }, ms)
  }

  async #keep(): Promise<void> {
    const { everyMs } = this.#settings
    const now = this.#clock.monotonic()
    const isAll = now - this.#lastAllAt >= everyMs
    const names = isAll ? undefined : [...this.#touched]
    if (isAll) this.#lastAllAt = now
    this.#touched.clear()
    try {
      for (const stream of await this.#streams(names)) {
        if (this.#isClosed) return
        await this.#forget(stream)
        await this.#turnOver(stream)
      }
    } catch (error) {
      this.#logger.debug({ error }, 'the log could not be cleared up; the next time it is')
    }
  }

  #streams(names: readonly string[] | undefined): Promise<readonly StreamRow[]> {
    return rowsOf<StreamRow>(
      this.#database.handle,
      `select s.id, s.given::text as given, s.segment,
         (sum(n.total) - s.segment_bytes)::double precision as bytes,
         (extract(epoch from clock_timestamp()) * 1000 - s.segment_time)::double precision as age,
         exists (select 1 from ${this.#schema}.log_segment g where g.stream = s.id and g.segment > s.segment) as ahead
       from ${this.#schema}.log_stream s
       join ${this.#schema}.log_partition p on p.stream = s.id
       cross join lateral ${this.#schema}.log_newest(p) n
       where $1::text is null or s.name in (select json_array_elements_text($1::text::json))
       group by s.id order by s.id`,
      [names === undefined ? null : JSON.stringify(names)],
    )
  }

  async #forget({ id, given }: StreamRow): Promise<void> {
    const { retention, deduplicationWindowMs } = resolveStreamOptions(readGiven(given))
    const { maxAgeMs, maxBytes } = retention
    const limits = [Number.isFinite(maxAgeMs) ? maxAgeMs : null, Number.isFinite(maxBytes) ? maxBytes : null]
    // Partitions are locked, so each stream has a transaction of its own; another process at work is not waited for.
    await this.#database.transaction(async handle => {
      const [mine] = await rowsOf<{ mine: boolean }>(
        handle,
        `select pg_try_advisory_xact_lock(hashtextextended($1::text, $2::integer)) as mine`,
        [`buzzer log ${this.#schema}`, id],
      )
      if (mine?.mine !== true) return
      if (limits.some(limit => limit !== null)) {
        await handle.query(
          `select ${this.#schema}.log_forget($1::integer, null, $2::bigint, $3::bigint, null) as moved`,
          [id, ...limits],
        )
      }
      await handle.query(
        `delete from ${this.#schema}.log_seen where stream = $1::integer
         and seen_at <= extract(epoch from clock_timestamp()) * 1000 - $2::double precision`,
        [id, deduplicationWindowMs],
      )
    })
    await this.#drop(id)
  }

  /** Tables in which nothing is kept, and keys whose records were in them. */
  async #drop(id: number): Promise<void> {
    const emptied = await rowsOf<{ segment: number }>(
      this.#database.handle,
      `select g.segment from ${this.#schema}.log_segment g join ${this.#schema}.log_stream s on s.id = g.stream
       where g.stream = $1::integer and g.segment < s.segment and not exists (
         select 1 from ${this.#schema}.log_partition p
         join ${this.#schema}.log_span n on n.stream = p.stream and n.partition = p.partition and n.segment = g.segment + 1
         where p.stream = g.stream and p.first_position < n.position)
       order by g.segment`,
      [id],
    )
    if (emptied.length === 0) return
    for (const { segment } of emptied) {
      await this.#database.transaction(handle =>
        handle.query(`select ${this.#schema}.log_drop_segment($1::integer, $2::integer) as gone`, [id, segment]),
      )
    }
    await this.#database.handle.query(
      `delete from ${this.#schema}.log_key k using ${this.#schema}.log_partition p
       where p.stream = $1::integer and k.stream = p.stream and k.partition = p.partition and k.position < p.first_position`,
      [id],
    )
  }

  async #turnOver({ id, given, segment, bytes, age, ahead }: StreamRow): Promise<void> {
    const { maxAgeMs } = resolveStreamOptions(readGiven(given)).retention
    // A segment goes when its newest record does, so it must not live much longer than its records should.
    const oldest = Math.max(shortestSegmentMs, Math.min(this.#settings.segmentMs, maxAgeMs / 4))
    const isDue = bytes > this.#settings.segmentBytes || (bytes > 0 && age > oldest)
    const isNear = bytes > this.#settings.segmentBytes / 2 || (bytes > 0 && age > oldest / 2)
    // The next table is made ahead, so that turning over is no more than a change of rows.
    if (isNear && !ahead) {
      await this.#database.transaction(handle =>
        handle.query(`select ${this.#schema}.log_open_segment($1::integer, $2::integer)`, [id, segment + 1]),
      )
    }
    if (!isDue) return
    await this.#database.transaction(handle =>
      handle.query(`select ${this.#schema}.log_rotate($1::integer, $2::integer)`, [id, segment]),
    )
  }
}
