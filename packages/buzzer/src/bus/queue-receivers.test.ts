import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { embedded } from '../broker/index.ts'
import { BuzzerError, defineCommand, defineEvent, defineRequest, silentLogger } from '../message/index.ts'
import { virtualClock } from '../testing/index.ts'
import { memory, memoryBroker } from '../transport/transports/memory.ts'
import { type Bus, createBus } from './index.ts'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const Do = defineCommand<{ n: number }>('work.do')
const Said = defineEvent<{ n: number }>('work.said')
const Ask = defineRequest<{ n: number }, { n: number }>('work.ask')

/** A busy machine takes its time; a broken promise takes for ever. */
function eventually(check: () => unknown): Promise<unknown> {
  return vi.waitFor(check, 30_000)
}

let folder: string
let buses: Bus[]
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'buzzer-lost-'))
  buses = []
})
afterEach(async () => {
  await Promise.all(buses.map(bus => bus.stop({ timeoutMs: 0 })))
  rmSync(folder, { recursive: true, force: true })
})

describe.each([
  { name: 'memory', pair: () => [memory({ broker }), memory({ broker })] as const },
  {
    name: 'embedded',
    pair: () => [embedded({ path: join(folder, 'a.db') }), embedded({ path: join(folder, 'a.db') })] as const,
  },
])('over $name, a queue deleted under a running bus', ({ pair }) => {
  beforeEach(() => {
    broker = memoryBroker()
  })

  it('L2 is declared again with its bindings and received from again, and the health says so meanwhile', async () => {
    const [own, other] = pair()
    const bus = createBus({ name: 'shop', transport: own, logger: silentLogger })
    buses.push(bus)
    const handled: number[] = []
    const queue = bus
      .queue('work')
      .handle(Do, ({ n }) => void handled.push(n))
      .handle(Said, ({ n }) => void handled.push(n))
    await bus.start()
    await other.connect({ bus: 'operator', instanceId: 'o', logger: silentLogger } as never)
    await bus.send(Do, { n: 1 })
    await eventually(() => expect(handled).toEqual([1]))
    for (let round = 0; round < 3; round++) {
      await other.admin?.deleteQueue?.('work')
      await eventually(async () => {
        expect((await other.admin?.queue('work'))?.receivers).toBeGreaterThan(0)
        expect(await bus.health()).toMatchObject({ status: 'healthy', queues: [{ state: 'running' }] })
      })
    }
    await bus.publish(Said, { n: 2 })
    await bus.send(Do, { n: 3 })
    await eventually(() => expect(handled).toEqual([1, 2, 3]))
    expect(queue.name).toBe('work')
    await other.close()
  })

  it('L2 a request is answered after the queue for its answers was deleted', async () => {
    const [own, other] = pair()
    const bus = createBus({ name: 'shop', transport: own, logger: silentLogger, instanceId: 'me' })
    buses.push(bus)
    let deleteFirst = false
    bus.queue('work').handle(Ask, async ({ n }) => {
      if (deleteFirst) {
        await other.admin?.deleteQueue?.('buzzer.replies.shop.me')
        await eventually(async () => await other.admin?.queue('buzzer.replies.shop.me'))
      }
      return { n: n + 1 }
    })
    await bus.start()
    await other.connect({ bus: 'operator', instanceId: 'o', logger: silentLogger } as never)
    expect(await bus.request(Ask, { n: 1 })).toEqual({ n: 2 })
    deleteFirst = true
    expect(await bus.request(Ask, { n: 2 }, { timeoutMs: 10_000 })).toEqual({ n: 3 })
    await other.close()
  })
})

let broker = memoryBroker()

it('L2 a queue that cannot be had again is tried with growing pauses, is unhealthy, and ends with the bus', async () => {
  const clock = virtualClock()
  const shared = memoryBroker()
  const inner = memory({ broker: shared })
  let tries = 0
  let refusing = false
  const transport = Object.assign(Object.create(inner) as typeof inner, {
    declare: (topology: Parameters<typeof inner.declare>[0]) => {
      if (!refusing) return inner.declare(topology)
      tries++
      return Promise.reject(new BuzzerError('BUZZER_DISCONNECTED', 'no'))
    },
  })
  const bus = createBus({ name: 'shop', transport, clock, logger: silentLogger })
  buses.push(bus)
  bus.queue('work').handle(Do, () => {})
  await bus.start()
  refusing = true
  await inner.admin.deleteQueue?.('work')
  await clock.advance(99)
  expect(tries).toBe(1)
  await clock.advance(1 + 200 + 400)
  expect(tries).toBe(4)
  expect(await bus.health()).toMatchObject({
    status: 'degraded',
    queues: [{ name: 'work', state: 'stopped', reason: expect.stringContaining('deleted') }],
  })
  refusing = false
  await clock.advance(800)
  expect(await bus.health()).toMatchObject({ status: 'healthy' })
  refusing = true
  await inner.admin.deleteQueue?.('work')
  await clock.advance(10_000)
  const before = tries
  await bus.stop()
  await clock.advance(100_000)
  expect(tries).toBe(before)
})

it('L2 a queue that only this bus sends to is declared again when it was deleted: by its next send, and by a handler’s output', async () => {
  const shared = memoryBroker()
  const operator = memory({ broker: shared })
  await operator.connect({ bus: 'operator', instanceId: 'o', logger: silentLogger } as never)
  const bus = createBus({ name: 'shop', transport: memory({ broker: shared }), logger: silentLogger })
  buses.push(bus)
  const Forward = defineCommand<{ n: number }>('work.forward')
  let handled = 0
  bus.queue('work', { retry: { immediate: 2, delayedMs: [] } }).handle(Forward, async ({ n }, ctx) => {
    handled++
    await ctx.send(Do, { n }, { to: 'elsewhere' })
  })
  await bus.start()
  await bus.send(Do, { n: 1 }, { to: 'elsewhere' })
  await operator.admin.deleteQueue?.('elsewhere')
  await bus.send(Do, { n: 2 }, { to: 'elsewhere' })
  expect(await operator.admin.queue('elsewhere')).toMatchObject({ ready: 1 })
  await operator.admin.deleteQueue?.('elsewhere')
  await bus.send(Forward, { n: 3 })
  await eventually(async () => expect(await operator.admin.queue('elsewhere')).toMatchObject({ ready: 1 }))
  expect(handled).toBe(2)
  expect(await operator.admin.queue('work')).toMatchObject({ dead: 0, locked: 0 })
  await operator.close()
})
