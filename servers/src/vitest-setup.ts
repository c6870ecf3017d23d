import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Protocol } from './handshake.ts'
import type { PrivateServer } from './private-server.ts'
import { type Service, startersVariable } from './service.ts'

const starters: Readonly<Record<Protocol, () => Promise<PrivateServer>>> = {
  rabbitmq: async () => (await import('./rabbitmq.ts')).startRabbitMq(),
  postgres: async () => (await import('./postgres.ts')).startPostgres(),
  kafka: async () => (await import('./kafka.ts')).startKafka(),
}

/**
 * Global set-up of the tests: starts a server the first time that a test file asks for one that is not on the machine, and
 * ends what it started when the run ends. Test files run in processes of their own, so they ask over a socket.
 */
export default async function setup(): Promise<() => Promise<void>> {
  const folder = mkdtempSync(join(tmpdir(), 'buzzer-servers-'))
  const started = new Map<Protocol, Promise<PrivateServer>>()

  const provide = async (name: Protocol): Promise<Service> => {
    const server = started.get(name) ?? starters[name]()
    started.set(name, server)
    try {
      return { url: (await server).url }
    } catch (error) {
      return { reason: error instanceof Error ? error.message : String(error) }
    }
  }

  const path = join(folder, 'starters')
  const listener = createServer({ allowHalfOpen: true }, socket => {
    let name = ''
    socket.setEncoding('utf8').on('data', (text: string) => void (name += text))
    socket.on('end', () => void provide(name as Protocol).then(answer => socket.end(JSON.stringify(answer))))
    socket.on('error', () => socket.destroy())
  })
  await new Promise<void>(resolve => listener.listen(path, resolve))
  process.env[startersVariable] = path

  return async () => {
    listener.close()
    for (const server of await Promise.allSettled(started.values())) {
      if (server.status === 'fulfilled') await server.value[Symbol.asyncDispose]()
    }
    rmSync(folder, { recursive: true, force: true })
  }
}
