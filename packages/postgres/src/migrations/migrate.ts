import { BuzzerError } from 'buzzer'
import { quoteIdentifier, rowsOf, type RunTransaction, type SqlHandle } from '../sql-handle.ts'
import type { Migration } from './migration.ts'

/**
 * `create`: bring the schema up to date. `verify`: change nothing, reject with the SQL that is missing. `none`: trust.
 * Source: spec transports 1.
 */
export type MigrateMode = 'create' | 'verify' | 'none'

/** What `migrate` found and did; numbers of migrations. */
export interface MigrationOutcome {
  /** The newest there before; 0 when there was none. */
  readonly found: number
  /** Those applied by this call; others may have been applied by processes starting at the same time. */
  readonly applied: readonly number[]
}

/**
 * Brings a schema up to date. Numbered, forward only, each migration with its row of the table `migration` in one
 * transaction under an advisory lock of the schema's name: any number of processes may start at once, and each migration
 * is applied once. A schema that is up to date costs one statement, no lock and no right but SELECT.
 *
 * Rejects with BUZZER_SCHEMA_TOO_NEW (`details.found`, `details.known`) when a newer version has written the schema, and
 * with `mode: 'verify'` with BUZZER_SCHEMA_OUTDATED, whose `details.sql` is what brings it up to date.
 * Source: spec transports 3.4 (RP12).
 */
export async function migrate(
  transaction: RunTransaction,
  schema: string,
  migrations: readonly Migration[],
  mode: MigrateMode = 'create',
): Promise<MigrationOutcome> {
  if (mode === 'none') return { found: 0, applied: [] }
  const quoted = quoteIdentifier(schema)
  const known = migrations.at(-1)?.number ?? 0
  const found = await transaction(handle => newest(handle, quoted))
  refuseNewer(schema, found, known)
  if (found === known) return { found, applied: [] }
  if (mode === 'verify') {
    const sql = migrationSql(schema, migrations, found)
    throw new BuzzerError(
      'BUZZER_SCHEMA_OUTDATED',
      `schema ${quoted} is at migration ${found}, this version needs ${known}. With declare: 'verify' nothing was changed; run this as the schema's owner:\n${sql}`,
      { details: { schema, found, known, sql } },
    )
  }
  const applied: number[] = []
  await transaction(async handle => {
    await lock(handle, schema)
    await handle.query(prologue(quoted, await exists(handle, schema)))
  })
  for (const migration of migrations) {
    if (migration.number <= found) continue
    const isApplied = await transaction(async handle => {
      await lock(handle, schema)
      const reached = await newest(handle, quoted)
      refuseNewer(schema, reached, known)
      if (reached >= migration.number) return false
      await handle.query(step(quoted, migration))
      return true
    })
    if (isApplied) applied.push(migration.number)
  }
  return { found, applied }
}

/** The SQL that brings a schema from migration `from` (0: nothing there) to the newest, for `psql` or a reviewer. */
export function migrationSql(schema: string, migrations: readonly Migration[], from = 0): string {
  const quoted = quoteIdentifier(schema)
  const steps = migrations.filter(migration => migration.number > from).map(migration => step(quoted, migration))
  if (steps.length === 0) return ''
  const start = from === 0 ? [prologue(quoted, 'absent')] : []
  return `${['begin;', ...start, ...steps, 'commit;'].map(text => text.trim()).join('\n')}\n`
}

function prologue(quoted: string, found: 'present' | 'absent'): string {
  // CREATE SCHEMA IF NOT EXISTS asks for the right to create even when there is nothing to create.
  return `${found === 'present' ? '' : `create schema if not exists ${quoted};\n`}create table if not exists ${quoted}.migration (
  number integer primary key,
  name text not null,
  applied_at timestamptz not null default now()
);`
}

function step(quoted: string, migration: Migration): string {
  const { number, name } = migration
  const title = `'${name.replaceAll("'", "''")}'`
  return `-- ${number}: ${name}\n${migration.sql(quoted).trim()}\ninsert into ${quoted}.migration (number, name) values (${number}, ${title});`
}

/** Held to the end of the transaction. An index on a large table may take longer than the connection's usual limits. */
async function lock(handle: SqlHandle, schema: string): Promise<void> {
  await handle.query('set local statement_timeout = 0')
  await handle.query('set local lock_timeout = 0')
  await handle.query('select pg_advisory_xact_lock(hashtextextended($1::text, 0))::text', [`buzzer migrate ${schema}`])
}

async function exists(handle: SqlHandle, schema: string): Promise<'present' | 'absent'> {
  const rows = await rowsOf(handle, 'select 1 as one from pg_catalog.pg_namespace where nspname = $1::text', [schema])
  return rows.length > 0 ? 'present' : 'absent'
}

async function newest(handle: SqlHandle, quoted: string): Promise<number> {
  const table = `${quoted}.migration`
  const [there] = await rowsOf<{ there: boolean }>(handle, 'select to_regclass($1::text) is not null as there', [table])
  if (there?.there !== true) return 0
  const [row] = await rowsOf<{ newest: number }>(
    handle,
    `select coalesce(max(number), 0)::integer as newest from ${table}`,
  )
  return row?.newest ?? 0
}

function refuseNewer(schema: string, found: number, known: number): void {
  if (found <= known) return
  throw new BuzzerError(
    'BUZZER_SCHEMA_TOO_NEW',
    `schema ${schema} is at migration ${found}; this version of @buzzer/postgres knows ${known}. Update it, or give another schema.`,
    { details: { schema, found, known } },
  )
}
