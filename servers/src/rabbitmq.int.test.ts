import { expect, test } from 'vitest'
import { answers } from './handshake.ts'
import { ServerUnavailable } from './private-server.ts'
import { type PrivateRabbitMq, startRabbitMq } from './rabbitmq.ts'
import { isRequired } from './service.ts'

test('a private RabbitMQ answers, keeps its folder over kill and start, obeys its operator, and is gone after disposal', async context => {
  let server: PrivateRabbitMq
  try {
    server = await startRabbitMq()
  } catch (error) {
    if (!(error instanceof ServerUnavailable) || isRequired('rabbitmq')) throw error
    return context.skip(error.message)
  }
  try {
    expect(server.version).toMatch(/^\d+\.\d+/)
    await server.ctl('add_user', 'kept', 'secret')
    await server.kill()
    expect(await answers('rabbitmq', '127.0.0.1', server.port)).toBe(false)
    await server.start()
    expect(await server.ctl('list_users')).toContain('kept')
    await server.memoryAlarm('on')
    expect(await server.ctl('eval', 'rabbit_alarm:get_alarms().')).toContain('memory')
    await server.memoryAlarm('off')
    expect(await server.ctl('eval', 'rabbit_alarm:get_alarms().')).not.toContain('memory')
  } finally {
    await server[Symbol.asyncDispose]()
  }
  expect(await answers('rabbitmq', '127.0.0.1', server.port)).toBe(false)
}, 300_000)
