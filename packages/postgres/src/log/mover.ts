import type { Clock, Logger } from 'buzzer'
import type { SharedDatabase } from '../connection/shared-database.ts'
import { type AppendStep, StaleStream, type StepMark } from './append-step.ts'
import type { Grown } from './appender.ts'
import { dropOrphans, findStaged, type StreamPartition } from './staged.ts'

/** While this process stages or somebody here waits for records. Source: spec streams 10. */
const busyMs = 250
/** Otherwise: for what a process staged that is gone. */
const idleMs = 2_000
/** A transaction of a caller that has staged something may still commit for so long. */
const alertMs = 60_000

/**
 * Gives positions to what transactions of callers have appended, soon after they committed. Any process with a log does it;
 * the lock on a partition's row puts them in order.
 */
export class StagedMover {
  readonly #database: SharedDatabase
  readonly #schema: string
  readonly #step: AppendStep
  readonly #mark: StepMark
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #onGrown: (grown: Grown) => void
  readonly #isWatched: () => boolean
  #alertUntil = Number.NEGATIVE_INFINITY
  #timer: unknown
  #moving: Promise<void> | undefined
  #isClosed = false

  /** `schema`: quoted. `isWatched`: whether somebody in this process waits for records. */
  constructor(options: {
    database: SharedDatabase
    schema: string
    step: AppendStep
    writer: string
    clock: Clock
    logger: Logger
    onGrown: (grown: Grown) => void
    isWatched: () => boolean
  }) {
    this.#database = options.database
    this.#schema = options.schema
    this.#step = options.step
    this.#mark = { writer: options.writer, step: 0 }
    this.#clock = options.clock
    this.#logger = options.logger
    this.#onGrown = options.onGrown
    this.#isWatched = options.isWatched
  }

  /** Idempotent. */
  start(): void {
    if (this.#timer === undefined) this.#arm(idleMs)
  }

  /** This process has staged something. */
  alert(): void {
    this.#alertUntil = this.#clock.monotonic() + alertMs
    if (this.#moving === undefined) this.#arm(busyMs)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#clock.clearTimeout(this.#timer)
    await this.#moving
  }

  #arm(ms: number): void {
    this.#clock.clearTimeout(this.#timer)
    if (this.#isClosed) return
    this.#timer = this.#clock.setTimeout(() => {
      this.#moving = this.#move().finally(() => {
        this.#moving = undefined
        const isBusy = this.#isWatched() || this.#clock.monotonic() < this.#alertUntil
        this.#arm(isBusy ? busyMs : idleMs)
      })
    }, ms)
  }

  async #move(): Promise<void> {
    try {
      for (let moved = 1; moved > 0 && !this.#isClosed; ) {
        const found = await findStaged(this.#database.handle, this.#schema)
        if (found.some(({ stream }) => stream === undefined)) await dropOrphans(this.#database.handle, this.#schema)
        const partitions = found.filter((one): one is StreamPartition => one.stream !== undefined)
        moved = partitions.length === 0 ? 0 : await this.#moveTo(partitions)
      }
    } catch (error) {
      this.#logger.debug({ error }, 'staged records could not be moved; the next look tries again')
    }
  }

  async #moveTo(partitions: readonly StreamPartition[]): Promise<number> {
    for (;;) {
      try {
        const { grown, unstaged } = await this.#database.transaction(handle =>
          this.#step.run(handle, [], this.#mark, partitions),
        )
        if (grown.length > 0) this.#onGrown(grown)
        return unstaged
      } catch (error) {
        if (!(error instanceof StaleStream)) throw error
      }
    }
  }
}
