import type { Console } from './console.ts'

/** A console that remembers. Not shipped: see the package's `files`. */
export function testConsole(given: Partial<Console> = {}): {
  console: Console
  written(): string
  complained(): string
} {
  let written = ''
  let complained = ''
  return {
    console: {
      write: text => {
        written += text
      },
      complain: text => {
        complained += text
      },
      isTerminal: false,
      isInteractive: false,
      columns: 100,
      environment: {},
      directory: process.cwd(),
      user: 'ann',
      now: () => Date.now(),
      signal: new AbortController().signal,
      ...given,
    },
    written: () => written,
    complained: () => complained,
  }
}
