import { readFileSync, openSync, closeSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type EngineClient, EngineHost, temporaryFolder } from '../../../test/broker/engine-client.ts'
import type { AppendBatch, Appended, LogRecord, StreamTopology } from '../../transport/index.ts'
import { smallDisk } from '../../../test/broker/small-disk.ts'
import { toWireStream } from '../protocol/index.ts'
import { checkFile, salvageFile } from './index.ts'

let folder: ReturnType<typeof temporaryFolder>
let path: string

beforeEach(() => {
  folder = temporaryFolder()
  path = join(folder.path, 'broker.db')
})
afterEach(() => folder.remove())

const bytes = (text: string): Uint8Array => Buffer.from(text)
const numbers = (from: number, count: number): number[] => Array.from({ length: count }, (_, index) => from + index)
const textOf = ({ value }: LogRecord): string => Buffer.from(value ?? []).toString()

function batch(stream: string, texts: readonly string[], more: Partial<AppendBatch> = {}): AppendBatch {
  return { stream, records: texts.map(text => ({ value: bytes(text) })), ...more }
}

function declare(client: EngineClient, ...streams: StreamTopology[]): void {
  client.call({ call: 'log-declare', streams: streams.map(toWireStream), onConflict: 'refuse' })
}

function texts(client: EngineClient, stream: string, partition = 0): string[] {
  return client.readLog(stream, 'start', partition).records.map(textOf)
}

/** Rows of a table, counted in the file as it is. */
function rows(table: string): number {
  const db = new DatabaseSync(path, { readOnly: true })
  try {
    return Number(db.prepare(`select count(*) as n from ${table}`).get()?.['n'])
  } finally {
    db.close()
  }
}

function codeOf(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    return (error as { code: string }).code
  }
  return 'nothing thrown'
}

describe('appending', () => {
  it('what comes together is one commit, and one chunk for each partition, of at most 1,000 records or 256 KiB', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    declare(client, { name: 's', partitions: 2 }, { name: 'large' })
    const before = host.engine.stats().commits
    for (const n of numbers(0, 600)) client.postAppend([batch('s', [`a${n}`, `b${n}`], { partition: n % 2 })])
    host.run()
    expect(host.engine.stats().commits - before).toBe(1)
    expect(rows('log_chunk')).toBe(2)
    client.append([batch('s', numbers(0, 2_500).map(String), { partition: 0 })])
    expect(rows('log_chunk')).toBe(5)
    client.append([batch('large', [...numbers(0, 5).map(() => 'x'.repeat(100_000)), 'y'.repeat(400_000), 'z'])])
    expect(rows('log_chunk')).toBe(5 + 5)
    expect(client.readLog('s', 'start', 0).records.map(({ position }) => position)).toEqual(numbers(1, 3_100))
    expect(texts(client, 'large').map(text => text.length)).toEqual([...numbers(0, 5).map(() => 100_000), 400_000, 1])
    host.engine.close()
    expect(checkFile(path)).toEqual({ ok: true, problems: [] })
  })

  it('an append whose answer was lost is stored once: the same session gets the same answer, over a takeover too', () => {
    const host = new EngineHost(path)
    const first = host.connect('session', [], false)
    declare(first, { name: 's', keyIndex: true })
    const batches = [batch('s', ['a', 'b'])]
    const refused = [batch('s', ['c'], { expect: { end: 7 } })]
    first.postAppend(batches, 1)
    first.postAppend(refused, 2)
    host.run()
    const answer = first.appended.get(1)
    expect(answer).toMatchObject({ answers: [{ as: 'stored', position: 1 }] })
    expect(first.appended.get(2)).toMatchObject({ error: { code: 'BUZZER_LOG_CONFLICT', details: { actual: 3 } } })
    for (const takeover of [false, true]) {
      first.die()
      if (takeover) host.crash()
      const again = host.connect('session', [], false)
      expect(again.welcome?.appendsThrough).toBe(2)
      expect(again.appended.get(1)).toEqual(answer)
      expect(again.appended.get(2)).toMatchObject({ error: { code: 'BUZZER_LOG_CONFLICT' } })
      again.postAppend(batches, 1)
      again.postAppend(refused, 2)
      host.run()
      expect(texts(again, 's')).toEqual(['a', 'b'])
    }
    const last = host.connect('session', [], false)
    expect(last.append([batch('s', ['d'])])).toMatchObject([{ position: 3 }])
    host.engine.close()
  })

  it('an append that never came to the file is stored when it is repeated after a takeover', () => {
    const host = new EngineHost(path)
    const client = host.connect('session', [], false)
    declare(client, { name: 's' })
    client.append([batch('s', ['a'])])
    client.postAppend([batch('s', ['b'])], 2)
    host.crash()
    const again = host.connect('session', [], false)
    expect(again.welcome?.appendsThrough).toBe(1)
    again.postAppend([batch('s', ['b'])], 2)
    host.run()
    expect(texts(again, 's')).toEqual(['a', 'b'])
    host.engine.close()
  })

  it('a session that knows more than the file, which is a backup, goes on with its numbers', () => {
    const host = new EngineHost(path)
    const client = host.connect('session', [], false, undefined, 41)
    declare(client, { name: 's' })
    expect(client.welcome?.appendsThrough).toBe(41)
    client.postAppend([batch('s', ['a'])], 42)
    host.run()
    expect(client.appended.get(42)).toMatchObject({ answers: [{ as: 'stored', position: 1 }] })
    host.engine.close()
  })

  it('answers are kept until the client has heard them, and go with its session', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    declare(client, { name: 's' })
    for (const n of numbers(1, 20)) {
      client.postAppend([batch('s', ['x'])], n, 0)
      host.run()
    }
    expect(rows('log_answer')).toBe(20)
    client.postAppend([batch('s', ['x'])], 21, 19)
    host.run()
    expect(rows('log_answer'), 'those of 20 and 21').toBe(2)
    client.bye()
    expect(rows('log_answer')).toBe(0)
    host.engine.close()
  })

  it('an append of nothing keeps the number of one that was withdrawn; a gap in the numbers ends the connection', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    declare(client, { name: 's' })
    client.postAppend([], 1)
    client.postAppend([batch('s', ['a'])], 2)
    host.run()
    expect(client.appended.get(1)).toEqual({ answers: [] })
    expect(texts(client, 's')).toEqual(['a'])
    client.postAppend([batch('s', ['b'])], 4)
    host.run()
    expect(client.closed).toMatchObject({ code: 'BUZZER_PROTOCOL_MISMATCH' })
    expect(texts(host.connect(), 's')).toEqual(['a'])
    host.engine.close()
  })

  it('B90 a full disk refuses appends and changes nothing, reads go on; with room again the next one is stored', context => {
    const at = join(folder.path, 'disk')
    const disk = smallDisk(at)
    if (disk === undefined) return context.skip('this process may not mount a small file system')
    try {
      const host = new EngineHost(join(at, 'broker.db'))
      const client = host.connect()
      declare(client, { name: 's', keyIndex: true })
      const record = { key: 'k', value: Buffer.alloc(200_000) }
      client.append([{ stream: 's', records: [record] }])
      disk.fill()
      let stored = 1
      let refused = ''
      while (refused === '' && stored < 200) {
        refused = codeOf(() => client.append([{ stream: 's', records: [record] }]))
        if (refused === 'nothing thrown') refused = ''
        if (refused === '') stored++
      }
      expect(refused).toBe('BUZZER_DISK_FULL')
      expect(client.readLog('s').records).toHaveLength(stored)
      const waiting = { maxRecords: 1, maxBytes: 1, wait: true } as const
      client.ask({ call: 'log-read', readId: 99, stream: 's', partition: 0, from: stored + 1, ...waiting })
      disk.empty()
      host.advance(2_000)
      const expected = { expect: { key: 'k', last: stored } }
      expect(client.append([{ stream: 's', records: [record], ...expected }])).toMatchObject([{ position: stored + 1 }])
      host.engine.close()
      expect(checkFile(join(at, 'broker.db'))).toEqual({ ok: true, problems: [] })
    } finally {
      disk.unmount()
    }
  })

  it('an append beyond maxFileBytes is refused, a smaller one fits', () => {
    const host = new EngineHost(path, { maxFileBytes: 1_000 })
    const client = host.connect()
    declare(client, { name: 's' })
    expect(codeOf(() => client.append([batch('s', ['x'.repeat(2_000)])]))).toBe('BUZZER_BROKER_FULL')
    expect(client.append([batch('s', ['b'])])).toMatchObject([{ position: 1 }])
    host.engine.close()
  })

  it('an append that fails in the middle is refused alone; what came with it is stored, nothing of it is left', () => {
    const host = new EngineHost(path)
    const [rude, good] = [host.connect(), host.connect()]
    declare(good, { name: 's' })
    // A sequence that fits no column: nobody's plan foresees it.
    const { epoch } = good.call<{ epoch: number }>({ call: 'log-producer', stream: 's', name: 'p' })
    good.postAppend([batch('s', ['good'])])
    rude.postAppend([batch('s', ['bad'], { producer: { name: 'p', epoch, sequence: {} as never } })])
    good.postAppend([batch('s', ['too'])])
    host.run()
    expect(rude.appended.get(1)).toMatchObject({ error: { retryable: false } })
    expect(texts(good, 's')).toEqual(['good', 'too'])
    expect(good.appended.size).toBe(2)
    host.engine.close()
    expect(checkFile(path)).toEqual({ ok: true, problems: [] })
  })
})

describe('time', () => {
  it('does not go back with the clock, over a restart neither', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    declare(client, { name: 's' })
    const time = (answers: readonly Appended[]): number => (answers[0]?.as === 'stored' ? answers[0].time : Number.NaN)
    const first = time(client.append([batch('s', ['a'])]))
    host.clock.jump(-3_600_000)
    expect(time(client.append([batch('s', ['b'])]))).toBe(first)
    host.restart()
    expect(time(host.connect().append([batch('s', ['c'])]))).toBe(first)
    host.clock.jump(3_600_001)
    expect(time(host.connect().append([batch('s', ['d'])]))).toBe(first + 1)
    host.engine.close()
    expect(checkFile(path)).toEqual({ ok: true, problems: [] })
  })
})

describe('a backup', () => {
  it('B69 holds the logs: every record acknowledged before it, with keys, producers and positions', async () => {
    const host = new EngineHost(path)
    const client = host.connect()
    declare(client, { name: 's', keyIndex: true })
    client.call({ call: 'log-producer', stream: 's', name: 'p' })
    const producer = { name: 'p', epoch: 1, sequence: 3 }
    const record = { key: 'k', value: bytes('a') }
    client.append([{ stream: 's', records: [record, record], producer }])
    const toPath = join(folder.path, 'copy.db')
    await client.callBeside({ call: 'admin', method: 'backup', toPath })
    client.append([batch('s', ['later'])])
    host.engine.close()
    expect(checkFile(toPath)).toEqual({ ok: true, problems: [] })
    const copy = new EngineHost(toPath)
    const reader = copy.connect()
    expect(reader.readLog('s')).toMatchObject({ first: 1, end: 3 })
    expect(reader.append([{ stream: 's', records: [record], producer }])).toMatchObject([
      { as: 'duplicate', position: 1 },
    ])
    expect(reader.append([{ stream: 's', records: [record], expect: { key: 'k', last: 2 } }])).toMatchObject([
      { position: 3 },
    ])
    copy.engine.close()
  })
})

describe('reading', () => {
  it('a waiting read is answered by the commit that brings its record, and costs nothing until then', () => {
    const host = new EngineHost(path)
    const [writer, reader] = [host.connect(), host.connect()]
    declare(writer, { name: 's', partitions: 2 })
    const limits = { maxRecords: 10, maxBytes: 10_000, wait: true } as const
    const id = reader.ask({ call: 'log-read', readId: 1, stream: 's', partition: 1, from: 1, ...limits })
    host.run()
    const { commits } = host.engine.stats()
    host.advance(20_000)
    expect(host.engine.stats().commits).toBe(commits)
    writer.append([batch('s', ['elsewhere'], { partition: 0 })])
    expect(reader.results.has(id)).toBe(false)
    writer.append([batch('s', ['here'], { partition: 1 })])
    expect(reader.results.get(id)).toMatchObject({ next: 2, end: 2, records: [{ position: 1 }] })
    const second = reader.ask({ call: 'log-read', readId: 2, stream: 's', partition: 1, from: 2, ...limits })
    reader.call({ call: 'log-unread', readId: 2 })
    expect(reader.results.get(second)).toEqual({ records: [], next: 2, first: 1, end: 2 })
    host.engine.close()
  })

  it('B86 a reader that takes nothing is given nothing more, and goes on where it was once it does', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    declare(client, { name: 's' })
    client.append([
      batch(
        's',
        numbers(0, 8).map(() => 'x'.repeat(300_000)),
      ),
    ])
    client.buffered = 2 * 1024 * 1024
    const limits = { maxRecords: 10, maxBytes: 10_000_000 } as const
    const ids = numbers(1, 20).map(readId =>
      client.ask({ call: 'log-read', readId, stream: 's', partition: 0, from: 1, ...limits }),
    )
    host.run()
    expect(ids.filter(id => client.results.has(id))).toEqual([])
    client.buffered = 0
    client.session.drained()
    host.run()
    expect(ids.filter(id => client.results.has(id))).toHaveLength(20)
    host.engine.close()
  })

  it('a time finds its position by search, among many chunks, after trimming too', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    declare(client, { name: 's' })
    const times: number[] = []
    for (const n of numbers(0, 100)) {
      const [answer] = client.append([batch('s', [`${n}`, `${n}+`])])
      times.push(answer?.as === 'stored' ? answer.time : Number.NaN)
      host.advance(10)
    }
    const at = (time: number): number => client.readLog('s', { time }).records[0]?.position ?? -1
    for (const n of [0, 1, 49, 50, 98, 99]) {
      expect(at(times[n] as number)).toBe(2 * n + 1)
      expect(at((times[n] as number) - 5)).toBe(2 * n + 1)
    }
    expect(at((times[99] as number) + 1)).toBe(-1)
    client.call({ call: 'log-trim', stream: 's', partition: 0, before: 101 })
    expect(at(0)).toBe(101)
    expect(at(times[70] as number)).toBe(141)
    host.engine.close()
  })

  it('a damaged record is told with its position; those around it are read, and salvage leaves a gap there', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    declare(client, { name: 's', keyIndex: true }, { name: 'other' })
    const records = numbers(0, 10).map(n => ({ key: `k${n}`, value: bytes(`record ${n} ${'x'.repeat(100)}`) }))
    client.append([{ stream: 's', records }])
    client.append([batch('other', ['o'])])
    host.engine.close()
    const at = readFileSync(path).indexOf('record 5 xxx')
    expect(at).toBeGreaterThan(0)
    const file = openSync(path, 'r+')
    writeSync(file, Buffer.from('R'), 0, 1, at)
    closeSync(file)
    expect(checkFile(path)).toEqual({
      ok: false,
      problems: expect.arrayContaining([
        { kind: 'checksum', where: 'log s/0', detail: 'the record at position 6 is damaged' },
      ]),
    })
    const again = new EngineHost(path)
    const reader = again.connect()
    expect(reader.readLog('s')).toMatchObject({ next: 6, end: 11 })
    expect(codeOf(() => reader.readLog('s', 6))).toBe('BUZZER_FILE_DAMAGED')
    expect(reader.readLog('s', 7).records.map(({ position }) => position)).toEqual([7, 8, 9, 10])
    again.engine.close()
    const toPath = join(folder.path, 'salvaged.db')
    const report = salvageFile(path, toPath)
    expect(report).toMatchObject({ logRecords: 10, problems: [{ kind: 'checksum', where: 'log 1/0' }] })
    expect(checkFile(toPath)).toEqual({ ok: true, problems: [] })
    const salvaged = new EngineHost(toPath)
    const last = salvaged.connect()
    expect(last.readLog('s').records.map(({ position }) => position)).toEqual([1, 2, 3, 4, 5, 7, 8, 9, 10])
    expect(
      last.append([{ stream: 's', records: [{ key: 'k9', value: null }], expect: { key: 'k9', last: 10 } }]),
    ).toEqual([expect.objectContaining({ position: 11 })])
    expect(texts(last, 'other')).toEqual(['o'])
    salvaged.engine.close()
  })
})

describe('keeping', () => {
  it('what is over its age goes when it is due, without an append, and leaves the file; the newest stays', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    declare(client, { name: 's', keyIndex: true, retention: { maxAgeMs: 6_000 } })
    const append = (key: string): unknown => client.append([{ stream: 's', records: [{ key, value: bytes('v') }] }])
    append('a')
    host.advance(3_000)
    append('b')
    append('c')
    host.advance(2_990)
    expect(client.readLog('s').first).toBe(1)
    host.advance(20)
    expect(client.readLog('s').first).toBe(2)
    expect([rows('log_chunk'), rows('log_key')]).toEqual([2, 2])
    client.bye()
    host.advance(24 * 3_600_000)
    expect(host.connect().readLog('s').first).toBe(3)
    expect([rows('log_chunk'), rows('log_key')]).toEqual([1, 1])
    expect(host.clock.timers).toBeLessThan(3)
    host.engine.close()
    expect(checkFile(path)).toEqual({ ok: true, problems: [] })
  })

  it('what is trimmed is gone at once and swept in steps, after a crash too; its positions are never given again', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    declare(client, { name: 's', keyIndex: true })
    for (const n of numbers(0, 100)) client.append([{ stream: 's', records: [{ key: `${n}`, value: bytes('v') }] }])
    const live = host.engine.stats().liveBytes
    client.ask({ call: 'log-trim', stream: 's', partition: 0, before: 91 })
    host.engine.pump()
    expect(rows('log_chunk'), 'one step').toBe(100 - 16)
    expect(host.engine.stats().liveBytes).toBeLessThan(live / 5)
    host.crash()
    expect([rows('log_chunk'), rows('log_key')]).toEqual([10, 10])
    const next = host.connect()
    expect(next.readLog('s')).toMatchObject({ first: 91, end: 101 })
    next.call({ call: 'log-trim', stream: 's', partition: 0, before: 101 })
    expect(next.readLog('s')).toMatchObject({ first: 100, end: 101 })
    expect(next.append([batch('s', ['x'])])).toMatchObject([{ position: 101 }])
    host.engine.close()
    expect(checkFile(path)).toEqual({ ok: true, problems: [] })
  })

  it('a deleted stream is swept; one made anew with its name is another', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    declare(client, { name: 's', keyIndex: true, deduplicationWindowMs: 60_000 })
    client.call({ call: 'log-producer', stream: 's', name: 'p' })
    const more = { deduplicationKey: 'd', producer: { name: 'p', epoch: 1, sequence: 1 } }
    client.append([{ stream: 's', records: [{ key: 'k', value: bytes('old') }], ...more }])
    for (const _ of numbers(0, 40)) client.append([batch('s', ['x'])])
    client.call({ call: 'log-delete', stream: 's' })
    declare(client, { name: 's', keyIndex: true, deduplicationWindowMs: 60_000 })
    expect(
      client.append([{ stream: 's', records: [{ key: 'k', value: bytes('new') }], deduplicationKey: 'd' }]),
    ).toEqual([expect.objectContaining({ as: 'stored', position: 1 })])
    host.restart()
    const again = host.connect()
    expect(texts(again, 's')).toEqual(['new'])
    const tables = ['stream', 'log_partition', 'log_chunk', 'log_key', 'log_seen', 'log_producer', 'log_produced']
    expect(tables.map(rows)).toEqual([1, 1, 1, 1, 1, 0, 0])
    expect(host.engine.stats().liveBytes).toBeLessThan(100)
    host.engine.close()
    expect(checkFile(path)).toEqual({ ok: true, problems: [] })
  })

  it('a window forgets its keys in the file', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    declare(client, { name: 's', deduplicationWindowMs: 10_000 })
    for (const n of numbers(0, 30)) client.append([batch('s', ['x'], { deduplicationKey: `k${n}` })])
    expect(rows('log_seen')).toBe(30)
    host.advance(60_000)
    expect(rows('log_seen')).toBe(0)
    const again = host.connect()
    again.append([batch('s', ['x'], { deduplicationKey: 'k0' })])
    again.call({ call: 'log-alter', stream: 's', options: { deduplicationWindowMs: 0 } })
    host.advance(2_000)
    expect(rows('log_seen'), 'a stream without a window remembers none').toBe(0)
    expect(codeOf(() => again.append([batch('s', ['x'], { deduplicationKey: 'k0' })]))).toBe('BUZZER_UNSUPPORTED')
    host.engine.close()
  })
})
