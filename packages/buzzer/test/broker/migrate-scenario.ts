/** A process that opens the file of an older format named in its first argument, appends to a log of it, and closes. */
import { writeSync } from 'node:fs'
import { EngineHost } from './engine-client.ts'

const path = process.argv[2]
if (path === undefined) throw new Error('usage: migrate-scenario.ts <path>')

const host = new EngineHost(path, { durability: 'fsync' })
writeSync(1, 'migrated\n')
const client = host.connect()
client.call({ call: 'log-declare', streams: [{ name: 's' }], onConflict: 'refuse' })
client.append([{ stream: 's', records: [{ value: Buffer.from('x') }] }])
writeSync(1, 'appended\n')
host.engine.close()
writeSync(1, 'closed\n')
