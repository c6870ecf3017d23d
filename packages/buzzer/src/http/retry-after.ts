/** Whole seconds until a client should ask again: 2 when nothing is known. Source: spec http 5.2. */
const unknownS = 2
const maxS = 30
const keptPerCommand = 100
const maxCommands = 1_000

/** How long the last operations of each command took, as far as this process has seen their end. */
export class Durations {
  readonly #byCommand = new Map<string, { readonly lastIds: Set<string>; readonly ms: number[] }>()

  /** Told again of the same operation, counts it once. */
  ended(id: string, command: string, durationMs: number): void {
    let known = this.#byCommand.get(command)
    if (known === undefined) {
      if (this.#byCommand.size >= maxCommands) return
      known = { lastIds: new Set(), ms: [] }
      this.#byCommand.set(command, known)
    }
    if (known.lastIds.has(id)) return
    known.lastIds.add(id)
    known.ms.push(durationMs)
    if (known.ms.length > keptPerCommand) {
      known.ms.shift()
      known.lastIds.delete(known.lastIds.values().next().value as string)
    }
  }

  /** The median, `undefined` when none has ended yet. */
  median(command: string): number | undefined {
    const ms = this.#byCommand.get(command)?.ms.toSorted((a, b) => a - b)
    return ms === undefined ? undefined : ms[Math.floor((ms.length - 1) / 2)]
  }
}

/** 1–30 seconds, growing with the operation's age; after a failed run, until the next one is due. */
export function pollAfterS(known: {
  readonly medianMs: number | undefined
  readonly ageMs: number
  readonly retryInMs: number | undefined
}): number {
  if (known.retryInMs !== undefined) return seconds(known.retryInMs)
  return known.medianMs === undefined ? unknownS : seconds(Math.max(known.medianMs, known.ageMs / 2))
}

function seconds(ms: number): number {
  return Math.min(maxS, Math.max(1, Math.ceil(ms / 1000)))
}
