import { randomBytes } from 'node:crypto'
import pg from 'pg'

/** A database of our own on a server that others use too. */
export interface Database extends AsyncDisposable {
  readonly url: string
}

export async function makeDatabase(server: string): Promise<Database> {
  const name = `buzzer_shop_${randomBytes(6).toString('hex')}`
  const url = new URL(server)
  url.pathname = `/${name}`
  await administer(server, `create database ${name}`)
  return {
    url: url.href,
    [Symbol.asyncDispose]: () => administer(server, `drop database ${name} with (force)`),
  }
}

async function administer(server: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: server })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}
