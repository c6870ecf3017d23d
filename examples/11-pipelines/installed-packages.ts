import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface InstalledPackage {
  readonly name: string
  readonly version: string
  /** The licence it names, such as `MIT`. */
  readonly licence: string
  /** The text of its licence file; empty when it brings none. */
  readonly text: string
}

/** The folders of all packages below a `node_modules`, found one by one: nobody waits for the whole list. */
export async function* packageFolders(nodeModules: string): AsyncGenerator<string> {
  for (const entry of await readdir(nodeModules, { withFileTypes: true })) {
    if (!entry.isDirectory() || entry.name.startsWith('.')) continue
    const folder = join(nodeModules, entry.name)
    if (entry.name.startsWith('@')) yield* packageFolders(folder)
    else yield folder
  }
}

/** Reads one package. Rejects where there is no readable package.json. */
export async function readPackage(folder: string): Promise<InstalledPackage> {
  const [manifest, files] = await Promise.all([readFile(join(folder, 'package.json'), 'utf8'), readdir(folder)])
  const { name, version, license } = JSON.parse(manifest) as Record<string, unknown>
  if (typeof name !== 'string' || typeof version !== 'string') throw new TypeError(`${folder} has no name or version`)
  const file = files.find(each => /^(licen[cs]e|copying)/i.test(each))
  const text = file === undefined ? '' : await readFile(join(folder, file), 'utf8').catch(() => '')
  return { name, version, licence: typeof license === 'string' ? license : 'unknown', text }
}
