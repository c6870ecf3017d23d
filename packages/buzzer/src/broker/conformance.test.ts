import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, test, vi } from 'vitest'
import { PeerProcess } from '../../test/broker/peer-process.ts'
import { runCases } from '../testing/conformance/case.ts'
import { eventLogConformance } from '../testing/event-log-conformance.ts'
import { storeConformance } from '../testing/store-conformance.ts'
import { transportConformance } from '../testing/transport-conformance.ts'
import { embedded } from './embedded.ts'

// A case may restart a process, which takes a busy machine its time.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const folder = mkdtempSync(join(tmpdir(), 'buzzer-conformance-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const closed = (): Promise<void> => Promise.resolve()

/** One after the other: closing all clients of a case then closes the broker, so the next open is a restart. */
describe('in one process', () => {
  const path = join(folder, 'one.db')
  runCases(transportConformance({ name: 'embedded', create: () => embedded({ path }), restartBroker: closed }), test)
  runCases(
    storeConformance({ name: 'store of embedded()', create: () => embedded({ path }).store, restart: closed }),
    test,
  )
  runCases(
    eventLogConformance({ name: 'log of embedded()', create: () => embedded({ path }).log, restart: closed }),
    test,
  )
})

/** The broker lives in a process of its own, which a restart kills. */
describe('with the broker in another process', () => {
  const path = join(folder, 'two.db')
  let owner: PeerProcess | undefined
  const start = async (): Promise<void> => {
    owner = await PeerProcess.start()
    await owner.call('connect', { options: { path } })
  }
  const restart = async (): Promise<void> => {
    await owner?.kill()
    await start()
  }
  beforeAll(start)
  afterAll(async () => await owner?.kill())
  const create = (): ReturnType<typeof embedded> => embedded({ path, host: 'never' })
  runCases(transportConformance({ name: 'embedded', clients: 'two', create, restartBroker: restart }), test)
  runCases(storeConformance({ name: 'store of embedded()', create: () => create().store, restart }), test)
  runCases(eventLogConformance({ name: 'log of embedded()', create: () => create().log, restart }), test)
})
