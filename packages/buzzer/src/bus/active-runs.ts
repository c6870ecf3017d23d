import type { Startable } from './pipeline/queue-view.ts'

/** Who holds a slot of a queue. One comes and goes for each message, so it is found by its place, not by a hash. */
export class ActiveRuns {
  readonly #runs: Startable[] = []

  get size(): number {
    return this.#runs.length
  }

  add(run: Startable): void {
    run.place = this.#runs.push(run) - 1
  }

  /** False when it holds none. */
  delete(run: Startable): boolean {
    const { place } = run
    if (place === undefined || this.#runs[place] !== run) return false
    const last = this.#runs.pop() as Startable
    if (last !== run) {
      this.#runs[place] = last
      last.place = place
    }
    return true
  }

  /** As of now, in no order. */
  all(): readonly Startable[] {
    return [...this.#runs]
  }
}
