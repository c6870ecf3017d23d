import { resolve } from 'node:path'
import type { Command } from 'commander'
import { checkFile, type FileReport } from '../../broker/index.ts'
import { CommandError, exitCodes } from '../exit-code.ts'
import type { Session } from '../session.ts'
import { targetFile } from '../target.ts'

/** `buzzer check [path]`: exits 0 when sound, 1 with problems, 2 when it could not look. Source: spec broker 9. */
export function addCheckCommand(program: Command, session: () => Session): void {
  program
    .command('check')
    .description("check the broker's file: structure, checksums, counts, write-ahead file; nothing is changed")
    .argument('[path]', 'the file (default: as for every command)')
    .addHelpText('after', '\nExample:\n  $ buzzer check ./data/shop.db')
    .action((path: string | undefined) => {
      const at = session()
      const file = path === undefined ? targetFile(at.options, at.console) : resolve(at.console.directory, path)
      const { ok, problems } = look(file)
      const lines = problems.map(({ kind, where, detail }) => `${kind} at ${where}: ${detail}`)
      at.output.object({ file, ok, problems }, ok ? `${file} is sound` : lines.join('\n'))
      if (!ok) throw new CommandError(exitCodes.failed, `${problems.length} problems in ${file}.`)
    })
}

function look(file: string): FileReport {
  try {
    return checkFile(file)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new CommandError(exitCodes.notBegun, `could not look: ${reason}`, error)
  }
}
