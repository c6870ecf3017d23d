import { closeSync, fsyncSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { HistoryRecord } from './history-record.ts'

export interface JournalOptions {
  /** Sync each record to the disk: for runs that cut the power under the journal too. Default: false. */
  readonly sync?: boolean
}

/**
 * One process's records in `<folder>/<process>.jsonl`, a line each. A record is written by a system call of its own before
 * `write` returns: the death of the process loses none that was written.
 */
export class Journal {
  readonly #file: number
  readonly #sync: boolean

  constructor(folder: string, process: string, options: JournalOptions = {}) {
    this.#file = openSync(join(folder, `${process}.jsonl`), 'a')
    this.#sync = options.sync ?? false
  }

  write(record: HistoryRecord): void {
    writeSync(this.#file, `${JSON.stringify(record)}\n`)
    if (this.#sync) fsyncSync(this.#file)
  }

  close(): void {
    closeSync(this.#file)
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** The records of all journals in a folder. A last line that a kill cut short is none. */
export function readJournals(folder: string): readonly HistoryRecord[] {
  return readdirSync(folder)
    .filter(name => name.endsWith('.jsonl'))
    .toSorted()
    .flatMap(name => {
      const lines = readFileSync(join(folder, name), 'utf8').split('\n')
      return lines.slice(0, -1).map(line => JSON.parse(line) as HistoryRecord)
    })
}

/** Where records take their times from. A `Clock` fits, for a run in one process. */
export interface HistoryClock {
  /** Wall clock, epoch milliseconds. */
  now(): number
  /** Milliseconds that never jump, with one origin for all processes of the run. */
  monotonic(): number
}

/** The machine's clocks: equal in all its processes, unlike `performance.now()`. */
export const machineClock: HistoryClock = {
  now: () => Date.now(),
  monotonic: () => Number(process.hrtime.bigint() / 1_000n) / 1_000,
}
