import { log } from './log.ts'
import type { Migration } from './migration.ts'
import { migrationSql } from './migrate.ts'
import { queueFunctions } from './queue-functions.ts'
import { queues } from './queues.ts'
import { records } from './records.ts'

export type { Migration } from './migration.ts'
export { migrate, type MigrateMode } from './migrate.ts'

/** All steps of the schema, in order. A new one goes to the end and takes the next number. */
export const migrations: readonly Migration[] = [records, queues, queueFunctions, log]

/**
 * The SQL that makes a schema, as one transaction for `psql`; what `buzzer postgres sql` prints. Default: all of it, for the
 * schema `buzzer`. `from`: the number of the migration that is there already.
 * @throws BUZZER_INVALID_OPTION for a name that PostgreSQL would not take
 */
export function schemaSql({ schema = 'buzzer', from = 0 }: { schema?: string; from?: number } = {}): string {
  return migrationSql(schema, migrations, from)
}
