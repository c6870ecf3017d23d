import type { NetConnectOpts } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import { BuzzerError } from 'buzzer'
import type { QueueType } from './server-version.ts'

/** Options of `rabbitmq()`. */
export interface RabbitMqOptions {
  /** `amqp://user:password@host:5672/vhost`, or `amqps://…` for TLS. Default `amqp://guest:guest@127.0.0.1:5672`. */
  readonly url?: string
  /** The nodes of a cluster instead of `url`: tried one after the other, from a random one on. */
  readonly urls?: readonly string[]
  /** Put before the name of every queue, topic and helper of ours, so that applications can share a virtual host. Default none. */
  readonly prefix?: string
  /**
   * `create`: makes what is missing. `verify`: makes nothing and rejects with a list of all that is missing or different.
   * `none`: trusts that everything is there. Default `create`.
   */
  readonly declare?: 'create' | 'verify' | 'none'
  /**
   * `quorum`: replicated, counts deliveries. `classic`: one node, does not count (the bus then counts in a header).
   * Fixed when a queue is first declared. Default `quorum`.
   */
  readonly queueType?: QueueType
  /**
   * `chain`: delays wait in a durable chain of queues at the server. `store`: the transport claims no delay, so the bus
   * keeps them in its store. Default `chain`.
   */
  readonly delays?: 'chain' | 'store'
  /**
   * Lanes of a queue with `orderBy: 'key'`: how many processes can share it. 1 to 64, fixed when the queue is first
   * declared. Default 8.
   */
  readonly keyPartitions?: number
  /** Further arguments of every queue declared, for what no policy can do. None that this transport sets itself. Default none. */
  readonly queueArguments?: Readonly<Record<string, string | number | boolean>>
  /** Silence after which a connection counts as dead, twice over. 1 to 60. Default 15. */
  readonly heartbeatSeconds?: number
  /** Largest AMQP frame. 4,096 (8,192 from RabbitMQ 4.1) to 1 MiB. Default 131,072, or less if the server says so. */
  readonly frameMaxBytes?: number
  /** Options of the socket: `net.connect`, and `tls.connect` with `amqps`: `ca`, `cert`, `key`, `servername`, … Default none. */
  readonly socket?: Partial<NetConnectOpts & ConnectionOptions>
  /** Messages sent and not yet confirmed, at most; further ones wait. Default 2,048. */
  readonly maxUnconfirmed?: number
  /** Attributes, headers and body of one message. Beyond it: `BUZZER_MESSAGE_TOO_LARGE`. Default 16 MiB. */
  readonly maxMessageBytes?: number
  /**
   * A send that is not confirmed that long, reconnects included, rejects with `BUZZER_SEND_TIMEOUT`. Give at least the
   * `sendTimeoutMs` of the bus. Default 30,000.
   */
  readonly sendTimeoutMs?: number
  /** One attempt to connect, handshake included. Default 10,000. */
  readonly connectTimeoutMs?: number
}

/** Options with nothing left open. */
export interface ResolvedOptions {
  readonly urls: readonly string[]
  readonly prefix: string
  readonly declare: 'create' | 'verify' | 'none'
  readonly queueType: QueueType
  readonly delays: 'chain' | 'store'
  readonly keyPartitions: number
  readonly queueArguments: Readonly<Record<string, string | number | boolean>>
  readonly heartbeatSeconds: number
  readonly frameMaxBytes: number
  readonly socket: Partial<NetConnectOpts & ConnectionOptions>
  readonly maxUnconfirmed: number
  readonly maxMessageBytes: number
  readonly sendTimeoutMs: number
  readonly connectTimeoutMs: number
}

/** Arguments that are this transport's to set. */
const ownArguments: readonly string[] = [
  'x-queue-type',
  'x-delivery-limit',
  'x-single-active-consumer',
  'x-message-ttl',
  'x-expires',
  'x-max-length',
  'x-max-length-bytes',
  'x-overflow',
  'x-max-priority',
  'x-dead-letter-exchange',
  'x-dead-letter-routing-key',
  'x-dead-letter-strategy',
]

const known: readonly (keyof RabbitMqOptions)[] = [
  'url',
  'urls',
  'prefix',
  'declare',
  'queueType',
  'delays',
  'keyPartitions',
  'queueArguments',
  'heartbeatSeconds',
  'frameMaxBytes',
  'socket',
  'maxUnconfirmed',
  'maxMessageBytes',
  'sendTimeoutMs',
  'connectTimeoutMs',
]

/**
 * Checks the options and fills in the defaults.
 * @throws BUZZER_INVALID_OPTION, naming the option, its value and what is wanted
 */
export function resolveOptions(given: RabbitMqOptions): ResolvedOptions {
  if (typeof given !== 'object' || given === null) throw invalid('options', given, 'an object')
  for (const name of Object.keys(given)) {
    if (!known.includes(name as keyof RabbitMqOptions))
      throw invalid(name, given[name as keyof RabbitMqOptions], `an option; there are ${known.join(', ')}`)
  }
  if (given.url !== undefined && given.urls !== undefined)
    throw invalid('urls', given.urls, 'given together with url: give one of them')
  const urls = given.urls ?? [given.url ?? 'amqp://guest:guest@127.0.0.1:5672']
  if (!Array.isArray(urls) || urls.length === 0) throw invalid('urls', urls, 'a list of at least one url')
  for (const url of urls) checkUrl(url)
  const prefix = given.prefix ?? ''
  if (typeof prefix !== 'string' || !/^[a-zA-Z0-9._-]{0,64}$/.test(prefix) || prefix.startsWith('amq.')) {
    throw invalid(
      'prefix',
      prefix,
      'at most 64 letters, digits, dots, dashes and underscores, and not amq., which is the server’s',
    )
  }
  const socket = given.socket ?? {}
  if (typeof socket !== 'object' || socket === null) throw invalid('socket', socket, 'an object')
  return {
    urls,
    prefix,
    declare: oneOf('declare', given.declare ?? 'create', ['create', 'verify', 'none']),
    queueType: oneOf('queueType', given.queueType ?? 'quorum', ['quorum', 'classic']),
    delays: oneOf('delays', given.delays ?? 'chain', ['chain', 'store']),
    keyPartitions: whole('keyPartitions', given.keyPartitions ?? 8, 1, 64),
    queueArguments: checkArguments(given.queueArguments ?? {}),
    heartbeatSeconds: whole('heartbeatSeconds', given.heartbeatSeconds ?? 15, 1, 60),
    frameMaxBytes: whole('frameMaxBytes', given.frameMaxBytes ?? 131_072, 4_096, 1_048_576),
    socket,
    maxUnconfirmed: whole('maxUnconfirmed', given.maxUnconfirmed ?? 2_048, 1, 65_535),
    maxMessageBytes: whole('maxMessageBytes', given.maxMessageBytes ?? 16 * 1024 * 1024, 1_024, 512 * 1024 * 1024),
    sendTimeoutMs: whole('sendTimeoutMs', given.sendTimeoutMs ?? 30_000, 1, 2 ** 31 - 1),
    connectTimeoutMs: whole('connectTimeoutMs', given.connectTimeoutMs ?? 10_000, 1, 2 ** 31 - 1),
  }
}

function checkUrl(url: unknown): void {
  const parsed = typeof url === 'string' ? URL.parse(url) : null
  if (parsed === null || (parsed.protocol !== 'amqp:' && parsed.protocol !== 'amqps:') || parsed.hostname === '') {
    throw invalid('url', redacted(url), 'like amqp://user:password@host:5672/vhost, or amqps:// for TLS')
  }
  // The client library reads settings from the query: two places for one thing would contradict each other.
  if (parsed.search !== '')
    throw invalid('url', redacted(url), 'without a query: heartbeat and frame size are options of their own')
}

/** A url as it may stand in errors and logs. */
export function redacted(url: unknown): string {
  return String(url).replace(/\/\/([^:@/]*):[^@]*@/, '//$1:***@')
}

function checkArguments(given: unknown): Readonly<Record<string, string | number | boolean>> {
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw invalid('queueArguments', given, 'an object')
  for (const [name, value] of Object.entries(given)) {
    if (ownArguments.includes(name))
      throw invalid(`queueArguments.${name}`, value, 'yours to set: this transport sets it from options of the queue')
    if (!['string', 'number', 'boolean'].includes(typeof value)) {
      throw invalid(`queueArguments.${name}`, value, 'a text, a number or a boolean')
    }
  }
  return given as Readonly<Record<string, string | number | boolean>>
}

function oneOf<T extends string>(option: string, value: T, allowed: readonly T[]): T {
  if (!allowed.includes(value)) throw invalid(option, value, `one of ${allowed.map(one => `'${one}'`).join(', ')}`)
  return value
}

function whole(option: string, value: number, from: number, to: number): number {
  if (!Number.isInteger(value) || value < from || value > to) {
    throw invalid(option, value, `a whole number from ${from.toLocaleString('en')} to ${to.toLocaleString('en')}`)
  }
  return value
}

function invalid(option: string, value: unknown, wanted: string): BuzzerError {
  let shown: string
  try {
    shown = JSON.stringify(value) ?? String(value)
  } catch {
    shown = String(value)
  }
  return new BuzzerError('BUZZER_INVALID_OPTION', `rabbitmq(): ${option} ${shown} is not ${wanted}`, {
    details: { option, value },
  })
}
