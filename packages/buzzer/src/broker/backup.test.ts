import { mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { PeerProcess } from '../../test/broker/peer-process.ts'
import { silentLogger } from '../message/index.ts'
import type { OutgoingMessage } from '../transport/index.ts'
import { checkFile, embedded, type EmbeddedTransport } from './index.ts'

vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 })

let folder: string
let path: string
let toPath: string
let transports: EmbeddedTransport[]

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'buzzer-backup-')))
  path = join(folder, 'shop.db')
  toPath = join(folder, 'far away', 'shop copy.db')
  transports = []
})

afterEach(async () => {
  await Promise.all(transports.map(transport => transport.close()))
  rmSync(folder, { recursive: true, force: true })
})

async function open(file: string): Promise<EmbeddedTransport> {
  const transport = embedded({ path: file })
  transports.push(transport)
  await transport.connect({ logger: silentLogger })
  return transport
}

function message(id: string, bytes = 2_000): OutgoingMessage {
  const body = new Uint8Array(bytes)
  return { id, to: { queue: 'q' }, attributes: {}, headers: {}, body, priority: 4, mandatory: true }
}

async function fill(transport: EmbeddedTransport, count: number): Promise<void> {
  await transport.declare({ queues: [{ name: 'q' }], topics: [], bindings: [] })
  for (let from = 0; from < count; from += 1_000) {
    await transport.send(Array.from({ length: 1_000 }, (_, index) => message(`m${from + index}`)))
  }
}

it('B69 senders go on while a backup and a check are made, and all that was acknowledged before the call is in it', async () => {
  const transport = await open(path)
  await fill(transport, 20_000)
  let ended = false
  const work = Promise.all([transport.admin.backup(toPath), transport.admin.check()]).finally(() => {
    ended = true
  })
  let during = 0
  for (; !ended; during++) await transport.send([message(`during-${during}`, 10)])
  const [, report] = await work
  expect(report).toEqual({ ok: true, problems: [] })
  // Each waited for a commit of its own: an engine that stands still for the work takes one at the most.
  expect(during).toBeGreaterThan(5)
  expect(checkFile(toPath)).toEqual({ ok: true, problems: [] })
  const copy = await open(toPath)
  const { ready } = await copy.admin.queue('q')
  expect(ready).toBeGreaterThanOrEqual(20_000)
  expect(ready).toBeLessThanOrEqual(20_000 + during)
  expect(readdirSync(join(folder, 'far away')).filter(name => name.endsWith('.partial'))).toEqual([])
})

it('B70 a check of a file under load finds one state of it, and nothing wrong', async () => {
  const transport = await open(path)
  await fill(transport, 1_000)
  await transport.receive('q', async ({ attempt }) => (attempt === 1 ? { as: 'retry', delayMs: 20 } : { as: 'ack' }), {
    maxInFlight: 200,
    orderBy: 'none',
  })
  let ended = false
  const senders = Array.from({ length: 20 }, async (_, lane) => {
    for (let number = 0; !ended; number++) await transport.send([message(`l${lane}-${number}`, 50)])
  })
  for (let round = 0; round < 12; round++) {
    expect(round % 2 === 0 ? checkFile(path) : await transport.admin.check()).toEqual({ ok: true, problems: [] })
  }
  ended = true
  await Promise.all(senders)
})

it('a backup from another process; one that goes where something is already is refused, and two to one place are one', async () => {
  const owner = await PeerProcess.start()
  try {
    await owner.call('connect', { options: { path } })
    const transport = await open(path)
    await fill(transport, 1_000)
    await Promise.all([transport.admin.backup(toPath), transport.admin.backup(toPath)])
    await expect(transport.admin.backup(toPath)).rejects.toMatchObject({ code: 'BUZZER_INVALID_OPTION' })
    await expect(transport.admin.backup('')).rejects.toMatchObject({ code: 'BUZZER_INVALID_OPTION' })
    await expect(transport.admin.backup('/proc/no/such/place.db')).rejects.toMatchObject({
      code: 'BUZZER_INVALID_OPTION',
    })
    expect(checkFile(toPath).ok).toBe(true)
  } finally {
    await owner.kill()
  }
})

it('the half of a backup whose process died is dropped by the next one', async () => {
  const transport = await open(path)
  await fill(transport, 1_000)
  const left = `${path}.copy.0badc0de.partial`
  writeFileSync(left, 'half')
  writeFileSync(`${path}.copy.mine.partial`, 'of somebody else')
  await transport.admin.backup(`${path}.copy`)
  const names = readdirSync(folder)
  expect(names).toContain('shop.db.copy')
  expect(names.filter(name => name.endsWith('.partial'))).toEqual(['shop.db.copy.mine.partial'])
})
