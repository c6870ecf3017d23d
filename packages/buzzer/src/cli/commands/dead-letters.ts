import { createInterface } from 'node:readline/promises'
import { type Command, InvalidArgumentError } from 'commander'
import type { DeadLetter } from '../../bus/index.ts'
import { CommandError, exitCodes } from '../exit-code.ts'
import { type Session, withBus } from '../session.ts'
import {
  count,
  each,
  type FilterOptions,
  filterOf,
  queuesWithDead,
  select,
  type Selection,
  type SelectionOptions,
  selectOne,
  withFilter,
} from './dead-letter-selection.ts'
import { columns, describe, withoutBody } from './dead-letter-view.ts'

/** `buzzer dead-letters list | show | redrive | delete` */
export function addDeadLettersCommand(program: Command, session: () => Session): void {
  const group = program
    .command('dead-letters')
    .alias('dead')
    .description('messages that could not be handled: why, and what to do with them')
  addList(group, session)
  addShow(group, session)
  addRedrive(group, session)
  addDelete(group, session)
}

const placeHelp = 'the queue (default: the only one that has any), and ids of dead letters or messages'

function addList(group: Command, session: () => Session): void {
  withFilter(group.command('list').alias('ls'))
    .description('list them, newest first')
    .argument('[queue]', 'of this queue (default: of all)')
    .option('--limit <count>', 'at most so many', wholeNumber, 50)
    .addHelpText('after', '\nExample:\n  $ buzzer dead-letters list orders --reason retries-exhausted')
    .action(async (queue: string | undefined, options: FilterOptions & { limit: number }) => {
      const at = session()
      const found = await withBus(at, async bus => {
        const letters: DeadLetter[] = []
        for (const name of queue === undefined ? await queuesWithDead(bus) : [queue])
          for await (const letter of each(bus.admin.deadLetters(name), filterOf(options))) {
            letters.push(letter)
            if (letters.length > options.limit) break
          }
        return letters
      })
      at.output.rows(found.slice(0, options.limit).map(withoutBody), columns(at.console.now()), 'no dead letters')
      if (found.length > options.limit) at.output.note(`there are more than ${options.limit}: see --limit`)
    })
}

function addShow(group: Command, session: () => Session): void {
  group
    .command('show')
    .description('show one: reason, error with stack, headers and body')
    .argument('<queue-and-id...>', placeHelp)
    .addHelpText('after', '\nExample:\n  $ buzzer dead-letters show orders 17')
    .action(async (args: readonly string[]) => {
      const at = session()
      const letter = await withBus(at, bus => selectOne(bus, args))
      at.output.object({ ...letter, body: Buffer.from(letter.body).toString('base64') }, describe(letter))
    })
}

function addRedrive(group: Command, session: () => Session): void {
  withFilter(group.command('redrive'))
    .description('put them back on their queue, to be handled again')
    .argument('[queue-and-ids...]', placeHelp)
    .option('--all', 'all of the queue')
    .option('--to <queue>', 'put them on this queue instead')
    .option('--delay <ms>', 'not before that long from now', wholeNumber)
    .option('--per-second <count>', 'no faster than that', wholeNumber)
    .option('--dry-run', 'say how many, change nothing')
    .addHelpText(
      'after',
      '\nExamples:\n  $ buzzer dead-letters redrive orders 17\n  $ buzzer dead-letters redrive --all',
    )
    .action(
      async (
        args: readonly string[],
        options: SelectionOptions & { to?: string; delay?: number; perSecond?: number },
      ) => {
        const at = session()
        await withBus(at, async bus => {
          const selection = await select(bus, args, options)
          if (options.dryRun === true) return sayDryRun(at, selection, 'redrive')
          const { queue, letters, which } = selection
          const { to, delay, perSecond } = options
          const result = await letters.redrive(which, {
            by: at.console.user,
            ...(to === undefined ? {} : { to }),
            ...(delay === undefined ? {} : { delayMs: delay }),
            ...(perSecond === undefined ? {} : { perSecond }),
          })
          const failures = result.failures.map(({ id, error }) => ({ id, error: error.message }))
          at.output.object({ queue, redriven: result.redriven, failures }, `redriven: ${result.redriven} of ${queue}`)
          if (failures.length > 0)
            throw new CommandError(
              exitCodes.failed,
              `${failures.length} were not redriven: ${failures.map(({ id, error }) => `${id}: ${error}`).join('; ')}`,
            )
        })
      },
    )
}

function addDelete(group: Command, session: () => Session): void {
  withFilter(group.command('delete').alias('rm'))
    .description('delete them for good')
    .argument('[queue-and-ids...]', placeHelp)
    .option('--all', 'all of the queue')
    .option('--yes', 'do not ask')
    .option('--dry-run', 'say how many, change nothing')
    .addHelpText('after', '\nExample:\n  $ buzzer dead-letters delete orders 17 --yes')
    .action(async (args: readonly string[], options: SelectionOptions & { yes?: true }) => {
      const at = session()
      if (options.yes !== true && options.dryRun !== true && !at.console.isInteractive)
        throw new CommandError(exitCodes.notBegun, 'deleting is for good: add --yes, or look first with --dry-run.')
      await withBus(at, async bus => {
        const selection = await select(bus, args, options)
        if (options.dryRun === true) return sayDryRun(at, selection, 'delete')
        if (options.yes !== true) await confirm(selection, at)
        const deleted = await selection.letters.delete(selection.which, { by: at.console.user })
        at.output.object({ queue: selection.queue, deleted }, `deleted: ${deleted} of ${selection.queue}`)
      })
    })
}

async function sayDryRun(at: Session, selection: Selection, action: 'redrive' | 'delete'): Promise<void> {
  const { queue } = selection
  const matched = await count(selection)
  at.output.object({ queue, dryRun: true, action, matched }, `would ${action}: ${matched} of ${queue}`)
}

async function confirm(selection: Selection, { console }: Session): Promise<void> {
  const { queue } = selection
  const prompt = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const question = `Delete ${await count(selection)} dead letters of ${queue} for good? Type the queue's name: `
    const typed = await prompt.question(question, { signal: console.signal })
    if (typed.trim() !== queue)
      throw new CommandError(exitCodes.notBegun, 'not the name of the queue: nothing was deleted.')
  } finally {
    prompt.close()
  }
}

function wholeNumber(text: string): number {
  if (!/^[0-9]+$/.test(text)) throw new InvalidArgumentError('a whole number is needed')
  return Number(text)
}
