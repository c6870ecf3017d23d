import type { Command } from 'commander'
import type { Bus, DeadLetter, DeadLetterFilter, DeadLetters, WhichDeadLetters } from '../../bus/index.ts'
import { CommandError, exitCodes } from '../exit-code.ts'

export interface FilterOptions {
  readonly type?: string
  readonly reason?: string
  readonly error?: string
  readonly text?: string
  readonly message?: string
  readonly group?: string
}

export interface SelectionOptions extends FilterOptions {
  readonly all?: true
  readonly dryRun?: true
}

/** What a change is about. */
export interface Selection {
  readonly queue: string
  readonly letters: DeadLetters
  readonly which: WhichDeadLetters
}

/** Dead letters read at once. */
const pageSize = 200

export function withFilter(command: Command): Command {
  return command
    .option('--type <type>', 'only those of this message type')
    .option('--reason <reason>', 'only those dead for this reason')
    .option('--error <text>', "only those with this in the error's name or message")
    .option('--text <text>', 'only those with this in the body')
    .option('--message <id>', 'only the message with this id')
    .option('--group <fingerprint>', 'only those with the same fault')
}

export function filterOf({ type, reason, error, text, message, group }: FilterOptions): DeadLetterFilter | undefined {
  const filter: DeadLetterFilter = {
    ...(type === undefined ? {} : { type }),
    ...(reason === undefined ? {} : { reason }),
    ...(error === undefined ? {} : { error }),
    ...(text === undefined ? {} : { text }),
    ...(message === undefined ? {} : { messageId: message }),
    ...(group === undefined ? {} : { fingerprint: group }),
  }
  return Object.keys(filter).length === 0 ? undefined : filter
}

/**
 * Reads `[queue] [id …]` with the filter options: ids, or a filter, or `--all`, and exactly one of them, so that nothing
 * happens by omission. Without a queue it is the only one that has dead letters; an id may be that of the message.
 */
export async function select(bus: Bus, args: readonly string[], options: SelectionOptions): Promise<Selection> {
  const { queue, ids } = await placeOf(bus, args)
  const letters = bus.admin.deadLetters(queue)
  const filter = filterOf(options)
  const given = [ids.length > 0, filter !== undefined, options.all === true].filter(Boolean).length
  if (given !== 1)
    throw new CommandError(
      exitCodes.notBegun,
      `say which dead letters of ${queue}: their ids, or a filter such as --reason, or --all.`,
    )
  const found: string[] = []
  for (const id of ids) found.push((await get(letters, queue, id)).id)
  return { queue, letters, which: found.length > 0 ? found : (filter ?? 'all') }
}

/** The one that `[queue] <id>` means. */
export async function selectOne(bus: Bus, args: readonly string[]): Promise<DeadLetter> {
  const { queue, ids } = await placeOf(bus, args)
  const [id] = ids
  if (id === undefined) throw new CommandError(exitCodes.notBegun, `say which dead letter of ${queue}: its id.`)
  return get(bus.admin.deadLetters(queue), queue, id)
}

/** All that a filter takes, newest first, read page by page. */
export async function* each(letters: DeadLetters, filter: DeadLetterFilter | undefined): AsyncGenerator<DeadLetter> {
  for (let after: string | undefined; ; ) {
    const page = { limit: pageSize, ...(after === undefined ? {} : { after }) }
    const { items, next } = filter === undefined ? await letters.list(page) : await letters.search(filter, page)
    yield* items
    if (next === undefined) return
    after = next
  }
}

export async function count({ letters, which }: Selection): Promise<number> {
  if (Array.isArray(which)) return which.length
  let sum = 0
  for await (const _ of each(letters, which === 'all' ? undefined : (which as DeadLetterFilter))) sum++
  return sum
}

export async function queuesWithDead(bus: Bus): Promise<readonly string[]> {
  return (await bus.admin.queues()).filter(({ dead }) => dead > 0).map(({ name }) => name)
}

async function placeOf(
  bus: Bus,
  [first, ...rest]: readonly string[],
): Promise<{ queue: string; ids: readonly string[] }> {
  const queues = await bus.admin.queues()
  if (first !== undefined && queues.some(({ name }) => name === first)) return { queue: first, ids: rest }
  const dead = queues.filter(queue => queue.dead > 0).map(({ name }) => name)
  const ids = first === undefined ? [] : [first, ...rest]
  // A word that is no queue is an id only where there is one queue it can belong to.
  if (dead.length === 1) return { queue: dead[0] as string, ids }
  if (first !== undefined) throw new CommandError(exitCodes.notFound, `no queue and no dead letter is called ${first}.`)
  throw new CommandError(
    exitCodes.notBegun,
    dead.length === 0 ? 'no queue has dead letters.' : `which queue? ${dead.join(', ')} have dead letters.`,
  )
}

async function get(letters: DeadLetters, queue: string, id: string): Promise<DeadLetter> {
  const letter = (await letters.get(id)) ?? (await letters.search({ messageId: id }, { limit: 1 })).items[0]
  if (letter === undefined) throw new CommandError(exitCodes.notFound, `no dead letter ${id} on the queue ${queue}.`)
  return letter
}
