import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import { connect, type Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { gate } from '../../test/http/world.ts'
import { type Bus, createBus, defineCommand, silentLogger } from '../index.ts'
import { memory } from '../transport/transports/memory.ts'
import { createGateway, type Gateway, type GatewayOptions, type ListenOptions, toNodeHandler } from './index.ts'

const Work = defineCommand<{ n: number }>('jobs.work')
const stack: AsyncDisposable[] = []

afterEach(async () => {
  for (const one of stack.splice(0).toReversed()) await one[Symbol.asyncDispose]()
})

async function serve(
  options: Partial<GatewayOptions> = {},
  handler: ((n: number) => unknown) | 'nobody' = 'nobody',
  listening: Partial<ListenOptions> = {},
): Promise<{ bus: Bus; gateway: Gateway; port: number; url: string }> {
  const bus = createBus({ name: 'shop', transport: memory(), logger: silentLogger })
  if (handler !== 'nobody') bus.queue('work').handle(Work, ({ n }) => handler(n) as never)
  const gateway = createGateway({ bus, volatile: true, ...options }).accept('POST', '/work', Work, { to: 'work' })
  await bus.start()
  stack.push({ [Symbol.asyncDispose]: () => bus.stop({ timeoutMs: 100 }) })
  const server = await gateway.listen({ port: 0, ...listening })
  return { bus, gateway, port: server.port, url: server.url }
}

/** A bare connection: what comes, and when it ends. */
class Wire {
  readonly socket: Socket
  received = ''
  readonly ended: Promise<void>

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1')
    this.socket.on('data', chunk => {
      this.received += chunk.toString('latin1')
    })
    this.socket.on('error', () => {})
    this.ended = once(this.socket, 'close').then(() => undefined)
    stack.push({
      [Symbol.asyncDispose]: async () => {
        this.socket.destroy()
      },
    })
  }

  send(text: string): void {
    this.socket.write(text)
  }

  async until(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.received))
      await Promise.race([
        once(this.socket, 'data'),
        this.ended.then(() => Promise.reject(new Error(`closed after ${JSON.stringify(this.received)}`))),
      ])
  }
}

const head = (lines: readonly string[]): string =>
  `POST /work HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${lines.map(line => `${line}\r\n`).join('')}\r\n`

async function stored(gateway: Gateway): Promise<number> {
  return (await gateway.operations.list()).items.length
}

describe('listen', () => {
  it('serves on a port of its own choice, on loopback', async () => {
    const { url, port } = await serve({}, n => n + 1)
    expect(url).toBe(`http://127.0.0.1:${port}`)
    const answer = await fetch(`${url}/work`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', prefer: 'wait=5' },
      body: '{"n":1}',
    })
    expect(answer.status).toBe(200)
    expect(await answer.json()).toMatchObject({ status: 'succeeded', result: 2 })
  })

  it('HT-77 off loopback without authenticate throws, and none says it is meant', async () => {
    const bus = createBus({ name: 'shop', transport: memory(), logger: silentLogger })
    const open = createGateway({ bus, volatile: true })
    await expect(open.listen({ port: 0, host: '0.0.0.0' })).rejects.toMatchObject({ code: 'BUZZER_INVALID_OPTION' })
    const meant = createGateway({ bus, volatile: true, authenticate: 'none' })
    const server = await meant.listen({ port: 0, host: '0.0.0.0' })
    await server.close()
    await expect(open.listen({ port: -1 })).rejects.toMatchObject({ code: 'BUZZER_INVALID_OPTION' })
    await bus.stop()
  })

  it('a port in use rejects', async () => {
    const { gateway, port } = await serve()
    await expect(gateway.listen({ port })).rejects.toMatchObject({ code: 'EADDRINUSE' })
  })

  it('an event stream arrives over the wire as it happens, and a reader who leaves frees its place', async () => {
    const { opened, open } = gate()
    const { url } = await serve({ events: { maxStreams: 1 } }, () => opened.then(() => 'ok'))
    const accepted = await fetch(`${url}/work`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"n":1}',
    })
    const events = `${url}${accepted.headers.get('location') as string}/events`
    const leave = new AbortController()
    const first = await fetch(events, { signal: leave.signal })
    const reader = (first.body as ReadableStream<Uint8Array>).getReader()
    expect(new TextDecoder().decode((await reader.read()).value)).toContain('retry: 3000')
    expect((await fetch(events)).status).toBe(503)
    leave.abort()
    let second = await fetch(events)
    while (second.status === 503) second = await fetch(events)
    open()
    const text = await second.text()
    expect(text).toContain('event: done')
    expect(text.match(/^id: /gm)).toHaveLength(3)
  })
})

describe('bodies on the wire', () => {
  it('10 MiB declared: 413 before the body came, connection closed, nothing stored', async () => {
    const { port, gateway } = await serve()
    const wire = new Wire(port)
    wire.send(head(['Content-Length: 10485760']))
    await wire.until(/maxBodyBytes/)
    await wire.ended
    expect(wire.received).toMatch(/^HTTP\/1.1 413 /)
    expect(wire.received).toMatch(/connection: close/i)
    expect(await stored(gateway)).toBe(0)
  })

  it('10 MiB really sent: the client reads its 413', async () => {
    const { url, gateway } = await serve()
    const answer = await fetch(`${url}/work`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: `{"n":1,"pad":"${'x'.repeat(10 << 20)}"}`,
    })
    expect([answer.status, (await answer.json()) as object]).toMatchObject([413, { code: 'BUZZER_BODY_TOO_LARGE' }])
    expect(await stored(gateway)).toBe(0)
  })

  it('a chunked body is cut at the limit', async () => {
    const { port, gateway } = await serve({ limits: { maxBodyBytes: 1_000 } })
    const wire = new Wire(port)
    wire.send(head(['Transfer-Encoding: chunked']))
    const chunk = `200\r\n${' '.repeat(512)}\r\n`
    wire.send(chunk + chunk + chunk)
    await wire.until(/body-too-large/)
    await wire.ended
    expect(wire.received).toMatch(/^HTTP\/1.1 413 /)
    expect(await stored(gateway)).toBe(0)
  })

  it('bodyTimeoutMs bounds the whole body, however steadily it trickles: 408, closed', async () => {
    const { port, gateway } = await serve({ limits: { bodyTimeoutMs: 300 } })
    const wire = new Wire(port)
    wire.send(head(['Content-Length: 100']))
    const trickle = setInterval(() => wire.send(' '), 50)
    try {
      await wire.until(/body-timeout/)
      await wire.ended
    } finally {
      clearInterval(trickle)
    }
    expect(wire.received).toMatch(/^HTTP\/1.1 408 /)
    expect(await stored(gateway)).toBe(0)
  })

  it('HT-53 Expect: 100-continue gets the refusal instead of 100, and 100 when the body is wanted', async () => {
    const { port } = await serve({}, () => 'ok')
    const refused = new Wire(port)
    refused.send(head(['Content-Length: 10485760', 'Expect: 100-continue']))
    await refused.until(/body-too-large/)
    expect(refused.received).toMatch(/^HTTP\/1.1 413 /)
    const welcome = new Wire(port)
    welcome.send(head(['Content-Length: 7', 'Expect: 100-continue']))
    await welcome.until(/^HTTP\/1.1 100 Continue\r\n\r\n$/)
    welcome.send('{"n":1}')
    await welcome.until(/HTTP\/1.1 202 /)
    expect(welcome.received.match(/100 Continue/g)).toHaveLength(1)
  })

  it('HT-57 the connection is reusable after a 4xx whose body was read, and after one without body', async () => {
    const { port } = await serve({}, () => 'ok')
    const wire = new Wire(port)
    wire.send(`${head(['Content-Length: 2'])}{x`)
    await wire.until(/malformed-json/)
    wire.send('GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n')
    await wire.until(/not-found/)
    wire.send(`${head(['Content-Length: 7'])}{"n":1}`)
    await wire.until(/202 Accepted/)
  })

  it('a client that hangs up in the middle of its body leaves no trace', async () => {
    const { port, gateway, url } = await serve()
    const wire = new Wire(port)
    wire.send(`${head(['Content-Length: 50'])}{"n":`)
    await fetch(`${url}/livez`)
    wire.socket.destroy()
    await wire.ended
    for (let n = 0; n < 5; n++) await fetch(`${url}/livez`)
    expect(await stored(gateway)).toBe(0)
  })

  it('HT-56 too many header bytes are refused, and slow headers are cut', async () => {
    const { port } = await serve({}, 'nobody', { headersTimeoutMs: 200, maxHeaderBytes: 2_000 })
    const large = new Wire(port)
    large.send(`GET /livez HTTP/1.1\r\nHost: x\r\nX-Pad: ${'x'.repeat(3_000)}\r\n\r\n`)
    await large.ended
    expect(large.received).toMatch(/^HTTP\/1.1 431 /)
    const slow = new Wire(port)
    slow.send('GET /livez HTTP/1.1\r\nHost: x\r\n')
    await slow.ended
    expect(slow.received).not.toMatch(/ 200 /)
  })
})

describe('leaving', () => {
  it('HT-34 a client that leaves while it waits frees its place', async () => {
    const { opened, open } = gate()
    const { url } = await serve({ limits: { maxConcurrentAccepts: 1 } }, () => opened)
    const leave = new AbortController()
    const post = (headers: Record<string, string>, signal?: AbortSignal): Promise<Response> =>
      fetch(`${url}/work`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: '{"n":1}',
        ...(signal === undefined ? {} : { signal }),
      })
    const waiting = post({ prefer: 'wait=20' }, leave.signal).catch(() => 'left')
    let second = await post({})
    while (second.status !== 503) second = await post({})
    leave.abort()
    expect(await waiting).toBe('left')
    while (second.status === 503) second = await post({})
    expect(second.status).toBe(202)
    open()
  })

  it('HT-78 shutdown under load: every 202 is handled or kept, no request is cut without an answer', async () => {
    const { gateway, url, bus } = await serve({}, n => n)
    let accepted = 0
    let refused = 0
    let cut = 0
    let stopped = false
    const client = async (): Promise<void> => {
      while (!stopped) {
        try {
          const answer = await fetch(`${url}/work`, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: '{"n":1}',
          })
          await answer.text()
          if (answer.status === 202) accepted++
          else if (answer.status === 503) refused++
          else cut++
        } catch (error) {
          // Nobody listens any more: that is no cut request.
          if ((error as { cause?: { code?: string } }).cause?.code === 'ECONNREFUSED') return
          if ((error as { cause?: { code?: string } }).cause?.code === 'ECONNRESET') cut++
        }
      }
    }
    const clients = Array.from({ length: 8 }, client)
    while (accepted < 50) await new Promise(setImmediate)
    await gateway.close()
    stopped = true
    await Promise.all(clients)
    expect(cut).toBe(0)
    expect(accepted + refused).toBeGreaterThanOrEqual(50)
    let known = 0
    for (let cursor: string | undefined, more = true; more; more = cursor !== undefined) {
      const page = await gateway.operations.list({ limit: 1_000, ...(cursor === undefined ? {} : { cursor }) })
      known += page.items.length
      cursor = page.cursor
    }
    expect(known).toBe(accepted)
    await bus.stop()
  })

  it('HT-48 a waiting request and a stream end when the bus stops', async () => {
    const { opened, open } = gate()
    const { url, bus } = await serve({}, () => opened)
    const post = await fetch(`${url}/work`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"n":1}',
    })
    const path = post.headers.get('location') as string
    const stream = (await fetch(`${url}${path}/events`)).text()
    const waiting = fetch(`${url}${path}`, { headers: { prefer: 'wait=20' } })
    await fetch(`${url}/livez`)
    const stopping = bus.stop({ timeoutMs: 2_000 })
    expect(await stream).toMatch(/retry: 3000\n\n$/)
    expect((await waiting).status).toBe(200)
    open()
    await stopping
  })
})

describe('other servers', () => {
  it('HT-17 toNodeHandler mounts it in a plain server and under a mount path', async () => {
    const bus = createBus({ name: 'shop', transport: memory(), logger: silentLogger })
    const gateway = createGateway({ bus, volatile: true, basePath: '/api' }).accept('POST', '/work', Work, {
      to: 'work',
    })
    await bus.start()
    stack.push({ [Symbol.asyncDispose]: () => bus.stop({ timeoutMs: 100 }) })
    const handler = toNodeHandler(gateway)
    const server = createServer((incoming, outgoing) => {
      // As Express does: the mount path is cut off, the whole path kept beside.
      const { url = '' } = incoming
      if (!url.startsWith('/api/')) return void outgoing.writeHead(418).end()
      Object.assign(incoming, { originalUrl: url, url: url.slice('/api'.length) })
      handler(incoming, outgoing)
    })
    server.on('checkContinue', handler.checkContinue)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    stack.push({
      [Symbol.asyncDispose]: async () => {
        server.closeAllConnections()
        server.close()
      },
    })
    const { port } = server.address() as { port: number }
    const answer = await fetch(`http://127.0.0.1:${port}/api/work`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"n":1}',
    })
    expect([answer.status, answer.headers.get('location')?.startsWith('/api/operations/')]).toEqual([202, true])
    expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(418)
    const wire = new Wire(port)
    wire.send(head(['Content-Length: 10485760', 'Expect: 100-continue']).replace('/work', '/api/work'))
    await wire.until(/body-too-large/)
    expect(wire.received).not.toContain('100 Continue')
  })

  it('a request no URL can be made of is a problem too', async () => {
    const { port } = await serve()
    const answer = await new Promise<{ status: number | undefined }>((resolve, reject) => {
      httpRequest({ port, host: '127.0.0.1', path: '//', headers: { host: 'bad host' } }, incoming => {
        incoming.resume()
        resolve({ status: incoming.statusCode })
      })
        .on('error', reject)
        .end()
    })
    expect(answer.status).toBeGreaterThanOrEqual(400)
    expect(answer.status).toBeLessThan(500)
  })
})
