import { silentLogger, systemClock } from 'buzzer'
import { service } from 'buzzer-servers'
import type { ClientBase } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { message } from '../test/messages.ts'
import { ownSchema } from '../test/own-schema.ts'
import { postgres } from './index.ts'
import { checkTx, quoteIdentifier, type SqlHandle } from './sql-handle.ts'

const { url = '' } = await service('postgres')

/** Types that every library gives as text, numbers, booleans or bytes: boolean, bytea, integer, text, double precision, name. */
const plainTypes = new Set([16, 17, 23, 25, 701, 19])

/** Takes and gives no more than what the libraries have in common, and says what is beyond it. */
function strict(client: ClientBase): SqlHandle {
  return {
    async query(text, values = []) {
      for (const [at] of text.matchAll(/\$\d+(?!\d|::(text|integer|bigint|double precision|boolean|bytea)\b)/g)) {
        throw new Error(`${at} has no cast to a plain type in ${text}`)
      }
      for (const value of values) {
        const isPlain =
          value === null || ['string', 'number', 'boolean'].includes(typeof value) || value instanceof Uint8Array
        if (!isPlain) throw new Error(`${JSON.stringify(value)} is passed to ${text}`)
      }
      const { rows, fields } = await client.query(text, [...values])
      for (const { name, dataTypeID } of fields) {
        if (!plainTypes.has(dataTypeID)) throw new Error(`${name} has type ${dataTypeID} in the answer of ${text}`)
      }
      // Bytes come as plain ones from some.
      const plain = (value: unknown): unknown => (value instanceof Uint8Array ? Uint8Array.from(value) : value)
      return { rows: rows.map(row => Object.fromEntries(Object.entries(row as object).map(([k, v]) => [k, plain(v)]))) }
    },
  }
}

/** What the libraries are asked for, with a `pg` client below; the adapters are those of the guide. */
const libraries: readonly { readonly name: string; readonly adapt: (client: ClientBase) => SqlHandle }[] = [
  { name: 'a client of pg', adapt: client => client },
  { name: 'the least that all have in common', adapt: strict },
  {
    name: "the shape of Drizzle's transaction",
    adapt(client) {
      type Chunk = { readonly raw: string } | { readonly param: unknown }
      const sql = {
        raw: (raw: string): Chunk => ({ raw }),
        param: (param: unknown): Chunk => ({ param }),
        join: (chunks: readonly Chunk[]) => chunks,
      }
      const tx = {
        execute(chunks: readonly Chunk[]) {
          const values: unknown[] = []
          const text = chunks.map(chunk => ('raw' in chunk ? chunk.raw : `$${values.push(chunk.param)}`)).join('')
          return client.query(text, values)
        },
      }
      return {
        query: (text, values = []) =>
          tx.execute(
            sql.join(
              text
                .split(/\$(\d+)/)
                .map((part, at) => (at % 2 === 1 ? sql.param(values[Number(part) - 1]) : sql.raw(part))),
            ),
          ),
      }
    },
  },
  {
    name: "the shape of Kysely's transaction",
    adapt(client) {
      const CompiledQuery = { raw: (sql: string, parameters: unknown[]) => ({ sql, parameters }) }
      const trx = {
        async executeQuery({ sql, parameters }: { sql: string; parameters: unknown[] }) {
          const { rows } = await client.query(sql, parameters)
          return { rows: rows as object[] }
        },
      }
      return { query: (text, values = []) => trx.executeQuery(CompiledQuery.raw(text, [...values])) }
    },
  },
  {
    name: "the shape of Prisma's transaction",
    adapt(client) {
      const tx = {
        $queryRawUnsafe: async (text: string, ...values: unknown[]): Promise<object[]> =>
          (await strict(client).query(text, values)).rows as object[],
      }
      return { query: async (text, values = []) => ({ rows: await tx.$queryRawUnsafe(text, ...values) }) }
    },
  },
]

describe.skipIf(url === '')("a caller's transaction, by structure", () => {
  const world = ownSchema(url)
  const transport = postgres({ connectionString: url, schema: world.schema })
  beforeAll(async () => {
    await transport.connect({
      bus: 't',
      instanceId: 't',
      clock: systemClock,
      logger: silentLogger,
      onState: () => undefined,
    })
    await transport.declare({
      queues: [
        { name: 'plain' },
        {
          name: 'rich',
          orderBy: 'key',
          maxMessages: 1_000,
          deduplicationWindowMs: 60_000,
          expiresAfterIdleMs: 600_000,
        },
      ],
      topics: [],
      bindings: [],
    })
    await transport.store.declare([{ name: 'orders', indexes: ['at', 'number'], unique: ['number'] }])
    await transport.log.declare([{ name: 'orders', keyIndex: true, deduplicationWindowMs: 60_000 }])
  })
  afterAll(async () => {
    await transport.close()
    await world[Symbol.asyncDispose]()
  })

  test.each(libraries)('$name carries messages, records and log entries of every kind', async ({ name, adapt }) => {
    const { epoch } = await transport.log.openProducer('orders', name)
    const entry = (text: string) => ({ stream: 'orders', records: [{ key: name, value: Buffer.from(text) }] })
    const client = await world.pool.connect()
    const id = (n: number): string => `${libraries.findIndex(one => one.name === name)}-${n}`
    const record = {
      op: 'put',
      collection: 'orders',
      id: id(1),
      value: { a: ['ü', null, 1.5] },
      expected: 'any',
    } as const
    await client.query('begin')
    try {
      const tx = adapt(client)
      await transport.store.commit([{ ...record, expected: 'absent', indexes: { at: 1, number: name } }], { tx })
      await transport.store.commit(
        [{ ...record, expected: 1, indexes: { at: 'x', number: name }, expiresAt: Date.now() + 600_000 }],
        { tx },
      )
      await transport.store.commit(
        [
          { ...record, id: id(2) },
          { op: 'delete', collection: 'orders', id: id(2), expected: 1 },
        ],
        { tx },
      )
      await transport.send([message(id(1), 'plain'), message(id(2), 'plain', { deliverAt: Date.now() + 600_000 })], {
        tx,
      })
      await transport.send([message(id(3), 'rich', { key: 'k', priority: 9, deduplicationKey: id(3) })], {
        tx,
        state: [{ ...record, id: id(3) }],
      })
      await transport.log.append([entry('staged'), { ...entry('once'), deduplicationKey: id(1) }], { tx })
      await transport.log
        .append([{ ...entry('expected'), expect: { key: name, last: 'none' } }], { tx })
        .catch((error: unknown) => {
          // What was staged before counts.
          expect(error).toMatchObject({ code: 'BUZZER_LOG_CONFLICT' })
        })
      await transport.log.append([{ ...entry('numbered'), producer: { name, epoch, sequence: 1 } }], { tx })
      await client.query('commit')
    } finally {
      await client.query('rollback')
      client.release()
    }
    expect(await transport.store.get('orders', id(1))).toMatchObject({ version: 2, value: record.value })
    expect([await transport.store.get('orders', id(2)), (await transport.store.get('orders', id(3)))?.version]).toEqual(
      [undefined, 1],
    )
    const { items } = await transport.store.query('orders', { index: 'number', equals: name })
    expect(items.map(item => item.id)).toEqual([id(1)])
    const { rows } = await world.pool.query(
      `select (select count(*) from ${world.quoted}.chunk)::integer + (select count(*) from ${world.quoted}.single)::integer as n`,
    )
    expect(rows[0].n).toBe(3 * (libraries.findIndex(one => one.name === name) + 1))
    const deadline = Date.now() + 20_000
    const texts = async (): Promise<string[]> =>
      (await transport.log.read({ stream: 'orders', partition: 0, from: 'start' })).records
        .filter(one => one.key === name)
        .map(one => Buffer.from(one.value ?? []).toString())
    while ((await texts()).length < 3 && Date.now() < deadline) await new Promise(resolve => setTimeout(resolve, 50))
    expect(await texts()).toEqual(['staged', 'once', 'numbered'])
  })
})

test('what has no query(text, values) is no transaction', () => {
  for (const wrong of [undefined, null, 'tx', 7, {}, { query: 'select' }, () => undefined]) {
    expect(() => checkTx(wrong)).toThrowError(expect.objectContaining({ code: 'BUZZER_INVALID_OPTION' }) as Error)
  }
  const fine = { query: () => Promise.resolve({ rows: [] }) }
  expect(checkTx(fine)).toBe(fine)
})

test.each([
  ['buzzer', '"buzzer"'],
  ['Mixed "Case"; drop table x; --', '"Mixed ""Case""; drop table x; --"'],
])('the name %s is quoted', (name, quoted) => {
  expect(quoteIdentifier(name)).toBe(quoted)
})
