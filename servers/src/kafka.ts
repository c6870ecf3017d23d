import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { dataFolder } from './data-folder.ts'
import { freePort } from './free-port.ts'
import { answers } from './handshake.ts'
import { kafkaJars } from './kafka-jars.ts'
import { type PrivateServer, ServerUnavailable } from './private-server.ts'
import { ServerProcess } from './server-process.ts'

const run = promisify(execFile)

export interface KafkaOptions {
  /** Where its logs lie; it stays. Default: a temporary folder, removed at the end. */
  readonly folder?: string
  /** Lines of `server.properties` beside, or instead of, those of a single node. */
  readonly properties?: Readonly<Record<string, string>>
  /** Java's heap, in MiB. Default 512. */
  readonly heapMiB?: number
}

/**
 * A Kafka broker of our own: one node that is broker and controller (KRaft), from the jars of Maven Central. Topics are not
 * made by themselves. `url` is what clients call a bootstrap broker, `127.0.0.1:<port>`. Up in about 4 s.
 *
 * @throws ServerUnavailable without Java, or without the jars and without Maven
 */
export async function startKafka(options: KafkaOptions = {}): Promise<PrivateServer> {
  const jars = await kafkaJars()
  const [port, controllerPort] = [await freePort(), await freePort()]
  const folder = dataFolder('kafka', options.folder)
  const settings = join(folder.path, 'server.properties')
  const properties = { ...singleNode(port, controllerPort, join(folder.path, 'data')), ...options.properties }
  writeFileSync(
    settings,
    Object.entries(properties).reduce((text, [name, value]) => `${text}${name}=${value}\n`, ''),
  )
  const heap = options.heapMiB ?? 512
  const java = (main: string): readonly string[] => [
    `-Xms${Math.min(heap, 256)}m`,
    `-Xmx${heap}m`,
    '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
    '-cp',
    join(jars.folder, '*'),
    main,
  ]
  const server = new ServerProcess({
    name: 'Kafka',
    command: 'java',
    args: [...java('kafka.Kafka'), settings],
    answers: () => answers('kafka', '127.0.0.1', port),
    startLimitMs: 120_000,
  })
  const dispose = async (): Promise<void> => {
    await server[Symbol.asyncDispose]()
    folder[Symbol.dispose]()
  }
  try {
    const storageTool = java('kafka.tools.StorageTool')
    await run('java', [...storageTool, 'format', '-t', clusterId(), '-c', settings, '--ignore-formatted'])
    await server.start()
  } catch (error) {
    await dispose()
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new ServerUnavailable('no java on this machine (Debian: apt install default-jre-headless)', {
        cause: error,
      })
    throw error
  }
  return {
    url: `127.0.0.1:${port}`,
    port,
    version: jars.version,
    folder: folder.path,
    start: () => server.start(),
    stop: () => server.end('SIGTERM'),
    kill: () => server.end('SIGKILL'),
    [Symbol.asyncDispose]: dispose,
  }
}

/** What Kafka's own `random-uuid` prints: 16 bytes in Base64, the first character no `-`, which would look like an option. */
function clusterId(): string {
  const bytes = randomBytes(16)
  bytes[0] = (bytes[0] ?? 0) & 0x7f
  return bytes.toString('base64url')
}

/** Source: spec transports 6; run with 4.1.1 on Java 17. */
function singleNode(port: number, controllerPort: number, logs: string): Readonly<Record<string, string>> {
  return {
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAINTEXT',
    'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
    'log.dirs': logs,
    'offsets.topic.replication.factor': '1',
    'offsets.topic.num.partitions': '4',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'transaction.state.log.num.partitions': '4',
    'share.coordinator.state.topic.replication.factor': '1',
    'share.coordinator.state.topic.min.isr': '1',
    'group.initial.rebalance.delay.ms': '0',
    'auto.create.topics.enable': 'false',
    // A killed broker may come back only once its session has run out: 9 s by default.
    'broker.session.timeout.ms': '3000',
    'broker.heartbeat.interval.ms': '500',
  }
}
