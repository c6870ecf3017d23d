import { Command, CommanderError, InvalidArgumentError } from 'commander'
import { addBackupCommand } from './commands/backup.ts'
import { addCheckCommand } from './commands/check.ts'
import { addDeadLettersCommand } from './commands/dead-letters.ts'
import { addDoctorCommand } from './commands/doctor.ts'
import { addPostgresCommand } from './commands/postgres.ts'
import { addQueuesCommand } from './commands/queues.ts'
import { addSalvageCommand } from './commands/salvage.ts'
import type { Console } from './console.ts'
import { describeError, exitCodeOf, exitCodes } from './exit-code.ts'
import { Output } from './output.ts'
import type { GlobalOptions, Session } from './session.ts'
import { versions } from './versions.ts'

/**
 * Runs `buzzer <args>` and resolves to the exit code: 0 done; 1 failed, or a problem was found; 2 could not begin;
 * 3 not found; 4 timed out; 130 interrupted. Never rejects. Source: spec dashboard 9.
 */
export async function runCommand(args: readonly string[], console: Console): Promise<number> {
  const program = new Command('buzzer')
    .description('Looks into the broker of a running system, and puts right what went wrong.')
    .version(versions(), '-V, --version', 'print the versions of buzzer, Node and SQLite')
    .option('-f, --file <path>', 'the broker file (default: $BUZZER_TRANSPORT, else the only ./data/*.db)')
    .option('-t, --transport <url>', 'the broker: postgres://…, rabbitmq://…, or a path (default: $BUZZER_TRANSPORT)')
    .option('--store <url>', 'beside RabbitMQ: where its records are, postgres://… (default: $BUZZER_STORE)')
    .option('--schema <name>', 'PostgreSQL: where the tables are (default: $BUZZER_SCHEMA, else buzzer)')
    .option('--prefix <text>', 'RabbitMQ: what stands before every name (default: $BUZZER_PREFIX)')
    .option('--host', 'open the file from here when no running process has it open')
    .option('--timeout <seconds>', 'longest wait for an answer', positiveNumber, 30)
    .option('--json', 'one line of JSON for each object (default when the output is no terminal)')
    .option('--table', 'a table (default on a terminal)')
    .option('--verbose', "show an error's causes, and what the broker logs")
    .configureOutput({ writeOut: text => console.write(text), writeErr: text => console.complain(text) })
    .showHelpAfterError('(add --help for what there is)')
    .exitOverride()

  const session = (): Session => {
    const options = program.opts<GlobalOptions>()
    const format = options.json === true ? 'json' : options.table === true ? 'table' : undefined
    return { console, options, output: new Output(console, format) }
  }
  addDeadLettersCommand(program, session)
  addQueuesCommand(program, session)
  addDoctorCommand(program, session)
  addCheckCommand(program, session)
  addBackupCommand(program, session)
  addSalvageCommand(program, session)
  addPostgresCommand(program, session)
  for (const command of everyCommand(program)) command.exitOverride().copyInheritedSettings(program)

  try {
    await program.parseAsync(args, { from: 'user' })
    return exitCodes.done
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.notBegun
    console.complain(describeError(error, program.opts<GlobalOptions>().verbose === true ? 'verbose' : 'line'))
    return exitCodeOf(error)
  }
}

function everyCommand(program: Command): readonly Command[] {
  return program.commands.flatMap(command => [command, ...everyCommand(command)])
}

function positiveNumber(text: string): number {
  const value = Number(text)
  if (!(value > 0)) throw new InvalidArgumentError('a number above 0 is needed')
  return value
}
