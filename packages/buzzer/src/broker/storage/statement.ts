import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'

/** A value as SQLite hands it out. */
export type Cell = null | number | string | Uint8Array

/** A prepared statement whose rows come as arrays: objects with names cost several times as much. */
export interface Statement<Row extends readonly Cell[] = readonly Cell[]> {
  run(...values: SQLInputValue[]): number
  first(...values: SQLInputValue[]): Row | undefined
  all(...values: SQLInputValue[]): Row[]
  each(...values: SQLInputValue[]): Iterable<Row>
}

export function prepare<Row extends readonly Cell[]>(db: DatabaseSync, sql: string): Statement<Row> {
  const statement: StatementSync = db.prepare(sql)
  statement.setReturnArrays(true)
  return {
    run: (...values) => Number(statement.run(...values).changes),
    first: (...values) => statement.get(...values) as unknown as Row | undefined,
    all: (...values) => statement.all(...values) as unknown as Row[],
    each: (...values) => statement.iterate(...values) as unknown as Iterable<Row>,
  }
}
