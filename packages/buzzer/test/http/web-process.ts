import { createBus } from 'buzzer'
import { embedded } from 'buzzer/embedded'
import { createGateway } from 'buzzer/http'
import { Work } from './contracts.ts'

// A web process over one embedded file: prints its address, lives until it is killed or told to stop.
const [path = '', port = '0'] = process.argv.slice(2)
const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
const bus = createBus({ name: 'shop', transport: embedded({ path }) })
const gateway = createGateway({
  bus,
  events: { retryMs: 100 },
  webhooks: { secrets: [secret], allow: () => true },
}).accept('POST', '/work', Work)
await bus.start()
const server = await gateway.listen({ port: Number(port) })
process.send?.({ port: server.port })
process.on('message', message => {
  if (message === 'stop') void bus.stop({ timeoutMs: 1_000 }).then(() => process.disconnect())
})
