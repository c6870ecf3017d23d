/** What the command line touches of the world outside, so that tests can give it another one. */
export interface Console {
  /** Data. */
  write(text: string): void
  /** Everything that is not data. */
  complain(text: string): void
  /** Whether `write` goes to a terminal: then lists are tables. */
  readonly isTerminal: boolean
  /** Whether somebody is there to be asked. */
  readonly isInteractive: boolean
  readonly columns: number
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Where `./data` is looked for. */
  readonly directory: string
  /** Who did it, for the audit. */
  readonly user: string
  /** Wall clock, epoch milliseconds. */
  now(): number
  /** Ends every wait. */
  readonly signal: AbortSignal
}
