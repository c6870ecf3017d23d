import type { Clock, Logger } from 'buzzer'
import type { RunTransaction } from '../sql-handle.ts'
import type { Records } from './records.ts'

/** Records of one transaction: their rows stay locked for some milliseconds. */
const perSweep = 500

/**
 * Removes records whose time is up. They are absent for every reader from that instant on, swept or not; every process
 * sweeps, and rows that another one is removing are skipped.
 */
export class RecordSweeper {
  readonly #transaction: RunTransaction
  readonly #records: Records
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #everyMs: number
  #timer: unknown
  #sweeping: Promise<void> | undefined
  #isClosed = false

  constructor(options: {
    transaction: RunTransaction
    records: Records
    clock: Clock
    logger: Logger
    everyMs: number
  }) {
    this.#transaction = options.transaction
    this.#records = options.records
    this.#clock = options.clock
    this.#logger = options.logger
    this.#everyMs = options.everyMs
  }

  start(): void {
    if (this.#timer !== undefined || this.#isClosed) return
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = undefined
      this.#sweeping = this.#sweep().finally(() => this.start())
    }, this.#everyMs)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#clock.clearTimeout(this.#timer)
    await this.#sweeping
  }

  async #sweep(): Promise<void> {
    try {
      let swept = perSweep
      while (swept === perSweep && !this.#isClosed) {
        swept = await this.#transaction(handle => this.#records.sweep(handle, perSweep))
      }
    } catch (error) {
      this.#logger.debug({ error }, 'expired records could not be swept; the next sweep tries again')
    }
  }
}
