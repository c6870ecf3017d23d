import type { Clock } from '../channels/index.ts'
import { Ring } from './ring.ts'
import type { Task } from './turn.ts'

/** At most `limit` starts in any window of `perMs`: the times of the last `limit` starts are kept. */
export class StartRate {
  readonly #limit: number
  readonly #perMs: number
  readonly #clock: Clock
  readonly #task: Task
  readonly #starts: Ring<number> = new Ring()
  #timer: unknown = undefined

  constructor(limit: number, perMs: number, clock: Clock, task: Task) {
    this.#limit = limit
    this.#perMs = perMs
    this.#clock = clock
    this.#task = task
  }

  /** False: the task is run again when the next start is due. */
  allows(): boolean {
    if (this.#starts.size < this.#limit) return true
    const leftMs = this.#starts.at(0) + this.#perMs - this.#clock.now()
    if (leftMs <= 0) return true
    this.#timer ??= this.#clock.setTimeout(() => {
      this.#timer = undefined
      this.#task.schedule()
    }, leftMs)
    return false
  }

  count(): void {
    if (this.#starts.size === this.#limit) this.#starts.shift()
    this.#starts.push(this.#clock.now())
  }

  stop(): void {
    if (this.#timer === undefined) return
    this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
