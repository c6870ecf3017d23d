import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { EngineHost, messageTo, temporaryFolder, textOf } from '../../../test/broker/engine-client.ts'
import { checkFile, salvageFile } from './index.ts'

let folder: ReturnType<typeof temporaryFolder>
let path: string

beforeEach(() => {
  folder = temporaryFolder()
  path = join(folder.path, 'broker.db')
  const host = new EngineHost(path)
  const client = host.connect()
  client.declare({ name: 'fleeting', maxDeliveries: 7 })
  client.call({ call: 'admin', method: 'bind', topic: 'ordered', queue: 'fleeting', match: { key: 'a' } })
  client.call({ call: 'store-declare', collections: [{ name: 'orders', indexes: ['at'] }] })
  client.call({ call: 'log-declare', streams: [{ name: 'events' }], onConflict: 'refuse' })
  client.send([messageTo('fleeting', 'kept')])
  host.engine.close()
})
afterEach(() => folder.remove())

function change(sql: string): void {
  const db = new DatabaseSync(path)
  expect(db.prepare(sql).run().changes).toBe(1)
  db.close()
}

/** As a disk might do it, the name by which the damage is told of, and the queue whose messages are saved. */
const flips: readonly { readonly sql: string; readonly name: string; readonly queue?: string }[] = [
  { sql: "update queue set name = 'fleetIng'", name: 'queue "fleetIng"', queue: 'fleetIng' },
  { sql: "update queue set options = replace(options, '7', '5')", name: 'queue "fleeting"' },
  { sql: "update queue set options = replace(options, '}', '{')", name: 'queue "fleeting"' },
  { sql: "update queue set id = id + 2 where name = 'fleeting'", name: 'queue "fleeting"', queue: 'lost-1' },
  { sql: "update binding set topic = 'orderee'", name: 'binding of topic "orderee"' },
  { sql: 'update binding set exclusive = 1', name: 'binding of topic "ordered"' },
  { sql: "update binding set match = replace(match, '{', 'z')", name: 'binding of topic "ordered"' },
  { sql: "update collection set indexes = replace(indexes, 'at', 'au')", name: 'collection "orders"' },
  { sql: "update collection set uniques = '[}'", name: 'collection "orders"' },
  { sql: "update stream set name = 'eventc'", name: 'log "eventc"' },
  { sql: "update stream set options = options || 'z'", name: 'log "events"' },
]

describe('a definition that is not what was written', () => {
  it.each(flips)(
    '$sql: the file is refused by its name, check finds it, salvage brings the rest',
    ({ sql, name, queue = 'fleeting' }) => {
      expect(checkFile(path)).toEqual({ ok: true, problems: [] })
      change(sql)
      expect(() => new EngineHost(path)).toThrow(
        expect.objectContaining({
          code: 'BUZZER_FILE_DAMAGED',
          message: expect.stringContaining(`${name}: its definition is damaged`),
        }),
      )
      expect(checkFile(path).problems).toContainEqual({
        kind: 'checksum',
        where: name,
        detail: 'its definition is damaged',
      })
      const toPath = join(folder.path, 'salvaged.db')
      const report = salvageFile(path, toPath)
      expect(report.messages).toBe(1)
      expect(report.problems).toContainEqual(expect.objectContaining({ kind: 'checksum', where: name }))
      expect(checkFile(toPath)).toEqual({ ok: true, problems: [] })
      const host = new EngineHost(toPath)
      const client = host.connect()
      client.subscribe(queue, 10)
      expect(client.take().map(textOf)).toEqual(['kept'])
      host.engine.close()
    },
  )
})
