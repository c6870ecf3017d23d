import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import { freePort } from './free-port.ts'
import { answers } from './handshake.ts'
import { service, startersVariable } from './service.ts'

afterEach(() => vi.unstubAllEnvs())

test('an open port that does not speak the protocol is no server', async () => {
  const server = createServer(socket => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  expect(await answers('rabbitmq', '127.0.0.1', port)).toBe(false)
  expect(await answers('postgres', '127.0.0.1', port)).toBe(false)
  expect(await answers('kafka', '127.0.0.1', port)).toBe(false)
  server.close()
})

test('a variable that leads nowhere fails the run instead of skipping', async () => {
  vi.stubEnv('BUZZER_TEST_RABBITMQ_URL', `amqp://127.0.0.1:${await freePort()}`)
  await expect(service('rabbitmq')).rejects.toThrow(/BUZZER_TEST_RABBITMQ_URL is amqp:.*no rabbitmq answers there/)
})

test('what cannot be had is a reason that says what to do, and an error when it is required', async () => {
  vi.stubEnv('BUZZER_TEST_PRIVATE', '1')
  vi.stubEnv('BUZZER_TEST_REQUIRE', '')
  vi.stubEnv('BUZZER_TEST_KAFKA_BROKERS', '')
  vi.stubEnv(startersVariable, undefined)
  expect(await service('kafka')).toEqual({ reason: expect.stringContaining('set BUZZER_TEST_KAFKA_BROKERS') })
  vi.stubEnv('BUZZER_TEST_REQUIRE', 'postgres,kafka')
  await expect(service('kafka')).rejects.toThrow('BUZZER_TEST_REQUIRE lists kafka')
})
