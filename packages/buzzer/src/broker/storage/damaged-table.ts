import type { DatabaseSync } from 'node:sqlite'
import type { FileProblem } from './check-file.ts'
import { type Cell, prepare } from './statement.ts'

/** Every key of a table that can be reached: behind a damaged page the search goes on in growing steps. */
export function* reachableKeys(
  db: DatabaseSync,
  table: string,
  key: string,
  problems: FileProblem[],
): Generator<number> {
  const next = prepare<readonly [number]>(db, `select ${key} from ${table} where ${key} > ? order by ${key} limit 1`)
  let last = -1
  let step = 1
  while (last < Number.MAX_SAFE_INTEGER) {
    let found: readonly [number] | undefined
    try {
      found = next.first(last)
    } catch {
      if (step === 1) {
        const where = `table ${table} behind ${key} ${last}`
        problems.push({
          kind: 'structure',
          where,
          detail: 'what follows cannot be read; the search went on further behind',
        })
      }
      last += step
      step *= 2
      continue
    }
    if (found === undefined) return
    last = found[0]
    step = 1
    yield last
  }
}

/** Copies the rows of a table as far as they can be read one after the other. */
export function copyTable(
  from: DatabaseSync,
  to: DatabaseSync,
  table: string,
  columns: readonly string[],
  problems: FileProblem[],
): void {
  const names = columns.join(', ')
  const insert = prepare(to, `insert or ignore into ${table} (${names}) values (${columns.map(() => '?').join(', ')})`)
  try {
    for (const row of prepare<readonly Cell[]>(from, `select ${names} from ${table}`).each()) insert.run(...row)
  } catch (error) {
    problems.push({ kind: 'structure', where: `table ${table}`, detail: `read in part: ${(error as Error).message}` })
  }
}

/** What `read` answers, or undefined when it meets damage. */
export function attempt<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
