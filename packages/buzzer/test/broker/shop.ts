/** Processes and transports on one broker's file, made anew for each test and gone after it. */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, vi } from 'vitest'
import { embedded, type EmbeddedOptions, type EmbeddedTransport } from '../../src/broker/index.ts'
import { silentLogger } from '../../src/message/index.ts'
import { topology } from './messages.ts'
import { PeerProcess } from './peer-process.ts'

export { message, topology } from './messages.ts'

export interface Shop {
  /** Of this test alone. */
  readonly folder: string
  /** The broker's file in it. */
  readonly path: string
  /** Processes that do nothing yet. */
  started(count: number): Promise<PeerProcess[]>
  /** Processes on the file, the first of which owns it and has declared the topology. */
  connected(count: number, options?: Partial<EmbeddedOptions>): Promise<PeerProcess[]>
  /** A transport in this process. */
  here(options?: Partial<EmbeddedOptions>): Promise<EmbeddedTransport>
}

export function pidOf(peer: PeerProcess | undefined): number {
  return (peer as PeerProcess).pid
}

/** Call it once in a test file. */
export function withShop(): Shop {
  // Processes are started here, which takes a busy machine its time.
  vi.setConfig({ testTimeout: 90_000, hookTimeout: 90_000 })
  let folder = ''
  let peers: PeerProcess[] = []
  let transports: EmbeddedTransport[] = []
  const shop: Shop = {
    get folder() {
      return folder
    },
    get path() {
      return join(folder, 'shop.db')
    },
    async started(count) {
      const more = await Promise.all(Array.from({ length: count }, () => PeerProcess.start()))
      peers.push(...more)
      return more
    },
    async connected(count, options = {}) {
      const made = await shop.started(count)
      for (const peer of made) await peer.call('connect', { options: { path: shop.path, ...options } })
      await (made[0] as PeerProcess).call('declare', { topology })
      return made
    },
    async here(options = {}) {
      const transport = embedded({ path: shop.path, ...options })
      transports.push(transport)
      await transport.connect({ logger: silentLogger })
      return transport
    },
  }
  beforeEach(() => {
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'buzzer-shop-')))
    peers = []
    transports = []
  })
  afterEach(async () => {
    await Promise.all(peers.map(peer => peer.kill()))
    await Promise.all(transports.map(transport => transport.close()))
    rmSync(folder, { recursive: true, force: true })
  })
  return shop
}
