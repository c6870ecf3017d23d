import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { silentLogger, systemClock } from '../message/index.ts'
import { type DirectPath, directPathOf, type OpenLock, type OutgoingMessage } from './index.ts'
import { memory, type MemoryTransport } from './transports/memory.ts'

let transport: MemoryTransport

beforeEach(async () => {
  transport = memory()
  await transport.connect({
    bus: 'test',
    instanceId: 'i',
    clock: systemClock,
    logger: silentLogger,
    onState: () => {},
  })
  await transport.declare({ queues: [{ name: 'work' }], topics: [], bindings: [] })
})

afterEach(() => transport.close())

function message(id: string): OutgoingMessage {
  const body = new TextEncoder().encode(id)
  return { id, to: { queue: 'work' }, attributes: {}, headers: {}, body, priority: 4, mandatory: true }
}

function direct(): DirectPath {
  return directPathOf(transport) as DirectPath
}

describe('directPathOf', () => {
  it('is not there for a transport that wraps another, or whose methods were replaced', async () => {
    expect(directPathOf(transport)).toBeDefined()
    expect(directPathOf({ ...transport })).toBeDefined()
    expect(directPathOf({ ...transport, send: (...given) => transport.send(...given) })).toBeUndefined()
    expect(directPathOf({ ...transport, receive: (...given) => transport.receive(...given) })).toBeUndefined()
    transport.send = () => Promise.resolve()
    expect(directPathOf(transport)).toBeUndefined()
  })
})

describe('the direct path', () => {
  it('accepts in the order of the calls of both paths, and tells each receipt once', async () => {
    const told: string[] = []
    const seen: string[] = []
    const receipt = (id: string): Parameters<DirectPath['submit']>[1] => ({
      accepted: () => told.push(id),
      refused: error => told.push(`${id} ${(error as { code: string }).code}`),
    })
    direct().submit(message('a'), receipt('a'))
    const b = transport.send([message('b')])
    direct().submit(message('c'), receipt('c'))
    direct().submit({ ...message('d'), to: { queue: 'nowhere' } }, receipt('d'))
    const aborted = AbortSignal.abort()
    direct().submit(message('e'), receipt('e'), { signal: aborted })
    await b
    const all = Promise.withResolvers<void>()
    const receiver = await direct().serve(
      'work',
      (delivery, lock) => {
        seen.push(delivery.id)
        lock.settle({ as: 'ack' })
        if (seen.length === 3) all.resolve()
      },
      { maxInFlight: 10, orderBy: 'none' },
    )
    await all.promise
    await receiver.stop()
    expect(seen).toEqual(['a', 'b', 'c'])
    expect(told.toSorted()).toEqual(['a', 'c', 'd BUZZER_UNROUTABLE', 'e BUZZER_ABORTED'])
  })

  it('settles once, and takes a consumer that throws for a counted retry', async () => {
    await transport.send([message('a')])
    const locks: OpenLock[] = []
    const attempts: number[] = []
    const twice = Promise.withResolvers<void>()
    const receiver = await direct().serve(
      'work',
      (delivery, lock) => {
        attempts.push(delivery.attempt)
        locks.push(lock)
        if (attempts.length === 1) throw new Error('a defect')
        twice.resolve()
      },
      { maxInFlight: 1, orderBy: 'none' },
    )
    await twice.promise
    locks[1]?.settle({ as: 'release' })
    locks[1]?.settle({ as: 'ack' })
    locks[0]?.settle({ as: 'ack' })
    await receiver.pause()
    expect(attempts.slice(0, 2)).toEqual([1, 2])
    expect(await transport.admin.queue('work')).toMatchObject({ ready: 1, locked: 0 })
  })
})
