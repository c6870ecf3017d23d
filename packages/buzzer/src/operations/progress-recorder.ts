import type { ProgressReport } from '../bus/index.ts'
import type { Clock, Logger } from '../message/index.ts'
import type { OperationTurn } from './operation-life.ts'
import type { OperationRecords, StoredOperation } from './operation-records.ts'
import { readProgress } from './progress.ts'

interface Pace {
  /** The newest report that is not recorded yet. */
  pending?: ProgressReport
  /** Runs as long as the interval since the last record. */
  timer: unknown
}

const unknownIntervalMs = 250

/**
 * Records progress at most once per interval and operation, the newest report winning. What is pending when the status
 * changes is handed to the status change (`takePending`), so the last report is never lost. Source: spec http 2.9.
 */
export class ProgressRecorder {
  readonly #records: OperationRecords
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #onRecorded: (id: string, stored: StoredOperation) => void
  readonly #paces = new Map<string, Pace>()

  constructor(
    records: OperationRecords,
    clock: Clock,
    logger: Logger,
    onRecorded: (id: string, stored: StoredOperation) => void,
  ) {
    this.#records = records
    this.#clock = clock
    this.#logger = logger
    this.#onRecorded = onRecorded
  }

  /** Never rejects. Resolves when the report is recorded, or at once when it waits for its turn. */
  async report(id: string, report: ProgressReport): Promise<void> {
    const pace = this.#paces.get(id)
    if (pace !== undefined) {
      pace.pending = report
      return
    }
    this.#paces.set(id, { timer: undefined })
    await this.#record(id, report)
  }

  /** The pending report as a turn, taken out. For a change of status that carries it along. */
  takePending(id: string): OperationTurn[] {
    const pace = this.#paces.get(id)
    if (pace?.pending === undefined) return []
    const progress = readProgress(pace.pending, this.#clock.now())
    delete pace.pending
    return [{ as: 'progress', progress }]
  }

  close(): void {
    for (const pace of this.#paces.values()) this.#clock.clearTimeout(pace.timer)
    this.#paces.clear()
  }

  async #record(id: string, report: ProgressReport): Promise<void> {
    let intervalMs = unknownIntervalMs
    try {
      const progress = readProgress(report, this.#clock.now())
      const stored = await this.#records.take(id, () => [{ as: 'progress', progress }])
      if (stored !== undefined) {
        intervalMs = stored.record.settings.progressIntervalMs
        this.#onRecorded(id, stored)
      }
    } catch (error) {
      this.#logger.warn({ error, operation: id }, 'progress could not be recorded')
    }
    const pace = this.#paces.get(id)
    if (pace === undefined) return
    pace.timer = this.#clock.setTimeout(() => this.#due(id, pace), intervalMs)
  }

  #due(id: string, pace: Pace): void {
    const { pending } = pace
    if (pending === undefined) {
      this.#paces.delete(id)
      return
    }
    delete pace.pending
    void this.#record(id, pending)
  }
}
