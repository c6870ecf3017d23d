import { DatabaseSync } from 'node:sqlite'

export interface Row {
  readonly name: string
  readonly version: string
  readonly licence: string
  readonly words: number
  /** The how-many-eth package of its licence. */
  readonly number: number
}

/** The table at the end of the pipeline. */
export class Catalogue implements Disposable {
  readonly #database: DatabaseSync

  constructor(path: string) {
    this.#database = new DatabaseSync(path)
    this.#database.exec(`
      DROP TABLE IF EXISTS packages;
      CREATE TABLE packages (name TEXT, version TEXT, licence TEXT, words INTEGER, number INTEGER)`)
  }

  /** One transaction for a whole batch: that is what batches are for. */
  insert(rows: readonly Row[]): void {
    const insert = this.#database.prepare('INSERT INTO packages VALUES (?, ?, ?, ?, ?)')
    this.#database.exec('BEGIN')
    for (const { name, version, licence, words, number } of rows) insert.run(name, version, licence, words, number)
    this.#database.exec('COMMIT')
  }

  figure(sql: string): number {
    return Number(Object.values(this.#database.prepare(sql).get() ?? {})[0])
  }

  [Symbol.dispose](): void {
    this.#database.close()
  }
}
