// The web process: checks the signature on the bytes as they came, stores, answers 202. It handles nothing.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createBus } from 'buzzer'
import { embedded } from 'buzzer/embedded'
import { createGateway } from 'buzzer/http'
import { commands } from './contracts.ts'
import { isSigned } from './signature.ts'

const [file = '', secret = ''] = process.argv.slice(2)
const maxBodyBytes = 262_144

const bus = createBus({ name: 'hooks', transport: embedded({ path: file }) })
const gateway = createGateway({ bus })
for (const [event, command] of commands) gateway.accept('POST', `/github/${event}`, command)
await bus.start()

/** The bytes of the body; `undefined` when there are too many. */
async function bytesOf(request: IncomingMessage): Promise<Buffer | undefined> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > maxBodyBytes) return undefined
    parts.push(part)
  }
  return Buffer.concat(parts)
}

function header(request: IncomingMessage, name: string): string {
  const value = request.headers[name]
  return typeof value === 'string' ? value : ''
}

/** GitHub posts every event to one address; the event's name and the delivery's id stand in headers. */
async function receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await bytesOf(request)
  if (body === undefined) return refuse(response, 413, 'the payload is larger than 256 KiB')
  if (!isSigned(secret, body, header(request, 'x-hub-signature-256'))) return refuse(response, 401, 'wrong signature')
  const event = encodeURIComponent(header(request, 'x-github-event'))
  const answer = await gateway.fetch(
    new Request(`http://receiver/github/${event}`, {
      method: 'POST',
      body: new Uint8Array(body),
      headers: {
        'content-type': header(request, 'content-type'),
        // GitHub repeats a delivery it got no answer to, with the same id: accepted once all the same.
        'idempotency-key': header(request, 'x-github-delivery'),
      },
    }),
  )
  response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(await answer.text())
}

function refuse(response: ServerResponse, status: number, detail: string): void {
  response
    .writeHead(status, { 'content-type': 'application/problem+json', connection: 'close' })
    .end(JSON.stringify({ type: 'about:blank', status, detail }))
}

const server = createServer((request, response) => {
  receive(request, response).catch((error: unknown) => {
    console.error(error)
    if (!response.headersSent) refuse(response, 500, 'internal error')
  })
})
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }))

async function stop(): Promise<void> {
  server.close()
  server.closeAllConnections()
  await gateway.close()
  await bus.stop()
  process.exit()
}
process.once('disconnect', () => void stop())
