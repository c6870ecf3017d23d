import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import type { PeerProcess } from '../../test/broker/peer-process.ts'
import { embedded } from './index.ts'
import { message, pidOf, topology, withShop } from '../../test/broker/shop.ts'

const shop = withShop()

describe('the owner', () => {
  it('B75 ten processes start at once on a new path → one owner, all served', async () => {
    const ten = await shop.started(10)
    await Promise.all(ten.map(peer => peer.call('connect', { options: { path: shop.path } })))
    await Promise.all(ten.map(peer => peer.call('declare', { topology })))
    await Promise.all(ten.map((peer, index) => peer.call('send', { messages: [message(`m${index}`)] })))
    const owners = await Promise.all(ten.map(peer => peer.call('engine', {})))
    expect(new Set(owners.map(({ ownerPid }) => ownerPid)).size).toBe(1)
    expect(ten.map(({ pid }) => pid)).toContain(owners[0]?.ownerPid)
    expect(await ten[3]?.call('figures', { queue: 'orders' })).toMatchObject({ ready: 10 })
  })

  it('B76 killed under load → others serve within 2 s, no client error, no loss, nothing twice', async () => {
    const [owner, consumer] = (await shop.connected(2)) as [PeerProcess, PeerProcess]
    const sender = await shop.here()
    await consumer.call('receive', { queue: 'orders', maxInFlight: 50, answer: 'ack' })
    let killedAt = 0
    let servedAt = 0
    const count = 2_000
    const lanes = Array.from({ length: 20 }, async (_, lane) => {
      for (let number = lane; number < count; number += 20) {
        if (number === 600) {
          killedAt = performance.now()
          await owner.kill()
        }
        await sender.send([message(`m${number}`)])
        if (killedAt > 0 && servedAt === 0 && number > 650) servedAt = performance.now()
      }
    })
    await Promise.all(lanes)
    const all = new Set(Array.from({ length: count }, (_, number) => `m${number}`))
    await consumer.event('done', ({ id }) => all.delete(id) && all.size === 0)
    expect(servedAt - killedAt).toBeLessThan(2_000)
    const begun = consumer.seen('begun')
    expect(begun.length).toBe(count)
    expect(await sender.admin.queue('orders')).toMatchObject({ ready: 0, dead: 0 })
    expect(consumer.seen('log').filter(({ level }) => level === 'error')).toEqual([])
  })

  it('B77 killed while a handler runs elsewhere → it finishes once, its ack counts', async () => {
    const [owner, worker, other] = (await shop.connected(3)) as [PeerProcess, PeerProcess, PeerProcess]
    await worker.call('receive', { queue: 'orders', maxInFlight: 1, answer: 'hold' })
    await owner.call('send', { messages: [message('long')] })
    await worker.event('begun')
    await other.call('receive', { queue: 'orders', maxInFlight: 5, answer: 'ack' })
    await owner.kill()
    await worker.event('state', ({ state }) => state === 'connected', 2)
    await other.call('send', { messages: [message('next')] })
    await other.event('done', ({ id }) => id === 'next')
    await worker.call('settle', { id: 'long', settlement: { as: 'ack' } })
    // The reclaim window passes, and nobody else got it.
    await new Promise(resolve => setTimeout(resolve, 2_500))
    expect(await other.call('figures', { queue: 'orders' })).toMatchObject({ ready: 0, locked: 0, dead: 0 })
    expect([...worker.seen('begun'), ...other.seen('begun')].map(({ id }) => id).toSorted()).toEqual(['long', 'next'])
    expect(worker.seen('aborted')).toEqual([])
  })

  it('closes in order → others go on within 500 ms, their handlers undisturbed', async () => {
    const [owner, worker] = (await shop.connected(2)) as [PeerProcess, PeerProcess]
    await worker.call('receive', { queue: 'orders', maxInFlight: 2, answer: 'hold' })
    await owner.call('send', { messages: [message('long')] })
    await worker.event('begun')
    const closedAt = performance.now()
    await owner.call('close', {})
    await worker.call('send', { messages: [message('next')] })
    expect(performance.now() - closedAt).toBeLessThan(1_500)
    await worker.event('begun', ({ id }) => id === 'next')
    await worker.call('settle', { id: 'long', settlement: { as: 'ack' } })
    await worker.call('settle', { id: 'next', settlement: { as: 'ack' } })
    await worker.call('stop', { queue: 'orders' })
    expect(await worker.call('figures', { queue: 'orders' })).toMatchObject({ ready: 0, locked: 0 })
    expect(worker.seen('begun').map(({ attempt }) => attempt)).toEqual([1, 1])
    expect(worker.seen('aborted')).toEqual([])
    expect(await worker.call('engine', {})).toMatchObject({ ownerPid: worker.pid })
  })

  it('B79 stopped for 2 × lockMs and continued → no live client lost a lock', async () => {
    const [owner, worker] = (await shop.connected(2, { lockMs: 500 })) as [PeerProcess, PeerProcess]
    await worker.call('receive', { queue: 'orders', maxInFlight: 1, answer: 'hold' })
    await owner.call('send', { messages: [message('long')] })
    await worker.event('begun')
    owner.signal('SIGSTOP')
    await new Promise(resolve => setTimeout(resolve, 1_000))
    owner.signal('SIGCONT')
    await owner.call('receive', { queue: 'orders', maxInFlight: 1, answer: 'ack' })
    await worker.call('settle', { id: 'long', settlement: { as: 'ack' } })
    await worker.call('stop', { queue: 'orders' })
    expect(owner.seen('begun')).toEqual([])
    expect(worker.seen('aborted')).toEqual([])
    expect(await owner.call('figures', { queue: 'orders' })).toMatchObject({ ready: 0, locked: 0 })
  })

  it('that is stopped is named to who cannot connect', async () => {
    const [owner] = (await shop.connected(1)) as [PeerProcess]
    owner.signal('SIGSTOP')
    const late = embedded({ path: shop.path, connectTimeoutMs: 3_000 })
    await expect(late.connect()).rejects.toMatchObject({
      code: 'BUZZER_DISCONNECTED',
      details: { ownerPid: owner.pid },
    })
    owner.signal('SIGCONT')
    await late.close()
  })

  it('B80 stale socket, owner file and process id of a dead owner → next start works', async () => {
    const [owner] = (await shop.connected(1)) as [PeerProcess]
    await owner.call('send', { messages: [message('m1')] })
    await owner.kill()
    expect(readdirSync(shop.folder)).toContain('shop.db.owner')
    expect(readdirSync(join(shop.folder, 'shop.db.socket'))).toEqual(['s'])
    const transport = await shop.here()
    expect(await transport.admin.queue('orders')).toMatchObject({ ready: 1 })
    expect(await transport.admin.engine()).toMatchObject({ ownerPid: process.pid, epoch: 2 })
  })

  it('B80 rubbish where socket and owner file belong → next start works', async () => {
    writeFileSync(`${shop.path}.owner`, '4711')
    mkdirSync(`${shop.path}.socket`)
    writeFileSync(join(`${shop.path}.socket`, 's'), 'stale')
    const [owner, other] = (await shop.connected(2)) as [PeerProcess, PeerProcess]
    expect(await other.call('engine', {})).toMatchObject({ ownerPid: owner.pid })
  })

  it('B81 fs.readFileSync of the file in the owner → still one owner', async () => {
    const [owner, other] = (await shop.connected(2)) as [PeerProcess, PeerProcess]
    await owner.call('readFile', { path: shop.path })
    const [third] = (await shop.started(1)) as [PeerProcess]
    await third.call('connect', { options: { path: shop.path } })
    await Promise.all(
      [owner, other, third].map((peer, index) => peer.call('send', { messages: [message(`m${index}`)] })),
    )
    const engines = await Promise.all([owner, other, third].map(peer => peer.call('engine', {})))
    expect(engines.map(({ ownerPid }) => ownerPid)).toEqual([owner.pid, owner.pid, owner.pid])
    expect(await third.call('figures', { queue: 'orders' })).toMatchObject({ ready: 3 })
  })

  it('B84 works on a path 300 characters deep', async () => {
    const path = join(shop.folder, 'd'.repeat(100), 'e'.repeat(100), 'f'.repeat(100), 'shop.db')
    const [owner, other] = (await shop.connected(2, { path })) as [PeerProcess, PeerProcess]
    await other.call('send', { messages: [message('m1')] })
    expect(await owner.call('figures', { queue: 'orders' })).toMatchObject({ ready: 1 })
  })

  it('a process with host: never is only a client; it waits for an owner and goes on with the next one', async () => {
    const [client] = (await shop.started(1)) as [PeerProcess]
    const connecting = client.call('connect', { options: { path: shop.path, host: 'never' } })
    const [first] = (await shop.connected(1)) as [PeerProcess]
    await connecting
    await client.call('receive', { queue: 'orders', maxInFlight: 1, answer: 'ack' })
    await first.kill()
    const sent = client.call('send', { messages: [message('m1')] })
    const [second] = (await shop.connected(1)) as [PeerProcess]
    await sent
    await client.event('done', ({ id }) => id === 'm1')
    expect(await client.call('engine', {})).toMatchObject({ ownerPid: pidOf(second) })
  })
})

describe('many processes', () => {
  it('B57 that declare the same at once get no error and one queue, each with all its options', async () => {
    const four = await shop.started(4)
    await Promise.all(four.map(peer => peer.call('connect', { options: { path: shop.path } })))
    const queues = [{ name: 'shared', orderBy: 'key', maxDeliveries: 7, maxMessages: 100 } as const]
    const bindings = [{ topic: 't', queue: 'shared', exclusive: true }]
    for (let round = 0; round < 5; round++) {
      await Promise.all(four.map(peer => peer.call('declare', { topology: { queues, topics: [], bindings } })))
    }
    const figures = await Promise.all(four.map(peer => peer.call('figures', { queue: 'shared' })))
    for (const one of figures) {
      expect(one).toEqual(figures[0])
      expect(one.options).toEqual({ orderBy: 'key', maxDeliveries: 7, maxMessages: 100 })
    }
    await four[2]?.call('send', { messages: [message('m1', { to: { topic: 't', bases: [] } })] })
    expect(await four[3]?.call('figures', { queue: 'shared' })).toMatchObject({ ready: 1 })
  })

  it('B60 alter holds for what is queued already, in all processes', async () => {
    const [owner, worker] = (await shop.connected(2)) as [PeerProcess, PeerProcess]
    const operator = await shop.here()
    await owner.call('send', { messages: [message('m1'), message('m2')] })
    await operator.admin.alter('orders', { maxDeliveries: 2 })
    for (const peer of [owner, worker]) {
      expect((await peer.call('figures', { queue: 'orders' })).options).toMatchObject({ maxDeliveries: 2 })
    }
    await worker.call('receive', { queue: 'orders', maxInFlight: 10, answer: 'retry' })
    await vi.waitFor(
      async () =>
        expect(await owner.call('figures', { queue: 'orders' })).toMatchObject({ ready: 0, locked: 0, dead: 2 }),
      30_000,
    )
    const dead = await owner.call('peek', { queue: 'orders' })
    expect(dead.map(({ attempt, deadLetter }) => [attempt, deadLetter?.reason])).toEqual([
      [2, 'max-deliveries-exceeded'],
      [2, 'max-deliveries-exceeded'],
    ])
  })

  it('that come and go, each the owner now and then: every send is stored once, nobody gets an error', async () => {
    const path = join(shop.folder, 'my shop’s data #1?', 'магазин 店.db')
    const four = await shop.started(4)
    const rounds = 4
    const live = async (peer: PeerProcess, who: number): Promise<void> => {
      for (let round = 0; round < rounds; round++) {
        const name = `round ${round}`
        await peer.call('connect', { name, options: { path } })
        await peer.call('declare', { name, topology })
        const messages = Array.from({ length: 5 }, (_, index) => message(`${who}-${round}-${index}`))
        await Promise.all(messages.map(one => peer.call('send', { name, messages: [one] })))
        await peer.call('close', { name })
      }
    }
    await Promise.all(four.map(live))
    const last = await shop.here({ path })
    const { items } = await last.admin.peek('orders', { limit: 1_000 })
    expect(items).toHaveLength(4 * rounds * 5)
    expect(new Set(items.map(({ messageId }) => messageId)).size).toBe(4 * rounds * 5)
    expect((await last.admin.check()).problems).toEqual([])
  })

  it('B9 four send 500 each → each one’s own order holds in the queue', async () => {
    const four = await shop.connected(4)
    await Promise.all(
      four.map(async (peer, sender) => {
        const sends = Array.from({ length: 500 }, (_, number) =>
          peer.call('send', { messages: [message(`${sender}-${String(number).padStart(3, '0')}`)] }),
        )
        await Promise.all(sends)
      }),
    )
    const transport = await shop.here()
    const seen: string[] = []
    for (let after: string | undefined, more = true; more; ) {
      const page = await transport.admin.peek('orders', { limit: 1_000, ...(after === undefined ? {} : { after }) })
      seen.push(...page.items.map(({ messageId }) => messageId))
      after = page.next
      more = after !== undefined
    }
    expect(seen.length).toBe(2_000)
    for (const sender of ['0', '1', '2', '3']) {
      const own = seen.filter(id => id.startsWith(sender))
      expect(own).toEqual(own.toSorted())
    }
  })

  it('B27 a client with 2,000 open deliveries killed → each comes back, counted once, none twice at once', async () => {
    const [owner, dying] = (await shop.connected(2)) as [PeerProcess, PeerProcess]
    await dying.call('receive', { queue: 'orders', maxInFlight: 2_000, answer: 'hold' })
    await owner.call('send', { messages: Array.from({ length: 2_000 }, (_, index) => message(`m${index}`)) })
    await dying.event('begun', () => true, 2_000)
    await dying.kill()
    await owner.call('receive', { queue: 'orders', maxInFlight: 2_000, answer: 'ack' })
    await owner.event('done', () => true, 2_000)
    await owner.call('stop', { queue: 'orders' })
    const begun = owner.seen('begun')
    expect(new Set(begun.map(({ id }) => id)).size).toBe(2_000)
    expect(begun.length).toBe(2_000)
    expect(new Set(begun.map(({ attempt }) => attempt))).toEqual(new Set([2]))
    expect(await owner.call('figures', { queue: 'orders' })).toMatchObject({ ready: 0, locked: 0, dead: 0 })
  })

  it('B31 of a strictly ordered queue: one handling at a time, in order, over the death of the process that had it', async () => {
    const three = (await shop.connected(3)) as [PeerProcess, PeerProcess, PeerProcess]
    const strict = { queues: [{ name: 'strict', orderBy: 'queue' as const }], topics: [], bindings: [] }
    await three[0].call('declare', { topology: strict })
    for (const peer of three)
      await peer.call('receive', { queue: 'strict', maxInFlight: 5, answer: 'ack', takesMs: 10 })
    const ids = Array.from({ length: 30 }, (_, index) => `m${String(index).padStart(2, '0')}`)
    await three[0].call('send', { messages: ids.map(id => message(id, { to: { queue: 'strict' } })) })
    const fifth = await Promise.race(
      three.map(async peer => ({ peer, ...(await peer.event('begun', ({ id }) => id >= 'm05')) })),
    )
    await fifth.peer.kill()
    const rest = three.filter(peer => peer !== fifth.peer)
    await Promise.race(rest.map(peer => peer.event('done', ({ id }) => id === 'm29')))
    const events = three.flatMap(peer => [...peer.seen('begun'), ...peer.seen('done')]).toSorted((a, b) => a.at - b.at)
    expect([...new Set(events.map(({ id }) => id))]).toEqual(ids)
    const alive = events.filter(({ pid }) => pid !== fifth.peer.pid).map(({ as }) => as)
    // One begins only when the one before is done.
    expect(alive).toEqual(alive.map((_, index) => (index % 2 === 0 ? 'begun' : 'done')))
  })
})

describe('records', () => {
  it('are seen and watched across processes, and over a takeover', async () => {
    const [owner, other] = (await shop.connected(2)) as [PeerProcess, PeerProcess]
    await owner.call('storeDeclare', { collections: [{ name: 'things', indexes: [] }] })
    await other.call('watch', { collection: 'things', id: 'a' })
    await owner.call('commit', {
      changes: [{ op: 'put', collection: 'things', id: 'a', value: 1, expected: 'absent' }],
    })
    await other.event('changed', ({ id }) => id === 'a')
    expect(await other.call('get', { collection: 'things', id: 'a' })).toMatchObject({ value: 1, version: 1 })
    await owner.kill()
    await other.event('state', ({ state }) => state === 'connected', 2)
    const before = other.seen('changed').length
    const third = await shop.here({ host: 'never' })
    await third.store.commit([{ op: 'put', collection: 'things', id: 'a', value: 2, expected: 1 }])
    await other.event('changed', ({ id }) => id === 'a', before + 1)
    expect(await other.call('get', { collection: 'things', id: 'a' })).toMatchObject({ value: 2, version: 2 })
  })
})
