import { BuzzerError } from 'buzzer'
import {
  checkAlteration,
  checkPartitions,
  checkStreamTopology,
  type GivenStreamOptions,
  mergeStreamOptions,
  resolveStreamOptions,
  type StreamOptions,
  type StreamTopology,
  streamNotFound,
} from 'buzzer/transport'
import { rowsOf, type RunTransaction, type SqlHandle } from '../sql-handle.ts'

/** A stream as this process has last seen it. */
export interface KnownStream {
  readonly id: number
  readonly name: string
  /** Another one in a locked partition row says that this is out of date. */
  readonly version: number
  readonly given: GivenStreamOptions
  readonly options: StreamOptions
}

interface StreamRow {
  readonly id: number
  readonly name: string
  readonly version: number
  readonly given: string
}

const columns = 's.id, s.name, s.version, s.given::text as given'

/** The streams of a schema: declaring and changing them, and a memory of what they are. */
export class Streams {
  readonly #schema: string
  readonly #known = new Map<string, KnownStream>()

  /** `schema`: quoted. */
  constructor(schema: string) {
    this.#schema = schema
  }

  /** What is known without asking; may be out of date. */
  known(name: string): KnownStream | undefined {
    return this.#known.get(name)
  }

  /** Asks the database for streams that are not known. */
  async learn(handle: SqlHandle, names: Iterable<string>): Promise<void> {
    const missing = [...new Set(names)].filter(name => !this.#known.has(name))
    if (missing.length > 0) await this.refresh(handle, missing)
  }

  async refresh(handle: SqlHandle, names: readonly string[]): Promise<void> {
    const rows = await rowsOf<StreamRow>(
      handle,
      `select ${columns} from ${this.#schema}.log_stream s
       join json_to_recordset($1::text::json) as k (n text collate "C") on s.name = k.n`,
      [JSON.stringify(names.filter(isText).map(n => ({ n })))],
    )
    for (const name of names) this.#known.delete(name)
    for (const row of rows) this.#known.set(row.name, toKnown(row))
  }

  forget(name: string): void {
    this.#known.delete(name)
  }

  /** One step; see `EventLog.declare`. */
  async declare(transaction: RunTransaction, topologies: readonly StreamTopology[]): Promise<void> {
    for (const topology of topologies) checkStreamTopology(topology)
    // In one order in every process, so that two that declare the same streams do not wait for each other in a circle.
    const names = [...new Set(topologies.map(({ name }) => name))].toSorted()
    const declared = await transaction(async handle => {
      const before = new Map<string, StreamRow>()
      for (const name of names) {
        const row = await this.#lock(handle, name)
        if (row !== undefined) before.set(name, row)
      }
      const merged = new Map<string, GivenStreamOptions>()
      for (const { name, ...given } of topologies) {
        const row = before.get(name)
        const known = merged.get(name) ?? (row === undefined ? undefined : readGiven(row.given))
        merged.set(name, known === undefined ? given : mergeStreamOptions(name, known, given))
      }
      const after: StreamRow[] = []
      for (const [name, given] of merged) {
        const row = before.get(name)
        after.push(row === undefined ? await this.#create(handle, name, given) : await this.#change(handle, row, given))
      }
      return after
    })
    for (const row of declared) this.#known.set(row.name, toKnown(row))
  }

  /** `declare` that changes nothing: rejects with BUZZER_TOPOLOGY_CONFLICT, listing all that is missing or different. */
  async verify(handle: SqlHandle, topologies: readonly StreamTopology[]): Promise<void> {
    for (const topology of topologies) checkStreamTopology(topology)
    await this.refresh(
      handle,
      topologies.map(({ name }) => name),
    )
    const missing = topologies.flatMap(({ name, ...given }) => {
      const known = this.#known.get(name)
      if (known === undefined) return [`stream ${name} is missing`]
      try {
        mergeStreamOptions(name, known.given, given)
        return []
      } catch (error) {
        return [(error as Error).message]
      }
    })
    if (missing.length === 0) return
    throw new BuzzerError(
      'BUZZER_TOPOLOGY_CONFLICT',
      `declare: 'verify' changed nothing, and found:\n${missing.join('\n')}`,
      {
        details: { missing },
      },
    )
  }

  async addPartitions(transaction: RunTransaction, name: string, partitions: number): Promise<void> {
    checkPartitions(partitions)
    const changed = await transaction(async handle => {
      const row = await this.#existing(handle, name)
      const given = readGiven(row.given)
      const present = resolveStreamOptions(given).partitions
      if (partitions <= present) {
        throw new BuzzerError(
          'BUZZER_INVALID_OPTION',
          `stream ${name} has ${present} partitions; they can only be added, not become ${partitions}`,
          { details: { option: 'partitions', value: partitions, stream: name, partitions: present } },
        )
      }
      const after = await this.#change(handle, row, { ...given, partitions })
      await handle.query(`select ${this.#schema}.log_add_partitions($1::integer, $2::integer, $3::integer)::text`, [
        row.id,
        present,
        partitions,
      ])
      return after
    })
    this.#known.set(name, toKnown(changed))
  }

  async alter(
    transaction: RunTransaction,
    name: string,
    options: Pick<StreamTopology, 'deduplicationWindowMs' | 'retention'>,
  ): Promise<void> {
    checkAlteration(options)
    const changed = await transaction(async handle => {
      const row = await this.#existing(handle, name)
      return this.#change(handle, row, mergeStreamOptions(name, readGiven(row.given), options, 'update'))
    })
    this.#known.set(name, toKnown(changed))
  }

  async delete(transaction: RunTransaction, name: string): Promise<void> {
    await transaction(async handle => {
      const { id } = await this.#existing(handle, name)
      // Appends under way end first; those that wait then find no partition.
      await handle.query(
        `select count(*)::integer as n from (
           select 1 from ${this.#schema}.log_partition where stream = $1::integer order by partition for update) p`,
        [id],
      )
      const segments = await rowsOf<{ segment: number }>(
        handle,
        `select segment from ${this.#schema}.log_segment where stream = $1::integer order by segment`,
        [id],
      )
      for (const { segment } of segments) await this.#dropNow(handle, name, id, segment)
      for (const table of ['partition', 'span', 'staged', 'key', 'seen', 'producer', 'produced']) {
        await handle.query(`delete from ${this.#schema}.log_${table} where stream = $1::integer`, [id])
      }
      await handle.query(`delete from ${this.#schema}.log_stream where id = $1::integer`, [id])
    })
    this.#known.delete(name)
  }

  async #dropNow(handle: SqlHandle, name: string, id: number, segment: number): Promise<void> {
    const [answer] = await rowsOf<{ gone: boolean }>(
      handle,
      `select ${this.#schema}.log_drop_segment($1::integer, $2::integer) as gone`,
      [id, segment],
    )
    if (answer?.gone === true) return
    throw new BuzzerError('BUZZER_CONFLICT', `stream ${name} is being read in a long transaction; it was not deleted`, {
      details: { stream: name },
    })
  }

  async #lock(handle: SqlHandle, name: string): Promise<StreamRow | undefined> {
    // A name that nobody could declare is no name of a stream; PostgreSQL would refuse to look for some of them.
    if (!isText(name)) return undefined
    const [row] = await rowsOf<StreamRow>(
      handle,
      `select ${columns} from ${this.#schema}.log_stream s where s.name = $1::text for update`,
      [name],
    )
    return row
  }

  async #existing(handle: SqlHandle, name: string): Promise<StreamRow> {
    const row = await this.#lock(handle, name)
    if (row === undefined) throw streamNotFound(name)
    return row
  }

  /** A stream that another process makes at the same time is taken as that one has made it. */
  async #create(handle: SqlHandle, name: string, given: GivenStreamOptions): Promise<StreamRow> {
    const [row] = await rowsOf<StreamRow>(
      handle,
      `insert into ${this.#schema}.log_stream as s (name, given, version, segment, segment_bytes, segment_time)
       values ($1::text, $2::text::json, 1, 1, 0, floor(extract(epoch from clock_timestamp()) * 1000))
       on conflict (name) do nothing returning ${columns}`,
      [name, writeGiven(given)],
    )
    if (row === undefined) {
      const other = await this.#existing(handle, name)
      return this.#change(handle, other, mergeStreamOptions(name, readGiven(other.given), given))
    }
    await handle.query(`select ${this.#schema}.log_open_segment($1::integer, 1)`, [row.id])
    await handle.query(`select ${this.#schema}.log_add_partitions($1::integer, 0, $2::integer)::text`, [
      row.id,
      resolveStreamOptions(given).partitions,
    ])
    return row
  }

  /** Partitions carry the version too, so that whoever locks one knows whether it knows the stream. */
  async #change(handle: SqlHandle, row: StreamRow, given: GivenStreamOptions): Promise<StreamRow> {
    const text = writeGiven(given)
    if (text === writeGiven(readGiven(row.given))) return row
    const version = row.version + 1
    await handle.query(
      `update ${this.#schema}.log_stream set given = $2::text::json, version = $3::integer where id = $1::integer`,
      [row.id, text, version],
    )
    await handle.query(`update ${this.#schema}.log_partition set version = $2::integer where stream = $1::integer`, [
      row.id,
      version,
    ])
    return { ...row, given: text, version }
  }
}

function toKnown({ id, name, version, given }: StreamRow): KnownStream {
  const read = readGiven(given)
  return { id, name, version, given: read, options: resolveStreamOptions(read) }
}

/** JSON has no Infinity. */
const infinite = 'Infinity'

function writeGiven(given: GivenStreamOptions): string {
  return JSON.stringify(given, (_, value: unknown) => (value === Number.POSITIVE_INFINITY ? infinite : value))
}

/** Options of a stream as its row has them. */
export function readGiven(text: string): GivenStreamOptions {
  return JSON.parse(text, (_, value: unknown) =>
    value === infinite ? Number.POSITIVE_INFINITY : value,
  ) as GivenStreamOptions
}

function isText(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed()
}
