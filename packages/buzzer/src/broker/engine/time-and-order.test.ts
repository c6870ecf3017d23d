import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import type { OutgoingMessage } from '../../transport/index.ts'
import { type EngineClient, type EngineHost, messageTo, textOf } from '../../../test/broker/engine-client.ts'
import { withEngine } from '../../../test/broker/with-engine.ts'

let host: EngineHost
let client: EngineClient

withEngine((opened, first) => {
  host = opened
  client = first
})

/** As many as the specification says; BUZZER_LONG_TESTS=1. */
const keysInWindow = process.env['BUZZER_LONG_TESTS'] === '1' ? 1_000_000 : 20_000

/** Node has it only on demand; a flag set late reaches new contexts. */
function gc(): void {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
}

function many(count: number, parts: (index: number) => Partial<OutgoingMessage> = () => ({})): OutgoingMessage[] {
  return Array.from({ length: count }, (_, index) => messageTo('q', String(index), parts(index)))
}

/** Takes and acknowledges until nothing comes; the texts in order of delivery. */
function drain(): string[] {
  const texts: string[] = []
  for (let batch = client.take(); batch.length > 0; batch = client.take()) {
    texts.push(...batch.map(textOf))
    client.ack(...batch.map(({ token }) => token))
  }
  return texts
}

describe('order', () => {
  it('priority: higher first, equal ones first in, first out', () => {
    client.declare({ name: 'q' })
    client.send(many(6, index => ({ priority: [4, 9, 0, 4, 9, 0][index] ?? 4 })))
    client.subscribe('q')
    expect(drain()).toEqual(['1', '4', '0', '3', '2', '5'])
  })

  it("orderBy 'queue' ignores priority and has one delivery open", () => {
    client.declare({ name: 'q', orderBy: 'queue' })
    client.send(many(4, index => ({ priority: index })))
    client.subscribe('q', 10)
    expect(client.deliveries.length).toBe(1)
    expect(drain()).toEqual(['0', '1', '2', '3'])
  })

  it.each(['queue', 'key'] as const)(
    'B33 orderBy %s: a head that was released or retried with a delay is first again',
    orderBy => {
      client.declare({ name: 'q', orderBy })
      client.send(many(3, () => ({ key: 'k' })))
      client.subscribe('q', 10)
      client.settle(client.take()[0]?.token ?? 0, { as: 'release' })
      const [head] = client.take()
      expect(head).toMatchObject({ attempt: 1 })
      client.settle(head?.token ?? 0, { as: 'retry', delayMs: 100 })
      host.advance(99)
      expect(client.take()).toEqual([])
      host.restart()
      client = host.connect()
      client.subscribe('q', 10)
      host.advance(1)
      expect(client.deliveries.map(({ attempt }) => attempt)).toEqual([2])
      expect(drain()).toEqual(['0', '1', '2'])
    },
  )

  it('B30 different keys go in parallel, each in order', () => {
    client.declare({ name: 'q', orderBy: 'key' })
    client.send(many(6, index => ({ key: index % 2 === 0 ? 'A' : 'B' })))
    client.subscribe('q', 16)
    expect(client.deliveries.map(textOf)).toEqual(['0', '1'])
    expect(drain()).toEqual(['0', '1', '2', '3', '4', '5'])
  })

  it('B32 10,000 messages of a busy key hide nothing behind them', () => {
    client.declare({ name: 'q', orderBy: 'key' })
    client.send(many(10_000, () => ({ key: 'hot' })))
    client.send([messageTo('q', 'other', { key: 'cold' })])
    host.restart()
    client = host.connect()
    client.subscribe('q', 2)
    expect(client.take().map(textOf)).toEqual(['0', 'other'])
  })

  it('B34 a head that is dead-lettered or expires lets its key go on', () => {
    client.declare({ name: 'q', orderBy: 'key' })
    const expiresAt = host.clock.now() + 1_000
    client.send(many(3, index => ({ key: 'k', ...(index === 1 ? { expiresAt } : {}) })))
    client.subscribe('q', 5)
    client.settle(client.take()[0]?.token ?? 0, { as: 'dead-letter', reason: 'x' })
    const [second] = client.take()
    client.settle(second?.token ?? 0, { as: 'retry', delayMs: 5_000 })
    host.advance(1_500)
    expect(client.take().map(textOf)).toEqual(['2'])
    expect(client.counts('q')).toMatchObject({ scheduled: 0, dead: 1 })
  })

  it('B35 messages without key in a key-ordered queue do not wait for each other', () => {
    client.declare({ name: 'q', orderBy: 'key' })
    client.send(many(5))
    client.subscribe('q', 5)
    expect(client.take()).toHaveLength(5)
  })

  it('B36 scheduled messages of one key are handled in order of falling due', () => {
    client.declare({ name: 'q', orderBy: 'key' })
    const now = host.clock.now()
    client.send(many(3, index => ({ key: 'k', deliverAt: now + 300 - 100 * index })))
    client.subscribe('q', 5)
    host.advance(400)
    expect(drain()).toEqual(['2', '1', '0'])
  })

  it('a backlog larger than the window in memory is delivered whole and in order', () => {
    client.declare({ name: 'q' })
    for (let index = 0; index < 3_000; index++) client.post([messageTo('q', String(index))])
    host.run()
    for (let index = 3_000; index < 6_000; index++) {
      client.post([messageTo('q', String(index))])
      if (index % 2 === 0) host.run()
    }
    host.run()
    client.subscribe('q', 500)
    expect(drain()).toEqual(Array.from({ length: 6_000 }, (_, index) => String(index)))
    expect(client.figures('q').bytes).toBe(0)
  })
})

describe('time', () => {
  it('B40 messages that expire in the middle of a queue leave the counts within a second, without a receiver', () => {
    client.declare({ name: 'q' })
    const expiresAt = host.clock.now() + 500
    client.send(many(1_000, index => (index % 2 === 0 ? { expiresAt } : {})))
    host.advance(1_500)
    expect(client.counts('q').ready).toBe(500)
    client.subscribe('q', 100)
    expect(drain()).toEqual(Array.from({ length: 500 }, (_, index) => String(2 * index + 1)))
  })

  it('B41 expiry goes on during a retry delay, and the ttl of the queue caps the one of the message', () => {
    client.declare({ name: 'q', ttlMs: 1_000, deadLetterExpired: true })
    client.send(many(1, () => ({ expiresAt: host.clock.now() + 60_000 })))
    client.subscribe('q')
    client.settle(client.take()[0]?.token ?? 0, { as: 'retry', delayMs: 10_000 })
    host.advance(1_300)
    expect(client.counts('q')).toMatchObject({ scheduled: 0, dead: 1 })
    const page = client.call<{ items: unknown[] }>({ call: 'admin', method: 'peek', queue: 'q' })
    expect(page.items).toMatchObject([{ state: 'dead', deadLetter: { reason: 'expired' } }])
  })

  it('a locked message does not expire; it does when it comes back too late', () => {
    client.declare({ name: 'q' })
    client.send(many(2, () => ({ expiresAt: host.clock.now() + 1_000 })))
    client.subscribe('q', 2)
    const [a, b] = client.take()
    host.advance(5_000)
    expect(client.lost).toEqual([])
    client.ack(a?.token ?? 0)
    client.settle(b?.token ?? 0, { as: 'retry' })
    expect(client.take()).toEqual([])
    expect(client.counts('q')).toMatchObject({ ready: 0, locked: 0 })
  })

  it('a scheduled message lives from its due time', () => {
    client.declare({ name: 'q', ttlMs: 1_000 })
    client.send(many(1, () => ({ deliverAt: host.clock.now() + 5_000 })))
    host.advance(5_500)
    expect(client.counts('q').ready).toBe(1)
    host.advance(1_000)
    expect(client.counts('q').ready).toBe(0)
  })

  it('dead letters older than deadLetterTtlMs are deleted', () => {
    client.declare({ name: 'q', deadLetterTtlMs: 1_000 })
    client.send(many(1))
    client.subscribe('q')
    client.settle(client.take()[0]?.token ?? 0, { as: 'dead-letter', reason: 'x' })
    host.advance(1_500)
    expect(client.counts('q').dead).toBe(0)
    expect(client.figures('q').bytes).toBe(0)
  })

  it('B42 the wall clock jumps an hour ahead → no retry early, no lock lost, deliverAt within that hour fires', () => {
    client.declare({ name: 'q' })
    client.send(many(3, index => (index === 2 ? { deliverAt: host.clock.now() + 1_800_000 } : {})))
    client.subscribe('q', 3)
    const [a, b] = client.take()
    client.settle(a?.token ?? 0, { as: 'retry', delayMs: 10_000 })
    host.clock.jump(3_600_000)
    host.advance(2_000)
    expect(client.take().map(textOf)).toEqual(['2'])
    expect(client.lost).toEqual([])
    host.advance(7_000)
    expect(client.take()).toEqual([])
    client.beat()
    host.advance(1_100)
    expect(client.take().map(textOf)).toEqual(['0'])
    expect(client.settle(b?.token ?? 0, { as: 'ack' })).toBeUndefined()
  })

  it('B39 no process up when a message falls due → delivered once at the next start', () => {
    client.declare({ name: 'q' }, { name: 'copy' })
    client.call({ call: 'admin', method: 'bind', topic: 't', queue: 'copy' })
    const deliverAt = host.clock.now() + 10_000
    const published = messageTo('', 'b', { to: { topic: 't', bases: [] }, deliverAt })
    client.send([messageTo('q', 'a', { deliverAt }), published])
    host.engine.close()
    // Hours later, long after it fell due: nobody's timer ran.
    host.clock.jump(3 * 3_600_000)
    for (let start = 0; start < 2; start++) {
      host.restart()
      client = host.connect()
      host.advance(1_000)
      expect([client.counts('q'), client.counts('copy')]).toMatchObject([
        { ready: 1, scheduled: 0 },
        { ready: 1, scheduled: 0 },
      ])
    }
    client.subscribe('q', 10)
    expect(client.take().map(delivery => [textOf(delivery), delivery.attempt])).toEqual([['a', 1]])
  })

  it('B43 the wall clock goes back an hour over a restart → a retry of 1 s waits at most 1 s more', () => {
    client.declare({ name: 'q' })
    client.send(many(1))
    client.subscribe('q')
    client.settle(client.take()[0]?.token ?? 0, { as: 'retry', delayMs: 1_000 })
    host.engine.close()
    host.clock.jump(-3_600_000)
    host.crash()
    client = host.connect()
    client.subscribe('q')
    host.advance(1_000)
    expect(client.take().map(({ attempt }) => attempt)).toEqual([2])
  })

  it('cancelScheduled is true once, for messages before a restart too, and frees the deduplication key', () => {
    client.declare({ name: 'q', deduplicationWindowMs: 60_000 })
    const later = messageTo('q', 'a', { deliverAt: host.clock.now() + 1_000, deduplicationKey: 'd' })
    client.send([later])
    client.send([messageTo('q', 'dropped', { deduplicationKey: 'd' })])
    host.restart()
    client = host.connect()
    const cancel = (): unknown => client.call({ call: 'admin', method: 'cancelScheduled', messageId: later.id })
    expect([cancel(), cancel()]).toEqual([true, false])
    client.send([messageTo('q', 'b', { deduplicationKey: 'd' })])
    host.advance(2_000)
    client.subscribe('q')
    expect(drain()).toEqual(['b'])
  })
})

describe('deduplication', () => {
  it('B44 equal keys within the window are kept once, outside it again; over restarts', () => {
    client.declare({ name: 'q', deduplicationWindowMs: 10_000 })
    const send = (text: string): unknown => client.send([messageTo('q', text, { deduplicationKey: 'd' })])
    expect(send('a')).toBeUndefined()
    host.advance(9_999)
    expect(send('b')).toBeUndefined()
    host.restart()
    client = host.connect()
    host.advance(1)
    send('c')
    expect(
      client.send([messageTo('q', 'd', { deduplicationKey: 'e' }), messageTo('q', 'e', { deduplicationKey: 'e' })]),
    ).toBeUndefined()
    client.subscribe('q')
    expect(drain()).toEqual(['a', 'c', 'd'])
  })

  it('B45 one publish, twice, to a queue with and one without a window → 1 and 2 copies', () => {
    client.declare({ name: 'q', deduplicationWindowMs: 10_000 }, { name: 'p' })
    for (const queue of ['q', 'p']) client.call({ call: 'admin', method: 'bind', topic: 't', queue })
    const publish = messageTo('q', 'a', { to: { topic: 't', bases: [] }, deduplicationKey: 'd' })
    client.send([publish])
    client.send([publish])
    expect([client.counts('q').ready, client.counts('p').ready]).toEqual([1, 2])
  })

  it('of equal keys in one send, and in the settlements of one group, exactly one is kept', () => {
    client.declare({ name: 'q', deduplicationWindowMs: 1_000 }, { name: 'in' })
    client.send(many(10, index => ({ deduplicationKey: `k${index % 3}` })))
    expect(client.counts('q').ready).toBe(3)
    client.send([messageTo('in', 'a'), messageTo('in', 'b')])
    client.subscribe('in', 2)
    for (const { token } of client.take()) {
      const output = messageTo('q', 'out', { deduplicationKey: 'both' })
      client.postSettle(token, { as: 'ack', group: { id: 'g', size: 2 } }, [output])
    }
    host.run()
    expect(client.counts('in').locked).toBe(0)
    expect(client.counts('q').ready).toBe(4)
  })

  it('B46 a million keys in the window leave the memory as it was, and a restart still knows them', () => {
    client.declare({ name: 'q', deduplicationWindowMs: 7 * 24 * 3_600_000 })
    const sendKeys = (from: number, count: number): void => {
      client.send(many(count, index => ({ deduplicationKey: `order-${from + index}`, body: new Uint8Array(1) })))
    }
    const heap = (): number => {
      gc()
      const { heapUsed, external } = process.memoryUsage()
      return heapUsed + external
    }
    sendKeys(0, 1_000)
    client.call({ call: 'admin', method: 'purge', queue: 'q' })
    const before = heap()
    for (let from = 1_000; from < keysInWindow; from += 1_000) {
      sendKeys(from, 1_000)
      client.call({ call: 'admin', method: 'purge', queue: 'q' })
    }
    expect(heap() - before).toBeLessThan(16 * 1024 * 1024)
    host.crash()
    client = host.connect()
    for (const from of [0, keysInWindow / 2, keysInWindow - 1_000]) sendKeys(from, 1_000)
    expect(client.counts('q').ready).toBe(0)
    sendKeys(keysInWindow, 10)
    expect(client.counts('q').ready).toBe(10)
  }, 900_000)

  it('B47 equal ids without deduplicationKey → both kept', () => {
    client.declare({ name: 'q', deduplicationWindowMs: 10_000 })
    client.send(many(2, () => ({ id: 'same' })))
    expect(client.counts('q').ready).toBe(2)
  })
})
