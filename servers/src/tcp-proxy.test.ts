import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { startProxy, type TcpProxy } from './tcp-proxy.ts'

/** An echo server behind a proxy. */
let proxy: TcpProxy
let close: () => void
const received: Buffer[] = []

beforeEach(async () => {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, socket => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('data', bytes => {
      received.push(bytes)
      socket.write(bytes)
    })
    socket.on('end', () => socket.end())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  received.length = 0
  proxy = await startProxy((server.address() as AddressInfo).port)
  close = () => {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
})

afterEach(async () => {
  await proxy[Symbol.asyncDispose]()
  close()
})

async function client(): Promise<Socket> {
  const socket = connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  return socket
}

async function echo(socket: Socket, text: string): Promise<string> {
  socket.write(text)
  const [bytes] = (await once(socket, 'data')) as [Buffer]
  return bytes.toString()
}

test('passes bytes both ways', async () => {
  const socket = await client()
  expect(await echo(socket, 'one')).toBe('one')
  expect(proxy.connections).toBe(1)
})

test('cut ends a connection in order, reset ends it hard; new ones pass', async () => {
  const [first, second] = [await client(), await client()]
  await echo(first, 'a')
  proxy.cut()
  await once(first, 'end')
  first.destroy()
  second.destroy()
  const third = await client()
  await echo(third, 'b')
  const failed = once(third, 'error')
  proxy.reset()
  expect(((await failed) as [NodeJS.ErrnoException])[0].code).toBe('ECONNRESET')
  expect(await echo(await client(), 'c')).toBe('c')
})

test('what is swallowed never arrives, and the connection stays open', async () => {
  const socket = await client()
  await echo(socket, 'before')
  proxy.swallow('to-server')
  socket.write('lost')
  const other = await client()
  other.write('lost too')
  const swallowed = async (bytes: number): Promise<void> => {
    while (proxy.swallowedBytes < bytes) await new Promise(resolve => setTimeout(resolve, 1))
  }
  await swallowed('lostlost too'.length)
  proxy.swallow('to-client')
  socket.write('heard, not answered')
  // Its answer too: once the proxy passes again it would come.
  await swallowed('lostlost tooheard, not answered'.length)
  expect(Buffer.concat(received).toString()).toBe('beforeheard, not answered')
  proxy.pass()
  expect(await echo(socket, 'after')).toBe('after')
})

test('delayed pieces come later and in order', async () => {
  const socket = await client()
  proxy.delay(30)
  const began = performance.now()
  socket.write('1')
  while (proxy.heldPieces === 0) await new Promise(resolve => setTimeout(resolve, 1))
  proxy.delay(0)
  socket.write('2')
  let answer = ''
  socket.on('data', bytes => void (answer += bytes.toString()))
  while (answer.length < 2) await once(socket, 'data')
  expect(answer).toBe('12')
  // Timers count whole milliseconds.
  expect(performance.now() - began).toBeGreaterThanOrEqual(29)
})

test('a connection is cut before or after the piece that was waited for', async () => {
  proxy.cutWhen('to-client', bytes => (bytes.includes('commit') ? 'cut-before' : 'pass'))
  const first = await client()
  expect(await echo(first, 'work')).toBe('work')
  let answer = ''
  first.on('data', bytes => void (answer += bytes.toString()))
  first.write('commit')
  await once(first, 'end')
  first.destroy()
  expect(answer).toBe('')
  expect(Buffer.concat(received).toString()).toBe('workcommit')

  proxy.cutWhen('to-client', bytes => (bytes.includes('commit') ? 'cut-after' : 'pass'))
  const second = await client()
  second.on('data', bytes => void (answer += bytes.toString()))
  second.write('commit')
  await once(second, 'end')
  second.destroy()
  expect(answer).toBe('commit')
})

test('refused connections are reset, half-closed ones go on in the other direction', async () => {
  proxy.refuse()
  const refused = connect({ port: proxy.port, host: '127.0.0.1' })
  expect(((await once(refused, 'error').catch((error: unknown) => [error])) as [NodeJS.ErrnoException])[0].code).toBe(
    'ECONNRESET',
  )
  proxy.pass()
  const socket = await client()
  await echo(socket, 'x')
  proxy.halfClose('to-client')
  await once(socket, 'end')
  socket.write('still heard')
  while (!Buffer.concat(received).toString().endsWith('still heard')) {
    await new Promise(resolve => setTimeout(resolve, 1))
  }
  socket.destroy()
})
