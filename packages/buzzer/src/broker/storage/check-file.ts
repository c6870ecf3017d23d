import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { BuzzerError } from '../../message/index.ts'
import { AsideStore } from './aside-store.ts'
import { checkLogs } from './check-logs.ts'
import { mark, readLayout, recordIntact, recordStart } from './chunk-format.ts'
import { ChunkStore } from './chunk-store.ts'
import { attempt } from './damaged-table.ts'
import { firstLogFormat } from './log-schema.ts'
import { checkRecords } from './check-records.ts'
import { addDefinitionCrc, checkDefinitions } from './definitions.ts'
import { applicationId, firstCrcFormat, formatVersion, readAsPresent } from './schema.ts'
import type { QueueLimits } from '../../transport/index.ts'
import { prepare } from './statement.ts'
import { judgeWal } from './wal-judge.ts'

export interface FileProblem {
  readonly kind: 'structure' | 'checksum' | 'state' | 'sequence' | 'write-ahead'
  /** Queue, chunk or message. */
  readonly where: string
  readonly detail: string
}

/** Writes a problem down. */
export type Note = (kind: FileProblem['kind'], where: string, detail: string) => void

export interface FileReport {
  readonly ok: boolean
  readonly problems: readonly FileProblem[]
}

/** More would only repeat the same story. */
const maxProblems = 1_000

/**
 * Looks through a broker file without changing it; may run while the broker serves: structure, checksums, states against
 * chunks, sequences, the write-ahead file.
 * @throws BUZZER_NOT_A_BROKER_FILE, BUZZER_FILE_TOO_NEW, BUZZER_FILE_DAMAGED when it cannot even be looked at
 */
export function checkFile(path: string): FileReport {
  if (!existsSync(path)) {
    throw new BuzzerError('BUZZER_NOT_A_BROKER_FILE', `${path} does not exist`, { details: { path } })
  }
  let db: DatabaseSync | undefined
  try {
    const wal = judgeWal(`${path}-wal`)
    db = new DatabaseSync(path, { readOnly: true, timeout: 5_000 })
    const id = Number(db.prepare('pragma application_id').get()?.['application_id'])
    const version = Number(db.prepare('pragma user_version').get()?.['user_version'])
    if (id !== applicationId) {
      throw new BuzzerError('BUZZER_NOT_A_BROKER_FILE', `${path} is not a file of the broker`, { details: { path } })
    }
    if (version > formatVersion) {
      throw new BuzzerError('BUZZER_FILE_TOO_NEW', `${path} has format ${version}, known is ${formatVersion}`, {
        details: { path, format: version, known: formatVersion },
      })
    }
    // One state of the file from here on, whatever its owner does meanwhile.
    db.exec('begin')
    const { problems } = checkOpenFile(db)
    const all: FileProblem[] = [...problems]
    if (wal.lostCommits > 1) {
      all.push({
        kind: 'write-ahead',
        where: `${path}-wal`,
        detail: `${wal.lostCommits} commits lie behind a broken frame (number ${wal.frames + 1})`,
      })
    }
    return { ok: all.length === 0, problems: all }
  } catch (error) {
    if (error instanceof BuzzerError) throw error
    throw new BuzzerError('BUZZER_FILE_DAMAGED', `${path} cannot be read: ${(error as Error).message}`, {
      cause: error,
      details: { path },
    })
  } finally {
    db?.close()
  }
}

/** The same through a connection that is open already. */
export function checkOpenFile(db: DatabaseSync): FileReport {
  const problems: FileProblem[] = []
  const note: Note = (kind, where, detail) => {
    if (problems.length < maxProblems) problems.push({ kind, where, detail })
  }
  /** What cannot be read to its end is a problem, and keeps nobody from looking at the rest. */
  const look = (where: string, at: () => void): void => {
    try {
      at()
    } catch (error) {
      note('structure', where, `it cannot be read to its end: ${(error as Error).message}`)
    }
  }
  const version = prepare<readonly [number]>(db, 'pragma user_version').first()?.[0] ?? 0
  look('file', () => {
    for (const [words] of prepare<readonly [string]>(db, 'pragma integrity_check(100)').all()) {
      if (words !== 'ok') note('structure', 'file', words)
    }
  })
  look('queues', () => {
    readAsPresent(db, version)
    checkChunks(db, note)
  })
  look('scheduled messages and dead letters', () => checkAside(db, note))
  if (version >= firstCrcFormat) {
    look('definitions', () => {
      addDefinitionCrc(db)
      checkDefinitions(db, note)
    })
    look('records', () => checkRecords(db, note))
  }
  if (version >= firstLogFormat) look('logs', () => checkLogs(db, note))
  return { ok: problems.length === 0, problems }
}

function checkChunks(db: DatabaseSync, note: Note): void {
  const planned = new Set(
    prepare<readonly [number]>(db, 'select sequence from held')
      .all()
      .map(([sequence]) => sequence),
  )
  const chunks = new ChunkStore(db)
  const queues = new Map(
    prepare<readonly [number, string, string]>(db, 'select id, name, options from queue')
      .all()
      .map(([id, name, options]) => [id, { name, isKeyed: (JSON.parse(options) as QueueLimits).orderBy === 'key' }]),
  )
  let lastEnd = 0
  const ids = prepare<readonly [number, number, number]>(db, 'select id, queue, lane from state order by id').all()
  for (const [id, queueId, lane] of ids) {
    const queue = queues.get(queueId)
    const where = `queue ${queue?.name ?? queueId}, chunk ${id}`
    if (queue === undefined) note('state', where, 'its queue does not exist')
    if (id < lastEnd) note('sequence', where, `overlaps the chunk before, which ends at ${lastEnd - 1}`)
    const row = attempt(() => chunks.byId(queueId, lane, id))
    const bodies = attempt(() => chunks.bodies(id))
    const layout = bodies === undefined ? undefined : readLayout(bodies)
    if (row === undefined) {
      note('structure', where, 'its state cannot be read')
      continue
    }
    lastEnd = id + row.count
    if (queue?.isKeyed === true && row.keys === undefined) note('state', where, 'its keys are missing')
    if (bodies === undefined || layout === undefined || layout.count !== row.count) {
      note('state', where, bodies === undefined ? 'its bodies cannot be read' : 'its bodies do not fit its state')
      continue
    }
    let bytes = 0
    for (let index = 0; index < row.count; index++) {
      const word = row.marks[index] as number
      const isPlanned = planned.delete(id + index)
      if (isPlanned !== ((word & mark.held) !== 0)) {
        const what = isPlanned
          ? 'has a retry planned and does not wait for one'
          : 'waits for a retry that is not planned'
        note('state', where, `message ${id + index} ${what}`)
      }
      if (word & mark.gone) continue
      if (!recordIntact(bodies, layout, index)) note('checksum', where, `message ${id + index} is damaged`)
      bytes += recordStart(bodies, layout, index + 1) - recordStart(bodies, layout, index)
    }
    if (bytes !== row.bytes) note('state', where, `it counts ${row.bytes} bytes and holds ${bytes}`)
  }
  for (const sequence of planned) note('state', `message ${sequence}`, 'has a retry planned and is in no chunk')
  for (const [table, what] of [
    ['chunk', 'bodies'],
    ['chunk_keys', 'keys'],
  ]) {
    const stray = prepare<readonly [number]>(db, `select id from ${table} where id not in (select id from state)`)
    for (const [id] of stray.all()) note('state', `chunk ${id}`, `it has ${what} and no state`)
  }
}

function checkAside(db: DatabaseSync, note: Note): void {
  const aside = new AsideStore(db)
  for (const [sequence] of prepare<readonly [number]>(db, 'select sequence from aside').all()) {
    const body = aside.body(sequence)
    if (body === undefined) note('state', `message ${sequence}`, 'its body is missing')
    else if (!body.intact) note('checksum', `message ${sequence}`, 'it is damaged')
  }
}
