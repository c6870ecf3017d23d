import { copyFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { EngineHost, temporaryFolder, textOf } from '../../../test/broker/engine-client.ts'
import { writeFormat1 } from '../../../test/broker/format-1.ts'
import { canTrace, crashStride, runUntil } from '../../../test/broker/killed-at.ts'
import { formatVersion } from '../storage/schema.ts'
import { checkFile, salvageFile } from './index.ts'

let folder: ReturnType<typeof temporaryFolder>
let path: string

beforeEach(() => {
  folder = temporaryFolder()
  path = join(folder.path, 'broker.db')
})
afterEach(() => folder.remove())

function formatOf(file: string): number {
  const db = new DatabaseSync(file, { readOnly: true })
  try {
    return Number(db.prepare('pragma user_version').get()?.['user_version'])
  } finally {
    db.close()
  }
}

/** Opens the file and holds it against what format-1.ts says is in it. */
function expectContents(file: string, appended: boolean): void {
  const host = new EngineHost(file, { durability: 'fsync' })
  try {
    const client = host.connect()
    expect(client.counts('plain')).toEqual({ ready: 2, locked: 0, scheduled: 1, parked: 0, dead: 1 })
    expect(client.counts('keyed')).toEqual({ ready: 2, locked: 0, scheduled: 0, parked: 0, dead: 0 })
    expect(client.call({ call: 'store-get', collection: 'c', id: 'r' })).toMatchObject({ value: { a: 1 }, version: 1 })
    if (appended) expect(client.readLog('s').records).toHaveLength(1)
  } finally {
    host.engine.close()
  }
  expect(formatOf(file)).toBe(formatVersion)
  expect(checkFile(file)).toEqual({ ok: true, problems: [] })
}

describe('a file of the previous format', () => {
  it('B95 opens and migrates: messages are delivered in their order, records and routes hold, logs can be kept', () => {
    writeFormat1(path)
    expect(formatOf(path)).toBe(1)
    expectContents(path, false)
    const host = new EngineHost(path)
    expect(host.engine.epoch).toBe(5)
    const client = host.connect()
    client.subscribe('plain', 10, 1)
    client.subscribe('keyed', 10, 2)
    client.subscribe('plain.dead', 10, 3)
    const first = client.take()
    expect(first.map(delivery => [textOf(delivery), delivery.attempt]).toSorted()).toEqual([
      ['a', 1],
      ['b', 2],
      ['d', 1],
      ['dead', 1],
    ])
    expect(first.find(({ deadLetter }) => deadLetter !== undefined)?.deadLetter).toMatchObject({ reason: 'test' })
    expect(first[0]?.message).toMatchObject({ attributes: { type: 'test', source: '/ü' }, contentType: 'text/plain' })
    client.ack(...first.map(({ token }) => token))
    expect(client.take().map(textOf)).toEqual(['e'])
    expect(client.call({ call: 'admin', method: 'cancelScheduled', messageId: 'id-later' })).toBe(true)
    client.call({ call: 'log-declare', streams: [{ name: 's' }], onConflict: 'refuse' })
    expect(client.append([{ stream: 's', records: [{ value: Buffer.from('x') }] }])).toMatchObject([{ position: 1 }])
    host.engine.close()
    expect(checkFile(path)).toEqual({ ok: true, problems: [] })
  })

  it('B95 can be checked as it is, byte for byte unchanged, and salvaged into the present format', () => {
    writeFormat1(path)
    const before = readFileSync(path)
    expect(checkFile(path)).toEqual({ ok: true, problems: [] })
    const toPath = join(folder.path, 'salvaged.db')
    expect(salvageFile(path, toPath)).toEqual({ messages: 6, records: 1, logRecords: 0, problems: [] })
    expect(readFileSync(path).equals(before)).toBe(true)
    expectContents(toPath, false)
  })

  describe.skipIf(!canTrace)('killed while it is migrated (needs strace)', () => {
    const scenario = fileURLToPath(new URL('../../../test/broker/migrate-scenario.ts', import.meta.url))
    const stride = crashStride(5)

    it.each(['fsync', 'pwrite64', 'ftruncate', 'unlink'])(
      'B95 at any %s: it has the old format or the new one, opens again, and has lost nothing',
      call => {
        const original = join(folder.path, 'original.db')
        writeFormat1(original)
        const formats = new Set<number>()
        for (let nth = 1; ; nth += stride) {
          const file = join(folder.path, `${call}-${nth}.db`)
          copyFileSync(original, file)
          const { steps, untouched } = runUntil(scenario, file, call, nth, 'signal=KILL')
          formats.add(formatOf(file))
          expectContents(file, steps.includes('appended'))
          if (untouched) {
            expect(steps.at(-1)).toBe('closed')
            break
          }
        }
        for (const format of formats) expect([1, formatVersion]).toContain(format)
        if (call === 'fsync') expect(formats, 'it was killed before and after the migration').toContain(1)
      },
      180_000,
    )
  })
})
