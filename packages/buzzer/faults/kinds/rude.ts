import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  ByteWriter,
  protocolVersion,
  writeAcks,
  writeHello,
  writeRequest,
  writeSettle,
} from '../../src/broker/protocol/index.ts'
import { framePrefix } from '../../src/broker/process/frame-splitter.ts'
import { newId } from '../../src/message/index.ts'
import { machineClock } from '../../src/testing/index.ts'
import { Crew } from '../crew.ts'
import { always, type FaultContext, type FaultKind } from '../kind.ts'
import { freshPlace } from '../once.ts'

const rounds = { short: 1, long: 6 } as const
const visitors = 200
const answerLimitMs = 30_000

interface Rudeness {
  readonly name: string
  /** What is wrong with how the broker took it, if anything. */
  readonly act: (address: string, random: () => number) => Promise<string | undefined>
}

const rudenesses: readonly Rudeness[] = [
  { name: 'never reads', act: neverReads },
  { name: 'half a frame', act: address => sends(address, [framePrefix(1_000), Buffer.from('half')]) },
  { name: 'a frame beyond every limit', act: address => sends(address, [framePrefix(2 ** 32 - 1)]) },
  { name: 'random bytes', act: (address, random) => sends(address, [randomBytes(random)]) },
  { name: 'a frame of random bytes', act: (address, random) => sends(address, framed(randomBytes(random))) },
  {
    name: 'a hello, then random bytes',
    act: (address, random) => sends(address, [...hello(), ...framed(randomBytes(random))]),
  },
  { name: 'requests before any hello', act: address => sends(address, framed(requestBytes())) },
  { name: 'a future protocol', act: futureProtocol },
  { name: 'delivery tokens of others', act: foreignTokens },
  { name: '200 connections that come and go', act: comeAndGo },
]

/** Spec broker 13.9. Whatever comes over the socket harms nobody but who sent it. */
export const rude: FaultKind = {
  name: 'rude',
  what: 'clients that never read, send half frames or garbage, a future protocol, tokens of others; 200 that come and go',
  missing: always,
  async run(context) {
    for (let round = 1; round <= (context.count ?? rounds[context.size]); round++) await rudeRound(context, round)
  },
}

async function rudeRound({ folder, random, report }: FaultContext, round: number): Promise<void> {
  const place = freshPlace(folder)
  const crew = new Crew({ place, random })
  try {
    await crew.start()
    for (const { name, act } of rudenesses.toSorted(() => random() - 0.5)) {
      const address = crew.ownerAddress()
      if (address === undefined) throw new Error('the owner has no address')
      // It may hold deliveries, which come back counted when it has gone.
      const from = machineClock.monotonic()
      const wrong = await act(address, random)
      crew.write({ as: 'killed', process: `rude ${newId()}`, at: from })
      await sleep(50)
      report.injected(`rude client: ${name}`)
      if (wrong !== undefined)
        report.violations(`rude client, ${name}`, [{ rule: 'liveness', what: wrong }], place.folder)
    }
    report.violations(`rude, round ${round}`, await crew.finish(), place.folder)
  } catch (error) {
    report.violations(
      `rude, round ${round}`,
      [{ rule: 'liveness', what: String((error as Error).stack) }],
      place.folder,
    )
  } finally {
    await crew.end()
  }
}

async function connected(address: string): Promise<Socket> {
  const socket = connect(address)
  // The broker may close it at any moment: that is its good right.
  socket.on('error', () => undefined)
  await Promise.race([once(socket, 'connect'), once(socket, 'close')])
  return socket
}

/** Says something and waits a little; a healthy broker closes, or waits. */
async function sends(address: string, parts: readonly Uint8Array[]): Promise<undefined> {
  const socket = await connected(address)
  for (const part of parts) socket.write(part)
  await sleep(150)
  socket.destroy()
}

async function neverReads(address: string): Promise<undefined> {
  const socket = await connected(address)
  socket.pause()
  const writer = new ByteWriter()
  writeRequest(writer, 1, { call: 'subscribe', receiverId: 1, queue: 'orders', maxInFlight: 5_000 })
  for (const part of [...hello(), ...framed(writer.take())]) socket.write(part)
  await sleep(700)
  socket.destroy()
}

async function futureProtocol(address: string): Promise<string | undefined> {
  const socket = await connected(address)
  let answer = ''
  socket.setEncoding('latin1').on('data', (text: string) => {
    answer += text
  })
  for (const part of hello(protocolVersion + 1)) socket.write(part)
  const closed = once(socket, 'close')
  const isClosed = await Promise.race([closed.then(() => true), sleep(answerLimitMs, false, { ref: false })])
  socket.destroy()
  if (!isClosed) return 'a future protocol was not refused'
  return answer.includes('BUZZER_PROTOCOL_MISMATCH') ? undefined : 'a future protocol was refused without a reason'
}

/** The tokens of deliveries that are open elsewhere are among these, whatever they begin with. */
async function foreignTokens(address: string): Promise<undefined> {
  const writer = new ByteWriter()
  writeAcks(
    writer,
    Array.from({ length: 20_000 }, (_, token) => token),
  )
  for (let token = 1; token < 2_000; token += 7) {
    writeSettle(writer, token, token, { as: 'dead-letter', reason: 'rude' }, [], 1_024)
  }
  return sends(address, [...hello(), ...framed(writer.take())])
}

async function comeAndGo(address: string): Promise<undefined> {
  await Promise.all(
    Array.from({ length: visitors }, async (_, visitor) => {
      const socket = await connected(address)
      if (visitor % 2 === 0) for (const part of hello()) socket.write(part)
      await sleep(visitor % 20)
      socket.destroy()
    }),
  )
}

function hello(version = protocolVersion): readonly Uint8Array[] {
  const writer = new ByteWriter()
  writeHello(writer, {
    protocolVersion: version,
    packageVersion: '99.0.0',
    sessionId: newId(),
    pid: process.pid,
    lastEpoch: 0,
    answeredThrough: 0,
    open: [],
  })
  return framed(writer.take())
}

function requestBytes(): Uint8Array {
  const writer = new ByteWriter()
  writeRequest(writer, 1, { call: 'subscribe', receiverId: 1, queue: 'orders', maxInFlight: 100 })
  return writer.take()
}

function framed(frame: Uint8Array): readonly Uint8Array[] {
  return [framePrefix(frame.length), frame]
}

function randomBytes(random: () => number): Uint8Array {
  return Uint8Array.from({ length: 1 + Math.floor(random() * 3_000) }, () => Math.floor(random() * 256))
}
