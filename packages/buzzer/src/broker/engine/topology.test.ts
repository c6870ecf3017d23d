import { describe, expect, it } from 'vitest'
import type { BindingDeclaration, OutgoingMessage } from '../../transport/index.ts'
import { type EngineClient, EngineHost, messageTo, textOf } from '../../../test/broker/engine-client.ts'
import { withEngine } from '../../../test/broker/with-engine.ts'

let host: EngineHost
let client: EngineClient

withEngine((opened, first) => {
  host = opened
  client = first
})

function bind(
  ...bindings: (Omit<BindingDeclaration, 'exclusive' | 'match'> & { exclusive?: boolean; match?: object })[]
): void {
  client.call({
    call: 'declare',
    topology: { queues: [], topics: [], bindings: bindings.map(binding => ({ exclusive: false, ...binding })) },
    onConflict: 'refuse',
  })
}

function published(
  topic: string,
  parts: Partial<OutgoingMessage> = {},
  bases: readonly string[] = [],
): OutgoingMessage {
  return messageTo('', topic, { to: { topic, bases }, mandatory: false, ...parts })
}

function ready(...queues: string[]): number[] {
  return queues.map(queue => client.counts(queue).ready)
}

function failure(act: () => unknown): { code: string; details: Record<string, unknown> } {
  try {
    act()
  } catch (error) {
    return error as { code: string; details: Record<string, unknown> }
  }
  throw new Error('it was not refused')
}

describe('routing', () => {
  it('B48 each bound queue gets a message once, however many bindings or topics lead there, over a restart too', () => {
    client.declare({ name: 'a' }, { name: 'b' }, { name: 'c' })
    bind({ topic: 't', queue: 'a' }, { topic: 't', queue: 'a', match: { key: 'k' } }, { topic: 'base', queue: 'a' })
    bind({ topic: 'base', queue: 'b' })
    host.restart()
    client = host.connect()
    client.send([published('t', { key: 'k' }, ['base'])])
    expect(ready('a', 'b', 'c')).toEqual([1, 1, 0])
  })

  it('B6 mandatory without an accepting binding refuses; without it nothing is left in the file', () => {
    client.declare({ name: 'a' })
    bind({ topic: 't', queue: 'a', match: { headers: { h: 'x' } } })
    expect(client.send([published('t'), published('nobody')])).toBeUndefined()
    expect(client.send([messageTo('a', 'x'), published('t', { mandatory: true })])?.code).toBe('BUZZER_UNROUTABLE')
    expect(ready('a')).toEqual([0])
    expect(host.engine.stats().liveBytes).toBe(0)
  })

  it('B49 B53 a late binding gets nothing earlier, after unbind nothing later arrives and what is queued stays', () => {
    client.declare({ name: 'a' })
    client.send([published('t')])
    bind({ topic: 't', queue: 'a' })
    client.send([published('t')])
    client.call({ call: 'admin', method: 'unbind', topic: 't', queue: 'a' })
    client.send([published('t')])
    expect(ready('a')).toEqual([1])
  })

  it('B51 headers, attributes, key, types: present and exactly equal, all parts given must accept', () => {
    const names = ['headers', 'attributes', 'key', 'types', 'all', 'sql']
    client.declare(...names.map(name => ({ name })))
    const match: Record<string, object> = {
      headers: { headers: { h: 'x' } },
      attributes: { attributes: { subject: 's' } },
      key: { key: 'k' },
      types: { types: ['one', 'two'] },
      all: { key: 'k', headers: { h: 'x' }, types: ['two'] },
      sql: { sql: "h = 'x' AND sys.type LIKE 't%'" },
    }
    bind(...names.map(queue => ({ topic: 't', queue, match: match[queue] ?? {} })))
    client.send([published('t', { key: 'k', headers: { h: 'x' }, attributes: { type: 'two', subject: 's' } })])
    expect(ready(...names)).toEqual([1, 1, 1, 1, 1, 1])
    client.send([published('t', { key: 'K', headers: { h: 'X', H: 'x' }, attributes: { type: 'Two', subject: 'S' } })])
    client.send([published('t', { key: 'k', attributes: { type: 'two' } })])
    expect(ready(...names)).toEqual([1, 1, 2, 2, 1, 1])
    expect(client.call({ call: 'admin', method: 'bindings', topic: 't' })).toHaveLength(6)
  })

  it('B54 a scheduled publish is routed by the bindings of the moment it falls due', () => {
    client.declare({ name: 'a' }, { name: 'b' })
    bind({ topic: 't', queue: 'a' })
    client.send([published('t', { deliverAt: host.clock.now() + 1_000 })])
    host.restart()
    client = host.connect()
    client.call({ call: 'admin', method: 'unbind', topic: 't', queue: 'a' })
    bind({ topic: 't', queue: 'b' })
    host.advance(1_000)
    expect(ready('a', 'b')).toEqual([0, 1])
  })

  it('a filter that does not parse changes nothing', () => {
    client.declare({ name: 'a' })
    const refused = failure(() =>
      bind({ topic: 't', queue: 'a' }, { topic: 't', queue: 'a', match: { sql: 'a = = b' } }),
    )
    expect(refused.code).toBe('BUZZER_FILTER_INVALID')
    expect(client.call({ call: 'admin', method: 'bindings', topic: 't' })).toEqual([])
  })
})

describe('declarations', () => {
  it('B58 by name alone before or after the full declaration there is no conflict and the full options hold', () => {
    client.declare({ name: 'a' })
    client.declare({ name: 'a', orderBy: 'key', maxDeliveries: 3 })
    client.declare({ name: 'a' })
    expect(client.figures('a').options).toEqual({ orderBy: 'key', maxDeliveries: 3 })
  })

  it("B59 a differing option is refused with queue, option and both values, nothing changed; 'update' changes it", () => {
    client.declare({ name: 'a', maxDeliveries: 3 })
    const again = { queues: [{ name: 'b' }, { name: 'a', maxDeliveries: 4 }], topics: [], bindings: [] }
    const refused = failure(() => client.call({ call: 'declare', topology: again, onConflict: 'refuse' }))
    expect(refused).toMatchObject({
      code: 'BUZZER_TOPOLOGY_CONFLICT',
      details: { queue: 'a', option: 'maxDeliveries', existing: 3, declared: 4 },
    })
    expect(failure(() => client.figures('b')).code).toBe('BUZZER_QUEUE_NOT_FOUND')
    client.call({ call: 'declare', topology: again, onConflict: 'update' })
    expect(client.figures('a').options).toEqual({ maxDeliveries: 4 })
  })

  it('an option that is none is refused by name, in declare and in alter', () => {
    for (const act of [
      () => client.declare({ name: 'q', maxLength: 5 } as never),
      () => client.call({ call: 'admin', method: 'alter', queue: 'known', options: { maxLength: 5 } as never }),
    ]) {
      client.declare({ name: 'known' })
      expect(failure(act)).toMatchObject({ code: 'BUZZER_INVALID_OPTION', details: { option: 'maxLength', value: 5 } })
    }
    expect(failure(() => client.counts('q')).code).toBe('BUZZER_QUEUE_NOT_FOUND')
  })

  it('two exclusive bindings of one topic to different queues conflict', () => {
    client.declare({ name: 'a' }, { name: 'b' })
    bind({ topic: 't', queue: 'a', exclusive: true })
    bind({ topic: 't', queue: 'a', exclusive: true })
    expect(failure(() => bind({ topic: 't', queue: 'b', exclusive: true }))).toMatchObject({
      code: 'BUZZER_TOPOLOGY_CONFLICT',
      details: { topic: 't', existing: 'a', declared: 'b' },
    })
  })

  it('B68 a changed limit holds for what waits; <queue>.dead is neither declared nor sent to', () => {
    client.declare({ name: 'a', maxDeliveries: 5 })
    client.send([messageTo('a', 'x')])
    client.subscribe('a')
    client.settle(client.take()[0]?.token ?? 0, { as: 'retry' })
    client.call({ call: 'admin', method: 'alter', queue: 'a', options: { maxDeliveries: 2 } })
    client.settle(client.take()[0]?.token ?? 0, { as: 'retry' })
    expect(client.counts('a')).toMatchObject({ ready: 0, dead: 1 })
    expect(failure(() => client.declare({ name: 'a.dead' })).code).toBe('BUZZER_INVALID_NAME')
    expect(client.send([messageTo('a.dead', 'x')])?.code).toBe('BUZZER_UNROUTABLE')
  })

  it('alter changes the order of what is queued already', () => {
    client.declare({ name: 'a' })
    for (const text of ['1', '2', '3', '4'])
      client.send([messageTo('a', text, { key: Number(text) % 2 === 0 ? 'even' : 'odd' })])
    client.call({ call: 'admin', method: 'alter', queue: 'a', options: { orderBy: 'key' } })
    client.subscribe('a', 10)
    const open = client.take()
    expect(open.map(textOf)).toEqual(['1', '2'])
    expect(
      failure(() => client.call({ call: 'admin', method: 'alter', queue: 'a', options: { orderBy: 'none' } })).code,
    ).toBe('BUZZER_TOPOLOGY_CONFLICT')
    client.ack(...open.map(({ token }) => token))
    expect(client.take().map(textOf)).toEqual(['3', '4'])
  })

  it('B24 a queue deleted while received from ends its receivers with an error', () => {
    client.declare({ name: 'a' })
    client.send([messageTo('a', 'x'), messageTo('a', 'y')])
    client.subscribe('a')
    const [open] = client.take()
    client.call({ call: 'admin', method: 'deleteQueue', queue: 'a' })
    expect(client.ended).toMatchObject([{ receiverId: 1, error: { code: 'BUZZER_QUEUE_NOT_FOUND' } }])
    expect(client.lost).toEqual([open?.token])
    expect(host.engine.stats().liveBytes).toBe(0)
    host.restart()
    client = host.connect()
    expect(failure(() => client.subscribe('a')).code).toBe('BUZZER_QUEUE_NOT_FOUND')
  })

  it('B67 idle expiry: a receiver or a send keeps the queue; without it is gone with its bindings', () => {
    client.declare({ name: 'a', expiresAfterIdleMs: 10_000 })
    bind({ topic: 't', queue: 'a' })
    host.advance(9_000)
    client.send([messageTo('a', 'x')])
    host.advance(9_000)
    client.subscribe('a')
    host.advance(25_000)
    client.beat()
    expect(client.counts('a').locked).toBe(1)
    client.call({ call: 'unsubscribe', receiverId: 1 })
    host.advance(9_999)
    client.beat()
    expect(client.counts('a').locked).toBe(1)
    host.advance(7_000)
    expect(failure(() => client.figures('a')).code).toBe('BUZZER_QUEUE_NOT_FOUND')
    expect(client.call({ call: 'admin', method: 'bindings', topic: 't' })).toEqual([])
  })
})

describe('limits', () => {
  it('B61 maxMessages 100: exactly 100 are kept, one more after one ack', () => {
    client.declare({ name: 'a', maxMessages: 100 })
    const other = host.connect()
    let accepted = 0
    for (let index = 0; index < 60; index++) {
      for (const sender of [client, other]) if (sender.send([messageTo('a', 'x')]) === undefined) accepted++
    }
    expect(accepted).toBe(100)
    const full = client.send([messageTo('a', 'x')])
    expect(full).toMatchObject({
      code: 'BUZZER_QUEUE_FULL',
      retryable: true,
      details: { queue: 'a', limit: 100, size: 100 },
    })
    client.subscribe('a')
    client.ack(client.take()[0]?.token ?? 0)
    expect(client.send([messageTo('a', 'x')])).toBeUndefined()
    expect(client.send([messageTo('a', 'x')])?.code).toBe('BUZZER_QUEUE_FULL')
  })

  it('B62 in a full queue retries, releases, dead-letterings and redrives work; an array or fan-out is refused whole', () => {
    client.declare({ name: 'a', maxMessages: 2 }, { name: 'b' })
    expect(client.send([messageTo('b', 'x'), ...['1', '2', '3'].map(text => messageTo('a', text))])?.code).toBe(
      'BUZZER_QUEUE_FULL',
    )
    expect(ready('a', 'b')).toEqual([0, 0])
    client.send(['1', '2'].map(text => messageTo('a', text)))
    client.subscribe('a', 2)
    const [one, two] = client.take()
    expect(client.settle(one?.token ?? 0, { as: 'dead-letter', reason: 'x' })).toBeUndefined()
    expect(client.settle(two?.token ?? 0, { as: 'retry', delayMs: 1_000 })).toBeUndefined()
    expect(client.call({ call: 'admin', method: 'redrive', queue: 'a' })).toBe(1)
    expect(client.take().map(textOf)).toEqual(['1'])
  })

  it('maxBytes and maxFileBytes refuse with limit and size', () => {
    host.engine.close()
    host = new EngineHost(`${host.path}.small.db`, { maxFileBytes: 9_900 })
    client = host.connect()
    client.declare({ name: 'a', maxBytes: 5_000 }, { name: 'b' })
    expect(client.send([messageTo('a', 'x'.repeat(4_900))])).toBeUndefined()
    expect(client.send([messageTo('a', 'x'.repeat(4_900))])?.code).toBe('BUZZER_QUEUE_FULL')
    expect(client.send([messageTo('b', 'x'.repeat(4_900))])).toBeUndefined()
    expect(client.send([messageTo('b', 'x')])?.code).toBe('BUZZER_BROKER_FULL')
  })
})

describe('admin', () => {
  it('B64 peek pages by after, shows every state, and a peeked message is delivered as attempt 1', () => {
    client.declare({ name: 'a' })
    client.send([
      ...['1', '2', '3', '4', '5'].map(text => messageTo('a', text, { priority: Number(text) })),
      messageTo('a', '6', { deliverAt: host.clock.now() + 1_000, expiresAt: host.clock.now() + 9_000 }),
    ])
    client.subscribe('a', 3)
    const open = client.take()
    expect(open.map(textOf)).toEqual(['5', '4', '3'])
    client.call({ call: 'pause', receiverId: 1 })
    client.settle(open[0]?.token ?? 0, { as: 'dead-letter', reason: 'x' })
    client.settle(open[1]?.token ?? 0, { as: 'park' })
    const states: string[] = []
    let after: string | undefined
    do {
      const page: { items: { state: string; id: string }[]; next?: string } = client.call({
        call: 'admin',
        method: 'peek',
        queue: 'a',
        options: { limit: 2, ...(after === undefined ? {} : { after }) },
      })
      states.push(...page.items.map(({ state }) => state))
      after = page.next
    } while (after !== undefined)
    expect(states.toSorted()).toEqual(['dead', 'locked', 'parked', 'ready', 'ready', 'scheduled'])
    client.call({ call: 'resume', receiverId: 1 })
    expect(client.take().map(({ attempt }) => attempt)).toEqual([1, 1])
  })

  it('B65 purge with before takes only older ones; locked ones finish', () => {
    client.declare({ name: 'a' })
    client.send([messageTo('a', '1'), messageTo('a', '2')])
    client.subscribe('a')
    const [open] = client.take()
    host.advance(1_000)
    const before = host.clock.now()
    client.send([messageTo('a', '3')])
    expect(client.call({ call: 'admin', method: 'purge', queue: 'a', options: { before } })).toBe(1)
    client.ack(open?.token ?? 0)
    expect(client.take().map(textOf)).toEqual(['3'])
  })

  it('B66 redrive of some ids, with to: same id, attempt 1, redrives + 1, TTL anew', () => {
    client.declare({ name: 'a' }, { name: 'b' })
    client.send(['1', '2'].map(text => messageTo('a', text, { expiresAt: host.clock.now() + 10_000, key: 'k' })))
    client.subscribe('a', 2)
    for (const { token } of client.take()) client.settle(token, { as: 'dead-letter', reason: 'x' })
    host.advance(8_000)
    client.beat()
    const { items } = client.call<{ items: { id: string }[] }>({ call: 'admin', method: 'peek', queue: 'a' })
    const ids = [items[0]?.id ?? '', '999999']
    expect(client.call({ call: 'admin', method: 'redrive', queue: 'a', options: { ids, to: 'b' } })).toBe(1)
    host.advance(8_000)
    client.subscribe('b', 1, 2)
    expect(client.take()).toMatchObject([
      { attempt: 1, message: { key: 'k', attributes: { type: 'test', redrives: '1' } } },
    ])
    expect(client.counts('a').dead).toBe(1)
    expect(client.call({ call: 'admin', method: 'deleteDead', queue: 'a' })).toBe(1)
    expect(client.figures('a').bytes).toBe(0)
  })
})

describe('the store', () => {
  const put = (id: string, value: number, expected: number | 'absent' | 'any' = 'any', extra: object = {}) =>
    ({ op: 'put', collection: 'c', id, value, expected, ...extra }) as const

  it('B104 a commit with one wrong version changes nothing', () => {
    client.send([], [put('a', 1)])
    const changes = Array.from({ length: 100 }, (_, index) => put(`n${index}`, index, 'absent'))
    expect(client.send([], [...changes, put('a', 2, 5)])).toMatchObject({
      code: 'BUZZER_CONFLICT',
      details: { collection: 'c', id: 'a', expected: 5, found: 1 },
    })
    expect(client.call({ call: 'store-get', collection: 'c', id: 'n0' })).toBeNull()
    expect(client.send([], [put('a', 2, 1)])).toBeUndefined()
    host.crash()
    client = host.connect()
    expect(client.call({ call: 'store-get', collection: 'c', id: 'a' })).toMatchObject({ value: 2, version: 2 })
  })

  it('queries by declared index in its order, by pages; claims lease to one owner; watches tell of changes', () => {
    client.call({ call: 'store-declare', collections: [{ name: 'c', indexes: ['due'], unique: ['mail'] }] })
    client.call({ call: 'store-watch', watchId: 7, collection: 'c', id: 'r3' })
    for (let index = 0; index < 5; index++)
      client.send([], [put(`r${index}`, index, 'absent', { indexes: { due: 10 - index } })])
    expect(client.changed).toEqual([7])
    const query = { call: 'store-query', collection: 'c', where: { index: 'due' } } as const
    const first = client.call<{ items: { id: string }[]; next: string }>({ ...query, page: { limit: 3 } })
    expect(first.items.map(({ id }) => id)).toEqual(['r4', 'r3', 'r2'])
    const second = client.call<{ items: { id: string }[] }>({ ...query, page: { limit: 3, after: first.next } })
    expect(second.items.map(({ id }) => id)).toEqual(['r1', 'r0'])
    const claim = (owner: string): string[] =>
      client
        .call<{ id: string }[]>({
          call: 'store-claim',
          collection: 'c',
          due: { index: 'due', upTo: 8, limit: 2, leaseMs: 1_000, owner },
        })
        .map(({ id }) => id)
    expect([claim('x'), claim('y'), claim('y')]).toEqual([['r4', 'r3'], ['r2'], []])
    host.advance(1_000)
    expect(claim('y')).toEqual(['r4', 'r3'])
    const taken = { indexes: { mail: 'a@b' } }
    client.send([], [put('m1', 1, 'absent', taken)])
    expect(client.send([], [put('m2', 1, 'absent', taken)])?.code).toBe('BUZZER_CONFLICT')
    client.send([], [{ op: 'delete', collection: 'c', id: 'm1', expected: 'any' }])
    expect(client.send([], [put('m2', 1, 'absent', taken)])).toBeUndefined()
  })

  it('a record whose expiresAt has passed is absent and its watchers hear of it', () => {
    client.send([], [put('a', 1, 'any', { expiresAt: host.clock.now() + 1_000 })])
    client.call({ call: 'store-watch', watchId: 1, collection: 'c', id: 'a' })
    host.advance(1_500)
    expect(client.changed).toEqual([1])
    expect(client.call({ call: 'store-get', collection: 'c', id: 'a' })).toBeNull()
    expect(client.send([], [put('a', 2, 'absent')])).toBeUndefined()
  })
})
