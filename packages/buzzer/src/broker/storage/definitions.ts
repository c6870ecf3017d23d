import type { DatabaseSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import type { Note } from './check-file.ts'
import { prepare } from './statement.ts'

/** The tables whose rows define something: what, the column that names it, and the columns under its checksum. */
const tables = [
  { table: 'queue', what: 'queue', name: 'name', columns: 'id, name, options' },
  { table: 'binding', what: 'binding of topic', name: 'topic', columns: 'topic, queue, match, exclusive' },
  { table: 'collection', what: 'collection', name: 'name', columns: 'name, indexes, uniques' },
  { table: 'stream', what: 'log', name: 'name', columns: 'id, name, options' },
] as const

/**
 * Gives a connection the function `definition_crc(columns …)`, which every writer of these tables uses. A queue whose name has
 * another letter would be another queue, and the right one empty.
 */
export function addDefinitionCrc(db: DatabaseSync): void {
  const options = { deterministic: true, varargs: true }
  db.function('definition_crc', options, (...columns: readonly unknown[]) => crc32(JSON.stringify(columns)))
}

/** Gives the tables their column `crc`. */
export const definitionCrcSchema: string = tables
  .map(({ table }) => `alter table ${table} add column crc integer;`)
  .join('\n')

/** Writes the checksum of every row. */
export const sealDefinitions: string = tables
  .map(({ table, columns }) => `update ${table} set crc = definition_crc(${columns});`)
  .join('\n')

/** Notes every definition that is not what was written. */
export function checkDefinitions(db: DatabaseSync, note: Note): void {
  for (const { table, what, name, columns } of tables) {
    const damaged = `select ${name} from ${table} where crc is not definition_crc(${columns})`
    for (const [named] of prepare<readonly [string]>(db, damaged).all()) {
      note('checksum', `${what} ${JSON.stringify(named)}`, 'its definition is damaged')
    }
  }
}
