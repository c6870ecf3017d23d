/**
 * What a benchmark is made of. A file `suites/<name>.ts` exports `suite`; `npm run bench -- <name>` finds it by that name.
 *
 * Every contender of a case runs in a process of its own, which the runner starts and drives; their rounds are interleaved
 * (A B A B …, every other round in reverse order), so a slow minute of the machine hits all of them. A contender therefore
 * imports what it measures inside `setup`, and shares nothing with the others but a server that the case names.
 */
export interface Suite {
  readonly title: string
  readonly cases: readonly BenchCase[]
}

export type BenchCase = RateCase | FigureCase

/** Operations in time. */
export interface RateCase extends Case {
  /** `per-second`: by wall clock. `per-cpu-second`: by CPU time of the contender's process, all its threads counted. */
  readonly measure: 'per-second' | 'per-cpu-second'
  /** Ratios that are aimed at; printed with what was reached. Default: none. */
  readonly bars?: readonly RatioBar[]
}

/**
 * `latency`: `Trial.run` resolves to one sample in milliseconds per operation; its figures are `p50 ms`, `p99 ms` and
 * `highest ms` over all rounds. `figures`: it resolves to named figures, of which the median of the rounds is told.
 */
export interface FigureCase extends Case {
  readonly measure: 'latency' | 'figures'
  /** Limits that are aimed at; printed with what was reached. Default: none. */
  readonly bars?: readonly FigureBar[]
}

interface Case {
  readonly name: string
  /** What one of the `n` operations of `Trial.run` is, completing the sentence "one …". */
  readonly operation: string
  readonly contenders: readonly Contender[]
  /** Processes each contender is measured in, one after the other; every one gets all the rounds. Default 1. */
  readonly processes?: number
  /** Operations of a round. Default: as many as fill `--seconds`, found by trial. */
  readonly operations?: number
  /** Servers that contenders of this case use together, so that none idles beside another. Each may throw `Unavailable`. */
  readonly servers?: { readonly [kind in ServerKind]?: (folder: string) => Promise<CaseServer> }
}

export type ServerKind = 'kafka' | 'postgres' | 'rabbitmq'

/** Gone with the case. */
export interface CaseServer extends AsyncDisposable {
  readonly url: string
  readonly version: string
}

/** `ours` reaches at least `atLeast` times the figure of `rival`, both by name. */
export interface RatioBar {
  readonly ours: string
  readonly rival: string
  readonly atLeast: number
}

/** A figure of `ours` is at most `atMost`: by itself, above the same figure of another contender, or times another figure. */
export interface FigureBar {
  readonly ours: string
  readonly figure: string
  readonly atMost: number
  /** Default: `atMost` stands by itself. The contender defaults to `ours`, the figure to `figure`. */
  readonly comparedWith?: { readonly as: 'above' | 'times'; readonly contender?: string; readonly figure?: string }
}

export interface Contender {
  /** Unique within its case. */
  readonly name: string
  /** `floor`: no rival but a limit of the machine, such as a bare sync. */
  readonly side: 'ours' | 'rival' | 'floor'
  /** What an acknowledged operation survives. Left out where nothing is stored. */
  readonly durability?: string
  /** Bytes of one operation's message, where contenders of a case differ in it. Default: not told. */
  readonly bytes?: number
  /** Brings up everything outside the timed part. Throws `Unavailable` where a server or a program is missing. */
  setup(context: BenchContext): Promise<Trial>
}

export interface BenchContext {
  /** A folder of this contender's own, on the file system the whole run is measured on. Removed after the run. */
  readonly folder: string
  /** A folder that all contenders of the run share: for what is slow to make and can be copied. */
  readonly sharedFolder: string
  /** Where a server of the case is. Throws `Unavailable` when there is none. */
  server(kind: ServerKind): Omit<CaseServer, keyof AsyncDisposable>
}

/** Versions, settings and counts that belong beside a figure. */
export type Facts = Readonly<Record<string, string>>

/** Named figures of one round; the unit is part of the name. */
export type Figures = Readonly<Record<string, number>>

export interface Trial {
  /** Asked after the last round. */
  readonly facts?: Facts | (() => Facts | Promise<Facts>)
  /** Does `n` operations, and resolves when the last is done: to samples or figures where the case measures those. */
  run(n: number): Promise<readonly number[] | Figures | void>
  teardown(): Promise<void>
}

/** What a contender needs is not on this machine: its row is left out, with the reason. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable'
}
