import { setTimeout as sleep } from 'node:timers/promises'
import { service } from 'buzzer-servers'
import { afterAll, describe, expect, test } from 'vitest'
import { batch, openLog, readAll, textOf } from '../../test/log-world.ts'
import { ownSchema } from '../../test/own-schema.ts'

const { url = '' } = await service('postgres')
const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n)

describe.skipIf(url === '')('segments', () => {
  const world = ownSchema(url)
  afterAll(() => world[Symbol.asyncDispose]())

  const tables = async (stream: string): Promise<string[]> => {
    const { rows } = await world.pool.query(
      `select t.tablename from pg_tables t join ${world.quoted}.log_stream s on t.tablename like 'log\\_' || s.id || '\\_%'
       where t.schemaname = $1 and s.name = $2 order by split_part(t.tablename, '_', 3)::integer`,
      [world.schema, stream],
    )
    return rows.map(row => row.tablename as string)
  }

  test('S50: a full segment is followed by the next; readers go over the seam, by position and by time; a dropped one is said', async () => {
    const settings = { segmentBytes: 20_000, keepMs: 100 }
    const log = await openLog({ url, schema: world.schema, settings })
    await log.declare([{ name: 'turning', partitions: 2, keyIndex: true }])
    const deadline = AbortSignal.timeout(50_000)
    const times: number[] = []
    let n = 0
    while ((await tables('turning')).length < 5) {
      deadline.throwIfAborted()
      for (const _ of range(5)) {
        const value = Buffer.alloc(2_000, `${n}.`)
        const [answer] = await log.append([
          { stream: 'turning', partition: 0, records: [{ key: `k${n % 3}`, value }, { value }] },
        ])
        expect(answer).toMatchObject({ as: 'stored', position: 2 * n + 1 })
        times.push((answer as { time: number }).time)
        n++
      }
      await sleep(20)
    }
    const records = await readAll(log, 'turning')
    expect(records.map(({ position }) => position)).toEqual(range(2 * n).map(at => at + 1))
    expect(records.map(record => textOf(record).split('.')[0])).toEqual(range(2 * n).map(at => String(at >> 1)))
    // One read over several seams; and from every time.
    const wide = await log.read({
      stream: 'turning',
      partition: 0,
      from: 'start',
      maxRecords: 10_000,
      maxBytes: 16 * 1024 * 1024,
    })
    expect(wide.records.length).toBe(2 * n)
    for (const [at, time] of times.entries()) {
      const first = times.indexOf(time)
      const { records: found } = await log.read({ stream: 'turning', partition: 0, from: { time }, maxRecords: 1 })
      expect([at, found[0]?.position]).toEqual([at, 2 * first + 1])
    }
    const before = await tables('turning')
    const { first } = await log.admin.trim('turning', 0, 2 * n - 4)
    expect(first).toBeGreaterThan(2 * n - 10)
    await expect(log.read({ stream: 'turning', partition: 0, from: 1 })).rejects.toMatchObject({
      code: 'BUZZER_LOG_TRIMMED',
      details: { first },
    })
    while ((await tables('turning')).includes(before[0] as string)) {
      deadline.throwIfAborted()
      await log.append([batch('turning', ['more'], { partition: 0 })])
      await sleep(100)
    }
    expect(
      (await log.read({ stream: 'turning', partition: 0, from: 'start', maxRecords: 1 })).records[0]?.position,
    ).toBe(first)
    await log.append([batch('turning', ['other partition'], { partition: 1 })])
    expect((await readAll(log, 'turning', 1)).map(textOf)).toEqual(['other partition'])
    await log.close()
  }, 60_000)

  test('appending and reading update and delete nothing in the tables of the log', async () => {
    const log = await openLog({ url, schema: world.schema })
    await log.declare([{ name: 'insert-only' }])
    for (const n of range(200)) await log.append([batch('insert-only', [`${n}`])])
    expect((await readAll(log, 'insert-only')).length).toBe(200)
    const [table] = await tables('insert-only')
    const figures = async () =>
      (
        await world.pool.query(
          `select sum(n_tup_ins) filter (where relname = $2)::integer as inserted,
             sum(n_tup_upd + n_tup_del) filter (where relname = $2)::integer as segment,
             sum(n_tup_upd + n_tup_del) filter (where relname = 'log_partition')::integer as partitions
           from pg_stat_user_tables where schemaname = $1`,
          [world.schema, table],
        )
      ).rows[0] as { inserted: number; segment: number; partitions: number }
    const before = await figures()
    const deadline = AbortSignal.timeout(20_000)
    for (let now = before; now.inserted < 200; now = await figures()) {
      deadline.throwIfAborted()
      await sleep(100)
    }
    const { segment } = await figures()
    expect(segment).toBe(0)
    const partitionsBefore = (await figures()).partitions
    for (const n of range(100)) await log.append([batch('insert-only', [`more ${n}`])])
    while ((await figures()).inserted < 300) {
      deadline.throwIfAborted()
      await sleep(100)
    }
    expect((await figures()).partitions).toBe(partitionsBefore)
    await log.close()
  }, 30_000)

  test('a reader in a long transaction keeps a table from being dropped, and nobody else from appending', async () => {
    const settings = { segmentBytes: 5_000, keepMs: 100 }
    const log = await openLog({ url, schema: world.schema, settings })
    await log.declare([{ name: 'held' }])
    const deadline = AbortSignal.timeout(40_000)
    while ((await tables('held')).length < 3) {
      deadline.throwIfAborted()
      await log.append([batch('held', ['x'.repeat(2_000)])])
      await sleep(20)
    }
    const [oldest] = await tables('held')
    const client = await world.pool.connect()
    await client.query('begin')
    await client.query(`select count(*) from ${world.quoted}.${oldest}`)
    const { end } = await log.read({ stream: 'held', partition: 0, from: 'end' })
    await log.admin.trim('held', 0, end)
    const startedAt = performance.now()
    while (performance.now() - startedAt < 2_500) {
      await log.append([batch('held', ['y'])])
      await sleep(50)
    }
    expect(await tables('held')).toContain(oldest)
    await client.query('rollback')
    client.release()
    while ((await tables('held')).includes(oldest as string)) {
      deadline.throwIfAborted()
      await log.append([batch('held', ['z'])])
      await sleep(100)
    }
    await log.close()
  }, 60_000)

  test('a program without the right to create appends, turns over and forgets', async () => {
    const owner = await openLog({ url, schema: world.schema })
    await owner.declare([{ name: 'plain-role' }])
    await owner.close()
    const role = `${world.schema}_app`
    await world.pool.query(`create role "${role}" login; grant usage on schema ${world.quoted} to "${role}";
      grant select, insert, update, delete on all tables in schema ${world.quoted} to "${role}";
      grant usage on all sequences in schema ${world.quoted} to "${role}";
      grant execute on all functions in schema ${world.quoted} to "${role}"`)
    try {
      const asRole = new URL(url)
      asRole.username = role
      const log = await openLog({
        url: asRole.href,
        schema: world.schema,
        settings: { segmentBytes: 4_000, keepMs: 100 },
      })
      await log.declare([{ name: 'made-by-role', retention: { maxBytes: 6_000 } }])
      const deadline = AbortSignal.timeout(25_000)
      const [first] = await tables('made-by-role')
      while ((await tables('made-by-role')).includes(first as string)) {
        deadline.throwIfAborted()
        await log.append([batch('made-by-role', ['x'.repeat(1_000)])])
        await sleep(20)
      }
      expect((await readAll(log, 'made-by-role')).length).toBeGreaterThanOrEqual(6)
      await log.close()
    } finally {
      await world.pool.query(`drop owned by "${role}"; drop role "${role}"`)
    }
  }, 40_000)
})
