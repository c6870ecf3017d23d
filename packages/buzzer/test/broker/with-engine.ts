import { join } from 'node:path'
import { afterEach, beforeEach, vi } from 'vitest'
import { type EngineClient, EngineHost, temporaryFolder } from './engine-client.ts'

/** Each test of the file gets an engine on a file of its own, and a first client of it; both are gone after it. */
export function withEngine(use: (host: EngineHost, client: EngineClient) => void): void {
  // Thousands of commits take a busy machine its time.
  vi.setConfig({ testTimeout: 120_000 })
  let folder: ReturnType<typeof temporaryFolder>
  let host: EngineHost
  beforeEach(() => {
    folder = temporaryFolder()
    host = new EngineHost(join(folder.path, 'broker.db'))
    use(host, host.connect())
  })
  afterEach(() => {
    host.engine.close()
    folder.remove()
  })
}
