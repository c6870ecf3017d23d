import { cpSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Violation } from '../src/testing/index.ts'

/** Counts faults by kind and keeps every violation with the label of the case that showed it. */
export class FaultReport {
  readonly #injected = new Map<string, number>()
  readonly #violations: string[] = []
  readonly #skipped: string[] = []
  readonly #notes: string[] = []
  readonly #log: (line: string) => void

  constructor(log: (line: string) => void = console.log) {
    this.#log = log
  }

  injected(kind: string, count = 1): void {
    this.#injected.set(kind, (this.#injected.get(kind) ?? 0) + count)
  }

  #violation(label: string, what: string): void {
    this.#violations.push(`${label}: ${what}`)
    this.#log(`VIOLATION ${label}: ${what}`)
  }

  /** At most twenty sentences. */
  tell(label: string, violations: readonly Violation[]): void {
    for (const { rule, what } of violations.slice(0, 20)) this.#violation(label, `${rule}: ${what}`)
    if (violations.length > 20) this.#violation(label, `and ${violations.length - 20} more`)
  }

  /** As `tell`; and what the case left behind is copied to a place that stays. */
  violations(label: string, violations: readonly Violation[], folder: string): void {
    if (violations.length === 0) return
    this.tell(label, violations)
    const kept = mkdtempSync(join(tmpdir(), 'buzzer-violation-'))
    cpSync(folder, kept, { recursive: true })
    this.#log(`${label}: file and journals are kept in ${kept}`)
  }

  /** Told at once: a long kind is at work. */
  progress(line: string): void {
    this.#log(line)
  }

  /** A line of the summary that is neither fault nor violation. */
  note(line: string): void {
    this.#notes.push(line)
  }

  skipped(what: string, why: string): void {
    this.#skipped.push(`SKIPPED ${what}: ${why}`)
    this.#log(`SKIPPED ${what}: ${why}`)
  }

  get found(): readonly string[] {
    return this.#violations
  }

  /** Faults of one kind; of all without. */
  count(kind?: string): number {
    if (kind !== undefined) return this.#injected.get(kind) ?? 0
    return [...this.#injected.values()].reduce((sum, count) => sum + count, 0)
  }

  toString(): string {
    const kinds = [...this.#injected].map(([kind, count]) => `${String(count).padStart(6)}  ${kind}`)
    return [
      'faults injected',
      ...kinds,
      `${String(this.count()).padStart(6)}  in all`,
      ...this.#notes,
      ...this.#skipped,
      `${this.#violations.length} violations`,
    ].join('\n')
  }
}
