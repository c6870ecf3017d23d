import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { EngineHost, messageTo, temporaryFolder, textOf } from '../../../test/broker/engine-client.ts'
import { smallDisk } from '../../../test/broker/small-disk.ts'
import { checkFile } from './index.ts'

// Thousands of commits take a busy machine its time.
vi.setConfig({ testTimeout: 120_000 })

let folder: ReturnType<typeof temporaryFolder>
beforeEach(() => {
  folder = temporaryFolder()
})
afterEach(() => folder.remove())

describe('a full disk', () => {
  it('B90 sends are refused, the backlog drains to empty, and when space is back sends are accepted', context => {
    const at = join(folder.path, 'disk')
    const disk = smallDisk(at)
    if (disk === undefined) return context.skip('this process may not mount a small file system')
    try {
      const host = new EngineHost(join(at, 'broker.db'))
      const client = host.connect()
      client.declare({ name: 'q' })
      client.subscribe('q', 5)
      const text = 'x'.repeat(2_000)
      for (let batch = 0; batch < 4; batch++) client.send(Array.from({ length: 20 }, () => messageTo('q', text)))
      disk.fill()
      let refused: string | undefined
      let accepted = 80
      for (let tries = 0; tries < 200 && refused === undefined; tries++) {
        refused = client.send(Array.from({ length: 100 }, () => messageTo('q', text)))?.code
        if (refused === undefined) accepted += 100
      }
      expect(refused).toBe('BUZZER_DISK_FULL')
      expect(host.failed).toBeUndefined()
      const late = host.connect('late', [], false)
      expect(late.welcome?.sendsThrough, 'a session that comes to a full disk is served').toBe(0)
      let drained = 0
      for (let batch = client.take(); batch.length > 0; batch = client.take()) {
        drained += batch.length
        client.ack(...batch.map(({ token }) => token))
      }
      expect(drained).toBe(accepted)
      expect(client.lost).toEqual([])
      expect(client.counts('q')).toMatchObject({ ready: 0, locked: 0 })
      disk.empty()
      host.advance(2_000)
      expect(client.send([messageTo('q', 'again')])).toBeUndefined()
      expect(client.take().map(textOf)).toEqual(['again'])
      host.engine.close()
      expect(checkFile(join(at, 'broker.db')).ok).toBe(true)
    } finally {
      disk.unmount()
    }
  })
})
