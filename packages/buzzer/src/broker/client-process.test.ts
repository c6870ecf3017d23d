import { describe, expect, it } from 'vitest'
import type { PeerProcess } from '../../test/broker/peer-process.ts'
import { message, withShop } from '../../test/broker/shop.ts'

const shop = withShop()

describe('a client', () => {
  it('B78 killed → its messages are delivered elsewhere within 200 ms, counted', async () => {
    const [owner, dying] = (await shop.connected(2)) as [PeerProcess, PeerProcess]
    await dying.call('receive', { queue: 'orders', maxInFlight: 10, answer: 'hold' })
    await owner.call('send', { messages: Array.from({ length: 10 }, (_, index) => message(`m${index}`)) })
    await dying.event('begun', () => true, 10)
    await owner.call('receive', { queue: 'orders', maxInFlight: 10, answer: 'ack' })
    const killedAt = performance.now()
    await dying.kill()
    const first = await owner.event('begun')
    await owner.event('done', () => true, 10)
    expect(first.at - killedAt).toBeLessThan(1_000)
    expect(owner.seen('begun').map(({ attempt }) => attempt)).toEqual(Array.from({ length: 10 }, () => 2))
  })

  it('B20 whose loop is blocked for 3 × lockMs loses nothing', async () => {
    const [owner, blocked] = (await shop.connected(2, { lockMs: 400 })) as [PeerProcess, PeerProcess]
    await blocked.call('receive', { queue: 'orders', maxInFlight: 1, answer: 'hold' })
    await owner.call('send', { messages: [message('long')] })
    await blocked.event('begun')
    await owner.call('receive', { queue: 'orders', maxInFlight: 1, answer: 'ack' })
    await blocked.call('block', { ms: 1_200 })
    await blocked.call('settle', { id: 'long', settlement: { as: 'ack' } })
    await blocked.call('stop', { queue: 'orders' })
    expect(owner.seen('begun')).toEqual([])
    expect(blocked.seen('aborted')).toEqual([])
  })

  it('B20 whose loop is blocked beyond stallMs → another gets the message, the late ack changes nothing', async () => {
    const [owner, blocked] = (await shop.connected(2, { lockMs: 500, stallMs: 400 })) as [PeerProcess, PeerProcess]
    await blocked.call('receive', { queue: 'orders', maxInFlight: 1, answer: 'hold' })
    await owner.call('send', { messages: [message('long')] })
    await blocked.event('begun')
    await owner.call('receive', { queue: 'orders', maxInFlight: 1, answer: 'hold' })
    const block = blocked.call('block', { ms: 1_500 })
    expect(await owner.event('begun')).toMatchObject({ id: 'long', attempt: 2 })
    await block
    expect(await blocked.event('aborted')).toMatchObject({ id: 'long', code: 'BUZZER_LOCK_LOST' })
    await blocked.call('settle', { id: 'long', settlement: { as: 'ack' } })
    await blocked.event('log', ({ level, message }) => level === 'warn' && message.includes('changes nothing'))
    expect(await owner.call('figures', { queue: 'orders' })).toMatchObject({ locked: 1 })
    await owner.call('settle', { id: 'long', settlement: { as: 'ack' } })
    await owner.call('stop', { queue: 'orders' })
    expect(await blocked.call('figures', { queue: 'orders' })).toMatchObject({ ready: 0, locked: 0 })
  })

  it('B20 drops what came while its loop was blocked beyond stallMs: others have handled it', async () => {
    const [owner, blocked] = (await shop.connected(2, { lockMs: 500, stallMs: 400 })) as [PeerProcess, PeerProcess]
    await blocked.call('receive', { queue: 'orders', maxInFlight: 2, answer: 'ack' })
    const block = blocked.call('block', { ms: 2_500 })
    await blocked.event('blocking')
    await owner.call('send', { messages: [message('unseen')] })
    await owner.call('receive', { queue: 'orders', maxInFlight: 1, answer: 'ack' })
    expect(await owner.event('done')).toMatchObject({ id: 'unseen', attempt: 2 })
    await block
    await blocked.event('log', ({ message }) => message.includes('turns again'))
    await blocked.call('figures', { queue: 'orders' })
    expect(blocked.seen('begun')).toEqual([])
  })

  it('B20 begins nothing more after a handler that spun beyond stallMs: others have handled it', async () => {
    const [owner, blocked] = (await shop.connected(2, { lockMs: 500, stallMs: 400 })) as [PeerProcess, PeerProcess]
    await blocked.call('receive', { queue: 'orders', maxInFlight: 2, answer: 'spin', takesMs: 2_500 })
    await owner.call('send', { messages: [message('spins'), message('unseen')] })
    await blocked.event('begun')
    await owner.call('receive', { queue: 'orders', maxInFlight: 2, answer: 'ack' })
    await owner.event('done', () => true, 2)
    await blocked.event('log', ({ message }) => message.includes('turns again'))
    await blocked.call('figures', { queue: 'orders' })
    expect(blocked.seen('begun').map(({ id }) => id)).toEqual(['spins'])
  })

  it('B20 the same when the blocked loop is the owner process’s own', async () => {
    const [owner, other] = (await shop.connected(2, { lockMs: 500, stallMs: 400 })) as [PeerProcess, PeerProcess]
    await owner.call('receive', { queue: 'orders', maxInFlight: 1, answer: 'hold' })
    await other.call('send', { messages: [message('long')] })
    await owner.event('begun')
    await other.call('receive', { queue: 'orders', maxInFlight: 1, answer: 'ack' })
    const block = owner.call('block', { ms: 1_500 })
    expect(await other.event('done')).toMatchObject({ id: 'long', attempt: 2 })
    await block
    expect(await owner.event('aborted')).toMatchObject({ id: 'long', code: 'BUZZER_LOCK_LOST' })
    // It goes on as the owner, and as a client.
    await owner.call('send', { messages: [message('next')] })
    await Promise.race([owner, other].map(peer => peer.event('begun', ({ id }) => id === 'next')))
    expect(await other.call('engine', {})).toMatchObject({ ownerPid: owner.pid, epoch: 1 })
  })

  it('beats by the owner’s lockMs when that is shorter than its own', async () => {
    const [owner] = (await shop.connected(1, { lockMs: 400 })) as [PeerProcess]
    const [worker] = (await shop.started(1)) as [PeerProcess]
    await worker.call('connect', { options: { path: shop.path } })
    await worker.call('receive', { queue: 'orders', maxInFlight: 1, answer: 'hold' })
    await owner.call('send', { messages: [message('long')] })
    await worker.event('begun')
    await owner.call('receive', { queue: 'orders', maxInFlight: 1, answer: 'ack' })
    await new Promise(resolve => setTimeout(resolve, 1_500))
    expect(owner.seen('begun')).toEqual([])
    await worker.call('settle', { id: 'long', settlement: { as: 'ack' } })
    await worker.call('stop', { queue: 'orders' })
    expect(worker.seen('aborted')).toEqual([])
  })

  it('stopped for longer than lockMs loses its locks, is told, and drops what it had not begun', async () => {
    const [owner, stopped] = (await shop.connected(2, { lockMs: 400 })) as [PeerProcess, PeerProcess]
    await stopped.call('receive', { queue: 'orders', maxInFlight: 1, answer: 'hold' })
    await owner.call('send', { messages: [message('m1')] })
    await stopped.event('begun')
    stopped.signal('SIGSTOP')
    await owner.call('receive', { queue: 'orders', maxInFlight: 1, answer: 'ack' })
    expect(await owner.event('done')).toMatchObject({ id: 'm1', attempt: 2 })
    stopped.signal('SIGCONT')
    expect(await stopped.event('aborted')).toMatchObject({ id: 'm1', code: 'BUZZER_LOCK_LOST' })
  })

  it('ends by itself when it only sent, and lives on while it receives', async () => {
    const [owner, sender, receiver] = (await shop.connected(3)) as [PeerProcess, PeerProcess, PeerProcess]
    await sender.call('send', { messages: [message('m1')] })
    await receiver.call('receive', { queue: 'orders', maxInFlight: 1, answer: 'ack' })
    const ended = sender.ended()
    await sender.call('exit', {})
    expect(await ended).toBe(0)
    await receiver.call('exit', {})
    const alive = Symbol('alive')
    const later = new Promise(resolve => setTimeout(() => resolve(alive), 500))
    expect(await Promise.race([receiver.ended(), later])).toBe(alive)
    await owner.call('send', { messages: [message('m2')] })
    expect(await owner.call('figures', { queue: 'orders' })).toBeDefined()
  })

  it('the history of one key is kept over the death of a consumer (B31)', async () => {
    const three = (await shop.connected(3)) as [PeerProcess, PeerProcess, PeerProcess]
    const messages = Array.from({ length: 30 }, (_, index) =>
      message(`m${String(index).padStart(2, '0')}`, { key: 'k', to: { queue: 'accounts' } }),
    )
    for (const peer of three)
      await peer.call('receive', { queue: 'accounts', maxInFlight: 5, answer: 'ack', takesMs: 20 })
    await three[0].call('send', { messages })
    const running = await Promise.race(three.map(async peer => ({ peer, event: await peer.event('begun') })))
    const victim = running.peer === three[0] ? three[1] : running.peer
    await victim.kill()
    const rest = three.filter(peer => peer !== victim)
    await Promise.race(rest.map(peer => peer.event('done', ({ id }) => id === 'm29')))
    const begun = three.flatMap(peer => peer.seen('begun')).toSorted((a, b) => a.at - b.at)
    const first = [...new Set(begun.map(({ id }) => id))]
    expect(first).toEqual(messages.map(({ id }) => id))
  })
})
