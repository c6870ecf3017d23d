import { join } from 'node:path'
import type { EmbeddedTransport } from 'buzzer/embedded'
import type { Transport } from 'buzzer/transport'
import { packageVersion } from '../machine.ts'
import type { BenchContext, Facts } from '../suite.ts'
import { deleteTopology } from './amqplib-broker.ts'
import { dropSchema } from './postgres-server.ts'

export type TransportKind = 'embedded' | 'memory' | 'rabbitmq' | 'postgres'

export const durabilityOf: Readonly<Record<TransportKind, string>> = {
  embedded: 'power loss (fsync before each answer)',
  memory: 'nothing',
  rabbitmq: 'power loss (confirmed after fsync of the write-ahead log)',
  postgres: 'power loss (synchronous_commit)',
}

/** A transport to be measured; disposed of after it is closed, it leaves nothing behind on its server. */
export interface OpenedTransport extends AsyncDisposable {
  readonly transport: Transport
  facts(): Promise<Facts>
}

/** On the file of this contender's folder, or on the server of the case under names of this process's own. */
export async function openTransport(
  kind: TransportKind,
  context: Pick<BenchContext, 'folder' | 'server'>,
): Promise<OpenedTransport> {
  switch (kind) {
    case 'embedded':
      return embeddedTransport(join(context.folder, 'bench.db'))
    case 'memory': {
      const { memory } = await import('buzzer/memory')
      return { transport: memory(), facts: async () => ({}), [Symbol.asyncDispose]: () => Promise.resolve() }
    }
    case 'rabbitmq': {
      const { rabbitmq } = await import('@buzzer/rabbitmq')
      const { url, version } = context.server('rabbitmq')
      const prefix = `buzzer-bench-${process.pid}-`
      const transport = rabbitmq({ url, prefix })
      const names = { queues: new Set<string>(), topics: new Set<string>() }
      const declare = transport.declare.bind(transport)
      transport.declare = async topology => {
        for (const { name } of topology.queues) names.queues.add(name)
        for (const { name, bases } of topology.topics) for (const topic of [name, ...bases]) names.topics.add(topic)
        await declare(topology)
      }
      return {
        transport,
        facts: async () => ({ versions: `amqplib ${packageVersion('amqplib')}, RabbitMQ ${version}` }),
        [Symbol.asyncDispose]: () => deleteTopology(url, prefix, names),
      }
    }
    case 'postgres': {
      const { postgres } = await import('@buzzer/postgres')
      const { url, version } = context.server('postgres')
      const schema = `buzzer_bench_${process.pid}`
      return {
        transport: postgres({ connectionString: url, schema }) as unknown as Transport,
        facts: async () => ({ versions: `pg ${packageVersion('pg')}, PostgreSQL ${version}` }),
        [Symbol.asyncDispose]: () => dropSchema(url, schema),
      }
    }
    default:
      return kind satisfies never
  }
}

/** The embedded broker on a file; its facts tell how many messages one commit took. */
export async function embeddedTransport(path: string): Promise<OpenedTransport & { transport: EmbeddedTransport }> {
  const { embedded } = await import('buzzer/embedded')
  const transport = embedded({ path })
  return {
    transport,
    async facts() {
      const { commits, messagesSent, commitMs } = await transport.admin.engine()
      return {
        commits: `${Math.round(messagesSent / commits)} messages published in each, ${(commitMs / commits).toFixed(2)} ms in the mean`,
      }
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}
