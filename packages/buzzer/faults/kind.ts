import type { FaultReport } from './report.ts'

/** One way to break the broker. */
export interface FaultKind {
  readonly name: string
  /** What is done, in one line, and where it is asked for. */
  readonly what: string
  /** Why it cannot be done on this machine, or nothing. */
  readonly missing: () => string | undefined
  readonly run: (context: FaultContext) => Promise<void>
}

export interface FaultContext {
  /** An empty folder of the kind's own. */
  readonly folder: string
  /** Depends on the seed and on the kind alone: a kind that is repeated alone does the same. */
  readonly random: () => number
  readonly report: FaultReport
  readonly size: 'short' | 'long'
  /** How many faults, where that can be chosen. */
  readonly count: number | undefined
}

export const always = (): undefined => undefined
