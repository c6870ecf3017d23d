/** The twelve rules. Source: spec broker 14. */
export const historyRules = [
  'durability',
  'no invention',
  'at least once',
  'order',
  'exclusion',
  'once in',
  'fencing',
  'atomicity',
  'deduplication',
  'time',
  'count',
  'liveness',
] as const

export type HistoryRule = (typeof historyRules)[number]

/** A broken promise, with the messages and processes that show it. */
export interface Violation {
  readonly rule: HistoryRule
  readonly what: string
}
