import {
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { EngineHost, messageTo, temporaryFolder, textOf } from '../../../test/broker/engine-client.ts'
import { decodePeeked, type PeekedWire } from '../protocol/index.ts'
import { checkFile, type EngineStats, salvageFile } from './index.ts'

// Thousands of commits take a busy machine its time.
vi.setConfig({ testTimeout: 120_000 })

let folder: ReturnType<typeof temporaryFolder>
let path: string

beforeEach(() => {
  folder = temporaryFolder()
  path = join(folder.path, 'broker.db')
})

afterEach(() => folder.remove())

function codeOf(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    return (error as { code: string }).code
  }
  return 'nothing'
}

/** Changes bytes of a file in place. */
function poke(file: string, at: number, bytes: Uint8Array): void {
  const descriptor = openSync(file, 'r+')
  writeSync(descriptor, bytes, 0, bytes.length, at)
  closeSync(descriptor)
}

describe('the file', () => {
  it('after an orderly close the database alone holds everything', () => {
    const host = new EngineHost(path, { durability: 'fsync' })
    const client = host.connect()
    client.declare({ name: 'q' })
    client.send([messageTo('q', 'a')])
    host.engine.close()
    expect(existsSync(`${path}-wal`)).toBe(false)
    copyFileSync(path, join(folder.path, 'copy.db'))
    const copy = new EngineHost(join(folder.path, 'copy.db'))
    const reader = copy.connect()
    reader.subscribe('q')
    expect(reader.take().map(textOf)).toEqual(['a'])
    copy.engine.close()
  })

  it('B93 a text file and a cut file are refused with a named error and left untouched', () => {
    writeFileSync(path, 'Dear diary, today I was a text file of some length. '.repeat(10))
    const before = readFileSync(path)
    expect(codeOf(() => new EngineHost(path))).toBe('BUZZER_NOT_A_BROKER_FILE')
    expect(readFileSync(path).equals(before)).toBe(true)
    writeFileSync(path, before.subarray(0, 20))
    expect(codeOf(() => new EngineHost(path))).toBe('BUZZER_NOT_A_BROKER_FILE')
    writeFileSync(path, '')
    const host = new EngineHost(path)
    host.engine.close()
  })

  it('a database of someone else is refused and left untouched', () => {
    const db = new DatabaseSync(path)
    db.exec('create table t (a)')
    db.close()
    const before = readFileSync(path)
    expect(codeOf(() => new EngineHost(path))).toBe('BUZZER_NOT_A_BROKER_FILE')
    expect(readFileSync(path).equals(before)).toBe(true)
  })

  it('B96 a future format is refused, byte for byte unchanged', () => {
    new EngineHost(path).engine.close()
    poke(path, 60, new Uint8Array([0, 0, 0, 9]))
    const before = readFileSync(path)
    expect(codeOf(() => new EngineHost(path))).toBe('BUZZER_FILE_TOO_NEW')
    expect(readFileSync(path).equals(before)).toBe(true)
    expect(existsSync(`${path}-wal`)).toBe(false)
  })

  it('B82 a foreign writer raises the epoch → the engine stops before its next acknowledgement', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q' })
    const foreign = new DatabaseSync(path)
    foreign.exec("update meta set value = value + 1 where name = 'epoch'")
    foreign.close()
    client.post([messageTo('q', 'a')])
    host.run()
    expect(host.failed).toMatchObject({ code: 'BUZZER_OWNERSHIP_LOST' })
    expect(client.sendsThrough).toBe(0)
    expect(client.closed).toMatchObject({ code: 'BUZZER_OWNERSHIP_LOST' })
  })

  it('B94 a file replaced under a running engine stops it; nothing is acknowledged', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q' })
    renameSync(path, `${path}.moved`)
    writeFileSync(path, '')
    client.post([messageTo('q', 'a')])
    host.run()
    expect(host.failed).toMatchObject({ code: 'BUZZER_FILE_REPLACED' })
    expect(client.sendsThrough).toBe(0)
  })

  it('B92 a torn tail of the write-ahead file opens; a flip before the last commits is refused, reported, unchanged', () => {
    const host = new EngineHost(path, { durability: 'fsync' })
    const client = host.connect()
    client.declare({ name: 'q' })
    for (let index = 0; index < 10; index++) client.send([messageTo('q', String(index))])
    const crashed = (name: string): string => {
      const copy = join(folder.path, name)
      copyFileSync(path, copy)
      copyFileSync(`${path}-wal`, `${copy}-wal`)
      return copy
    }
    const torn = crashed('torn.db')
    const size = statSync(`${torn}-wal`).size
    const wal = readFileSync(`${torn}-wal`)
    // The last commit is the last frame with a size in it and what follows the commit before.
    writeFileSync(`${torn}-wal`, wal.subarray(0, size - 2_000))
    const reopened = new EngineHost(torn, { durability: 'fsync' })
    expect(reopened.connect().counts('q').ready).toBeGreaterThanOrEqual(9)
    reopened.engine.close()

    const flipped = crashed('flipped.db')
    poke(`${flipped}-wal`, 32 + 24 + 100, new Uint8Array([0xff, 0xfe, 0xfd]))
    const before = readFileSync(`${flipped}-wal`)
    expect(codeOf(() => new EngineHost(flipped, { durability: 'fsync' }))).toBe('BUZZER_FILE_DAMAGED')
    expect(readFileSync(`${flipped}-wal`).equals(before)).toBe(true)
    host.engine.close()
  })

  it('the class that the file was written in decides about a torn write-ahead file, not the one it is opened with', () => {
    const broken = (written: 'fsync' | 'os', name: string): string => {
      const file = join(folder.path, name)
      const host = new EngineHost(file, { durability: written })
      const client = host.connect()
      client.declare({ name: 'q' })
      for (let index = 0; index < 10; index++) client.send([messageTo('q', String(index))])
      const copy = join(folder.path, `copy of ${name}`)
      copyFileSync(file, copy)
      copyFileSync(`${file}-wal`, `${copy}-wal`)
      host.engine.close()
      poke(`${copy}-wal`, 32 + 24 + 100, new Uint8Array([0xff, 0xfe, 0xfd]))
      return copy
    }
    const promised = broken('fsync', 'promised #1?.db')
    expect(codeOf(() => new EngineHost(promised, { durability: 'os' }))).toBe('BUZZER_FILE_DAMAGED')
    const weaker = new EngineHost(broken('os', 'weaker #1?.db'), { durability: 'fsync' })
    expect(weaker.reports.filter(report => report.includes('torn'))).toHaveLength(1)
    weaker.engine.close()
  })

  it('a reader that holds on to an old state does not hold up the engine at rest', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q' })
    const reader = new DatabaseSync(path, { readOnly: true })
    reader.exec('begin')
    reader.prepare('select count(*) from chunk').get()
    client.send([messageTo('q', 'a')])
    const startedAt = performance.now()
    host.advance(5_000)
    // SQLite waits for readers up to its time-out of 5 s, each time.
    expect(performance.now() - startedAt).toBeLessThan(4_000)
    expect(host.engine.stats().walBytes).toBeGreaterThan(0)
    reader.exec('commit')
    host.advance(2_000)
    expect(host.engine.stats().walBytes).toBe(0)
    reader.close()
    host.engine.close()
  })

  it('the write-ahead file that grew behind a reader is small again under load, without a rest', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q' })
    client.subscribe('q', 1_000)
    const work = (mebibytes: number): void => {
      for (let sent = 0; sent < mebibytes; sent++) {
        client.send([messageTo('q', 'x'.repeat(1024 * 1024 - 1_000))])
        client.ack(...client.take().map(({ token }) => token))
      }
    }
    const reader = new DatabaseSync(path, { readOnly: true })
    reader.exec('begin')
    reader.prepare('select count(*) from chunk').get()
    work(80)
    expect(host.engine.stats().walBytes).toBeGreaterThan(64 * 1024 * 1024)
    reader.close()
    work(60)
    expect(host.engine.stats().walBytes).toBeLessThan(64 * 1024 * 1024)
    host.engine.close()
  })

  it('a damaged message becomes a dead letter, its neighbours are delivered, checkFile tells', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q' })
    client.send(['good one', 'EVIL ONE', 'good two'].map(text => messageTo('q', text)))
    host.engine.close()
    const at = readFileSync(path).indexOf('EVIL ONE')
    poke(path, at, new TextEncoder().encode('evil'))
    expect(checkFile(path)).toMatchObject({ ok: false, problems: [{ kind: 'checksum' }] })
    const next = new EngineHost(path)
    const reader = next.connect()
    reader.subscribe('q', 5)
    expect(reader.take().map(textOf)).toEqual(['good one', 'good two'])
    const page = reader.call<{ items: unknown[] }>({
      call: 'admin',
      method: 'peek',
      queue: 'q',
      options: { state: 'dead' },
    })
    expect(page.items).toMatchObject([{ deadLetter: { reason: 'damaged' } }])
    expect(next.engine.stats().damaged).toBe(1)
    next.engine.close()
  })

  it('peek shows a damaged message that waits as far as it can be read, and those around it', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q' })
    client.send(['good one', 'EVIL ONE', 'good two'].map(text => messageTo('q', text)))
    host.engine.close()
    const whole = readFileSync(path)
    const from = whole.indexOf('good one') + 8
    poke(path, from, Buffer.alloc(whole.indexOf('EVIL ONE') + 8 - from, 0xff))
    const next = new EngineHost(path)
    const { items } = next.connect().call<{ items: PeekedWire[] }>({ call: 'admin', method: 'peek', queue: 'q' })
    expect(items.map(item => Buffer.from(decodePeeked(item).body).toString())).toEqual([
      'good one',
      expect.stringMatching(/^\ufffd+$/u),
      'good two',
    ])
    next.engine.close()
  })

  it('a scheduled message that is found damaged when it falls due becomes a dead letter, of a topic too', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q' })
    client.call({ call: 'admin', method: 'bind', topic: 't', queue: 'q' })
    const deliverAt = host.clock.now() + 1_000
    client.send([
      messageTo('q', 'good one', { deliverAt }),
      messageTo('q', 'EVIL ONE', { deliverAt }),
      messageTo('', 'EVIL TWO', { deliverAt, to: { topic: 't', bases: [] } }),
    ])
    host.engine.close()
    for (const text of ['EVIL ONE', 'EVIL TWO']) {
      poke(path, readFileSync(path).indexOf(text), new TextEncoder().encode('evil'))
    }
    const next = new EngineHost(path, {}, host.clock)
    const reader = next.connect()
    reader.subscribe('q', 5)
    next.advance(1_000)
    expect(reader.take().map(textOf)).toEqual(['good one'])
    const page = reader.call<{ items: unknown[] }>({
      call: 'admin',
      method: 'peek',
      queue: 'q',
      options: { state: 'dead' },
    })
    expect(page.items).toMatchObject([{ deadLetter: { reason: 'damaged' } }, { deadLetter: { reason: 'damaged' } }])
    expect(next.engine.stats().damaged).toBe(2)
    expect(reader.counts('q')).toMatchObject({ ready: 0, scheduled: 0, dead: 2 })
    next.engine.close()
  })

  it('a dead letter that is found damaged says so, and is not redriven as good', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q' })
    client.send([messageTo('q', 'EVIL ONE')])
    client.subscribe('q')
    const [delivery] = client.take()
    client.settle(delivery?.token ?? 0, { as: 'dead-letter', reason: 'test' })
    host.engine.close()
    poke(path, readFileSync(path).lastIndexOf('EVIL ONE'), new TextEncoder().encode('evil'))
    const next = new EngineHost(path)
    const reader = next.connect()
    const page = reader.call<{ items: unknown[] }>({ call: 'admin', method: 'peek', queue: 'q' })
    expect(page.items).toMatchObject([{ deadLetter: { reason: 'damaged' } }])
    expect(reader.call({ call: 'admin', method: 'redrive', queue: 'q' })).toBe(0)
    reader.subscribe('q', 5)
    expect(reader.take()).toEqual([])
    expect(reader.counts('q')).toMatchObject({ ready: 0, dead: 1 })
    next.engine.close()
  })

  it('a damaged message among the dead letters stays there when all are redriven, and when it is named', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q' })
    client.send([messageTo('q', 'EVIL ONE', { deliverAt: host.clock.now() + 1_000 })])
    host.engine.close()
    poke(path, readFileSync(path).indexOf('EVIL ONE'), new TextEncoder().encode('evil'))
    const next = new EngineHost(path, {}, host.clock)
    next.advance(1_000)
    const reader = next.connect()
    reader.subscribe('q', 5)
    const peek = { call: 'admin', method: 'peek', queue: 'q', options: { state: 'dead' } } as const
    const [dead] = reader.call<{ items: { id: string }[] }>(peek).items
    expect(dead).toMatchObject({ deadLetter: { reason: 'damaged' } })
    expect(reader.call({ call: 'admin', method: 'redrive', queue: 'q' })).toBe(0)
    expect(reader.call({ call: 'admin', method: 'redrive', queue: 'q', options: { ids: [dead?.id ?? ''] } })).toBe(0)
    expect(reader.take()).toEqual([])
    expect(reader.counts('q')).toMatchObject({ ready: 0, dead: 1 })
    next.engine.close()
  })

  it('a scheduled message without its body is told as damaged when it falls due', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q' })
    client.send([messageTo('q', 'a', { deliverAt: host.clock.now() + 1_000 })])
    host.engine.close()
    const database = new DatabaseSync(path)
    database.exec('delete from aside_body')
    database.close()
    const next = new EngineHost(path, {}, host.clock)
    next.advance(1_000)
    expect(next.engine.stats().damaged).toBe(1)
    expect(next.connect().counts('q')).toMatchObject({ ready: 0, scheduled: 0, dead: 1 })
    next.engine.close()
  })

  it('a damaged record of the store is refused by name, left out of claims, told, and can be replaced or deleted', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.call({ call: 'store-declare', collections: [{ name: 'c', indexes: ['n'] }] })
    const put = (id: string, value: string): unknown =>
      client.send([], [{ op: 'put', collection: 'c', id, value, indexes: { n: 1 }, expected: 'any' }])
    for (const id of ['a', 'b', 'c', 'd']) put(id, `GOOD of ${id}`)
    host.engine.close()
    const database = new DatabaseSync(path)
    database.exec(`
      update record set value = '"EVIL of b"' where id = 'b';
      update record set version = 7 where id = 'c';
      update record set indexes = '{' where id = 'd'`)
    database.close()
    expect(checkFile(path).problems.map(({ where, detail }) => `${where}: ${detail}`)).toEqual([
      'record "b" of c: it is damaged',
      'record "c" of c: it is damaged',
      'record "d" of c: its indexes are damaged',
    ])
    const next = new EngineHost(path, {}, host.clock)
    const reader = next.connect()
    const get = (id: string): unknown => reader.call({ call: 'store-get', collection: 'c', id })
    expect(get('a')).toMatchObject({ value: 'GOOD of a' })
    for (const id of ['b', 'c']) {
      expect(codeOf(() => get(id))).toBe('BUZZER_FILE_DAMAGED')
    }
    const where = { index: 'n', equals: 1 }
    expect(codeOf(() => reader.call({ call: 'store-query', collection: 'c', where }))).toBe('BUZZER_FILE_DAMAGED')
    const due = { index: 'n', upTo: 1, owner: 'o', leaseMs: 1_000, limit: 10 }
    const claimed = reader.call<{ id: string }[]>({ call: 'store-claim', collection: 'c', due })
    expect(claimed.map(({ id }) => id)).toEqual(['a', 'd'])
    expect(next.reports.filter(report => report.includes('record is damaged'))).toHaveLength(2)
    expect(next.engine.stats().damaged).toBe(2)
    const salvaged = salvageFile(path, join(folder.path, 'salvaged.db'))
    expect([salvaged.records, salvaged.problems.length]).toEqual([1, 3])
    const change = { collection: 'c', expected: 'any' } as const
    reader.send([], [{ op: 'put', id: 'b', value: 'new', indexes: { n: 1 }, ...change }])
    reader.send(
      [],
      [
        { op: 'delete', id: 'c', ...change },
        { op: 'delete', id: 'd', ...change },
      ],
    )
    expect(get('b')).toMatchObject({ value: 'new' })
    expect(reader.call({ call: 'store-query', collection: 'c', where })).toMatchObject({
      items: [{ id: 'a' }, { id: 'b' }],
    })
    next.engine.close()
    expect(checkFile(path)).toEqual({ ok: true, problems: [] })
  })

  it('a file whose topology makes no sense is refused as damaged', () => {
    const host = new EngineHost(path)
    host.connect().declare({ name: 'q' })
    host.engine.close()
    const database = new DatabaseSync(path)
    database.exec("update queue set options = '{'")
    database.close()
    expect(codeOf(() => new EngineHost(path))).toBe('BUZZER_FILE_DAMAGED')
  })

  it('checkFile finds a retry that nobody has planned, and one that is planned for nobody', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q' })
    client.send([messageTo('q', 'a'), messageTo('q', 'b')])
    client.subscribe('q', 2)
    for (const { token } of client.take()) client.settle(token, { as: 'retry', delayMs: 60_000 })
    expect(checkFile(path)).toEqual({ ok: true, problems: [] })
    host.engine.close()
    const database = new DatabaseSync(path)
    database.exec('update held set sequence = sequence + 5 where sequence = (select min(sequence) from held)')
    database.close()
    expect(checkFile(path).problems.map(({ detail }) => detail)).toEqual([
      expect.stringMatching(/^message \d+ waits for a retry that is not planned$/),
      'has a retry planned and is in no chunk',
    ])
  })

  it('B70 checkFile on a file in use answers and disturbs nothing', async () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q' })
    client.send(Array.from({ length: 50 }, (_, index) => messageTo('q', String(index))))
    client.subscribe('q', 10)
    client.ack(
      ...client
        .take()
        .slice(0, 5)
        .map(({ token }) => token),
    )
    expect(checkFile(path)).toEqual({ ok: true, problems: [] })
    expect(await client.callBeside({ call: 'admin', method: 'check' })).toEqual({ ok: true, problems: [] })
    expect(client.send([messageTo('q', 'x')])).toBeUndefined()
    host.engine.close()
  })

  it('B69 a backup under way of work opens elsewhere, checks, holds every acknowledged send, and has nothing locked', async () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q' })
    client.send(Array.from({ length: 50 }, (_, index) => messageTo('q', String(index))))
    client.subscribe('q', 10)
    client.ack(
      ...client
        .take()
        .slice(0, 5)
        .map(({ token }) => token),
    )
    const toPath = join(folder.path, 'backups', 'copy.db')
    await client.callBeside({ call: 'admin', method: 'backup', toPath })
    const again = client.callBeside({ call: 'admin', method: 'backup', toPath })
    await expect(again).rejects.toMatchObject({ code: 'BUZZER_INVALID_OPTION' })
    host.engine.close()
    expect(checkFile(toPath).ok).toBe(true)
    const copy = new EngineHost(toPath)
    const reader = copy.connect()
    expect(reader.counts('q')).toMatchObject({ ready: 45, locked: 0 })
    reader.subscribe('q', 100)
    expect(reader.take().map(({ attempt }) => attempt)).toEqual(Array.from({ length: 45 }, () => 1))
    copy.engine.close()
  })

  it('B99 salvage of a file with destroyed pages brings all other messages and tells of the rest', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q' }, { name: 'p', orderBy: 'key' })
    for (let batch = 0; batch < 200; batch++) {
      client.post([messageTo('q', `q${batch} ${'x'.repeat(3_000)}`), messageTo('p', `p${batch}`, { key: 'k' })])
      client.post([], [{ op: 'put', collection: 'c', id: `r${batch}`, value: batch, expected: 'absent' }])
      host.run()
    }
    host.engine.close()
    const whole = readFileSync(path)
    for (const text of ['q100 xxx', 'q101 xxx', 'q150 xxx']) {
      const at = whole.indexOf(text)
      expect(at).toBeGreaterThan(0)
      poke(path, Math.floor(at / 4_096) * 4_096, new Uint8Array(4_096))
    }
    const before = readFileSync(path)
    const toPath = join(folder.path, 'salvaged.db')
    const report = salvageFile(path, toPath)
    expect(readFileSync(path).equals(before)).toBe(true)
    expect(report.problems.length).toBeGreaterThan(0)
    expect(report.messages, 'three pages of bodies are gone, and nothing else').toBeGreaterThanOrEqual(390)
    expect(report.messages + report.problems.length).toBe(400)
    expect(checkFile(toPath)).toEqual({ ok: true, problems: [] })
    expect(codeOf(() => salvageFile(path, toPath))).toBe('BUZZER_INVALID_OPTION')
    const next = new EngineHost(toPath)
    const reader = next.connect()
    expect(reader.counts('q').ready + reader.counts('p').ready).toBe(report.messages)
    reader.subscribe('q', 500)
    for (const delivery of reader.take()) expect(textOf(delivery)).toMatch(/^q\d+ x{3000}$/)
    expect(reader.send([messageTo('p', 'new')])).toBeUndefined()
    next.engine.close()
  })

  it('rude clients: nonsense in requests, settlements and frames closes at most their own connection', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q' })
    client.send([messageTo('q', 'a')])
    const rude = host.connect()
    const nonsense = [{ call: 'declare' }, { call: 'what' }, { call: 'admin', method: 'x' }]
    for (const request of nonsense) expect(codeOf(() => rude.call(request as never))).toMatch(/^BUZZER_/)
    rude.subscribe('q')
    const settled = rude.postSettle(rude.take()[0]?.token ?? 0, null as never)
    host.run()
    expect(rude.failures.get(settled)).toMatchObject({ code: 'BUZZER_INVALID_OPTION', retryable: false })
    expect(rude.closed).toBeUndefined()
    rude.die()
    const ruder = host.connect()
    ruder.session.receive(new Uint8Array([2, 255, 255, 255, 255, 0]))
    host.run()
    expect(ruder.closed).toBeInstanceOf(Error)
    host.advance(200)
    expect(host.failed).toBeUndefined()
    client.subscribe('q')
    expect(client.take().map(textOf)).toEqual(['a'])
    host.engine.close()
  })

  it('the figures of the engine tell batches, bytes and takeovers', () => {
    const host = new EngineHost(path)
    let client = host.connect()
    client.declare({ name: 'q' })
    client.post(Array.from({ length: 30 }, () => messageTo('q', 'x'.repeat(10_000))))
    client.post([messageTo('q', 'y')])
    host.run()
    client.subscribe('q', 100)
    const tokens = client.take().map(({ token }) => token)
    client.ack(...tokens.slice(0, 20))
    const figures = client.call<EngineStats>({ call: 'admin', method: 'engine' })
    expect(figures).toMatchObject({
      messagesSent: 31,
      messagesDelivered: 31,
      settled: 20,
      largestBatch: 31,
      takeovers: 0,
    })
    expect(figures.pendingBytes).toBeGreaterThan(20)
    expect(figures.pendingBytes).toBeLessThan(1_000)
    host.crash()
    client = host.connect()
    expect(host.engine.stats()).toMatchObject({ epoch: 2, takeovers: 1 })
    client.call({ call: 'admin', method: 'deleteQueue', queue: 'q' })
    expect(host.engine.stats().freeBytes).toBeGreaterThan(200_000)
    host.restart()
    expect(host.engine.stats()).toMatchObject({ epoch: 3, takeovers: 1 })
    host.engine.close()
  })

  it('B25 an idle receiver causes no commit', () => {
    const host = new EngineHost(path)
    const client = host.connect()
    client.declare({ name: 'q' })
    client.subscribe('q')
    host.advance(2_000)
    const { commits } = host.engine.stats()
    for (let seconds = 0; seconds < 60; seconds += 6) {
      client.beat()
      host.advance(6_000)
    }
    expect(host.engine.stats().commits).toBe(commits)
    host.engine.close()
  })

  it('B97 what is drained gives its space back at rest, and stragglers do not pin it', () => {
    const host = new EngineHost(path)
    let client = host.connect()
    client.declare({ name: 'q' })
    const text = 'x'.repeat(1_000)
    for (let batch = 0; batch < 30; batch++) client.send(Array.from({ length: 500 }, () => messageTo('q', text)))
    client.subscribe('q', 20_000)
    const tokens: number[] = []
    for (let batch = client.take(); batch.length > 0; batch = client.take())
      tokens.push(...batch.map(({ token }) => token))
    expect(tokens).toHaveLength(15_000)
    const stragglers = tokens.filter((_, index) => index % 500 === 7)
    client.ack(...tokens.filter((_, index) => index % 500 !== 7))
    for (let seconds = 0; seconds < 30; seconds += 5) {
      client.beat()
      host.advance(5_000)
    }
    expect(statSync(path).size).toBeLessThan(2 * 1024 * 1024)
    expect(host.engine.stats().walBytes).toBe(0)
    expect(checkFile(path).ok).toBe(true)
    client.forfeit()
    client = host.connect()
    client.subscribe('q', 100)
    const back = client.take()
    expect(back).toHaveLength(stragglers.length)
    expect(back.every(delivery => textOf(delivery) === text && delivery.attempt === 2)).toBe(true)
    host.engine.close()
  })
})
