import { BuzzerError } from 'buzzer'

/** What a statement answers. Rows are objects by column name, as `pg`, Drizzle, Kysely and Prisma give them. */
export interface SqlResult {
  // The drivers' own row types are `any`; this is what they have in common with what is read from them.
  readonly rows: readonly object[]
}

/**
 * Something that runs statements in one transaction of the caller's: the `tx` of `send`, `commit` and `append`.
 * A `pg` client is one as it is; the guide shows the two lines that make one of a transaction of Drizzle, Kysely or Prisma.
 *
 * Statements use `$1`, `$2` … with explicit casts, take text, numbers, `null` and bytes alone, and answer text, numbers and
 * booleans alone, because these libraries agree on nothing else. Source: spec transports 3.
 */
export interface SqlHandle {
  query(text: string, values?: readonly unknown[]): Promise<SqlResult>
}

/** What this package takes as the caller's own transaction. */
export type Tx = SqlHandle

/** Runs `work` on one connection between BEGIN and COMMIT; a rejection of `work` rolls back and is passed on. */
export type RunTransaction = <T>(work: (handle: SqlHandle) => Promise<T>) => Promise<T>

/** The rows of a statement whose columns the caller knows. */
export async function rowsOf<Row extends object>(
  handle: SqlHandle,
  text: string,
  values: readonly unknown[] = [],
): Promise<readonly Row[]> {
  return (await handle.query(text, values)).rows as readonly Row[]
}

/**
 * Refuses what cannot be a transaction before anything is written.
 * @throws BUZZER_INVALID_OPTION
 */
export function checkTx(tx: unknown): SqlHandle {
  if (typeof (tx as Partial<SqlHandle> | null)?.query === 'function') return tx as SqlHandle
  throw new BuzzerError(
    'BUZZER_INVALID_OPTION',
    'tx must have query(text, values): a client of pg, or an adapter around your library’s transaction (docs/guide/postgres.md)',
    { details: { option: 'tx' } },
  )
}

/**
 * `name` as SQL takes it. PostgreSQL cuts identifiers at 63 bytes in silence, so longer ones are refused.
 * @throws BUZZER_INVALID_OPTION
 */
export function quoteIdentifier(name: string): string {
  // `$$` begins and ends the functions that the name stands in.
  const isPossible = name.length > 0 && Buffer.byteLength(name) <= 63 && name.isWellFormed() && !/\0|\$\$/.test(name)
  if (!isPossible) {
    throw new BuzzerError(
      'BUZZER_INVALID_OPTION',
      `${JSON.stringify(name)} is no name for a schema: 1 to 63 bytes, without NUL and $$`,
      { details: { option: 'schema', value: name } },
    )
  }
  return `"${name.replaceAll('"', '""')}"`
}
