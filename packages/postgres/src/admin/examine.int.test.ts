import { silentLogger, systemClock } from 'buzzer'
import { service } from 'buzzer-servers'
import { expect, test } from 'vitest'
import { message } from '../../test/messages.ts'
import { ownSchema } from '../../test/own-schema.ts'
import { postgres } from '../index.ts'

const { url = '' } = await service('postgres')

test.skipIf(url === '')('examine() judges the server as it is set up, and the tables as they are', async () => {
  await using own = ownSchema(url)
  const transport = postgres({ connectionString: url, schema: own.schema })
  await transport.connect({ bus: 't', instanceId: 't', clock: systemClock, logger: silentLogger, onState() {} })
  await transport.declare({ queues: [{ name: 'q' }], topics: [], bindings: [] })
  await transport.send([message('a', 'q', { expiresAt: Date.now() + 600_000 })])
  for (const table of ['chunk', 'single', 'lane', 'receipt', 'record'])
    await own.pool.query(`analyze ${own.quoted}.${table}`)

  const { rows } = await own.pool.query<{ version: string; autovacuum: string; fsync: string; commit: string }>(
    `select current_setting('server_version') as version, current_setting('autovacuum') as autovacuum,
      current_setting('fsync') as fsync, current_setting('synchronous_commit') as commit`,
  )
  const [server] = rows
  const findings = new Map((await transport.admin.examine()).map(finding => [finding.what, finding]))
  await transport.close()

  expect([...findings.keys()]).toEqual([
    'server version',
    'durability',
    'autovacuum',
    'oldest transaction',
    'replication slots and prepared transactions',
    'connections',
    'upkeep',
    'table chunk',
    'table lane',
    'table receipt',
    'table record',
    'table single',
  ])
  expect(findings.get('server version')?.detail).toBe(server?.version)
  expect(findings.get('durability')?.verdict).toBe(server?.fsync === 'on' && server.commit !== 'off' ? 'ok' : 'problem')
  expect(findings.get('autovacuum')?.verdict).toBe(server?.autovacuum === 'on' ? 'ok' : 'problem')
  expect(findings.get('table single')?.detail).toMatch(/^1 rows, 0 dead ones, \d+ KiB$/)
})
