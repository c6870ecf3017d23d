import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { service } from 'buzzer-servers'
import { describe, expect, test } from 'vitest'
import { ownSchema } from '../../test/own-schema.ts'
import { type Migration, migrate, migrations, schemaSql } from './index.ts'
import { migrationSql } from './migrate.ts'

const { url = '' } = await service('postgres')
const newest = migrations.length
const all = migrations.map(migration => migration.number)

const marker = (number: number, sql: (schema: string) => string): Migration => ({ number, name: `step ${number}`, sql })

describe.skipIf(url === '')('migrations', () => {
  test('are numbered from 1 without gaps', () => {
    expect(all).toEqual(Array.from({ length: newest }, (_, n) => n + 1))
  })

  test('RP12: ten processes that start at once apply each migration once, and all of them come up', async () => {
    await using world = ownSchema(url)
    const file = fileURLToPath(new URL('../../test/migrating-process.ts', import.meta.url))
    const processes = Array.from({ length: 10 }, () => {
      const child = spawn(process.execPath, ['--conditions=buzzer-source', file, url, world.schema], {
        stdio: ['pipe', 'pipe', 'pipe'],
        timeout: 120_000,
      })
      const seen = { out: '', err: '' }
      child.stdout.on('data', (chunk: Buffer) => (seen.out += chunk.toString()))
      child.stderr.on('data', (chunk: Buffer) => (seen.err += chunk.toString()))
      return { child, seen, ready: once(child.stdout, 'data'), closed: once(child, 'close') }
    })
    await Promise.all(processes.map(one => Promise.race([one.ready, one.closed])))
    for (const { child } of processes) child.stdin.end('go\n')
    await Promise.all(processes.map(one => one.closed))
    expect(processes.map(({ child, seen }) => [child.exitCode, seen.err])).toEqual(processes.map(() => [0, '']))
    const applied = processes.flatMap(({ seen }) => JSON.parse(seen.out.trim().split('\n').at(-1) ?? '') as number[])
    expect(applied.toSorted()).toEqual(all)
    const { rows } = await world.pool.query(`select number from ${world.quoted}.migration order by number`)
    expect(rows.map(row => row.number)).toEqual(all)
  }, 150_000)

  test('RP12: a schema newer than this version knows is refused with both numbers, and nothing is changed', async () => {
    await using world = ownSchema(url)
    await migrate(world.transaction, world.schema, migrations)
    await world.pool.query(`insert into ${world.quoted}.migration (number, name) values ($1, 'of the future')`, [
      newest + 7,
    ])
    for (const mode of ['create', 'verify'] as const) {
      await expect(migrate(world.transaction, world.schema, migrations, mode)).rejects.toMatchObject({
        code: 'BUZZER_SCHEMA_TOO_NEW',
        retryable: false,
        message: expect.stringMatching(new RegExp(`${newest + 7}.*${newest}`)),
        details: { schema: world.schema, found: newest + 7, known: newest },
      })
    }
  })

  test('RP12: verify changes nothing and tells the SQL, which brings the schema up to date when run by hand', async () => {
    await using world = ownSchema(url)
    const refusal = await migrate(world.transaction, world.schema, migrations, 'verify').catch(
      (error: unknown) => error,
    )
    expect(refusal).toMatchObject({ code: 'BUZZER_SCHEMA_OUTDATED', details: { found: 0, known: newest } })
    const { rows } = await world.pool.query('select 1 from pg_namespace where nspname = $1', [world.schema])
    expect(rows).toEqual([])
    const { sql } = (refusal as { details: { sql: string } }).details
    expect((refusal as Error).message).toContain(sql)
    expect(sql).toBe(schemaSql({ schema: world.schema }))
    await world.pool.query(sql)
    expect(await migrate(world.transaction, world.schema, migrations, 'verify')).toEqual({ found: newest, applied: [] })
    expect(schemaSql({ schema: world.schema, from: newest })).toBe('')
  })

  test('a schema in the middle gets only what is missing, by create as by the SQL of verify', async () => {
    const steps = [1, 2, 3].map(number => marker(number, schema => `create table ${schema}.t${number} (n integer);`))
    for (const way of ['create', 'verify'] as const) {
      await using world = ownSchema(url)
      await migrate(world.transaction, world.schema, steps.slice(0, 1))
      if (way === 'verify') await world.pool.query(migrationSql(world.schema, steps, 1))
      const { applied } = await migrate(world.transaction, world.schema, steps)
      expect(applied).toEqual(way === 'create' ? [2, 3] : [])
      await world.pool.query(`select * from ${world.quoted}.t1, ${world.quoted}.t2, ${world.quoted}.t3`)
    }
  })

  test('a migration that fails leaves nothing of itself and keeps those before it; a repaired one goes on from there', async () => {
    await using world = ownSchema(url)
    const good = marker(1, schema => `create table ${schema}.t1 (n integer);`)
    const bad = marker(2, schema => `create table ${schema}.t2 (n integer); select 1 / 0;`)
    const better = marker(2, schema => `create table ${schema}.t2 (n integer);`)
    await expect(migrate(world.transaction, world.schema, [good, bad])).rejects.toMatchObject({ code: '22012' })
    const { rows } = await world.pool.query('select to_regclass($1) as t2', [`${world.quoted}.t2`])
    expect(rows).toEqual([{ t2: null }])
    expect(await migrate(world.transaction, world.schema, [good, better])).toEqual({ found: 1, applied: [2] })
  })

  test('schemas are named as they are given, quotes and all, and two in one database do not meet', async () => {
    await using plain = ownSchema(url)
    await using odd = ownSchema(url, { name: `${plain.schema}. "Straße"; --` })
    await migrate(odd.transaction, odd.schema, migrations)
    expect(
      await migrate(plain.transaction, plain.schema, migrations, 'verify').catch((error: unknown) => error),
    ).toMatchObject({
      code: 'BUZZER_SCHEMA_OUTDATED',
    })
    expect(await migrate(odd.transaction, odd.schema, migrations, 'verify')).toEqual({ found: newest, applied: [] })
  })

  test.each(['', 'x'.repeat(64), 'ü'.repeat(32), 'a\0b', '\ud800'])('the schema name %j is refused', async name => {
    const never = (): Promise<never> => expect.fail('a statement was run')
    await expect(migrate(never, name, migrations)).rejects.toMatchObject({ code: 'BUZZER_INVALID_OPTION' })
  })

  test('a role without any right to create runs on a schema that is up to date', async () => {
    await using world = ownSchema(url)
    await migrate(world.transaction, world.schema, migrations)
    const role = `${world.schema}_role`
    await world.pool.query(`create role "${role}"; grant usage on schema ${world.quoted} to "${role}";
      grant select, insert, update, delete on all tables in schema ${world.quoted} to "${role}"`)
    try {
      const outcome = await world.transaction(async handle => {
        await handle.query(`set local role "${role}"`)
        return migrate(work => work(handle), world.schema, migrations)
      })
      expect(outcome).toEqual({ found: newest, applied: [] })
    } finally {
      await world.pool.query(`drop owned by "${role}"; drop role "${role}"`)
    }
  })
})
