import { startPostgres } from 'buzzer-servers'
import type { CaseServer } from '../suite.ts'
import { ownOrFound } from './own-server.ts'

/** The server that all contenders of a case use, each in a schema of its own. */
export function postgresServer(): Promise<CaseServer> {
  return ownOrFound('postgres', startPostgres, async url => {
    const { Client } = await import('pg')
    const client = new Client({ connectionString: url })
    await client.connect()
    const { rows } = await client.query<{ version: string; autovacuum: string }>(
      `select current_setting('server_version') as version, current_setting('autovacuum') as autovacuum`,
    )
    await client.end()
    const [{ version, autovacuum } = { version: 'unknown', autovacuum: 'unknown' }] = rows
    return `${version.split(' ')[0]}, autovacuum ${autovacuum}`
  })
}

/** Removes a contender's schema with all that is in it. */
export async function dropSchema(url: string, schema: string): Promise<void> {
  const { Client } = await import('pg')
  const client = new Client({ connectionString: url })
  await client.connect()
  await client.query(`drop schema if exists "${schema}" cascade`)
  await client.end()
}

export const durability = 'power loss (synchronous_commit)'
