import { readFileSync } from 'node:fs'

/** The version of this package. */
function packageVersion(): string {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(manifest) as { version: string }).version
}

export function versions(): string {
  return `buzzer ${packageVersion()}, Node ${process.versions.node}, SQLite ${process.versions['sqlite'] ?? 'none'}`
}
