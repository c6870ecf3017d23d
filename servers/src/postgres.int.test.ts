import { expect, test } from 'vitest'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { startPostgres } from './postgres.ts'
import { ServerUnavailable } from './private-server.ts'

const run = promisify(execFile)

async function ask(url: string, sql: string): Promise<string> {
  const { stdout } = await run('psql', ['-At', url, '-c', sql])
  return stdout.trim()
}

test('a private PostgreSQL keeps its port and data over a stop, an immediate stop and SIGKILL, with fsync on', async context => {
  const started = await startPostgres({ max_connections: '20' }).catch((error: unknown) => {
    if (error instanceof ServerUnavailable) return context.skip(error.message)
    throw error
  })
  await using server = started
  expect(server.url).toContain(`:${server.port}/`)
  expect(server.version).toMatch(/^\d+/)
  expect(await ask(server.url, 'SHOW fsync')).toBe('on')
  expect(await ask(server.url, 'SHOW max_connections')).toBe('20')
  await ask(server.url, 'CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)')
  const ways = [() => server.stop(), () => server.stopAtOnce(), () => server.kill()]
  for (const end of ways) {
    await end()
    await expect(ask(server.url, 'SELECT 1')).rejects.toThrow()
    await server.start()
    expect(await ask(server.url, 'SELECT n FROM kept')).toBe('1')
  }
})
