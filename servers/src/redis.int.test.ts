import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import { ServerUnavailable } from './private-server.ts'
import { startRedis } from './redis.ts'

async function ask(port: number, command: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  socket.write(`${command}\r\n`)
  const [answer] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  return answer.toString().trim()
}

test('a private Redis keeps its port and what it synced over a stop and SIGKILL, and leaves nothing behind', async context => {
  const started = await startRedis({ appendfsync: 'always' }).catch((error: unknown) => {
    if (error instanceof ServerUnavailable) return context.skip(error.message)
    throw error
  })
  {
    await using server = started
    expect(server.url).toBe(`redis://127.0.0.1:${server.port}`)
    expect(await ask(server.port, 'SET kept 1')).toBe('+OK')
    for (const end of [() => server.stop(), () => server.kill()]) {
      await end()
      await expect(ask(server.port, 'PING')).rejects.toThrow('ECONNREFUSED')
      await server.start()
      expect(await ask(server.port, 'GET kept')).toBe('$1\r\n1')
    }
  }
  expect(existsSync(started.folder)).toBe(false)
})
