// A process that dies inside its transactions: `node transaction-process.ts <url> <schema>`. Transaction n does n steps of
// business row, record, message, log append, message, COMMIT; then the process says so and waits to be killed.
import { silentLogger, systemClock } from 'buzzer'
import pg from 'pg'
import { postgres } from '../src/index.ts'
import { message } from './messages.ts'

const [url, schema] = process.argv.slice(2) as [string, string]
const transport = postgres({ connectionString: url, schema })
const context = {
  bus: 'dying',
  instanceId: 'dying',
  clock: systemClock,
  logger: silentLogger,
  onState: () => undefined,
}
await transport.connect(context)

for (const count of [1, 2, 3, 4, 5, 6]) {
  const id = `order${count}`
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query('begin')
  const steps: readonly (() => Promise<unknown>)[] = [
    () => client.query(`insert into "${schema}".business (id) values ($1)`, [id]),
    () =>
      transport.store.commit([{ op: 'put', collection: 'orders', id, value: { id }, expected: 'absent' }], {
        tx: client,
      }),
    () => transport.send([message(`${id}-1`, 'billing')], { tx: client }),
    () => transport.log.append([{ stream: 'orders', records: [{ value: Buffer.from(id) }] }], { tx: client }),
    () => transport.send([message(`${id}-2`, 'billing')], { tx: client }),
    () => client.query('commit'),
  ]
  for (const step of steps.slice(0, count)) await step()
}
process.stdout.write('done\n')
setInterval(() => undefined, 60_000)
