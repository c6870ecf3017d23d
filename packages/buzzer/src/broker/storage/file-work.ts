import { DatabaseSync } from 'node:sqlite'
import { backupFile } from './backup-file.ts'
import { checkFile, type FileReport } from './check-file.ts'

/** Work that reads the whole file, and takes as long as the file is large. */
export type FileWork =
  | { readonly as: 'backup'; readonly path: string; readonly toPath: string }
  | { readonly as: 'check'; readonly path: string }

/**
 * Does it by a connection of its own, so that it may run beside the engine, in another thread: readers of a write-ahead
 * file see one state from their first look on, and hold up no writer. Throws as `backupFile` and `checkFile`.
 */
export function doFileWork(work: FileWork): FileReport | null {
  switch (work.as) {
    case 'check':
      return checkFile(work.path)
    case 'backup': {
      const database = new DatabaseSync(work.path, { readOnly: true })
      try {
        backupFile(database, work.toPath)
        return null
      } finally {
        database.close()
      }
    }
    default:
      return work satisfies never
  }
}
