// The handlers of `buzzerProcesses`: arguments are folder, concurrency, prefetch.
import { join } from 'node:path'
import { createBus } from 'buzzer'
import { sequenceOf } from '../reading.ts'
import { ReadingTaken } from './buzzer.ts'
import type { Handled } from './buzzer-processes.ts'
import { embeddedTransport } from './transports.ts'

const [folder, concurrency, prefetch] = process.argv.slice(2) as [string, string, string]

// Told once per turn of the event loop, not once per message: the telling is no part of what is measured.
let count = 0
let sum = 0
function tell(): void {
  process.send?.({ count, sum } satisfies Handled)
  count = sum = 0
}

const { transport } = await embeddedTransport(join(folder, 'bench.db'))
const bus = createBus({ name: 'bench', transport })
bus
  .queue('readings', { concurrency: Number(concurrency), prefetch: Number(prefetch) })
  .handle(ReadingTaken, message => {
    if (count === 0) setImmediate(tell)
    count++
    sum += sequenceOf(message)
  })
await bus.start()
process.on('disconnect', () => void bus.stop())
tell()
