import { once } from 'node:events'
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { silentLogger } from '../../message/index.ts'
import type { Delivery, OutgoingMessage, Settlement } from '../../transport/index.ts'
import { embedded, type EmbeddedTransport } from '../embedded.ts'
import type { Engine } from '../engine/index.ts'
import { ByteWriter, protocolVersion, readEngineFrame, type WireError, writeHello } from '../protocol/index.ts'
import { EngineServer, writeFrame } from './engine-server.ts'
import { FrameSplitter } from './frame-splitter.ts'
import { OwnerLock } from './owner-lock.ts'
import { startEngine } from './start-engine.ts'

/** An owner in this thread, reached through a proxy whose connections a test can cut. */
let folder: string
let engine: Engine
let server: EngineServer
let proxy: Server
let lock: OwnerLock
let pairs: Socket[]
let transports: EmbeddedTransport[]

beforeEach(async () => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'buzzer-server-')))
  pairs = []
  transports = []
  const path = join(folder, 'shop.db')
  lock = new OwnerLock(`${path}.owner`)
  lock.tryTake({ token: 'test', pid: process.pid, address: join(folder, 'proxy') })
  const limits = { maxMessageBytes: 1024 * 1024, maxFileBytes: 1024 ** 3 }
  // A busy machine may need longer to return than the engine waits by default.
  const options = {
    durability: 'os',
    returnMs: 10_000,
    lockMs: 30_000,
    stallMs: 300_000,
    reclaimMs: 2_000,
    ...limits,
  } as const
  engine = startEngine(
    path,
    options,
    () => {},
    error => expect.fail(String(error)),
  )
  server = new EngineServer(engine)
  await server.listen(join(folder, 'engine/s'))
  proxy = createServer(near => {
    const far = connect(join(folder, 'engine/s'))
    pairs.push(near, far)
    for (const socket of [near, far]) socket.on('error', () => {})
    near.pipe(far).pipe(near)
    near.on('close', () => far.destroy())
    far.on('close', () => near.destroy())
  })
  proxy.listen(join(folder, 'proxy'))
  await once(proxy, 'listening')
})

afterEach(async () => {
  await Promise.all(transports.map(transport => transport.close()))
  proxy.close()
  engine.close()
  server.close()
  lock.release()
  rmSync(folder, { recursive: true })
})

function cut(): void {
  for (const socket of pairs.splice(0)) socket.destroy()
}

/** `onState` of the second connection resolves `again`. */
async function client(): Promise<{ transport: EmbeddedTransport; again: Promise<void> }> {
  const again = Promise.withResolvers<void>()
  let connections = 0
  const transport = embedded({ path: join(folder, 'shop.db'), host: 'never' })
  transports.push(transport)
  const onState = (state: string): void => {
    if (state === 'connected' && ++connections === 2) again.resolve()
  }
  await transport.connect({ logger: silentLogger, onState })
  return { transport, again: again.promise }
}

const topology = { queues: [{ name: 'orders' }], topics: [], bindings: [] }

function message(id: string): OutgoingMessage {
  const body = Buffer.from(id)
  return { id, to: { queue: 'orders' }, attributes: {}, headers: {}, body, priority: 4, mandatory: true }
}

describe('a connection', () => {
  it('B21 cut while a handler runs → the session returns, the delivery stays open, its ack counts', async () => {
    const { transport, again } = await client()
    await transport.declare(topology)
    const begun = Promise.withResolvers<Delivery>()
    const answer = Promise.withResolvers<Settlement>()
    let runs = 0
    const onDelivery = (delivery: Delivery): Promise<Settlement> => {
      runs++
      begun.resolve(delivery)
      return answer.promise
    }
    const receiver = await transport.receive('orders', onDelivery, { maxInFlight: 5, orderBy: 'none' })
    await transport.send([message('m1')])
    const delivery = await begun.promise
    cut()
    await again
    answer.resolve({ as: 'ack' })
    await receiver.stop()
    expect(runs).toBe(1)
    expect(delivery.signal.aborted).toBe(false)
    expect(await transport.admin.queue('orders')).toMatchObject({ ready: 0, locked: 0, dead: 0 })
  })

  it('cut, and the queue deleted meanwhile → the receiver ends with an error that names the queue', async () => {
    const told = Promise.withResolvers<Error>()
    const transport = embedded({ path: join(folder, 'shop.db'), host: 'never' })
    transports.push(transport)
    const onState = (_: string, error?: Error): void => {
      if (error !== undefined) told.resolve(error)
    }
    await transport.connect({ logger: silentLogger, onState })
    await transport.declare(topology)
    const receiver = await transport.receive('orders', async () => ({ as: 'ack' }), { maxInFlight: 1, orderBy: 'none' })
    const other = await client()
    // Held back at the proxy, so that the queue is gone before the client is there again.
    const deleted = other.transport.admin.deleteQueue('orders')
    for (const socket of pairs.slice(0, 2)) socket.destroy()
    await deleted
    expect(await told.promise).toMatchObject({ code: 'BUZZER_QUEUE_NOT_FOUND', details: { queue: 'orders' } })
    await receiver.stop()
  })

  it('cut again and again under load → every send is stored once, every message handled once', async () => {
    const { transport } = await client()
    await transport.declare(topology)
    const seen: string[] = []
    const all = Promise.withResolvers<void>()
    const receiver = await transport.receive(
      'orders',
      async delivery => {
        seen.push(delivery.id)
        if (seen.length === 2_000) all.resolve()
        return { as: 'ack' }
      },
      { maxInFlight: 50, orderBy: 'none' },
    )
    const lanes = Array.from({ length: 20 }, async (_, lane) => {
      for (let number = lane; number < 2_000; number += 20) {
        if (number % 400 === 100) cut()
        await transport.send([message(`m${number}`)])
      }
    })
    await Promise.all(lanes)
    await all.promise
    await receiver.stop()
    expect(seen.length).toBe(2_000)
    expect(new Set(seen).size).toBe(2_000)
    expect(await transport.admin.queue('orders')).toMatchObject({ ready: 0, locked: 0, dead: 0 })
  })
})

/** A client that speaks for itself. */
async function rude(): Promise<{ socket: Socket; failures: WireError[]; closed: Promise<unknown> }> {
  const socket = connect(join(folder, 'engine/s'))
  const failures: WireError[] = []
  const splitter = new FrameSplitter()
  const note = (): void => {}
  const sink = {
    welcome: note,
    committed: note,
    sendRefused: note,
    result: note,
    deliver: note,
    lockLost: note,
    changed: note,
    receiverEnded: note,
    goodbye: note,
    appended: note,
    records: note,
    failure: (_: number, error: WireError) => void failures.push(error),
  }
  socket.on('error', () => {})
  socket.on('data', chunk => splitter.push(chunk, frame => readEngineFrame(frame, sink)))
  const closed = once(socket, 'close')
  await once(socket, 'connect')
  return { socket, failures, closed }
}

describe('a rude client', () => {
  it('B83 of a future protocol is refused with both versions', async () => {
    const { socket, failures, closed } = await rude()
    const writer = new ByteWriter()
    const future = protocolVersion + 1
    const who = { packageVersion: '9.0.0', sessionId: 'x', pid: 1, lastEpoch: 0, answeredThrough: 0, open: [] }
    writeHello(writer, { protocolVersion: future, ...who })
    writeFrame(socket, writer.take())
    await closed
    expect(failures[0]).toMatchObject({
      code: 'BUZZER_PROTOCOL_MISMATCH',
      retryable: false,
      details: { client: future, engine: protocolVersion },
    })
  })

  it.each([
    ['a frame beyond the limit', Buffer.from([0xff, 0xff, 0xff, 0xff])],
    ['bytes that make no sense', Buffer.from([5, 0, 0, 0, 99, 1, 2, 3, 4])],
    ['a request before its hello', Buffer.from([5, 0, 0, 0, 7, 0, 0, 0, 0])],
  ])('that sends %s loses its connection, and nobody else does', async (_, bytes) => {
    const { transport } = await client()
    await transport.declare(topology)
    const { socket, closed } = await rude()
    socket.write(bytes)
    await closed
    await transport.send([message('m1')])
    expect(await transport.admin.queue('orders')).toMatchObject({ ready: 1 })
  })

  it('with half a frame, and two hundred that come and go, disturb nobody', async () => {
    const { transport } = await client()
    await transport.declare(topology)
    const half = await rude()
    half.socket.write(Buffer.from([100, 0, 0, 0, 1]))
    await Promise.all(
      Array.from({ length: 200 }, async () => {
        const { socket, closed } = await rude()
        socket.destroy()
        await closed
      }),
    )
    await transport.send([message('m1')])
    expect(await transport.admin.engine()).toMatchObject({ sessions: 1 })
    half.socket.destroy()
  })
})
