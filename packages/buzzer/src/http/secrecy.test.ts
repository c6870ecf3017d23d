import { expect, it } from 'vitest'
import { faultyStoreMemory } from '../../test/http/faulty-memory.ts'
import { ask, gatewayOf, world } from '../../test/http/world.ts'
import { defineCommand, type StandardSchema } from '../index.ts'

const throwing: StandardSchema<{ n: number }> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate(value) {
      if ((value as { boom?: boolean }).boom) throw new Error('schema')
      return { value: value as { n: number } }
    },
  },
}
const Work = defineCommand('jobs.work', throwing)

it('HT-79 no header, body, key or query string gets into the log', async () => {
  const transport = faultyStoreMemory()
  await using w = world({ transport })
  const gateway = gatewayOf(w.bus, {
    authenticate: request => {
      if (request.headers.has('x-boom')) throw new Error('hook')
      return { id: 'ann' }
    },
  }).accept('POST', '/work', Work, { to: 'work', input: ({ body }) => body as { n: number } })
  await w.bus.start()
  const headers = { authorization: 'Bearer SECRET-1', 'idempotency-key': 'SECRET-2', cookie: 'SECRET-3' }
  const path = '/work?ticket=SECRET-4'
  const bodies = ['{"n":1,"card":"SECRET-5"}', '{"boom":true,"card":"SECRET-5"}', '{"card":"SECRET-5"', '"SECRET-5"']
  for (const body of bodies) await ask(gateway, 'POST', path, { body, headers })
  transport.failNextSend('BUZZER_DISK_FULL')
  await ask(gateway, 'POST', path, { body: '{"n":2}', headers: { ...headers, 'idempotency-key': 'SECRET-6' } })
  await ask(gateway, 'POST', path, { body: '{"n":2}', headers: { ...headers, 'x-boom': '1' } })
  expect(w.log.filter(line => line.level === 'error').length).toBeGreaterThanOrEqual(3)
  const text = JSON.stringify(w.log, (_name, value: unknown) =>
    value instanceof Error ? [value.message, Object.values(value)] : value,
  )
  expect(text).not.toMatch(/SECRET/)
})
