import { setTimeout as sleep } from 'node:timers/promises'
import { silentLogger, systemClock } from 'buzzer'
import { type HistoryRecord, journalled, machineClock } from 'buzzer/testing'
import type { Transport } from 'buzzer/transport'
import { rabbitmq } from '../src/rabbitmq.ts'

/** Consumes a plain and a keyed queue until it is killed, and tells its parent all that it sees. */
const [url, prefix, plain, keyed] = process.argv.slice(2) as [string, string, string, string]
const write = (record: HistoryRecord): void => void process.send?.(record)
const transport = rabbitmq({ url, prefix })
await transport.connect({ bus: 'chaos', instanceId: 'victim', clock: systemClock, logger: silentLogger, onState() {} })
const watched = journalled(transport as unknown as Transport, { process: 'victim', write })
const onDelivery = async (): Promise<{ as: 'ack' }> => {
  await sleep(5)
  return { as: 'ack' }
}
await watched.receive(plain, onDelivery, { maxInFlight: 20, orderBy: 'none' })
await watched.receive(keyed, onDelivery, { maxInFlight: 20, orderBy: 'key' })
write({ as: 'born', process: 'victim', at: machineClock.monotonic() })
