import { resolve } from 'node:path'
import type { Command } from 'commander'
import { type Session, withFile } from '../session.ts'

/** `buzzer backup <to>`: a consistent, checked copy of the file while it is in use. Source: spec broker 9. */
export function addBackupCommand(program: Command, session: () => Session): void {
  program
    .command('backup')
    .description('write a consistent copy of the file while it is in use; copying the files by hand is no backup')
    .argument('<to>', 'the copy, a new file')
    .addHelpText('after', '\nExample:\n  $ buzzer backup ./backup/shop.db')
    .action(async (to: string) => {
      const at = session()
      const path = resolve(at.console.directory, to)
      await withFile(at, (_, transport) => transport.admin.backup(path))
      at.output.object({ to: path }, `written: ${path}`)
    })
}
