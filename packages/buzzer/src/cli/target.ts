import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Console } from './console.ts'
import { CommandError, exitCodes } from './exit-code.ts'

/** What a command is about: a broker file of this machine, or a broker that is reached by its address. */
export type Target =
  | { readonly as: 'embedded'; readonly file: string }
  /** `schema`: where its tables are, when not in the default one. */
  | { readonly as: 'postgres'; readonly url: string; readonly schema?: string }
  /**
   * `store`: where the records of a system on RabbitMQ are, its dead letters among them, and `schema` the schema there.
   * `prefix`: what stands before the names of its queues.
   */
  | {
      readonly as: 'rabbitmq'
      readonly url: string
      readonly store?: string
      readonly schema?: string
      readonly prefix?: string
    }

/** Where somebody said it; the first that is given wins over the environment. */
export interface TargetOptions {
  readonly file?: string
  readonly transport?: string
  readonly store?: string
  readonly schema?: string
  readonly prefix?: string
}

/**
 * `--file` or `--transport`, else `BUZZER_TRANSPORT`, else the only `*.db` in `./data`. A transport is a path,
 * `embedded:<path>`, `postgres://…` or `rabbitmq://…`; beside the latter `--store` or `BUZZER_STORE` may be `postgres://…`.
 * `--schema` and `--prefix`, or `BUZZER_SCHEMA` and `BUZZER_PREFIX`, say what the system itself was given.
 * None, or several files: an error that says what to give.
 */
export function targetOf(given: TargetOptions, { environment, directory }: Console): Target {
  if (given.file !== undefined && given.transport !== undefined)
    throw new CommandError(exitCodes.notBegun, 'give --file or --transport, not both.')
  if (given.file !== undefined) return { as: 'embedded', file: resolve(directory, given.file) }
  const transport = given.transport ?? environment['BUZZER_TRANSPORT']
  if (transport) {
    const store = given.store ?? environment['BUZZER_STORE']
    const schema = given.schema ?? environment['BUZZER_SCHEMA']
    const prefix = given.prefix ?? environment['BUZZER_PREFIX']
    return fromAddress(
      transport,
      { ...(store && { store }), ...(schema && { schema }), ...(prefix && { prefix }) },
      directory,
    )
  }
  const folder = join(directory, 'data')
  const found = databases(folder)
  if (found.length === 1) return { as: 'embedded', file: join(folder, found[0] as string) }
  throw new CommandError(
    exitCodes.notBegun,
    found.length === 0
      ? 'no broker: there is no ./data/*.db here. Give --file <path> or --transport <url>, or set BUZZER_TRANSPORT.'
      : `which broker file? ./data has ${found.join(', ')}. Give --file <path>, or set BUZZER_TRANSPORT.`,
  )
}

/** The target of a command that works on a broker file. */
export function targetFile(given: TargetOptions, console: Console): string {
  const target = targetOf(given, console)
  if (target.as === 'embedded') return target.file
  throw new CommandError(
    exitCodes.notBegun,
    `this command works on the embedded broker's file, and the transport is ${withoutPassword(target.url)}. Give --file <path>.`,
  )
}

/** How a target is named to people. */
export function describeTarget(target: Target): string {
  return target.as === 'embedded' ? target.file : withoutPassword(target.url)
}

function fromAddress(
  address: string,
  { store, schema, prefix }: Pick<TargetOptions, 'store' | 'schema' | 'prefix'>,
  directory: string,
): Target {
  const scheme = schemeOf(address)
  if (scheme === undefined) return { as: 'embedded', file: resolve(directory, address) }
  if (scheme === 'embedded') return { as: 'embedded', file: resolve(directory, address.slice('embedded:'.length)) }
  if (isPostgres(scheme)) return { as: 'postgres', url: address, ...(schema && { schema }) }
  if (scheme === 'rabbitmq' || scheme === 'amqp' || scheme === 'amqps') {
    if (store && !isPostgres(schemeOf(store)))
      throw new CommandError(exitCodes.notBegun, `the store is \`${withoutPassword(store)}\`: it must be postgres://….`)
    return {
      as: 'rabbitmq',
      url: address.replace(/^rabbitmq:/i, 'amqp:'),
      ...(store && { store }),
      ...(schema && { schema }),
      ...(prefix && { prefix }),
    }
  }
  throw new CommandError(
    exitCodes.notBegun,
    `the transport is \`${scheme}:…\`; this command knows a path, embedded:<path>, postgres://… and rabbitmq://….`,
  )
}

function schemeOf(address: string): string | undefined {
  const scheme = /^([a-z][a-z0-9+-]*):/i.exec(address)?.[1]?.toLowerCase()
  // One letter before the colon is a drive of Windows.
  return scheme?.length === 1 ? undefined : scheme
}

function isPostgres(scheme: string | undefined): boolean {
  return scheme === 'postgres' || scheme === 'postgresql'
}

function withoutPassword(url: string): string {
  return url.replace(/(:\/\/[^:@/]*):[^@/]*@/, '$1:…@')
}

function databases(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
      .filter(name => name.endsWith('.db'))
      .toSorted()
  } catch {
    return []
  }
}
