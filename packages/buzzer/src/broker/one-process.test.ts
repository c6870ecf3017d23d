import { readdirSync, rmSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { message, topology, withShop } from '../../test/broker/shop.ts'
import { silentLogger } from '../message/index.ts'
import { embedded } from './index.ts'

const shop = withShop()

describe('two transports in one process', () => {
  it('share one broker; closing one does not disturb the other', async () => {
    const first = await shop.here()
    const second = await shop.here()
    await first.declare(topology)
    await second.send([message('m1')])
    await first.close()
    expect(await second.admin.queue('orders')).toMatchObject({ ready: 1 })
    const received: string[] = []
    const done = Promise.withResolvers<void>()
    const receiver = await second.receive(
      'orders',
      delivery => {
        received.push(delivery.id)
        done.resolve()
        return Promise.resolve({ as: 'ack' })
      },
      { maxInFlight: 1, orderBy: 'none' },
    )
    await done.promise
    await receiver.stop()
    expect(received).toEqual(['m1'])
    expect((await second.admin.engine()).epoch).toBe(1)
  })

  it('that were given other options for the broker are refused', async () => {
    await shop.here({ lockMs: 5_000 })
    await expect(shop.here({ lockMs: 6_000 })).rejects.toMatchObject({
      code: 'BUZZER_INVALID_OPTION',
      details: { option: 'lockMs', value: 6_000, present: 5_000 },
    })
  })

  it('that ask for an order give it to a queue without one, and are refused by one with another', async () => {
    const transport = await shop.here()
    await transport.declare({ ...topology, queues: [{ name: 'plain' }, { name: 'strict', orderBy: 'queue' }] })
    const ack = (): Promise<{ as: 'ack' }> => Promise.resolve({ as: 'ack' })
    const receiver = await transport.receive('plain', ack, { maxInFlight: 1, orderBy: 'key' })
    expect(await transport.admin.queue('plain')).toMatchObject({ options: { orderBy: 'key' } })
    await expect(transport.receive('strict', ack, { maxInFlight: 1, orderBy: 'key' })).rejects.toMatchObject({
      code: 'BUZZER_TOPOLOGY_CONFLICT',
    })
    await expect(transport.receive('none', ack, { maxInFlight: 1, orderBy: 'key' })).rejects.toMatchObject({
      code: 'BUZZER_QUEUE_NOT_FOUND',
    })
    await receiver.stop()
  })

  it('B94 are told when the file is deleted under them, and a later send finds a fresh one', async () => {
    const transport = await shop.here()
    await transport.declare(topology)
    rmSync(shop.path)
    await expect(transport.send([message('m1')])).rejects.toMatchObject({ code: 'BUZZER_FILE_REPLACED' })
    await transport.declare(topology)
    await transport.send([message('m2')])
    expect(await transport.admin.queue('orders')).toMatchObject({ ready: 1 })
  })

  it('B22 closed while it connects settles both, and leaves nothing behind', async () => {
    const transport = embedded({ path: shop.path })
    const connecting = transport.connect({ logger: silentLogger }).then(
      () => 'connected',
      (error: { code: string }) => error.code,
    )
    await transport.close()
    expect(['connected', 'BUZZER_NOT_RUNNING']).toContain(await connecting)
    await expect(transport.connect()).rejects.toMatchObject({ code: 'BUZZER_NOT_RUNNING' })
    await expect(transport.send([message('m1')])).rejects.toMatchObject({ code: 'BUZZER_NOT_RUNNING' })
    await transport.close()
  })

  it('the last close leaves the database alone with everything in it, and the next open finds it', async () => {
    const first = await shop.here()
    await first.declare(topology)
    await first.send([message('m1'), message('m2')])
    await first.close()
    expect(readdirSync(shop.folder).filter(name => /-(wal|shm)$/.test(name))).toEqual([])
    const again = await shop.here()
    expect(await again.admin.queue('orders')).toMatchObject({ ready: 2 })
  })
})
