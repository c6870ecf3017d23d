import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Store } from '../store/index.ts'
import type { Transport } from '../transport/index.ts'
import type { Console } from './console.ts'
import { CommandError, exitCodes } from './exit-code.ts'
import type { Target } from './target.ts'

/** A broker that another package speaks to. */
export interface ForeignBroker {
  readonly transport: Transport<unknown>
  readonly store?: Store<unknown>
}

/** What the packages of foreign brokers export, as far as the command needs it. The core does not depend on them. */
interface PostgresPackage {
  readonly postgres: (options: PostgresOptions) => Transport<unknown>
  readonly postgresStore: (options: PostgresOptions) => Store<unknown>
}
interface PostgresOptions {
  readonly connectionString: string
  readonly schema?: string
  readonly declare: 'none'
}
interface RabbitMqPackage {
  readonly rabbitmq: (options: RabbitMqOptions) => Transport<unknown>
}
interface RabbitMqOptions {
  readonly url: string
  readonly prefix?: string
  readonly declare: 'none'
}

/**
 * Makes the transport of a foreign target with the package that the project has installed. A command looks and puts right:
 * it creates nothing at a broker, so `declare` is `'none'`.
 */
export async function foreignBroker(
  target: Exclude<Target, { as: 'embedded' }>,
  console: Console,
): Promise<ForeignBroker> {
  const tables = (url: string): PostgresOptions => ({
    connectionString: url,
    declare: 'none',
    ...(target.schema !== undefined && { schema: target.schema }),
  })
  if (target.as === 'postgres') {
    const { postgres } = await importPackage<PostgresPackage>('@buzzer/postgres', console)
    return { transport: postgres(tables(target.url)) }
  }
  const { rabbitmq } = await importPackage<RabbitMqPackage>('@buzzer/rabbitmq', console)
  const { url, prefix } = target
  const transport = rabbitmq({ url, declare: 'none', ...(prefix !== undefined && { prefix }) })
  if (target.store === undefined) return { transport }
  const { postgresStore } = await importPackage<PostgresPackage>('@buzzer/postgres', console)
  return { transport, store: postgresStore(tables(target.store)) }
}

/** As the project sees it: the command may be installed elsewhere, and a strict layout shows the core only what it depends on. */
export async function importPackage<T>(name: string, { directory }: Console): Promise<T> {
  for (const from of [join(directory, 'package.json'), import.meta.filename]) {
    let path: string
    try {
      path = createRequire(from).resolve(name)
    } catch {
      continue
    }
    return (await import(pathToFileURL(path).href)) as T
  }
  throw new CommandError(exitCodes.notBegun, `${name} is not installed here: npm install ${name}`)
}
