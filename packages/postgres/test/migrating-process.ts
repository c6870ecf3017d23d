// One of the processes that migrate at once: `node migrating-process.ts <url> <schema>`; begins on a line of input.
import { once } from 'node:events'
import { migrate, migrations } from '../src/migrations/index.ts'
import { ownSchema } from './own-schema.ts'

const [url, name] = process.argv.slice(2) as [string, string]
const { pool, transaction } = ownSchema(url, { name, max: 1 })
await pool.query('select 1')
process.stdout.write('ready\n')
await once(process.stdin, 'data')
process.stdin.destroy()
const { applied } = await migrate(transaction, name, migrations)
await pool.end()
process.stdout.write(`${JSON.stringify(applied)}\n`)
