import { DatabaseSync } from 'node:sqlite'
import { BuzzerError } from '../../message/index.ts'

/** Older ones can corrupt a write-ahead file when two connections reset it at once: https://sqlite.org/wal.html */
const oldest = [3, 51, 3] as const

/** The version that this Node carries. */
export function sqliteVersion(): string {
  const probe = new DatabaseSync(':memory:')
  try {
    return String(probe.prepare('select sqlite_version() as v').get()?.['v'])
  } finally {
    probe.close()
  }
}

/** @throws BUZZER_UNSUPPORTED naming the version found and the one needed */
export function refuseOldSqlite(version: string): void {
  const parts = version.split('.').map(Number)
  for (const [index, least] of oldest.entries()) {
    const part = parts[index] ?? 0
    if (part > least) return
    if (part < least) {
      throw new BuzzerError(
        'BUZZER_UNSUPPORTED',
        `this Node carries SQLite ${version}; the broker needs ${oldest.join('.')} or newer, older ones can corrupt a write-ahead file. Update Node`,
        { details: { version, needed: oldest.join('.') } },
      )
    }
  }
}
