/**
 * Frames from a client to the engine. A frame is a run of items, each `u8 kind · u32 length · payload`.
 *
 * | kind | payload |
 * |---|---|
 * | 1 hello | JSON `Hello` |
 * | 2 send | f64 sequence · messages · string JSON of the state changes, or an empty string |
 * | 3 settle | f64 requestId · f64 token · string JSON `SettlementHead` · messages |
 * | 4 acks | f64 tokens, one after the other: plain acknowledgements |
 * | 5 request | f64 requestId · string JSON `Request` |
 * | 6 beat | f64 answeredThrough |
 * | 7 forfeit | empty: all open deliveries of the session are given up, counted |
 * | 8 bye | empty: the session ends; open deliveries are released, uncounted |
 * | 9 append | see log-frames.ts |
 *
 * *messages* is `u32 count`, then per message a destination (`string`: `q` and the queue, or `t` and JSON of the topic
 * followed by its bases) and a message record. Sends of one session are numbered from 1 without gaps and are never
 * reordered; a send of no messages is a commit of the store. Encoded items carry nothing of the connection, so they may
 * be sent again after a reconnection.
 */
import { BuzzerError, type JsonObject } from '../../message/index.ts'
import type { StateChange } from '../../store/index.ts'
import type { Destination, OutgoingMessage } from '../../transport/index.ts'
import { brokenFrame, type ByteReader } from './byte-reader.ts'
import type { ByteWriter } from './byte-writer.ts'
import { beginItem, endItem, readItems } from './items.ts'
import { clientLogKinds } from './log-frames.ts'
import { encodeMessage } from './message-record.ts'
import { recordLength } from './record-layout.ts'
import type { Hello, Request } from './requests.ts'

const kinds = { hello: 1, send: 2, settle: 3, acks: 4, request: 5, beat: 6, forfeit: 7, bye: 8 } as const

/** A settlement but for the messages it sends. A plain `ack` travels as one of many in `acks`. */
export type SettlementHead =
  | {
      readonly as: 'ack'
      readonly state?: readonly StateChange[]
      readonly cancel?: readonly string[]
      readonly group?: { readonly id: string; readonly size: number }
    }
  | { readonly as: 'retry'; readonly delayMs?: number; readonly state?: readonly StateChange[] }
  | {
      readonly as: 'dead-letter'
      readonly reason: string
      readonly detail?: JsonObject
      readonly state?: readonly StateChange[]
    }
  | { readonly as: 'release' }
  /** Set aside until `unpark`. */
  | { readonly as: 'park' }

/** Runs `write` and takes back what it wrote if it throws. */
function whole(writer: ByteWriter, write: () => void): void {
  const mark = writer.length
  try {
    write()
  } catch (error) {
    writer.rewind(mark)
    throw error
  }
}

export function writeHello(writer: ByteWriter, hello: Hello): void {
  const start = beginItem(writer, kinds.hello)
  writer.json(hello)
  endItem(writer, start)
}

function encodeDestination(to: Destination): string {
  return 'queue' in to ? `q${to.queue}` : `t${JSON.stringify([to.topic, ...to.bases])}`
}

/** The destination written last, and its bytes: a sender's next message mostly goes the same way. */
let lastNames: readonly string[] = []
let lastKind = ''
let lastBytes = Buffer.alloc(0)
const noBases: readonly string[] = []

function destinationBytes(to: Destination): Buffer {
  const kind = 'queue' in to ? 'queue' : 'topic'
  const name = 'queue' in to ? to.queue : to.topic
  const bases = 'queue' in to ? noBases : to.bases
  if (kind === lastKind && name === lastNames[0] && bases.length === lastNames.length - 1) {
    if (bases.every((base, index) => base === lastNames[index + 1])) return lastBytes
  }
  lastNames = [name, ...bases]
  lastKind = kind
  lastBytes = Buffer.from(encodeDestination(to))
  return lastBytes
}

/** A destination as it stands in a frame, read back. */
export function decodeDestination(text: string): Destination {
  if (text.startsWith('q')) return { queue: text.slice(1) }
  if (!text.startsWith('t')) throw brokenFrame('a destination of an unknown kind')
  const names = JSON.parse(text.slice(1)) as string[]
  const [topic, ...bases] = names
  if (topic === undefined) throw brokenFrame('a topic without a name')
  return { topic, bases }
}

function writeMessages(writer: ByteWriter, messages: readonly OutgoingMessage[], maxMessageBytes: number): void {
  writer.u32(messages.length)
  for (const message of messages) {
    const destination = destinationBytes(message.to)
    writer.u32(destination.length)
    writer.bytes(destination)
    encodeMessage(writer, message, maxMessageBytes)
  }
}

/**
 * One send: its messages and state changes are one atomic step. On an error nothing was written.
 * @throws BUZZER_MESSAGE_TOO_LARGE, BUZZER_INVALID_OPTION, BUZZER_INVALID_MESSAGE as `encodeMessage`
 */
export function writeSend(
  writer: ByteWriter,
  sequence: number,
  messages: readonly OutgoingMessage[],
  state: readonly StateChange[] | undefined,
  maxMessageBytes: number,
): void {
  const mark = writer.length
  try {
    const start = beginItem(writer, kinds.send)
    writer.f64(sequence)
    writeMessages(writer, messages, maxMessageBytes)
    if (state === undefined || state.length === 0) writer.u32(0)
    else writer.json(state)
    endItem(writer, start)
  } catch (error) {
    writer.rewind(mark)
    throw error
  }
}

/**
 * A settlement with an answer of its own: a result, or a failure that says it was refused and nothing of it applied
 * (the delivery is then still open), or `BUZZER_LOCK_LOST`.
 */
export function writeSettle(
  writer: ByteWriter,
  requestId: number,
  token: number,
  head: SettlementHead,
  messages: readonly OutgoingMessage[],
  maxMessageBytes: number,
): void {
  whole(writer, () => {
    const start = beginItem(writer, kinds.settle)
    writer.f64(requestId)
    writer.f64(token)
    writer.json(head)
    writeMessages(writer, messages, maxMessageBytes)
    endItem(writer, start)
  })
}

/** Plain acknowledgements of `tokens[0 … count - 1]`. Confirmed in order by `committed`; a lost one by `lock-lost`. */
export function writeAcks(writer: ByteWriter, tokens: ArrayLike<number>, count: number = tokens.length): void {
  const start = beginItem(writer, kinds.acks)
  for (let index = 0; index < count; index++) writer.f64(tokens[index] as number)
  endItem(writer, start)
}

/** `requestId` is the client's, unique on its connection, settlements included. */
export function writeRequest(writer: ByteWriter, requestId: number, request: Request): void {
  whole(writer, () => {
    const start = beginItem(writer, kinds.request)
    writer.f64(requestId)
    writer.json(request)
    endItem(writer, start)
  })
}

/** A sign of life, every `lockMs / 5`. */
export function writeBeat(writer: ByteWriter, answeredThrough: number): void {
  const start = beginItem(writer, kinds.beat)
  writer.f64(answeredThrough)
  endItem(writer, start)
}

/** For a process whose event loop is stuck beyond `stallMs`: its deliveries go to others. */
export function writeForfeit(writer: ByteWriter): void {
  beginItem(writer, kinds.forfeit)
}

export function writeBye(writer: ByteWriter): void {
  beginItem(writer, kinds.bye)
}

/** Where the messages of a send or settlement lie: `reader.at` stands on the first destination. See `nextMessage`. */
export interface ClientFrameSink {
  hello(hello: Hello): void
  /** The sink walks over `count` messages with `nextMessage`, or leaves them; `state` is JSON or empty. */
  send(sequence: number, count: number, reader: ByteReader): void
  settle(requestId: number, token: number, head: SettlementHead, count: number, reader: ByteReader): void
  /** The sink reads the batches with `readBatches`, or leaves them. */
  append(sequence: number, answeredThrough: number, reader: ByteReader): void
  ack(token: number): void
  request(requestId: number, request: Request): void
  beat(answeredThrough: number): void
  forfeit(): void
  bye(): void
}

/** A message in a frame: its destination as text and where its record lies. Reused: copy what you keep. */
export interface MessagePlace {
  destinationStart: number
  destinationEnd: number
  recordStart: number
  recordEnd: number
}

/** Steps over the next message of a send or settlement and says where its parts lie. */
export function nextMessage(reader: ByteReader, place: MessagePlace): void {
  const destinationBytes = reader.u32()
  place.destinationStart = reader.skip(destinationBytes)
  place.destinationEnd = reader.at
  place.recordStart = reader.at
  reader.skip(recordLength(reader.bytes, reader.at, reader.end))
  place.recordEnd = reader.at
}

/** The state changes behind the messages of a send; the reader must stand behind its last message. */
export function readState(reader: ByteReader): readonly StateChange[] {
  const length = reader.u32()
  if (length === 0) return []
  const text = reader.text(length)
  try {
    return JSON.parse(text) as readonly StateChange[]
  } catch (cause) {
    throw new BuzzerError('BUZZER_PROTOCOL_MISMATCH', 'the state changes of a send are not JSON', { cause })
  }
}

/**
 * Reads a frame of a client and tells `sink` of each item, in order.
 * @throws BUZZER_PROTOCOL_MISMATCH for bytes that make no sense; items before them have been told
 */
export function readClientFrame(frame: Uint8Array, sink: ClientFrameSink): void {
  readItems(frame, (kind, reader) => readClientItem(kind, reader, sink))
}

function readClientItem(kind: number, reader: ByteReader, sink: ClientFrameSink): void {
  switch (kind) {
    case kinds.send: {
      const sequence = reader.f64()
      sink.send(sequence, reader.u32(), reader)
      break
    }
    case kinds.acks:
      while (reader.at < reader.end) sink.ack(reader.f64())
      break
    case kinds.settle: {
      const requestId = reader.f64()
      const token = reader.f64()
      const head = reader.json() as SettlementHead
      sink.settle(requestId, token, head, reader.u32(), reader)
      break
    }
    case clientLogKinds.append: {
      const sequence = reader.f64()
      sink.append(sequence, reader.f64(), reader)
      break
    }
    case kinds.request: {
      const requestId = reader.f64()
      sink.request(requestId, reader.json() as Request)
      break
    }
    case kinds.beat:
      sink.beat(reader.f64())
      break
    case kinds.hello:
      sink.hello(reader.json() as Hello)
      break
    case kinds.forfeit:
      sink.forfeit()
      break
    case kinds.bye:
      sink.bye()
      break
    default:
      throw brokenFrame(`item kind ${kind} is unknown`)
  }
}
