// The worker process: one handler per event type. What it got it tells its parent, which compares it with what was sent.
import { createBus } from 'buzzer'
import { embedded } from 'buzzer/embedded'
import { commands } from './contracts.ts'

const [file = ''] = process.argv.slice(2)
const bus = createBus({ name: 'hooks', transport: embedded({ path: file }) })
const queue = bus.queue('github')
for (const [event, command] of commands) {
  queue.handle(command, payload => {
    process.send?.({ event, payload })
  })
}
await bus.start()
process.send?.('ready')
process.once('disconnect', () => void bus.stop().then(() => process.exit()))
