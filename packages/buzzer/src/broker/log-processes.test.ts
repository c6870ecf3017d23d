import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { PeerProcess } from '../../test/broker/peer-process.ts'
import { silentLogger } from '../message/index.ts'
import type { LogRecord } from '../transport/index.ts'
import { checkFile, embedded, type EmbeddedTransport } from './index.ts'

// Processes are started and killed here, which takes a busy machine its time.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

let folder: string
let path: string
let peers: PeerProcess[]
let transports: EmbeddedTransport[]

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'buzzer-logs-')))
  path = join(folder, 'shop.db')
  peers = []
  transports = []
})

afterEach(async () => {
  await Promise.all(peers.map(peer => peer.kill()))
  await Promise.all(transports.map(transport => transport.close()))
  rmSync(folder, { recursive: true, force: true })
})

/** A process on the file of this test. The first one owns it. */
async function peer(options: { host?: 'never' } = {}): Promise<PeerProcess> {
  const started = await PeerProcess.start()
  peers.push(started)
  await started.call('connect', { options: { path, connectTimeoutMs: 60_000, ...options } })
  return started
}

async function here(options: { host?: 'never' } = {}): Promise<EmbeddedTransport> {
  const transport = embedded({ path, connectTimeoutMs: 60_000, ...options })
  transports.push(transport)
  await transport.connect({ logger: silentLogger })
  return transport
}

async function all({ log }: EmbeddedTransport, stream: string): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  for (let from: number | 'start' = 'start'; ; ) {
    const result = await log.read({ stream, partition: 0, from, maxRecords: 10_000 })
    records.push(...result.records)
    if (result.next === result.end) return records
    from = result.next
  }
}

const textOf = ({ value }: LogRecord): string => Buffer.from(value ?? []).toString()
const numbers = (from: number, count: number): number[] => Array.from({ length: count }, (_, index) => from + index)

/** Every batch whole and contiguous, in the file once; of each writer in its order. */
function expectBatches(texts: readonly string[], labels: readonly string[], batches: number, each: number): void {
  expect(texts).toHaveLength(labels.length * batches * each)
  const seen: string[] = []
  for (let at = 0; at < texts.length; at += each) {
    const [label, batch] = (texts[at] as string).split(':') as [string, string]
    expect(texts.slice(at, at + each)).toEqual(numbers(0, each).map(record => `${label}:${batch}:${record}`))
    seen.push(`${label}:${batch}`)
  }
  expect(new Set(seen).size).toBe(seen.length)
}

describe('logs between processes', () => {
  it('B100 two processes append 10,000 each: positions 1 to 20,000, each batch contiguous', async () => {
    const [one, two] = await Promise.all([peer(), peer()])
    await one.call('logDeclare', { streams: [{ name: 's' }] })
    const work = { stream: 's', batches: 2_000, each: 5, inFlight: 100 }
    await Promise.all([
      one.call('appendMany', { ...work, label: 'one' }),
      two.call('appendMany', { ...work, label: 'two' }),
    ])
    const records = await all(await here(), 's')
    expect(records.map(({ position }) => position)).toEqual(numbers(1, 20_000))
    expectBatches(records.map(textOf), ['one', 'two'], 2_000, 5)
    const times = records.map(({ time }) => time)
    expect(times).toEqual(times.toSorted((left, right) => left - right))
  })

  it('B101 an append with an outdated expected position is refused with the actual one, whoever moved it', async () => {
    const owner = await peer()
    const { log } = await here({ host: 'never' })
    await log.declare([{ name: 's', keyIndex: true }])
    const batch = { stream: 's', records: [{ key: 'k', value: Buffer.from('a') }] }
    await owner.call('append', { batches: [batch, batch] })
    for (const [expect_, actual] of [
      [{ end: 1 }, 3],
      [{ end: 4 }, 3],
      [{ key: 'k', last: 1 }, 2],
      [{ key: 'k', last: 'none' }, 2],
    ] as const) {
      await expect(log.append([{ ...batch, expect: expect_ }])).rejects.toMatchObject({
        code: 'BUZZER_LOG_CONFLICT',
        retryable: true,
        details: { stream: 's', partition: 0, actual },
      })
    }
    expect((await log.read({ stream: 's', partition: 0, from: 'start' })).end).toBe(3)
    await expect(log.append([{ ...batch, expect: { key: 'k', last: 2 } }])).resolves.toMatchObject([{ position: 3 }])
  })

  it('B102 a follower sees every record once, in order, over two takeovers; appenders lose and repeat nothing', async () => {
    const first = await peer()
    await first.call('logDeclare', { streams: [{ name: 's' }] })
    const [second, follower, writer] = await Promise.all([peer(), peer({ host: 'never' }), peer({ host: 'never' })])
    await follower.call('follow', { stream: 's' })
    const batches = 1_500
    const writing = writer.call('appendMany', { stream: 's', label: 'w', batches, each: 2, inFlight: 20 })
    await follower.event('record', ({ position }) => position > 300)
    await first.kill()
    await follower.event('record', ({ position }) => position > 1_200)
    const third = await peer()
    await second.kill()
    await writing
    await follower.event('record', () => true, 2 * batches)
    const records = follower.seen('record')
    expect(follower.seen('unfollowed')).toEqual([])
    expect(records.map(({ position }) => position)).toEqual(numbers(1, 2 * batches))
    expectBatches(
      records.map(({ text }) => text),
      ['w'],
      batches,
      2,
    )
    const { end } = await third.call('read', { request: { stream: 's', partition: 0, from: 'end' } })
    expect(end).toBe(2 * batches + 1)
    await Promise.all([third.kill(), follower.kill(), writer.kill()])
    expect(checkFile(path)).toEqual({ ok: true, problems: [] })
  })

  it('B102 a follower that waits is woken over a takeover by the first record of the new owner', async () => {
    const owner = await peer()
    await owner.call('logDeclare', { streams: [{ name: 's' }] })
    const follower = await peer({ host: 'never' })
    await follower.call('follow', { stream: 's' })
    await owner.call('append', { batches: [{ stream: 's', records: [{ value: Buffer.from('before') }] }] })
    await follower.event('record')
    await owner.kill()
    const { log } = await here()
    await log.append([{ stream: 's', records: [{ value: Buffer.from('after') }] }])
    await follower.event('record', ({ text }) => text === 'after')
    expect(follower.seen('record').map(({ position, text }) => [position, text])).toEqual([
      [1, 'before'],
      [2, 'after'],
    ])
  })

  it('B103 trimmed below a slow reader of another process: the error names the first position', async () => {
    const owner = await peer()
    await owner.call('logDeclare', { streams: [{ name: 's' }] })
    await owner.call('appendMany', { stream: 's', label: 'w', batches: 50, each: 1, inFlight: 1 })
    const { log } = await here({ host: 'never' })
    const slow = await log.read({ stream: 's', partition: 0, from: 'start', maxRecords: 10 })
    const { first } = await log.admin.trim('s', 0, 31)
    expect(first).toBe(31)
    await expect(log.read({ stream: 's', partition: 0, from: slow.next })).rejects.toMatchObject({
      code: 'BUZZER_LOG_TRIMMED',
      details: { stream: 's', partition: 0, position: 11, first: 31 },
    })
    expect((await log.read({ stream: 's', partition: 0, from: first })).records.map(textOf)).toEqual(
      numbers(30, 20).map(n => `w:${n}:0`),
    )
  })

  it('a process killed in the middle of appending leaves each of its batches whole or not there', async () => {
    const owner = await peer()
    await owner.call('logDeclare', { streams: [{ name: 's' }] })
    const writer = await peer({ host: 'never' })
    const writing = writer.call('appendMany', { stream: 's', label: 'w', batches: 100_000, each: 7, inFlight: 50 })
    writing.catch(() => {})
    await owner.call('follow', { stream: 's' })
    await owner.event('record', ({ position }) => position > 2_000)
    await writer.kill()
    const records = await all(await here(), 's')
    expectBatches(records.map(textOf), ['w'], records.length / 7, 7)
  })
})
