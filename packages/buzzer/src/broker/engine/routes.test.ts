import { describe, expect, it } from 'vitest'
import { type EngineClient, type EngineHost, messageTo, textOf } from '../../../test/broker/engine-client.ts'
import { withEngine } from '../../../test/broker/with-engine.ts'

let host: EngineHost
let client: EngineClient

withEngine((opened, first) => {
  host = opened
  client = first
})

function bindMany(count: number, prefix: string, matchOf: (index: number) => object): void {
  const queues = Array.from({ length: count }, (_, index) => ({ name: `${prefix}-${index}` }))
  const bindings = queues.map(({ name }, index) => ({
    topic: prefix,
    queue: name,
    exclusive: false,
    match: matchOf(index) as never,
  }))
  client.call({ call: 'declare', topology: { queues, topics: [], bindings }, onConflict: 'refuse' })
}

/** CPU time that a publish costs, the best of several rounds. */
function cost(publish: () => void): number {
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < 12; round++) {
    const before = process.cpuUsage()
    for (let times = 0; times < 100; times++) publish()
    const { user, system } = process.cpuUsage(before)
    best = Math.min(best, user + system)
  }
  return best
}

describe('many bindings', () => {
  it.each([
    ['key', (index: number) => ({ key: `k${index}` }), { key: 'k3' }],
    ['type', (index: number) => ({ types: [`t${index}`] }), { attributes: { type: 't3' } }],
    ['header', (index: number) => ({ headers: { tenant: `h${index}` } }), { headers: { tenant: 'h3' } }],
  ] as const)('B52 1,000 queues bound by %s are looked up, not gone through', (what, matchOf, parts) => {
    bindMany(10, 'few', matchOf)
    bindMany(1_000, 'many', matchOf)
    const publishTo = (topic: string): void => {
      client.post([messageTo('', 'x', { to: { topic, bases: [] }, ...parts })])
      host.run()
    }
    const few = cost(() => publishTo('few'))
    const many = cost(() => publishTo('many'))
    expect(client.counts('many-3').ready).toBe(1_200)
    expect(client.counts('many-4').ready).toBe(0)
    // A hundred times as many bindings. On a quiet machine the two are equal within 20 %; gone through they are 5 to 50 times apart.
    expect(many / few, `${what}: ${few} and ${many} µs`).toBeLessThan(3)
  })
})

describe('thousands of queues', () => {
  it('declared in one step, each with its receiver, work and are counted', () => {
    const count = 5_000
    const queues = Array.from({ length: count }, (_, index) => ({ name: `q${index}` }))
    client.declare(...queues)
    for (let index = 0; index < count; index++) {
      client.ask({ call: 'subscribe', receiverId: index + 1, queue: `q${index}`, maxInFlight: 1 })
    }
    host.run()
    client.send(queues.map(({ name }) => messageTo(name, name)))
    const deliveries = client.take()
    expect(deliveries).toHaveLength(count)
    expect(deliveries.every(delivery => textOf(delivery) === `q${delivery.receiverId - 1}`)).toBe(true)
    client.ack(...deliveries.map(({ token }) => token))
    const figures = client.call<{ ready: number; locked: number; receivers: number }[]>({
      call: 'admin',
      method: 'queues',
    })
    expect(figures).toHaveLength(count)
    expect(figures.every(({ ready, locked, receivers }) => ready === 0 && locked === 0 && receivers === 1)).toBe(true)
  })

  it('ten thousand receivers on one queue share it, and each has one at the most', () => {
    client.declare({ name: 'q' })
    for (let receiverId = 1; receiverId <= 10_000; receiverId++) {
      client.ask({ call: 'subscribe', receiverId, queue: 'q', maxInFlight: 1 })
    }
    host.run()
    client.send(Array.from({ length: 15_000 }, (_, index) => messageTo('q', String(index))))
    const open = new Map<number, number>()
    let handled = 0
    for (let batch = client.take(); batch.length > 0; batch = client.take()) {
      for (const { receiverId, token } of batch) {
        expect(open.has(receiverId)).toBe(false)
        open.set(receiverId, token)
      }
      expect(open.size).toBeLessThanOrEqual(10_000)
      handled += batch.length
      client.ack(...open.values())
      open.clear()
    }
    expect(handled).toBe(15_000)
  })
})
