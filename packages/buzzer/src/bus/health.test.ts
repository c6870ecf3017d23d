import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { PeerProcess } from '../../test/broker/peer-process.ts'
import { embedded } from '../broker/index.ts'
import { defineCommand, silentLogger } from '../message/index.ts'
import { memory } from '../transport/transports/memory.ts'
import { createBus } from './index.ts'

const Do = defineCommand<{ n: number }>('work.do')

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'buzzer-health-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

it('shows the class of durability that counts, and where the broker lives', async () => {
  const path = join(folder, 'shop.db')
  const bus = createBus({ name: 'shop', transport: embedded({ path, durability: 'os' }), logger: silentLogger })
  expect((await bus.health()).transport).toMatchObject({ state: 'closed', facts: { path, durability: 'os' } })
  await bus.start()
  expect((await bus.health()).transport).toEqual({
    name: 'embedded',
    state: 'connected',
    facts: { path, durability: 'os', ownerPid: process.pid, epoch: 1 },
  })
  await bus.stop()
  const light = createBus({ name: 'light', transport: memory(), logger: silentLogger })
  await light.start()
  expect((await light.health()).transport).toEqual({ name: 'memory', state: 'connected' })
  await light.stop()
})

it('names the owner that is stopped while this bus is connected to it, and is well again when it goes on', async () => {
  const path = join(folder, 'shop.db')
  const owner = await PeerProcess.start()
  await owner.call('connect', { options: { path } })
  const bus = createBus({ name: 'shop', transport: embedded({ path }), logger: silentLogger })
  const handled: number[] = []
  bus.queue('work').handle(Do, ({ n }) => void handled.push(n))
  await bus.start()
  expect((await bus.health()).transport.facts).toMatchObject({ ownerPid: owner.pid, durability: 'fsync' })
  process.kill(owner.pid, 'SIGSTOP')
  try {
    await vi.waitFor(
      async () =>
        expect(await bus.health()).toMatchObject({
          status: 'degraded',
          transport: {
            state: 'reconnecting',
            detail: expect.stringContaining(`process ${owner.pid}, has not answered`),
          },
        }),
      { timeout: 30_000, interval: 100 },
    )
    const sent = bus.send(Do, { n: 1 })
    process.kill(owner.pid, 'SIGCONT')
    await sent
    await vi.waitFor(() => expect(handled).toEqual([1]), 30_000)
    await vi.waitFor(async () => expect((await bus.health()).status).toBe('healthy'), 30_000)
    expect((await bus.health()).transport.detail).toBeUndefined()
  } finally {
    process.kill(owner.pid, 'SIGCONT')
    await bus.stop()
    await owner.kill()
  }
}, 90_000)
