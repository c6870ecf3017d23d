import { describe, expect, it } from 'vitest'
import { type EngineClient, type EngineHost, messageTo, textOf } from '../../../test/broker/engine-client.ts'
import { withEngine } from '../../../test/broker/with-engine.ts'

let host: EngineHost
let client: EngineClient

withEngine((opened, first) => {
  host = opened
  client = first
})

describe('sending and receiving', () => {
  it('delivers what was sent, once, and forgets it when it is acknowledged', () => {
    client.declare({ name: 'work' })
    expect(client.send([messageTo('work', 'a'), messageTo('work', 'b')])).toBeUndefined()
    client.subscribe('work', 10)
    const deliveries = client.take()
    expect(deliveries.map(textOf)).toEqual(['a', 'b'])
    expect(deliveries.map(({ attempt }) => attempt)).toEqual([1, 1])
    expect(client.counts('work')).toEqual({ ready: 0, locked: 2, scheduled: 0, parked: 0, dead: 0 })
    client.ack(...deliveries.map(({ token }) => token))
    expect(client.counts('work')).toEqual({ ready: 0, locked: 0, scheduled: 0, parked: 0, dead: 0 })
    expect(client.figures('work').bytes).toBe(0)
    expect(client.take()).toEqual([])
  })

  it('B13 an acknowledged message does not return after a crash, an unacknowledged one does', () => {
    client.declare({ name: 'work' })
    client.send([messageTo('work', 'a'), messageTo('work', 'b'), messageTo('work', 'c')])
    client.subscribe('work', 2)
    const [first] = client.take()
    client.ack(first?.token ?? 0)
    client.take()
    host.crash()
    client = host.connect()
    expect(client.counts('work')).toMatchObject({ ready: 2, locked: 0 })
    client.subscribe('work', 10)
    expect(client.take().map(delivery => [textOf(delivery), delivery.attempt])).toEqual([
      ['b', 2],
      ['c', 2],
    ])
  })

  it('B5 an unknown queue refuses the whole array; after declare the same send works', () => {
    client.declare({ name: 'work' })
    const messages = [messageTo('work', 'a'), messageTo('later', 'b')]
    expect(client.send(messages)).toMatchObject({ code: 'BUZZER_UNROUTABLE' })
    expect(client.counts('work').ready).toBe(0)
    client.declare({ name: 'later' })
    expect(client.send(messages)).toBeUndefined()
    expect(client.counts('work').ready).toBe(1)
  })

  it('B14 retry → attempt + 1, everything else unchanged', () => {
    client.declare({ name: 'work' })
    client.send([messageTo('work', 'a', { key: 'k', headers: { h: 'v' }, priority: 7 })])
    client.subscribe('work')
    const [first] = client.take()
    client.settle(first?.token ?? 0, { as: 'retry' })
    const [second] = client.take()
    expect(second).toEqual({ ...first, attempt: 2, token: second?.token })
  })

  it('B38 retries after 100, 200, 400 → gaps at least these, attempts 2, 3, 4', () => {
    client.declare({ name: 'work' })
    client.send([messageTo('work', 'a')])
    client.subscribe('work')
    for (const [index, delayMs] of [100, 200, 400].entries()) {
      const [delivery] = client.take()
      expect(delivery?.attempt).toBe(index + 1)
      client.settle(delivery?.token ?? 0, { as: 'retry', delayMs })
      expect(client.counts('work')).toMatchObject({ scheduled: 1, ready: 0, locked: 0 })
      host.advance(delayMs - 1)
      expect(client.take()).toEqual([])
      host.advance(2)
    }
    expect(client.take()[0]?.attempt).toBe(4)
  })

  it('B15 dead-letter with reason and detail → both readable by peek and by receiving <queue>.dead', () => {
    client.declare({ name: 'work' })
    client.send([messageTo('work', 'a', { key: 'k' })])
    client.subscribe('work')
    const [first] = client.take()
    client.settle(first?.token ?? 0, { as: 'dead-letter', reason: 'bad', detail: { why: 1 } })
    expect(client.counts('work')).toEqual({ ready: 0, locked: 0, scheduled: 0, parked: 0, dead: 1 })
    host.crash()
    client = host.connect()
    const page = client.call<{ items: { deadLetter: unknown; attempt: number }[] }>({
      call: 'admin',
      method: 'peek',
      queue: 'work',
    })
    expect(page.items).toMatchObject([{ state: 'dead', attempt: 1, deadLetter: { reason: 'bad', detail: { why: 1 } } }])
    client.subscribe('work.dead')
    const [dead] = client.take()
    expect(dead).toMatchObject({ attempt: 1, deadLetter: { reason: 'bad' }, message: { key: 'k' } })
    client.ack(dead?.token ?? 0)
    expect(client.counts('work').dead).toBe(0)
  })

  it('the limit is exact: maxDeliveries deliveries, then a dead letter that says how the last one ended', () => {
    client.declare({ name: 'work', maxDeliveries: 3 })
    client.send([messageTo('work', 'a')])
    client.subscribe('work')
    const attempts: number[] = []
    for (let [delivery] = client.take(); delivery !== undefined; [delivery] = client.take()) {
      attempts.push(delivery.attempt)
      client.settle(delivery.token, { as: 'retry' })
    }
    expect(attempts).toEqual([1, 2, 3])
    const page = client.call<{ items: unknown[] }>({ call: 'admin', method: 'peek', queue: 'work' })
    expect(page.items).toMatchObject([
      { deadLetter: { reason: 'max-deliveries-exceeded', detail: { lastDelivery: 'retry' } } },
    ])
  })

  it('release returns a message at its old place, not counted', () => {
    client.declare({ name: 'work' })
    client.send(['a', 'b', 'c'].map(text => messageTo('work', text)))
    client.subscribe('work', 2)
    const [a, b] = client.take()
    client.call({ call: 'pause', receiverId: 1 })
    client.settle(b?.token ?? 0, { as: 'release' })
    client.settle(a?.token ?? 0, { as: 'release' })
    client.call({ call: 'resume', receiverId: 1 })
    expect(client.take().map(delivery => [textOf(delivery), delivery.attempt])).toEqual([
      ['a', 1],
      ['b', 1],
    ])
  })

  it('B37 a scheduled message is delivered when due, over a restart too', () => {
    client.declare({ name: 'work' })
    client.send([messageTo('work', 'a', { deliverAt: host.clock.now() + 500 })])
    expect(client.counts('work')).toMatchObject({ scheduled: 1, ready: 0 })
    host.restart()
    client = host.connect()
    client.subscribe('work')
    host.advance(499)
    expect(client.take()).toEqual([])
    host.advance(1)
    expect(client.take().map(textOf)).toEqual(['a'])
  })

  it('B18 two receivers on one queue share the work, nothing is open at both', () => {
    const other = host.connect()
    client.declare({ name: 'work' })
    client.subscribe('work', 5)
    other.subscribe('work', 5)
    client.send(Array.from({ length: 8 }, (_, index) => messageTo('work', String(index))))
    const here = client.take().map(textOf)
    const there = other.take().map(textOf)
    expect(here).toHaveLength(4)
    expect([...here, ...there].toSorted()).toEqual(['0', '1', '2', '3', '4', '5', '6', '7'])
  })
})
