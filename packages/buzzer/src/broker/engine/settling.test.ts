import { describe, expect, it } from 'vitest'
import { type EngineClient, type EngineHost, messageTo, textOf } from '../../../test/broker/engine-client.ts'
import { withEngine } from '../../../test/broker/with-engine.ts'

let host: EngineHost
let client: EngineClient

withEngine((opened, first) => {
  host = opened
  client = first
})

function record(id: string): unknown {
  return client.call({ call: 'store-get', collection: 'c', id })
}

describe('atomic settlements', () => {
  it('B71 ack with send, state and cancel is one step, also after a crash', () => {
    client.declare({ name: 'in' }, { name: 'out' })
    const later = messageTo('out', 'later', { deliverAt: host.clock.now() + 60_000 })
    client.send([messageTo('in', 'a'), later])
    client.subscribe('in')
    const [delivery] = client.take()
    const refused = client.settle(
      delivery?.token ?? 0,
      {
        as: 'ack',
        state: [{ op: 'put', collection: 'c', id: 'r', value: { n: 1 }, expected: 'absent' }],
        cancel: [later.id],
      },
      [messageTo('out', 'b')],
    )
    expect(refused).toBeUndefined()
    host.crash()
    client = host.connect()
    expect(client.counts('in')).toMatchObject({ ready: 0, locked: 0 })
    expect(client.counts('out')).toMatchObject({ ready: 1, scheduled: 0 })
    expect(record('r')).toMatchObject({ id: 'r', value: { n: 1 }, version: 1 })
  })

  it('B72 a stale version in state → no ack, no send, the refusal is BUZZER_CONFLICT and the delivery stays open', () => {
    client.declare({ name: 'in' }, { name: 'out' })
    client.send([messageTo('in', 'a')], [{ op: 'put', collection: 'c', id: 'r', value: 1, expected: 'any' }])
    client.subscribe('in')
    const [delivery] = client.take()
    const refused = client.settle(
      delivery?.token ?? 0,
      {
        as: 'ack',
        state: [
          { op: 'put', collection: 'c', id: 'other', value: 1, expected: 'absent' },
          { op: 'put', collection: 'c', id: 'r', value: 2, expected: 7 },
        ],
      },
      [messageTo('out', 'b')],
    )
    expect(refused).toMatchObject({
      code: 'BUZZER_CONFLICT',
      details: { collection: 'c', id: 'r', expected: 7, found: 1 },
    })
    expect(client.counts('out').ready).toBe(0)
    expect(client.counts('in').locked).toBe(1)
    expect(record('other')).toBeNull()
    expect(client.settle(delivery?.token ?? 0, { as: 'ack' })).toBeUndefined()
    expect(client.counts('in').locked).toBe(0)
  })

  it('a record that rides on a send or a settlement has the limit of every record, and refuses the whole step', () => {
    client.declare({ name: 'in' })
    const state = [{ op: 'put', collection: 'c', id: 'r', value: 'é'.repeat(600_000), expected: 'any' } as const]
    const limits = { details: { actualBytes: 1_200_002, limitBytes: 1024 * 1024 } }
    expect(client.send([messageTo('in', 'a')], state)).toMatchObject({ code: 'BUZZER_MESSAGE_TOO_LARGE', ...limits })
    expect(client.counts('in').ready).toBe(0)
    client.send([messageTo('in', 'a')])
    client.subscribe('in')
    const [delivery] = client.take()
    const refused = client.settle(delivery?.token ?? 0, { as: 'ack', state })
    expect(refused).toMatchObject({ code: 'BUZZER_MESSAGE_TOO_LARGE', ...limits })
    expect(client.counts('in').locked).toBe(1)
    expect(record('r')).toBeNull()
  })

  it('B73 an ack with send of a delayed and of a topic message → each arrives as if it had been sent alone', () => {
    client.declare({ name: 'in' }, { name: 'out' }, { name: 'first' }, { name: 'second' })
    for (const queue of ['first', 'second']) client.call({ call: 'admin', method: 'bind', topic: 't', queue })
    client.send([messageTo('in', 'a')])
    client.subscribe('in')
    const [delivery] = client.take()
    const delayed = messageTo('out', 'delayed', { deliverAt: host.clock.now() + 5_000, key: 'k', headers: { h: 'v' } })
    const published = messageTo('', 'published', { to: { topic: 't', bases: [] }, priority: 7 })
    expect(client.settle(delivery?.token ?? 0, { as: 'ack' }, [delayed, published])).toBeUndefined()
    expect(client.counts('out')).toMatchObject({ ready: 0, scheduled: 1 })
    for (const [index, queue] of ['first', 'second'].entries()) {
      client.subscribe(queue, 1, index + 10)
      const [copy] = client.take()
      expect(copy).toMatchObject({ attempt: 1, message: { id: published.id, priority: 7 } })
    }
    client.subscribe('out', 1, 20)
    host.advance(4_999)
    expect(client.take()).toEqual([])
    host.advance(2)
    const [late] = client.take()
    expect(late?.message).toMatchObject({
      id: delayed.id,
      key: 'k',
      headers: { h: 'v' },
      attributes: delayed.attributes,
    })
  })

  it('B74 1,000 settlements with send at once → one commit, not a thousand', () => {
    client.declare({ name: 'in' }, { name: 'out' })
    client.send(Array.from({ length: 1_000 }, (_, index) => messageTo('in', String(index))))
    client.subscribe('in', 1_000)
    const deliveries = client.take()
    expect(deliveries).toHaveLength(1_000)
    const { commits } = host.engine.stats()
    const asked = deliveries.map(({ token }) => client.postSettle(token, { as: 'ack' }, [messageTo('out', 'x')]))
    host.run()
    expect(asked.filter(id => client.results.has(id))).toHaveLength(1_000)
    expect(host.engine.stats().commits - commits).toBe(1)
    expect([client.counts('in').locked, client.counts('out').ready]).toEqual([0, 1_000])
  })

  it('a settlement whose messages cannot be routed is refused whole', () => {
    client.declare({ name: 'in' })
    client.send([messageTo('in', 'a')])
    client.subscribe('in')
    const [delivery] = client.take()
    const token = delivery?.token ?? 0
    const state = [{ op: 'put', collection: 'c', id: 'r', value: 1, expected: 'any' }] as const
    expect(client.settle(token, { as: 'ack', state }, [messageTo('nowhere', 'b')])).toMatchObject({
      code: 'BUZZER_UNROUTABLE',
    })
    expect(record('r')).toBeNull()
    expect(client.counts('in').locked).toBe(1)
  })

  it('B28 a group of three is applied with its third settlement; if a session dies before, none is', () => {
    const other = host.connect()
    client.declare({ name: 'in' })
    client.send(['a', 'b', 'c'].map(text => messageTo('in', text)))
    client.subscribe('in', 3)
    const [a, b, c] = client.take().map(({ token }) => token)
    const group = { id: 'g', size: 3 }
    const first = client.postSettle(a ?? 0, { as: 'ack', group })
    client.postSettle(b ?? 0, { as: 'ack', group })
    host.run()
    expect(client.results.has(first)).toBe(false)
    expect(client.counts('in').locked).toBe(3)
    expect(client.settle(c ?? 0, { as: 'ack', group })).toBeUndefined()
    expect(client.results.has(first)).toBe(true)
    expect(client.counts('in')).toMatchObject({ ready: 0, locked: 0 })

    other.subscribe('in', 1)
    client.send(['d', 'e'].map(text => messageTo('in', text)))
    const here = client.take()
    const there = other.take()
    expect([...here, ...there].map(textOf).toSorted()).toEqual(['d', 'e'])
    const three = { id: 'h', size: 3 }
    const waiting = client.postSettle(here[0]?.token ?? 0, { as: 'ack', group: three })
    other.postSettle(there[0]?.token ?? 0, { as: 'ack', group: three })
    host.run()
    expect(client.failures.has(waiting)).toBe(false)
    other.die()
    expect(client.failures.get(waiting)?.code, 'the group can never be complete').toBe('BUZZER_CONFLICT')
    expect(client.take().map(delivery => [textOf(delivery), delivery.attempt])).toEqual([
      [textOf(there[0] as never), 2],
    ])
    expect(client.counts('in')).toMatchObject({ ready: 0, locked: 2 })
  })

  it('a settlement with an old token changes nothing: no ack, no send, no state', () => {
    client.declare({ name: 'in' }, { name: 'out' })
    client.send([messageTo('in', 'a')])
    client.subscribe('in')
    const [delivery] = client.take()
    const token = delivery?.token ?? 0
    client.forfeit()
    expect(client.lost).toEqual([token])
    const state = [{ op: 'put', collection: 'c', id: 'r', value: 1, expected: 'any' }] as const
    expect(client.settle(token, { as: 'ack', state }, [messageTo('out', 'b')])).toMatchObject({
      code: 'BUZZER_LOCK_LOST',
    })
    client.ack(token)
    expect(client.lost).toEqual([token, token])
    expect(client.counts('out').ready).toBe(0)
    expect(record('r')).toBeNull()
    const other = host.connect()
    other.subscribe('in')
    expect(other.take().map(({ attempt }) => attempt)).toEqual([2])
  })

  it("another's token is worth nothing", () => {
    const other = host.connect()
    client.declare({ name: 'in' })
    client.send([messageTo('in', 'a')])
    client.subscribe('in')
    const [delivery] = client.take()
    other.ack(delivery?.token ?? 0)
    expect(other.settle(delivery?.token ?? 0, { as: 'ack' })?.code).toBe('BUZZER_LOCK_LOST')
    expect(client.counts('in').locked).toBe(1)
  })

  it('B26 dead-letter on a delivery of <queue>.dead → stays there and is not delivered again', () => {
    client.declare({ name: 'in' })
    client.send([messageTo('in', 'a')])
    client.subscribe('in')
    client.settle(client.take()[0]?.token ?? 0, { as: 'dead-letter', reason: 'x' })
    client.subscribe('in.dead', 1, 2)
    const [dead] = client.take()
    client.settle(dead?.token ?? 0, { as: 'dead-letter', reason: 'y' })
    expect(client.take()).toEqual([])
    expect(client.counts('in').dead).toBe(1)
    expect(client.call({ call: 'admin', method: 'redrive', queue: 'in' })).toBe(1)
    expect(client.take().map(textOf)).toEqual(['a'])
  })

  it('B23 parked → not delivered, no expiry, key goes on; unpark → back with its attempt', () => {
    client.declare({ name: 'in', orderBy: 'key', ttlMs: 1_000 })
    client.send(['a', 'b'].map(text => messageTo('in', text, { key: 'k' })))
    client.subscribe('in', 5)
    const [a] = client.take()
    client.settle(a?.token ?? 0, { as: 'park' })
    const [b] = client.take()
    expect(textOf(b as never)).toBe('b')
    client.ack(b?.token ?? 0)
    host.advance(5_000)
    expect(client.counts('in')).toMatchObject({ parked: 1, dead: 0 })
    client.call({ call: 'admin', method: 'alter', queue: 'in', options: { ttlMs: 1_000_000 } })
    host.crash()
    client = host.connect()
    client.subscribe('in', 5)
    expect(client.call({ call: 'admin', method: 'unpark', queue: 'in', ids: [String(a?.sequence)] })).toBe(1)
    expect(client.take().map(delivery => [textOf(delivery), delivery.attempt])).toEqual([['a', 2]])
  })
})

describe('sessions', () => {
  it('a repeated send is stored once, and a returning session is told what was committed and what was refused', () => {
    client.declare({ name: 'in' })
    const sequence = client.post([messageTo('in', 'a')])
    client.post([messageTo('nowhere', 'b')])
    host.run()
    const { sessionId } = client
    host.crash()
    client = host.connect(sessionId)
    expect(client.welcome).toMatchObject({
      sendsThrough: 2,
      refused: [{ sequence: 2, error: { code: 'BUZZER_UNROUTABLE' } }],
    })
    client.post([messageTo('in', 'a')], undefined, sequence)
    host.run()
    expect(client.counts('in').ready).toBe(1)
  })

  it('thousands of refusals are remembered over a takeover, each with its send', () => {
    client = host.connect('remote', [], false)
    client.declare({ name: 'in', maxMessages: 1 })
    for (let index = 0; index < 2_000; index++) client.post([messageTo('in', 'a')])
    host.run()
    host.crash()
    client = host.connect('remote', [], false)
    expect(client.welcome?.sendsThrough).toBe(2_000)
    expect(client.welcome?.refused.map(({ sequence }) => sequence)).toEqual(
      Array.from({ length: 1_999 }, (_, index) => index + 2),
    )
    expect(client.welcome?.refused[0]?.error.code).toBe('BUZZER_QUEUE_FULL')
  })

  it('nobody waits after a takeover for a session that had died before', () => {
    const gone = host.connect('gone', [], false)
    client.declare({ name: 'in' })
    gone.send([messageTo('in', 'a')])
    gone.die()
    client.subscribe('in')
    client.take()
    host.crash()
    client = host.connect()
    client.subscribe('in')
    expect(client.take().map(({ attempt }) => attempt)).toEqual([2])
  })

  it('B21 a connection that is cut and comes back at once keeps its deliveries', () => {
    client.declare({ name: 'in' })
    client.send([messageTo('in', 'a'), messageTo('in', 'b')])
    client.subscribe('in', 2)
    const [a, b] = client.take()
    client.session.disconnected()
    const kept = { token: a?.token ?? 0, receiverId: 1, queue: 'in', sequence: a?.sequence ?? 0, attempt: 1 }
    const back = host.connect(client.sessionId, [kept])
    host.advance(200)
    expect(back.welcome?.kept).toEqual([{ token: a?.token, newToken: a?.token }])
    back.ack(a?.token ?? 0)
    expect(back.lost).toEqual([])
    back.ack(b?.token ?? 0)
    expect(back.lost, 'what it did not name was released').toEqual([b?.token])
    expect(back.counts('in')).toMatchObject({ ready: 1, locked: 0 })
  })

  it('B78 a dead client: its messages are delivered elsewhere within 100 ms, counted', () => {
    const other = host.connect()
    client.declare({ name: 'in' })
    client.send([messageTo('in', 'a')])
    client.subscribe('in')
    client.take()
    other.subscribe('in')
    client.dead = true
    client.session.disconnected()
    host.advance(100)
    expect(other.take().map(delivery => [textOf(delivery), delivery.attempt])).toEqual([['a', 2]])
  })

  it('a goodbye releases what is open, uncounted', () => {
    const other = host.connect()
    client.declare({ name: 'in' })
    client.send([messageTo('in', 'a')])
    client.subscribe('in')
    client.take()
    client.bye()
    expect(client.saidGoodbye).toBe(true)
    other.subscribe('in')
    expect(other.take().map(({ attempt }) => attempt)).toEqual([1])
  })

  it('a session silent for lockMs loses its locks, one that beats does not', () => {
    const other = host.connect()
    client.declare({ name: 'in' })
    client.send([messageTo('in', 'a'), messageTo('in', 'b')])
    client.subscribe('in')
    other.subscribe('in')
    const [mine] = client.take()
    const [theirs] = other.take()
    for (let seconds = 0; seconds < 42; seconds += 6) {
      other.beat()
      host.advance(6_000)
    }
    expect(client.closed, 'its connection ends').toBe(true)
    expect(other.lost).toEqual([])
    expect(other.settle(theirs?.token ?? 0, { as: 'ack' })).toBeUndefined()
    expect(other.take().map(delivery => [textOf(delivery), delivery.attempt])).toEqual([[textOf(mine as never), 2]])
  })

  it('B77 after a takeover a returning session keeps its deliveries, uncounted; others are freed at the end of the window', () => {
    client = host.connect('remote', [], false)
    const gone = host.connect('gone', [], false)
    client.declare({ name: 'in', orderBy: 'key' })
    client.send(['a', 'b', 'c'].map(text => messageTo('in', text, { key: text === 'c' ? 'a' : text })))
    client.subscribe('in')
    const [a] = client.take()
    gone.subscribe('in')
    gone.take()
    host.crash()
    const open = [{ token: a?.token ?? 0, receiverId: 1, queue: 'in', sequence: a?.sequence ?? 0, attempt: 1 }]
    client = host.connect('remote', open, false)
    const newToken = client.welcome?.kept[0]?.newToken ?? 0
    expect(client.welcome?.epoch).toBe(2)
    client.subscribe('in', 5)
    expect(client.take(), 'b may still be claimed, c waits for its key').toEqual([])
    client.ack(newToken)
    expect(client.take().map(textOf)).toEqual(['c'])
    host.advance(1_999)
    expect(client.take()).toEqual([])
    host.advance(2)
    expect(client.take().map(delivery => [textOf(delivery), delivery.attempt])).toEqual([['b', 2]])
  })

  it('after an orderly handover, what was on its way to a session that returns without it does not count', () => {
    client = host.connect('remote', [], false)
    client.declare({ name: 'in' })
    client.send([messageTo('in', 'a'), messageTo('in', 'b')])
    client.subscribe('in', 2)
    const [a, ...others] = client.take()
    expect(others).toHaveLength(1)
    host.restart()
    const open = [{ token: a?.token ?? 0, receiverId: 1, queue: 'in', sequence: a?.sequence ?? 0, attempt: 1 }]
    client = host.connect('remote', open, false)
    expect(client.welcome?.kept).toHaveLength(1)
    client.subscribe('in', 5)
    expect(client.take().map(delivery => [textOf(delivery), delivery.attempt])).toEqual([['b', 1]])
  })

  it('after an orderly handover it counts when a session does not return: its handler may have begun', () => {
    client = host.connect('remote', [], false)
    const gone = host.connect('gone', [], false)
    client.declare({ name: 'in' })
    client.send([messageTo('in', 'a')])
    gone.subscribe('in')
    expect(gone.take()).toHaveLength(1)
    host.restart()
    client = host.connect('remote', [], false)
    client.subscribe('in')
    expect(client.take()).toEqual([])
    host.advance(2_001)
    expect(client.take().map(({ attempt }) => attempt)).toEqual([2])
  })

  it('a session that was given up and comes back is none of those that are awaited', () => {
    client = host.connect('remote', [], false)
    const gone = host.connect('gone', [], false)
    client.declare({ name: 'in' })
    client.send([messageTo('in', 'a')])
    client.subscribe('in')
    const [a] = client.take()
    gone.die()
    host.advance(1_000)
    host.restart()
    host.connect('gone', [], false)
    const open = [{ token: a?.token ?? 0, receiverId: 1, queue: 'in', sequence: a?.sequence ?? 0, attempt: 1 }]
    client = host.connect('remote', open, false)
    expect(client.welcome?.kept).toHaveLength(1)
  })

  it('a handover excuses nothing after a crash of the next owner', () => {
    client = host.connect('remote', [], false)
    client.declare({ name: 'in' })
    client.send([messageTo('in', 'a')])
    client.subscribe('in')
    expect(client.take()).toHaveLength(1)
    host.restart()
    client = host.connect('remote', [], false)
    client.subscribe('in')
    expect(client.take().map(({ attempt }) => attempt)).toEqual([1])
    host.crash()
    client = host.connect('remote', [], false)
    client.subscribe('in')
    expect(client.take().map(({ attempt }) => attempt)).toEqual([2])
  })

  it('the window ends early when every session of the dead owner has returned', () => {
    client = host.connect('remote', [], false)
    client.declare({ name: 'in' })
    client.send([messageTo('in', 'a')])
    client.subscribe('in')
    client.take()
    host.crash()
    client = host.connect('remote', [], false)
    client.subscribe('in')
    expect(client.take().map(({ attempt }) => attempt)).toEqual([2])
  })

  it('suspects run alone: what was open at two deaths in a row is delivered one at a time', () => {
    client.declare({ name: 'in' })
    client.send(['a', 'b', 'c'].map(text => messageTo('in', text)))
    for (let deaths = 0; deaths < 2; deaths++) {
      client.subscribe('in', 2)
      expect(client.take()).toHaveLength(2)
      client.die()
      client = host.connect()
    }
    client.subscribe('in', 3)
    const first = client.take()
    expect(first.map(textOf).toSorted()).toEqual(['a', 'c'])
    client.ack(...first.map(({ token }) => token))
    expect(client.take().map(textOf)).toEqual(['b'])
  })

  it('B86 a client that does not read gets at most 1 MiB, others go on', () => {
    const other = host.connect()
    client.declare({ name: 'in' })
    const body = 'x'.repeat(100_000)
    client.send(Array.from({ length: 40 }, () => messageTo('in', body)))
    client.buffered = 2 ** 20
    client.subscribe('in', 40)
    expect(client.take()).toHaveLength(0)
    other.subscribe('in', 20)
    expect(other.take()).toHaveLength(20)
    client.buffered = 0
    client.session.drained()
    expect(client.take()).toHaveLength(20)
  })
})
