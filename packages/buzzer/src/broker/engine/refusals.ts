import type { WireError } from '../protocol/index.ts'

export interface Refusal {
  readonly sequence: number
  readonly error: WireError
}

/**
 * As JSON for the session's row: equal errors once, with the sends they refused. A full queue refuses thousands of sends
 * with one sentence, and every commit writes the row again.
 */
export function packRefusals(refusals: readonly Refusal[]): string {
  const groups = new Map<string, { readonly error: WireError; readonly sequences: number[] }>()
  for (const { sequence, error } of refusals) {
    const group = groups.get(error.message)
    if (group === undefined) groups.set(error.message, { error, sequences: [sequence] })
    else group.sequences.push(sequence)
  }
  return JSON.stringify([...groups.values()])
}

export function unpackRefusals(packed: string): Refusal[] {
  const groups = JSON.parse(packed) as { error: WireError; sequences: number[] }[]
  return groups
    .flatMap(({ error, sequences }) => sequences.map(sequence => ({ sequence, error })))
    .toSorted((left, right) => left.sequence - right.sequence)
}
