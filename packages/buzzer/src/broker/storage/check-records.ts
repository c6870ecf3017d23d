import type { DatabaseSync } from 'node:sqlite'
import type { Note } from './check-file.ts'
import { recordCrc } from './record-store.ts'
import { prepare } from './statement.ts'

type Row = readonly [
  collection: string,
  id: string,
  version: number,
  value: string,
  indexes: string,
  crc: number | null,
]

/** The records of the store: their checksums, and that every index finds them. */
export function checkRecords(db: DatabaseSync, note: Note): void {
  const declared = new Map<string, ReadonlySet<string>>()
  for (const [name, indexes] of prepare<readonly [string, string]>(db, 'select name, indexes from collection').all()) {
    declared.set(name, new Set(JSON.parse(indexes) as string[]))
  }
  const isFound = prepare<readonly [number]>(
    db,
    'select 1 from record_index where collection = ? and name = ? and value = ? and id = ?',
  )
  const rows = prepare<Row>(db, 'select collection, id, version, value, indexes, crc from record')
  for (const [collection, id, version, value, indexes, crc] of rows.each()) {
    const where = `record ${JSON.stringify(id)} of ${collection}`
    if (crc !== null && crc !== recordCrc(collection, id, version, value)) note('checksum', where, 'it is damaged')
    let entries: [string, string | number][]
    try {
      entries = Object.entries(JSON.parse(indexes) as Record<string, string | number>)
    } catch {
      note('checksum', where, 'its indexes are damaged')
      continue
    }
    for (const [name, key] of entries) {
      if (declared.get(collection)?.has(name) !== true) continue
      if (isFound.first(collection, name, key, id) === undefined) note('state', where, `index ${name} does not find it`)
    }
  }
}
