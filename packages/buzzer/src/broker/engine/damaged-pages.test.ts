import { closeSync, copyFileSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { EngineHost, messageTo, temporaryFolder, textOf } from '../../../test/broker/engine-client.ts'
import type { OutgoingMessage, PeekedMessage } from '../../transport/index.ts'
import { decodePeeked, type PeekedWire } from '../protocol/index.ts'
import { checkFile, salvageFile, type SalvageReport } from './index.ts'

vi.setConfig({ testTimeout: 120_000 })

const pageBytes = 4_096
/** What an operator can act on. */
const names = new Set(['BUZZER_FILE_DAMAGED', 'BUZZER_NOT_A_BROKER_FILE', 'BUZZER_FILE_TOO_NEW'])
const queues = ['plain', 'ordered', 'other'] as const
const rounds = 24

let folder: ReturnType<typeof temporaryFolder>
let path: string
/** What the file holds, as `<queue> <text>`. */
const messages = new Set<string>()
const records = new Map<string, string>()
const logged = new Set<string>()

/** A file in which every table has rows, and some of them pages that lie one behind the other. */
function fill(): void {
  const host = new EngineHost(path)
  const client = host.connect('filler', [], false)
  const send = (queue: string, text: string, parts?: Partial<OutgoingMessage>): void => {
    client.send([messageTo(queue, text, parts)])
    messages.add(`${queue} ${text}`)
  }
  client.declare(
    { name: 'plain' },
    { name: 'ordered', orderBy: 'key' },
    { name: 'other', deduplicationWindowMs: 600_000 },
  )
  client.call({ call: 'admin', method: 'bind', topic: 't', queue: 'other' })
  client.call({ call: 'store-declare', collections: [{ name: 'c', indexes: ['n'] }] })
  const stream = { name: 's', partitions: 2, keyIndex: true, deduplicationWindowMs: 600_000 }
  client.call({ call: 'log-declare', streams: [stream], onConflict: 'refuse' })
  for (let round = 0; round < rounds; round++) {
    const text = `${round} ${'x'.repeat(round % 5 === 0 ? 9_000 : 100)}`
    send('plain', `now ${text}`)
    send('ordered', `now ${text}`, { key: `k${round % 7}` })
    send('other', `now ${round}`, { deduplicationKey: `d${round}` })
    send('plain', `later ${text}`, { deliverAt: host.clock.now() + 3_600_000 })
    const put = { op: 'put', collection: 'c', id: `r${round}`, expected: 'absent' } as const
    client.send([], [{ ...put, value: text, indexes: { n: round } }])
    records.set(put.id, text)
    const batch = { stream: 's', partition: round % 2, deduplicationKey: `d${round}` }
    client.append([{ ...batch, records: [{ key: `k${round}`, value: Buffer.from(text) }] }])
    logged.add(text)
  }
  client.subscribe('plain', 10)
  for (const { token } of client.take().slice(0, 5)) client.settle(token, { as: 'dead-letter', reason: 'poison' })
  for (const { token } of client.take().slice(0, 5)) client.settle(token, { as: 'retry', delayMs: 60_000 })
  host.engine.close()
}

/** What a user finds who does everything with the file that a user can do. */
class Use {
  /** Messages that were delivered. */
  readonly delivered = new Set<string>()
  /** Messages that are told to be damaged. */
  damaged = 0
  readonly stored = new Map<string, unknown>()
  readonly read = new Set<string>()
  /** Codes of what was refused; none may be without. */
  readonly refusals: unknown[] = []

  constructor(host: EngineHost) {
    // Until all that is scheduled is due: not with a client, which would have to beat.
    host.advance(7_200_000)
    const client = host.connect()
    const attempt = (act: () => void): void => {
      if (host.failed !== undefined) return
      try {
        act()
      } catch (error) {
        if (host.failed === undefined) this.refusals.push((error as { code?: string }).code ?? error)
      }
    }
    const peek = (queue: string, state: 'ready' | 'scheduled' | 'dead'): PeekedMessage[] =>
      client
        .call<{ items: PeekedWire[] }>({ call: 'admin', method: 'peek', queue, options: { state } })
        .items.map(decodePeeked)
    for (const [index, queue] of queues.entries()) {
      attempt(() => client.figures(queue))
      attempt(() => peek(queue, 'ready'))
      attempt(() => client.call({ call: 'admin', method: 'redrive', queue }))
      attempt(() => client.subscribe(queue, 100, index + 1))
    }
    attempt(() => {
      for (let deliveries = client.take(); deliveries.length > 0; deliveries = client.take()) {
        for (const delivery of deliveries) {
          this.delivered.add(`${queues[delivery.receiverId - 1]} ${textOf(delivery)}`)
          client.ack(delivery.token)
        }
      }
    })
    for (const queue of queues) {
      attempt(() => {
        this.damaged += peek(queue, 'dead').filter(({ deadLetter }) => deadLetter?.reason === 'damaged').length
      })
    }
    for (const id of records.keys()) {
      attempt(() => {
        const record = client.call<{ value: unknown } | null>({ call: 'store-get', collection: 'c', id })
        if (record !== null) this.stored.set(id, record.value)
      })
    }
    attempt(() => {
      const due = { index: 'n', upTo: rounds, owner: 'o', leaseMs: 1_000, limit: 100 }
      for (const { id, value } of client.call<{ id: string; value: unknown }[]>({
        call: 'store-claim',
        collection: 'c',
        due,
      })) {
        this.stored.set(id, value)
      }
    })
    for (const partition of [0, 1]) {
      attempt(() => {
        for (let from: number | 'start' = 'start'; ; ) {
          // What is in front of a damaged record comes first, the refusal with the next read.
          const { records: found, end } = client.readLog('s', from, partition)
          for (const { value } of found) this.read.add(Buffer.from(value ?? '').toString())
          from = (found.at(-1)?.position ?? end) + 1
          if (from >= end) break
        }
      })
    }
    attempt(() => client.send([messageTo('plain', 'new'), messageTo('', 'new', { to: { topic: 't', bases: [] } })]))
  }
}

/** What is wrong with the way in which the damaged file was treated; 'served' or 'refused' when nothing is. */
function judge(file: string): string {
  const named = (error: unknown): string => {
    const { code } = error as { code?: string }
    return code !== undefined && names.has(code) ? 'refused' : `no name: ${(error as Error).stack}`
  }
  let host: EngineHost
  try {
    host = new EngineHost(file)
  } catch (error) {
    return named(error)
  }
  const { delivered, damaged, stored, read, refusals } = new Use(host)
  for (const text of delivered) if (!messages.has(text)) return `never sent: ${text}`
  for (const [id, value] of stored) if (records.get(id) !== value) return `never stored: ${id} ${String(value)}`
  for (const text of read) if (!logged.has(text)) return `never logged: ${text}`
  for (const code of refusals) if (!names.has(String(code))) return `no name: ${(code as Error).stack ?? String(code)}`
  if (host.failed !== undefined) return named(host.failed)
  host.engine.close()
  const missing = messages.size - delivered.size
  if (missing > damaged) return `${missing} messages are missing, ${damaged} are told to be damaged`
  if (refusals.length > 0) return 'served'
  if (stored.size < records.size) return `only ${stored.size} records, and nothing was refused`
  if (read.size < logged.size) return `only ${read.size} records of the log, and nothing was refused`
  return 'served'
}

/** A copy of the file with these bytes at `at`. */
function damagedCopy(copy: string, at: number, bytes: Uint8Array): void {
  for (const suffix of ['-wal', '-shm']) rmSync(`${copy}${suffix}`, { force: true })
  copyFileSync(path, copy)
  const file = openSync(copy, 'r+')
  writeSync(file, bytes, 0, bytes.length, at)
  closeSync(file)
}

/** Changes a copy of the file, and judges what comes of it. */
function judgeDamaged(at: number, bytes: Uint8Array): string {
  const copy = join(folder.path, 'copy.db')
  damagedCopy(copy, at, bytes)
  let isWhole = false
  try {
    isWhole = checkFile(copy).ok
  } catch (error) {
    if (!names.has(String((error as { code?: string }).code))) return `no name: ${(error as Error).stack}`
  }
  const end = judge(copy)
  return end === 'refused' && isWhole ? 'checkFile finds nothing in what is refused' : end
}

beforeAll(() => {
  folder = temporaryFolder()
  path = join(folder.path, 'broker.db')
  fill()
})

afterAll(() => folder.remove())

describe('a damaged file', () => {
  it('is whole before it is damaged', () => {
    expect(checkFile(path)).toEqual({ ok: true, problems: [] })
    expect(judgeDamaged(0, readFileSync(path).subarray(0, 16))).toBe('served')
  })

  it.each([
    ['zeroed', 0],
    ['rubbish', 0xa5],
  ])(
    'B91 B99 whichever page is %s: what is intact is served, the rest told, or the file is refused by name',
    (_, byte) => {
      const pages = readFileSync(path).length / pageBytes
      const ends = new Map<string, number[]>()
      for (let page = 0; page < pages; page++) {
        const end = judgeDamaged(page * pageBytes, Buffer.alloc(pageBytes, byte))
        ends.set(end, [...(ends.get(end) ?? []), page + 1])
      }
      expect(
        [...ends.keys()].toSorted(),
        JSON.stringify(
          [...ends].map(([e, p]) => [e.slice(0, 900), p.join(' ')]),
          undefined,
          1,
        ),
      ).toEqual(['refused', 'served'])
    },
  )

  it('B99 whichever page is zeroed: what is salvaged is whole, and of what is missing the report tells', () => {
    const pages = readFileSync(path).length / pageBytes
    const [copy, saved] = ['copy.db', 'saved.db'].map(name => join(folder.path, name)) as [string, string]
    const refused: number[] = []
    for (let page = 0; page < pages; page++) {
      damagedCopy(copy, page * pageBytes, Buffer.alloc(pageBytes))
      rmSync(saved, { force: true })
      let report: SalvageReport
      try {
        report = salvageFile(copy, saved)
      } catch (error) {
        expect((error as { code?: string }).code, `page ${page + 1}: ${(error as Error).stack}`).toBe(
          'BUZZER_NOT_A_BROKER_FILE',
        )
        refused.push(page + 1)
        continue
      }
      expect(checkFile(saved), `page ${page + 1}`).toEqual({ ok: true, problems: [] })
      const isMissing =
        report.messages < messages.size || report.records < records.size || report.logRecords < logged.size
      expect(isMissing && report.problems.length === 0, `page ${page + 1}: ${JSON.stringify(report)}`).toBe(false)
      expect(report.messages, `page ${page + 1}`).toBeLessThanOrEqual(messages.size)
    }
    // Without the schema nothing can be read: it begins on the first page, and goes on on a few more.
    expect(refused[0]).toBe(1)
    expect(refused.length, `pages ${refused.join(', ')}`).toBeLessThanOrEqual(4)
  })

  it.each(['queue', 'sqlite_autoindex_queue_1', 'binding', 'chunk_keys', 'held', 'state_expires', 'aside_queue'])(
    'B99 salvage loses no message with the first page of %s',
    table => {
      const db = new DatabaseSync(path, { readOnly: true })
      const root = Number(db.prepare('select rootpage from sqlite_master where name = ?').get(table)?.['rootpage'])
      db.close()
      const [copy, saved] = ['copy.db', 'saved.db'].map(name => join(folder.path, name)) as [string, string]
      damagedCopy(copy, (root - 1) * pageBytes, Buffer.alloc(pageBytes))
      rmSync(saved, { force: true })
      expect(salvageFile(copy, saved)).toMatchObject({ messages: messages.size, records: records.size })
      const host = new EngineHost(saved)
      const { delivered, refusals } = new Use(host)
      host.engine.close()
      expect(refusals).toEqual([])
      expect(delivered).toEqual(messages)
    },
  )
})
