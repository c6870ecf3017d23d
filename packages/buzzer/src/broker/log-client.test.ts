import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { silentLogger } from '../message/index.ts'
import { embedded, type EmbeddedTransport } from './index.ts'

// Threads are started here, which takes a busy machine its time.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

let folder: string
let path: string
const transports: EmbeddedTransport[] = []

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'buzzer-log-client-')))
  path = join(folder, 'shop.db')
})
afterEach(async () => {
  await Promise.all(transports.splice(0).map(transport => transport.close()))
  rmSync(folder, { recursive: true, force: true })
})

function made(options: { onTopologyConflict?: 'update' } = {}): EmbeddedTransport {
  const transport = embedded({ path, connectTimeoutMs: 60_000, ...options })
  transports.push(transport)
  return transport
}

const text = (value: string) => ({ value: Buffer.from(value) })
const waiting = { stream: 's', partition: 0, from: 'end', waitMs: 600_000 } as const

describe('the log of an embedded transport', () => {
  it('is open with its transport and claims replay; a transport claims nothing it has not', async () => {
    const transport = made()
    expect(transport.capabilities.replay).toBe(true)
    await expect(transport.log.describe()).rejects.toMatchObject({ code: 'BUZZER_NOT_RUNNING' })
    await transport.connect({ logger: silentLogger })
    await transport.log.declare([{ name: 's' }])
    await transport.log.append([{ stream: 's', records: [text('a')] }])
    expect(await transport.log.append([])).toEqual([])
    await expect(
      transport.log.append([{ stream: 's', records: [text('a')] }], { tx: {} as never }),
    ).rejects.toMatchObject({
      code: 'BUZZER_UNSUPPORTED',
    })
  })

  it('stands alone: connected and closed without the transport, which is closed with its last user', async () => {
    const { log } = made()
    await log.connect({ logger: silentLogger })
    await log.declare([{ name: 's' }])
    await log.append([{ stream: 's', records: [text('a')] }])
    await log.close()
    const again = made()
    await again.log.connect({ logger: silentLogger })
    expect((await again.log.read({ stream: 's', partition: 0, from: 'start' })).records).toHaveLength(1)
  })

  it('ends its waiting reads when it is closed, or its transport, at once; the transport goes on without it', async () => {
    const transport = made()
    await transport.connect({ logger: silentLogger })
    await transport.log.declare([{ name: 's' }])
    const first = transport.log.read(waiting)
    first.catch(() => {})
    await transport.log.close()
    await expect(first).rejects.toMatchObject({ code: 'BUZZER_NOT_RUNNING' })
    await transport.declare({ queues: [{ name: 'q' }], topics: [], bindings: [] })
    const other = made()
    await other.connect({ logger: silentLogger })
    const reads = Array.from({ length: 50 }, () => other.log.read(waiting))
    for (const read of reads) read.catch(() => {})
    await new Promise(resolve => setTimeout(resolve, 20))
    // A close waits up to 30 s for what was begun; a read that waits is none of that.
    const startedAt = performance.now()
    await other.close()
    expect(performance.now() - startedAt).toBeLessThan(25_000)
    const results = await Promise.allSettled(reads)
    expect(
      results.every(one => one.status === 'rejected' && (one.reason as { code: string }).code === 'BUZZER_NOT_RUNNING'),
    ).toBe(true)
  })

  it('closed while reads wait and the last close is the owner: everything is given back, the next open finds all', async () => {
    const transport = made()
    await transport.connect({ logger: silentLogger })
    await transport.log.declare([{ name: 's' }])
    const read = transport.log.read(waiting)
    read.catch(() => {})
    const appends = Promise.all(
      Array.from({ length: 500 }, (_, n) => transport.log.append([{ stream: 's', records: [text(`${n}`)] }])),
    )
    await Promise.all([transport.close(), appends])
    expect((await read.catch((error: unknown) => error)) !== undefined).toBe(true)
    const again = made()
    await again.connect({ logger: silentLogger })
    expect((await again.log.read({ stream: 's', partition: 0, from: 'end' })).end).toBe(501)
  })

  it("onTopologyConflict 'update' takes the newer retention and window, and never fewer partitions or another index", async () => {
    const transport = made({ onTopologyConflict: 'update' })
    await transport.connect({ logger: silentLogger })
    const { log } = transport
    await log.declare([{ name: 's', partitions: 2, retention: { maxAgeMs: 1_000 } }])
    await log.declare([{ name: 's', deduplicationWindowMs: 50, retention: { maxAgeMs: Number.POSITIVE_INFINITY } }])
    const { streams } = await log.describe({ stream: 's' })
    expect(streams[0]?.options).toMatchObject({
      deduplicationWindowMs: 50,
      retention: { maxAgeMs: Number.POSITIVE_INFINITY, maxBytes: Number.POSITIVE_INFINITY },
    })
    for (const change of [{ partitions: 3 }, { keyIndex: true }]) {
      await expect(log.declare([{ name: 's', ...change }])).rejects.toMatchObject({ code: 'BUZZER_TOPOLOGY_CONFLICT' })
    }
  })

  it('a message and a record leave by one commit when they are sent in one turn', async () => {
    const transport = made()
    await transport.connect({ logger: silentLogger })
    await transport.log.declare([{ name: 's' }])
    await transport.declare({ queues: [{ name: 'q' }], topics: [], bindings: [] })
    const before = (await transport.admin.engine()).commits
    const message = { id: 'm', to: { queue: 'q' }, attributes: {}, headers: {}, body: Buffer.from('x') } as const
    await Promise.all([
      transport.send([{ ...message, priority: 4, mandatory: true }]),
      transport.log.append([{ stream: 's', records: [text('a')] }]),
    ])
    expect((await transport.admin.engine()).commits - before).toBe(1)
  })
})
