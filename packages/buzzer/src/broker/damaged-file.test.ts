import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { describe, expect, it, vi } from 'vitest'
import { message, topology, withShop } from '../../test/broker/shop.ts'
import type { Logger } from '../message/index.ts'
import type { ConnectionState } from '../transport/index.ts'
import { embedded } from './index.ts'

vi.setConfig({ testTimeout: 60_000 })

const shop = withShop()
const pageBytes = 4_096

/** Zeroes the page of the closed file on which `text` lies. */
function zeroPageOf(text: string): void {
  const at = readFileSync(shop.path).indexOf(text)
  expect(at, `${text} is in the file`).toBeGreaterThan(0)
  const file = openSync(shop.path, 'r+')
  writeSync(file, Buffer.alloc(pageBytes), 0, pageBytes, Math.floor(at / pageBytes) * pageBytes)
  closeSync(file)
}

function listening(): { readonly logger: Logger; readonly errors: string[] } {
  const errors: string[] = []
  const nothing = (): void => {}
  const error = (_fields: object, words = ''): void => void errors.push(words)
  return { errors, logger: { debug: nothing, info: nothing, warn: nothing, error } }
}

const damaged = { code: 'BUZZER_FILE_DAMAGED', retryable: false }

describe('a damaged file', () => {
  it('that cannot be opened is refused by name, to each transport that comes, however soon', async () => {
    const writer = await shop.here()
    await writer.declare(topology)
    await writer.close()
    // The table of queues.
    zeroPageOf('orders')
    const { logger } = listening()
    // A transport may come while the thread that refused the one before is ending.
    for (let round = 0; round < 12; round++) {
      const transport = embedded({ path: shop.path })
      await expect(transport.connect({ logger }), `transport ${round}`).rejects.toMatchObject(damaged)
    }
  })

  it('lets a transport connect that was refused, once it is whole again', async () => {
    const writer = await shop.here()
    await writer.declare(topology)
    await writer.close()
    const whole = readFileSync(shop.path)
    zeroPageOf('orders')
    const { logger } = listening()
    const transport = embedded({ path: shop.path })
    await expect(transport.connect({ logger })).rejects.toMatchObject(damaged)
    const file = openSync(shop.path, 'r+')
    writeSync(file, whole)
    closeSync(file)
    await transport.connect({ logger })
    expect(await transport.admin.queue('orders')).toMatchObject({ ready: 0 })
    await transport.close()
  })

  it('that fails where a message lies ends every transport of the process with the reason, and is not opened again and again', async () => {
    const writer = await shop.here()
    await writer.declare(topology)
    await writer.send([{ ...message('m1'), body: Buffer.from('the page of this one is lost') }])
    await writer.close()
    zeroPageOf('the page of this one is lost')
    const { logger, errors } = listening()
    const states: [ConnectionState, string | undefined][] = []
    const lost = Promise.withResolvers<void>()
    const onState = (state: ConnectionState, error?: Error): void => {
      states.push([state, (error as { code?: string } | undefined)?.code])
      if (state === 'lost') lost.resolve()
    }
    const transport = embedded({ path: shop.path })
    const neighbour = embedded({ path: shop.path })
    await transport.connect({ logger, onState })
    await neighbour.connect({ logger })
    const ack = (): Promise<{ as: 'ack' }> => Promise.resolve({ as: 'ack' })
    await transport.receive('orders', ack, { maxInFlight: 1, orderBy: 'none' }).catch((error: unknown) => {
      expect(error).toMatchObject(damaged)
    })
    await lost.promise
    expect(states.at(-1)).toEqual(['lost', 'BUZZER_FILE_DAMAGED'])
    for (const one of [transport, neighbour]) {
      await expect(one.send([message('m2')])).rejects.toMatchObject(damaged)
      await expect(one.admin.queues()).rejects.toMatchObject(damaged)
      await expect(one.receive('orders', ack, { maxInFlight: 1, orderBy: 'none' })).rejects.toMatchObject(damaged)
    }
    // With these the broker's thread has ended: nothing more can come from it.
    await Promise.all([transport.close(), neighbour.close()])
    expect(errors.filter(words => words.startsWith('the broker stopped'))).toHaveLength(1)
  })
})
