import { type Command, InvalidArgumentError } from 'commander'
import { importPackage } from '../foreign-transport.ts'
import type { Session } from '../session.ts'

/** What `@buzzer/postgres` exports for this command. */
interface PostgresPackage {
  readonly schemaSql: (options: { schema: string; from: number }) => string
}

/**
 * `buzzer postgres sql`: the SQL that makes the schema, for those who let nobody but an administrator change a database.
 * Plain SQL whatever the output is, so that it can go through a pipe into `psql`. Source: spec transports 3.4.
 */
export function addPostgresCommand(program: Command, session: () => Session): void {
  const postgres = program.command('postgres').description('what concerns systems on PostgreSQL')
  postgres
    .command('sql')
    .description('print the SQL of the schema; nothing is connected to and nothing is changed')
    .option('--from <number>', 'the migration that is there already', migrationNumber, 0)
    .addHelpText(
      'after',
      "\nA program that starts with declare: 'verify' tells which migration is there.\n\nExample:\n  $ buzzer postgres sql | psql --single-transaction mydatabase",
    )
    .action(async ({ from }: { from: number }) => {
      const { console, options } = session()
      const schema = options.schema ?? console.environment['BUZZER_SCHEMA'] ?? 'buzzer'
      const { schemaSql } = await importPackage<PostgresPackage>('@buzzer/postgres', console)
      const sql = schemaSql({ schema, from })
      console.write(options.json === true ? `${JSON.stringify({ schema, from, sql })}\n` : sql)
    })
}

function migrationNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('the number of a migration, or 0')
  return Number(text)
}
