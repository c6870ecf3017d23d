import { expect, it } from 'vitest'
import { type EngineClient, type EngineHost, messageTo, textOf } from '../../../test/broker/engine-client.ts'
import { withEngine } from '../../../test/broker/with-engine.ts'

let host: EngineHost
let client: EngineClient

withEngine((opened, first) => {
  host = opened
  client = first
  client.declare({ name: 'q' })
})

/** Values of a kind that nothing expects at any place. */
const odd: readonly unknown[] = [
  null,
  -1,
  1e308,
  'x',
  '',
  {},
  [],
  true,
  1.5,
  [null],
  { a: 1 },
  '__proto__',
  ['x'],
  undefined,
]

/** `value` with one part after the other, however deep, replaced by each odd value. */
function* spoiled(value: unknown): Generator {
  if (typeof value !== 'object' || value === null) return
  for (const [name, part] of Object.entries(value)) {
    for (const other of [...odd, ...spoiled(part)]) {
      const copy: Record<string, unknown> | unknown[] = Array.isArray(value) ? [...value] : { ...value }
      ;(copy as Record<string, unknown>)[name] = other
      yield copy
    }
  }
}

const record = {
  op: 'put',
  collection: 'c',
  id: 'r',
  value: 1,
  expected: 'any',
  expiresAt: 9e15,
  indexes: { a: ['b'] },
}
const declaration = { name: 'a', orderBy: 'key', maxDeliveries: 1, ttlMs: 9e9, maxMessages: 4, expiresAfterIdleMs: 9e9 }
const binding = { topic: 't', queue: 'q', exclusive: false, match: { key: 'k', headers: { h: 'v' }, sql: 'a = 1' } }
const requests: readonly object[] = [
  { call: 'declare', topology: { queues: [declaration], topics: [], bindings: [binding] }, onConflict: 'refuse' },
  { call: 'subscribe', receiverId: 5, queue: 'q', maxInFlight: 1 },
  { call: 'credit', receiverId: 5, maxInFlight: 1 },
  { call: 'store-declare', collections: [{ name: 'c', indexes: ['a'], uniques: ['u'] }] },
  { call: 'store-get', collection: 'c', id: 'x' },
  { call: 'store-query', collection: 'c', where: { index: 'a', equals: 1 }, page: { limit: 4, after: 'x' } },
  { call: 'store-claim', collection: 'c', due: { index: 'a', upTo: 4, limit: 3, owner: 'x', leaseMs: 4 } },
  { call: 'store-watch', watchId: 1, collection: 'c', id: 'x' },
  { call: 'admin', method: 'peek', queue: 'q', options: { state: 'ready', after: '1', limit: 4 } },
  { call: 'admin', method: 'purge', queue: 'q', options: { state: 'parked', before: 4 } },
  { call: 'admin', method: 'redrive', queue: 'q', options: { ids: ['1'], limit: 4, to: 'q' } },
  { call: 'admin', method: 'deleteDead', queue: 'q', options: { ids: ['1'] } },
  { call: 'admin', method: 'cancelScheduled', messageId: 'x' },
  { call: 'admin', method: 'unpark', queue: 'q', ids: ['1'] },
  { call: 'admin', method: 'alter', queue: 'q', options: { maxDeliveries: 3, ttlMs: 9e9 } },
  { call: 'admin', method: 'bind', ...binding },
  { call: 'admin', method: 'unbind', topic: 't', queue: 'q' },
  { call: 'admin', method: 'bindings', topic: 't' },
]

it('nonsense in any part of any request is answered to who asked, and costs nobody else anything', () => {
  const other = host.connect()
  let asked = 0
  for (const request of requests) {
    for (const variant of spoiled(request)) {
      asked++
      const id = client.ask(variant as never)
      host.run()
      expect(host.failed, JSON.stringify(variant)).toBeUndefined()
      expect(client.results.has(id) || client.failures.has(id), JSON.stringify(variant)).toBe(true)
      expect(client.failures.get(id)?.retryable ?? false, JSON.stringify([variant, client.failures.get(id)])).toBe(
        false,
      )
    }
  }
  expect(asked).toBeGreaterThan(1_000)
  expect([client.closed, other.closed]).toEqual([undefined, undefined])
  expect(other.send([messageTo('q', 'still here')])).toBeUndefined()
})

it('a send with state that fits no column is refused whole, its neighbours in the commit are stored', () => {
  let refused = 0
  for (const state of spoiled([record])) {
    const other = host.connect()
    const before = other.post([messageTo('q', 'before')])
    const sequence = client.post([messageTo('q', 'with it')], state as never)
    const after = client.post([messageTo('q', 'after')])
    host.run()
    expect(host.failed, JSON.stringify(state)).toBeUndefined()
    expect([other.sendsThrough, client.sendsThrough]).toEqual([before, after])
    const error = client.refused.get(sequence)
    if (error !== undefined) refused++
    const sent = error === undefined ? ['before', 'with it', 'after'] : ['before', 'after']
    client.subscribe('q', 10)
    const deliveries = client.take()
    expect(deliveries.map(textOf).toSorted(), JSON.stringify([state, error])).toEqual(sent.toSorted())
    client.ack(...deliveries.map(({ token }) => token))
    client.call({ call: 'unsubscribe', receiverId: 1 })
  }
  expect(refused).toBeGreaterThan(20)
  expect(client.closed).toBeUndefined()
})

it('a settlement that makes no sense is refused and leaves its delivery open; nothing of it was applied', () => {
  const heads: readonly object[] = [
    { as: 'retry', delayMs: 1, state: [record] },
    { as: 'ack', state: [record], cancel: ['m'], group: { id: 'g', size: 1 } },
    { as: 'dead-letter', reason: 'r', detail: { a: 1 }, state: [record] },
  ]
  client.declare({ name: 'out' })
  client.subscribe('q', 100_000)
  let refused = 0
  for (const head of heads.flatMap(one => [...spoiled(one)])) {
    client.send([messageTo('q', 'a')])
    const { token = 0 } = client.take().find(({ attempt }) => attempt === 1) ?? {}
    const id = client.postSettle(token, head as never, [messageTo('out', 'b')])
    host.run()
    expect(host.failed, JSON.stringify(head)).toBeUndefined()
    const error = client.failures.get(id)
    const { ready } = client.counts('out')
    expect(ready, JSON.stringify([head, error])).toBe(error === undefined && client.results.has(id) ? 1 : 0)
    if (error !== undefined) {
      refused++
      client.ack(token)
      expect(client.lost).not.toContain(token)
    }
    client.call({ call: 'admin', method: 'purge', queue: 'out' })
  }
  expect(refused).toBeGreaterThan(20)
  expect(client.closed).toBeUndefined()
})
