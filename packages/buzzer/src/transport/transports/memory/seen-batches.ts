import type { RecordPlace } from '../../log/append-plan.ts'

/** Deduplication keys of a stream and where their batches went, oldest first. What is too old goes with the next look. */
export class SeenBatches {
  readonly #places = new Map<string, { readonly at: number; readonly place: RecordPlace }>()

  find(key: string, windowMs: number, now: number): RecordPlace | undefined {
    this.#dropOld(windowMs, now)
    const seen = this.#places.get(key)
    return seen !== undefined && seen.at > now - windowMs ? seen.place : undefined
  }

  note(key: string, place: RecordPlace, now: number): void {
    this.#places.delete(key)
    this.#places.set(key, { at: now, place })
  }

  #dropOld(windowMs: number, now: number): void {
    for (const [key, { at }] of this.#places) {
      if (at > now - windowMs) return
      this.#places.delete(key)
    }
  }
}
