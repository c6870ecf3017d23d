// npm run servers -- [rabbitmq] [postgres] [kafka]: what the machine has, started in a temporary folder until Ctrl-C.
import { styleText } from 'node:util'
import { startKafka } from './kafka.ts'
import { startPostgres } from './postgres.ts'
import { type PrivateServer, ServerUnavailable } from './private-server.ts'
import { startRabbitMq } from './rabbitmq.ts'

const starters: Readonly<Record<string, () => Promise<PrivateServer>>> = {
  rabbitmq: startRabbitMq,
  postgres: startPostgres,
  kafka: startKafka,
}
const wanted = process.argv.length > 2 ? process.argv.slice(2) : ['rabbitmq', 'postgres']
const unknown = wanted.filter(name => !Object.hasOwn(starters, name))
if (unknown.length > 0) {
  console.error(`unknown: ${unknown.join(', ')}. There are ${Object.keys(starters).join(', ')}.`)
  process.exit(2)
}

const started: PrivateServer[] = []
let stopping: Promise<void> | undefined
function stop(): Promise<void> {
  stopping ??= Promise.all(started.map(server => server[Symbol.asyncDispose]())).then(() => undefined)
  return stopping
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => void stop().then(() => process.exit(0)))
}

const urls: Record<string, string> = {}
for (const name of wanted) {
  try {
    const server = await starters[name]!()
    started.push(server)
    urls[name] = server.url
    console.log(`${name.padEnd(8)}  ${server.version.padEnd(8)}  ${server.url}`)
  } catch (error) {
    if (!(error instanceof ServerUnavailable)) {
      await stop()
      throw error
    }
    console.error(`${name.padEnd(8)}  not started: ${error.message}`)
    process.exitCode = 1
  }
}
const { rabbitmq, postgres } = urls
const lines = [
  postgres && `BUZZER_TRANSPORT=${postgres} npm start`,
  rabbitmq && postgres && `BUZZER_TRANSPORT=${rabbitmq} BUZZER_STORE=${postgres} npm start`,
].filter(line => line !== undefined)
if (lines.length > 0) console.log(`\nThe order service on them:\n\n  ${lines.join('\n  ')}`)
if (started.length > 0) console.log(styleText('dim', '\nCtrl-C stops them and deletes their data.'))
