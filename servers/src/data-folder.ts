import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** The folder of a private server's data: the caller's own, which stays, or a temporary one. */
export interface DataFolder extends Disposable {
  readonly path: string
}

export function dataFolder(server: string, given: string | undefined): DataFolder {
  if (given !== undefined) {
    mkdirSync(given, { recursive: true })
    return { path: given, [Symbol.dispose]: () => undefined }
  }
  const path = mkdtempSync(join(tmpdir(), `buzzer-${server}-`))
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) }
}
