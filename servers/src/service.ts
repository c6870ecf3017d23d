import { once } from 'node:events'
import { connect } from 'node:net'
import { answers, type Protocol } from './handshake.ts'

/** Where a server is, or why there is none. */
export type Service =
  | { readonly url: string; readonly reason?: undefined }
  | { readonly url?: undefined; readonly reason: string }

interface Place {
  readonly variable: string
  readonly defaultUrl: string
  readonly host: string
  readonly port: number
}

const places: Readonly<Record<Protocol, Omit<Place, 'host' | 'port'>>> = {
  rabbitmq: { variable: 'BUZZER_TEST_RABBITMQ_URL', defaultUrl: 'amqp://guest:guest@127.0.0.1:5672' },
  postgres: { variable: 'BUZZER_TEST_POSTGRES_URL', defaultUrl: 'postgres://postgres@127.0.0.1:5432/postgres' },
  kafka: { variable: 'BUZZER_TEST_KAFKA_BROKERS', defaultUrl: '127.0.0.1:9092' },
}
const defaultPorts: Readonly<Record<Protocol, number>> = { rabbitmq: 5672, postgres: 5432, kafka: 9092 }

/**
 * RabbitMQ sets file descriptors aside for each quorum queue. One that was started with the usual limit of 1,024 stopped
 * answering for good under the few hundred queues of these suites, so one of our own is started where that can be.
 */
const ownFirst: ReadonlySet<Protocol> = new Set(['rabbitmq'])

/** Whether somebody says where this server is, by its variable. */
export function isGiven(name: Protocol): boolean {
  return Boolean(process.env[places[name].variable])
}

/** Set by `vitest-setup.ts`: the socket of the process that starts a missing server, once for the whole run. */
export const startersVariable = 'BUZZER_SERVERS_SOCKET'

/** Whether the run must use this server: `BUZZER_TEST_REQUIRE` lists it. */
export function isRequired(name: Protocol): boolean {
  return (process.env['BUZZER_TEST_REQUIRE'] ?? '').split(',').includes(name)
}

/**
 * A server that tests share: at the address of its variable, else on its default port, else started for this run; RabbitMQ
 * is started before its default port is looked at.
 * Use names of your own on it and delete them; never restart or reconfigure it: for that `startRabbitMq()` and its like.
 *
 * @throws when the variable is set and nothing answers there, and when `BUZZER_TEST_REQUIRE` lists a server that is not there
 */
export async function service(name: Protocol): Promise<Service> {
  const { variable, defaultUrl } = places[name]
  const given = process.env[variable]
  if (given) {
    if (await isThere(name, given)) return { url: given }
    throw new Error(`${variable} is ${given}, but no ${name} answers there`)
  }
  const mayShare = process.env['BUZZER_TEST_PRIVATE'] !== '1'
  const isOwnFirst = ownFirst.has(name)
  if (mayShare && !isOwnFirst && (await isThere(name, defaultUrl))) return { url: defaultUrl }
  const started = await askStarter(name)
  if (started.url !== undefined) return started
  if (mayShare && isOwnFirst && (await isThere(name, defaultUrl))) return { url: defaultUrl }
  const reason = `${mayShare ? `nothing at ${hostAndPort(name, defaultUrl).join(':')}, ` : ''}${started.reason}; set ${variable}`
  if (isRequired(name)) throw new Error(`BUZZER_TEST_REQUIRE lists ${name}, but: ${reason}`)
  return { reason }
}

/** Kafka's address is a list of brokers; one that answers is enough. */
function hostAndPort(name: Protocol, url: string): readonly [string, number] {
  const { hostname, port } = new URL(name === 'kafka' ? `kafka://${url.split(',')[0]}` : url)
  return [hostname, port === '' ? defaultPorts[name] : Number(port)]
}

function isThere(name: Protocol, url: string): Promise<boolean> {
  return answers(name, ...hostAndPort(name, url))
}

async function askStarter(name: Protocol): Promise<Service> {
  const path = process.env[startersVariable]
  if (path === undefined) return { reason: 'and nobody starts one outside of the test run' }
  const socket = connect(path)
  let answer = ''
  socket.setEncoding('utf8').on('data', (text: string) => void (answer += text))
  socket.end(name)
  await once(socket, 'close')
  return JSON.parse(answer) as Service
}
