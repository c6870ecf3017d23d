import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, fsyncSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { BuzzerError } from '../../message/index.ts'
import { checkOpenFile } from './check-file.ts'
import { decodeMarks, encodeMarks, mark } from './chunk-format.ts'
import { applicationId, formatVersion } from './schema.ts'
import { makeFolder, syncFolder } from './folder.ts'
import { prepare } from './statement.ts'

/**
 * Writes a consistent, checked copy of the open database to `toPath`, which must not exist. What was locked is ready in
 * it, uncounted; sessions are left out. Appears under its name only when it is whole and synced. Outside of transactions.
 * @throws BUZZER_INVALID_OPTION when `toPath` exists or cannot be written, BUZZER_FILE_DAMAGED when the copy has problems
 */
export function backupFile(db: DatabaseSync, toPath: string): void {
  if (typeof toPath !== 'string' || toPath === '' || existsSync(toPath)) {
    throw new BuzzerError(
      'BUZZER_INVALID_OPTION',
      `a backup goes to a new file; ${JSON.stringify(toPath)} ${toPath === '' ? 'is not one' : 'exists already'}`,
      { details: { toPath } },
    )
  }
  const partial = `${toPath}.${randomBytes(4).toString('hex')}.partial`
  let copy: DatabaseSync | undefined
  try {
    makeFolder(dirname(toPath))
    dropLeftovers(toPath)
    db.prepare('vacuum into ?').run(partial)
    copy = new DatabaseSync(partial)
    unlock(copy)
    const { ok, problems } = checkOpenFile(copy)
    if (!ok) {
      throw new BuzzerError(
        'BUZZER_FILE_DAMAGED',
        `the backup has problems: ${problems[0]?.where}: ${problems[0]?.detail}`,
        {
          details: { toPath, problems: problems.slice(0, 10) },
        },
      )
    }
    copy.close()
    copy = undefined
    const file = openSync(partial, 'r+')
    fsyncSync(file)
    closeSync(file)
    renameSync(partial, toPath)
    syncFolder(dirname(toPath))
  } catch (error) {
    copy?.close()
    rmSync(partial, { force: true })
    if (error instanceof BuzzerError) throw error
    throw new BuzzerError('BUZZER_INVALID_OPTION', `the backup could not be written: ${(error as Error).message}`, {
      cause: error,
      details: { toPath },
    })
  }
}

/** Halves of backups whose process died over them. One that still grows loses its name, and fails at its end. */
function dropLeftovers(toPath: string): void {
  const folder = dirname(toPath)
  const begin = `${basename(toPath)}.`
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(begin) || !/^[0-9a-f]{8}\.partial(-journal)?$/.test(name.slice(begin.length))) continue
    rmSync(join(folder, name), { force: true })
  }
}

function unlock(copy: DatabaseSync): void {
  copy.exec('begin')
  const rows = prepare<readonly [number, number, number, number, Uint8Array]>(
    copy,
    'select queue, lane, id, count, marks from state where marks is not null',
  ).all()
  const update = prepare(copy, 'update state set marks = ? where queue = ? and lane = ? and id = ?')
  for (const [queue, lane, id, count, stored] of rows) {
    const marks = decodeMarks(stored, count)
    let open = false
    for (let index = 0; index < count; index++) {
      const word = marks[index] as number
      if ((word & mark.open) === 0) continue
      open = true
      marks[index] = (word & ~mark.open & ~mark.attempts) | Math.max(0, (word & mark.attempts) - 1)
    }
    if (open) update.run(encodeMarks(marks), queue, lane, id)
  }
  copy.exec(
    `delete from session; pragma application_id = ${applicationId}; pragma user_version = ${formatVersion}; commit`,
  )
}
