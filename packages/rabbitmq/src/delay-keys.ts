/** The shortest step of the delay chain. A delay is rounded up to whole steps, so nothing is ever early. */
export const delayStepMs = 10

/** Levels of the chain; level n holds a message for 2ⁿ steps. */
export const delayLevels = 34

/** The longest delay of one passage through the chain: 5.4 years. */
export const longestDelayMs: number = (2 ** delayLevels - 1) * delayStepMs

/** How long the queue of one level holds what enters it. */
export function levelMs(level: number): number {
  return 2 ** level * delayStepMs
}

/** Where a delayed message enters the chain, and which levels hold it. */
export interface DelayRoute {
  /** The highest level that holds it. Everything above is skipped. */
  readonly level: number
  /** One word for each level from 0 to `level`: `1` holds, `0` passes on. */
  readonly words: string
}

/** The way of a delay through the chain; `undefined` for none. The lowest level comes first, so keys of short delays are short. */
export function delayRoute(delayMs: number): DelayRoute | undefined {
  if (!(delayMs > 0)) return undefined
  let steps = Math.ceil(Math.min(delayMs, longestDelayMs) / delayStepMs)
  let words = ''
  let level = -1
  while (steps >= 1) {
    words += level < 0 ? String(steps % 2) : `.${steps % 2}`
    steps = Math.floor(steps / 2)
    level++
  }
  return { level, words }
}

/** The pattern that matches keys whose level `level` holds (`1`) or passes on (`0`). */
export function levelPattern(level: number, bit: 0 | 1): string {
  return `${'*.'.repeat(level)}${bit}.#`
}

/** The pattern of everything meant for one target. The last word is the bucket. */
export function duePattern(target: string): string {
  return `#.${target}.*`
}
