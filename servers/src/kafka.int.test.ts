import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { answers } from './handshake.ts'
import { startKafka } from './kafka.ts'
import { ServerUnavailable } from './private-server.ts'

test('a private Kafka keeps its port and data over a stop and SIGKILL', { timeout: 300_000 }, async context => {
  const started = await startKafka().catch((error: unknown) => {
    if (error instanceof ServerUnavailable) return context.skip(error.message)
    throw error
  })
  await using server = started
  expect(server.url).toBe(`127.0.0.1:${server.port}`)
  expect(server.version).toMatch(/^\d+\.\d+\.\d+$/)
  const cluster = (): string => readFileSync(join(server.folder, 'data', 'meta.properties'), 'utf8')
  const before = cluster()
  for (const end of [() => server.stop(), () => server.kill()]) {
    await end()
    expect(await answers('kafka', '127.0.0.1', server.port)).toBe(false)
    await server.start()
    expect(await answers('kafka', '127.0.0.1', server.port)).toBe(true)
  }
  expect(cluster()).toBe(before)
})
