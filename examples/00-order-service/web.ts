// The web process: accepts orders and answers at once. It needs no worker to be alive.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createGateway, toNodeHandler } from 'buzzer/http'
import { type Receipt, SubmitOrder, type Summary } from './contracts.ts'
import { line, openShop, short, stopWithSupervisor } from './shop.ts'

const bus = openShop()
const gateway = createGateway({ bus }).accept('POST', '/orders', SubmitOrder)
const handle = toNodeHandler({
  async fetch(request, ...rest) {
    const calledAt = performance.now()
    const response = await gateway.fetch(request, ...rest)
    const location = response.headers.get('location')
    if (response.status === 202 && location !== null)
      line('web', `accepted   ${short(location)}  in ${(performance.now() - calledAt).toFixed(1)} ms`)
    return response
  },
})
await bus.start()

/** How every order stands, how many took effect more than once (none, whatever was killed), and what the queue holds. */
async function summary(): Promise<Summary> {
  const orders: Record<string, number> = {}
  let tookEffectTwice = 0
  for (let cursor: string | undefined; ; ) {
    const page = await gateway.operations.list({ command: SubmitOrder.name, limit: 1_000, ...(cursor && { cursor }) })
    for (const { status, result } of page.items) {
      orders[status] = (orders[status] ?? 0) + 1
      if (((result as Receipt | undefined)?.times ?? 0) > 1) tookEffectTwice++
    }
    cursor = page.cursor
    if (cursor === undefined) break
  }
  const queue = (await bus.admin.queues()).find(({ name }) => name === 'orders')
  const { ready = 0, locked = 0, scheduled = 0, dead = 0 } = queue ?? {}
  return { orders, tookEffectTwice, queue: { ready, locked, scheduled, dead } }
}

const server = createServer((request, response) => {
  const url = request.url ?? '/'
  if (request.method === 'POST' && (url === '/demo/kill-worker' || url === '/demo/fix')) {
    process.send?.({ as: url.slice('/demo/'.length) })
    response.writeHead(202).end()
  } else if (request.method === 'GET' && url === '/demo/summary') {
    summary().then(
      body => response.writeHead(200, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`),
      error => response.writeHead(500).end(`${String(error)}\n`),
    )
  } else {
    handle(request, response)
  }
})
server.on('checkContinue', handle.checkContinue)
server.listen(Number(process.env['PORT'] ?? 8080), '127.0.0.1', () => {
  process.send?.({ as: 'ready', port: (server.address() as AddressInfo).port })
})
server.once('error', error => {
  console.error(`cannot listen: ${error.message}. Another port: PORT=9090 npm start`)
  process.exit(1)
})

stopWithSupervisor(async () => {
  const closed = new Promise(resolve => server.close(resolve))
  await gateway.close()
  server.closeIdleConnections()
  await closed
  await bus.stop()
})
