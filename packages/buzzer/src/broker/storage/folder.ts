import { closeSync, fsyncSync, mkdirSync, openSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** False too where nothing can be seen. */
export function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch {
    return false
  }
}

/** As `mkdir -p`. Node's own recursive form never ends where a folder's parent cannot have folders, as in `/proc`. */
export function makeFolder(folder: string): void {
  if (isFolder(folder)) return
  const parent = dirname(folder)
  if (parent !== folder) makeFolder(parent)
  try {
    mkdirSync(folder)
  } catch (error) {
    // Another process was quicker.
    if (!isFolder(folder)) throw error
  }
}

/** A new file is safe only when its folder's entry is. */
export function syncFolder(folder: string): void {
  let file: number
  try {
    file = openSync(folder === '' ? '.' : folder, 'r')
  } catch {
    return
  }
  try {
    fsyncSync(file)
  } catch {
    // Some file systems refuse to sync a folder; then there is nothing to gain.
  } finally {
    closeSync(file)
  }
}
