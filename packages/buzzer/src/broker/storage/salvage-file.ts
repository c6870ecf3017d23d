import { existsSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { BuzzerError } from '../../message/index.ts'
import type { QueueLimits } from '../../transport/index.ts'
import { AsideStore, asideKinds } from './aside-store.ts'
import { BrokerFile } from './broker-file.ts'
import type { FileProblem } from './check-file.ts'
import { mark, readLayout, recordIntact, recordStart, withoutGone } from './chunk-format.ts'
import { type ChunkRow, ChunkStore } from './chunk-store.ts'
import { attempt, copyTable, reachableKeys } from './damaged-table.ts'
import { addDefinitionCrc, checkDefinitions, sealDefinitions } from './definitions.ts'
import { readKeys } from './message-key.ts'
import { recordCrc } from './record-store.ts'
import { salvageLogs } from './salvage-logs.ts'
import { firstCrcFormat, formatVersion, readAsPresent } from './schema.ts'
import { prepare } from './statement.ts'

export interface SalvageReport {
  /** Messages that were copied whole. */
  readonly messages: number
  /** Records of the store that were copied. */
  readonly records: number
  /** Records of logs that were copied. They keep their positions; where one is missing there is a gap. */
  readonly logRecords: number
  /** What could not be read. */
  readonly problems: readonly FileProblem[]
}

const lanes = 10

type RecordRow = readonly [
  collection: string,
  id: string,
  version: number,
  value: string,
  indexes: string,
  updatedAt: number,
  expiresAt: number | null,
  crc: number | null,
]

/**
 * Copies all that can be read of a damaged file into a new one; the original is opened read-only. Messages keep queue,
 * sequence, attempts and place; what was locked is ready. A damaged message is left out and reported.
 * @throws BUZZER_INVALID_OPTION when `toPath` exists, BUZZER_NOT_A_BROKER_FILE when `fromPath` does not or cannot be opened
 */
export function salvageFile(fromPath: string, toPath: string): SalvageReport {
  if (existsSync(toPath)) {
    throw new BuzzerError('BUZZER_INVALID_OPTION', `salvage goes to a new file; ${toPath} exists already`, {
      details: { toPath },
    })
  }
  let from: DatabaseSync
  try {
    from = new DatabaseSync(fromPath, { readOnly: true })
    from.prepare('select count(*) from sqlite_master').get()
  } catch (cause) {
    throw new BuzzerError(
      'BUZZER_NOT_A_BROKER_FILE',
      `${fromPath} cannot be opened as a file of the broker: ${(cause as Error).message}`,
      { cause, details: { path: fromPath } },
    )
  }
  const problems: FileProblem[] = []
  const version = attempt(() => prepare<readonly [number]>(from, 'pragma user_version').first()?.[0]) ?? formatVersion
  if (attempt(() => readAsPresent(from, version) ?? true) === undefined) {
    problems.push({ kind: 'structure', where: 'table state', detail: 'the keys cannot be read' })
  }
  const to = new BrokerFile({ path: toPath, durability: 'fsync', report: () => {} })
  try {
    to.begin()
    if (version >= firstCrcFormat) noteDamagedDefinitions(from, problems)
    copyQueues(from, to.db, problems)
    copyTable(from, to.db, 'binding', ['topic', 'queue', 'match', 'exclusive'], problems)
    copyTable(from, to.db, 'collection', ['name', 'indexes', 'uniques'], problems)
    to.db.exec(dropSenseless)
    copyTable(from, to.db, 'held', ['sequence', 'queue', 'due', 'wait'], problems)
    const messages = copyChunks(from, to.db, problems) + copyAside(from, to.db, problems)
    const records = copyRecords(from, to.db, version, problems)
    const logRecords = salvageLogs(from, to.db, problems)
    to.db.exec("insert or ignore into meta (name, value) select 'next_queue', coalesce(max(id), 0) + 1 from queue")
    to.db.exec(sealDefinitions)
    to.commit()
    to.tidy()
    to.close()
    return { messages, records, logRecords, problems }
  } catch (error) {
    to.close()
    rmSync(toPath, { force: true })
    throw error
  } finally {
    from.close()
  }
}

/** What is no JSON any more: nobody could open the file with it. A collection is declared again by whoever uses it. */
const dropSenseless = `
  delete from binding where match <> '' and not json_valid(match);
  delete from collection where not (json_valid(indexes) and json_valid(uniques));`

/** They are kept as they are now, for others to judge: a queue with a wrong letter in its name still has its messages. */
function noteDamagedDefinitions(from: DatabaseSync, problems: FileProblem[]): void {
  attempt(() => {
    addDefinitionCrc(from)
    checkDefinitions(from, (kind, where, detail) =>
      problems.push({
        kind,
        where,
        detail: `${detail}; what of it still makes sense is kept: look whether it is right`,
      }),
    )
  })
}

/** Where their table is damaged, the index of their names still names them. */
function copyQueues(from: DatabaseSync, to: DatabaseSync, problems: FileProblem[]): void {
  const before = problems.length
  copyTable(from, to, 'queue', ['id', 'name', 'options'], problems)
  const readable = problems.length === before
  const named = readable
    ? prepare<readonly [number, string]>(to, 'select id, name from queue where not json_valid(options)').all()
    : attempt(() => prepare<readonly [number, string]>(from, 'select id, name from queue order by name').all())
  const anyKeys = 'select 1 from state join chunk_keys on chunk_keys.id = state.id where queue = ? limit 1'
  const write = prepare(
    to,
    `insert into queue (id, name, options) values (?, ?, ?)
     on conflict (id) do update set options = excluded.options where not json_valid(options) on conflict do nothing`,
  )
  const rescue = (id: number, name: string, detail: string): void => {
    const isKeyed = attempt(() => prepare(from, anyKeys).first(id)) !== undefined
    if (write.run(id, name, isKeyed ? '{"orderBy":"key"}' : '{}') === 0) return
    problems.push({ kind: 'structure', where: `queue ${name}`, detail })
  }
  for (const [id, name] of named ?? []) rescue(id, name, 'its options are lost: declare it anew')
  const owners = attempt(() =>
    prepare<readonly [number]>(from, 'select queue from state union select queue from aside where queue > 0').all(),
  )
  const isKnown = prepare(to, 'select 1 from queue where id = ?')
  for (const [id] of owners ?? []) {
    if (isKnown.first(id) === undefined) rescue(id, `lost-${id}`, 'its name is lost: its messages wait under this one')
  }
}

function copyChunks(from: DatabaseSync, to: DatabaseSync, problems: FileProblem[]): number {
  const source = new ChunkStore(from)
  const target = new ChunkStore(to)
  const queues = prepare<readonly [number, string]>(to, 'select id, options from queue')
    .all()
    .map(([id, options]) => {
      const limits = attempt(() => JSON.parse(options) as QueueLimits)
      return { id, isKeyed: limits?.orderBy === 'key' }
    })
  const planned = new Set(
    prepare<readonly [number]>(to, 'select sequence from held')
      .all()
      .map(([sequence]) => sequence),
  )
  let messages = 0
  // The narrow rows know every chunk; only when they are damaged themselves the bodies are searched.
  const known = attempt(() => prepare<readonly [number]>(from, 'select id from state order by id').all())
  for (const id of known?.map(([id]) => id) ?? reachableKeys(from, 'chunk', 'id', problems)) {
    const bodies = attempt(() => source.bodies(id))
    const layout = bodies === undefined ? undefined : readLayout(bodies)
    let owner: (typeof queues)[number] | undefined
    let row: ChunkRow | undefined
    for (const queue of queues) {
      for (let lane = 0; lane < lanes && row === undefined; lane++) {
        row = attempt(() => source.windowOfMarks(queue.id, lane, id - 1, 1).find(found => found.id === id))
      }
      if (row === undefined) continue
      owner = queue
      break
    }
    if (
      bodies === undefined ||
      layout === undefined ||
      row === undefined ||
      owner === undefined ||
      layout.count !== row.count
    ) {
      const detail = row === undefined ? 'its state cannot be read' : `its ${row.count} messages cannot be read`
      problems.push({ kind: 'structure', where: `chunk ${id}`, detail })
      continue
    }
    const { marks } = row
    let bytes = 0
    let live = 0
    for (let index = 0; index < row.count; index++) {
      let word = marks[index] as number
      if (word & mark.gone) continue
      if (!recordIntact(bodies, layout, index)) {
        problems.push({ kind: 'checksum', where: `message ${id + index}`, detail: 'it is damaged and was left out' })
        marks[index] = mark.gone
        continue
      }
      if (word & mark.open) word = (word & ~mark.open & ~mark.attempts) | Math.max(0, (word & mark.attempts) - 1)
      // When its retry is due was not to be read: it is due now.
      if (word & mark.held && !planned.delete(id + index)) word &= ~mark.held
      marks[index] = word
      bytes += recordStart(bodies, layout, index + 1) - recordStart(bodies, layout, index)
      live++
    }
    if (live === 0) continue
    messages += live
    const left = withoutGone(bodies, layout, marks)
    const keys = owner.isKeyed ? readKeys(left, readLayout(left) ?? layout) : undefined
    target.insert(owner.id, { ...row, bytes, keys }, left, marks)
  }
  for (const sequence of planned) target.unhold(sequence)
  return messages
}

function copyAside(from: DatabaseSync, to: DatabaseSync, problems: FileProblem[]): number {
  const source = new AsideStore(from)
  const target = new AsideStore(to)
  let messages = 0
  for (const sequence of reachableKeys(from, 'aside', 'sequence', problems)) {
    const dead = attempt(() => source.get(asideKinds.dead, sequence))
    const row = dead ?? attempt(() => source.get(asideKinds.scheduled, sequence))
    const body = attempt(() => source.body(sequence))
    if (row === undefined || body?.intact !== true) {
      problems.push({ kind: 'checksum', where: `message ${sequence}`, detail: 'it is damaged and was left out' })
      continue
    }
    target.insert(dead === undefined ? asideKinds.scheduled : asideKinds.dead, row, body.record)
    messages++
  }
  return messages
}

function copyRecords(from: DatabaseSync, to: DatabaseSync, version: number, problems: FileProblem[]): number {
  const columns = 'collection, id, version, value, indexes, updated_at, expires_at'
  const crc = version < firstCrcFormat ? 'null' : 'crc'
  const read = prepare<RecordRow>(from, `select ${columns}, ${crc} from record where rowid = ?`)
  const write = prepare(to, `insert or replace into record (${columns}, crc) values (?, ?, ?, ?, ?, ?, ?, ?)`)
  const index = prepare(to, 'insert or ignore into record_index (collection, name, value, id) values (?, ?, ?, ?)')
  const declared = new Map<string, Set<string>>()
  for (const [name, indexes] of prepare<readonly [string, string]>(to, 'select name, indexes from collection').all()) {
    declared.set(name, new Set(JSON.parse(indexes) as string[]))
  }
  let records = 0
  for (const rowid of reachableKeys(from, 'record', 'rowid', problems)) {
    const row = attempt(() => read.first(rowid))
    if (row === undefined) {
      problems.push({ kind: 'structure', where: `record ${rowid}`, detail: 'it cannot be read' })
      continue
    }
    const [collection, id, number, value, stored, , , checksum] = row
    const indexes = attempt(() => JSON.parse(stored) as Record<string, string | number>)
    if (indexes === undefined || (checksum !== null && checksum !== recordCrc(collection, id, number, value))) {
      const where = `record ${JSON.stringify(id)} of ${collection}`
      problems.push({ kind: 'checksum', where, detail: 'it is damaged and was left out' })
      continue
    }
    write.run(...row)
    records++
    for (const [name, key] of Object.entries(indexes)) {
      if (declared.get(collection)?.has(name) === true) index.run(collection, name, key, id)
    }
  }
  return records
}
