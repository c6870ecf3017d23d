import { resolve } from 'node:path'
import type { Command } from 'commander'
import { salvageFile } from '../../broker/index.ts'
import { CommandError, exitCodes } from '../exit-code.ts'
import type { Session } from '../session.ts'

/** `buzzer salvage <from> <to>`: exits 0 when all could be read, 1 when something could not. Source: spec broker 9. */
export function addSalvageCommand(program: Command, session: () => Session): void {
  program
    .command('salvage')
    .description('copy all that can be read of a damaged file into a new one; the damaged one is left as it is')
    .argument('<from>', 'the damaged file')
    .argument('<to>', 'the new file')
    .addHelpText('after', '\nExample:\n  $ buzzer salvage ./data/shop.db ./data/shop-salvaged.db')
    .action((from: string, to: string) => {
      const at = session()
      const paths = [resolve(at.console.directory, from), resolve(at.console.directory, to)] as const
      const { messages, records, logRecords, problems } = salvageFile(...paths)
      const lines = problems.map(({ kind, where, detail }) => `${kind} at ${where}: ${detail}`)
      const copied = `copied to ${paths[1]}: ${messages} messages, ${records} records, ${logRecords} records of logs`
      at.output.object({ to: paths[1], messages, records, logRecords, problems }, [copied, ...lines].join('\n'))
      if (problems.length > 0) throw new CommandError(exitCodes.failed, `${problems.length} parts could not be read.`)
    })
}
