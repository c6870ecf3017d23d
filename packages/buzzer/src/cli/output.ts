import type { Console } from './console.ts'

/** How data leaves: `json` is one line per object. Default: a table on a terminal, JSON elsewhere. */
export type Format = 'table' | 'json'

export interface Column<T> {
  readonly title: string
  cell(row: T): string
}

export class Output {
  readonly #console: Console
  readonly format: Format

  constructor(console: Console, format: Format | undefined) {
    this.#console = console
    this.format = format ?? (console.isTerminal ? 'table' : 'json')
  }

  /** A list: a table, or newline-delimited JSON. `whenEmpty` is what the table says of nothing. */
  rows<T>(rows: readonly T[], columns: readonly Column<T>[], whenEmpty: string): void {
    if (this.format === 'json') for (const row of rows) this.#console.write(`${JSON.stringify(row)}\n`)
    else if (rows.length === 0) this.#console.write(`${whenEmpty}\n`)
    else this.#console.write(table(rows, columns, this.#console.columns))
  }

  /** One object: JSON, or the text that says the same. */
  object(value: unknown, text: string): void {
    this.#console.write(this.format === 'json' ? `${JSON.stringify(value)}\n` : `${text}\n`)
  }

  /** A remark beside the data. */
  note(text: string): void {
    this.#console.complain(`${text}\n`)
  }
}

const gap = 2
const narrowest = 8

/** Columns as wide as their widest cell; where the terminal is too narrow, the last column is cut. */
function table<T>(rows: readonly T[], columns: readonly Column<T>[], width: number): string {
  const cells = [
    columns.map(({ title }) => title),
    ...rows.map(row => columns.map(column => oneLine(column.cell(row)))),
  ]
  const widths = columns.map((_, i) => Math.max(...cells.map(line => line[i]?.length ?? 0)))
  const last = widths.length - 1
  const before = widths.slice(0, last).reduce((sum, each) => sum + each + gap, 0)
  widths[last] = Math.max(narrowest, Math.min(widths[last] ?? 0, width - before))
  const line = (texts: readonly string[]): string =>
    texts
      .map((text, i) => {
        const room = widths[i] ?? 0
        return text.length > room ? `${text.slice(0, room - 1)}…` : text.padEnd(room)
      })
      .join(' '.repeat(gap))
      .trimEnd()
  return `${cells.map(line).join('\n')}\n`
}

/** Control characters of a payload must not reach the terminal. */
function oneLine(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replaceAll(/[\u0000-\u001F\u007F-\u009F]+/g, ' ')
}

/** How long ago, in the largest unit that says something. */
export function age(since: Date, now: number): string {
  const seconds = Math.max(0, Math.round((now - since.getTime()) / 1_000))
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m`
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}
