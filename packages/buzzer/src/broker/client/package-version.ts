import { readFileSync } from 'node:fs'

/** Told to the owner in the hello, for messages to people. */
export const packageVersion: string = (
  JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string }
).version
