/**
 * Frames from the engine to a client. A frame is a run of items, each `u8 kind · u32 length · payload`.
 *
 * | kind | payload |
 * |---|---|
 * | 1 welcome | JSON `Welcome` |
 * | 2 committed | f64 sendsThrough · f64 acksThrough |
 * | 3 send refused | f64 sequence · JSON `WireError` |
 * | 4 result | f64 requestId · JSON value |
 * | 5 failure | f64 requestId · JSON `WireError` |
 * | 6 deliver | u32 receiverId · u32 count · deliveries |
 * | 7 lock lost | f64 tokens |
 * | 8 changed | u32 watch ids |
 * | 9 receiver ended | u32 receiverId · JSON `WireError` |
 * | 10 goodbye | empty: the answer to `bye`; all before it is durable |
 * | 11 appended, 12 records | see log-frames.ts |
 *
 * A delivery is `f64 token · f64 sequence · u32 attempt · f64 enqueuedAt · string JSON of the dead-letter
 * facts, or empty · record`. Nothing that acknowledges leaves the engine before the commit that covers it.
 */
import type { DeadLetterInfo, ReadResult } from '../../transport/index.ts'
import { brokenFrame, type ByteReader } from './byte-reader.ts'
import type { ByteWriter } from './byte-writer.ts'
import { beginItem, endItem, readItems } from './items.ts'
import { type AppendAnswer, engineLogKinds, readAppended, readRecords } from './log-frames.ts'
import { decodeMessage } from './message-record.ts'
import { type DecodedMessage, recordLength } from './record-layout.ts'
import type { Welcome } from './requests.ts'
import type { WireError } from './wire-error.ts'

const kinds = {
  welcome: 1,
  committed: 2,
  sendRefused: 3,
  result: 4,
  failure: 5,
  deliver: 6,
  lockLost: 7,
  changed: 8,
  receiverEnded: 9,
  goodbye: 10,
} as const

export function writeWelcome(writer: ByteWriter, welcome: Welcome): void {
  const start = beginItem(writer, kinds.welcome)
  writer.json(welcome)
  endItem(writer, start)
}

/** Every send up to `sendsThrough` is decided (refusals are told before), every ack up to the `acksThrough`-th of this connection too. */
export function writeCommitted(writer: ByteWriter, sendsThrough: number, acksThrough: number): void {
  const start = beginItem(writer, kinds.committed)
  writer.f64(sendsThrough)
  writer.f64(acksThrough)
  endItem(writer, start)
}

export function writeSendRefused(writer: ByteWriter, sequence: number, error: WireError): void {
  const start = beginItem(writer, kinds.sendRefused)
  writer.f64(sequence)
  writer.json(error)
  endItem(writer, start)
}

/** `value` is any JSON; `undefined` travels as `null`. */
export function writeResult(writer: ByteWriter, requestId: number, value: unknown): void {
  const start = beginItem(writer, kinds.result)
  writer.f64(requestId)
  writer.json(value ?? null)
  endItem(writer, start)
}

export function writeFailure(writer: ByteWriter, requestId: number, error: WireError): void {
  const start = beginItem(writer, kinds.failure)
  writer.f64(requestId)
  writer.json(error)
  endItem(writer, start)
}

/** Begins a run of deliveries to one receiver; `endDeliver` closes it. */
export function beginDeliver(writer: ByteWriter, receiverId: number): number {
  const start = beginItem(writer, kinds.deliver)
  writer.u32(receiverId)
  writer.u32(0)
  return start
}

/** One delivery; the record lies in `source` from `recordStart` to `recordEnd`. */
export function writeDelivery(
  writer: ByteWriter,
  token: number,
  sequence: number,
  attempt: number,
  enqueuedAt: number,
  deadLetter: string,
  source: Buffer,
  recordStart: number,
  recordEnd: number,
): void {
  writer.f64(token)
  writer.f64(sequence)
  writer.u32(attempt)
  writer.f64(enqueuedAt)
  if (deadLetter === '') writer.u32(0)
  else writer.string(deadLetter)
  writer.slice(source, recordStart, recordEnd)
}

export function endDeliver(writer: ByteWriter, start: number, count: number): void {
  writer.patchU32(start + 4, count)
  endItem(writer, start)
}

export function writeLockLost(writer: ByteWriter, tokens: readonly number[]): void {
  const start = beginItem(writer, kinds.lockLost)
  for (const token of tokens) writer.f64(token)
  endItem(writer, start)
}

export function writeChanged(writer: ByteWriter, watchIds: Iterable<number>): void {
  const start = beginItem(writer, kinds.changed)
  for (const watchId of watchIds) writer.u32(watchId)
  endItem(writer, start)
}

export function writeReceiverEnded(writer: ByteWriter, receiverId: number, error: WireError): void {
  const start = beginItem(writer, kinds.receiverEnded)
  writer.u32(receiverId)
  writer.json(error)
  endItem(writer, start)
}

export function writeGoodbye(writer: ByteWriter): void {
  beginItem(writer, kinds.goodbye)
}

/** One message handed to a receiver. */
export interface WireDelivery {
  /** Settlements name it. Valid for this connection, or until a `Welcome` gives another. */
  readonly token: number
  /** The broker's own id of the message. */
  readonly sequence: number
  readonly attempt: number
  readonly enqueuedAt: number
  readonly deadLetter?: DeadLetterInfo
  readonly message: DecodedMessage
}

export interface EngineFrameSink {
  welcome(welcome: Welcome): void
  committed(sendsThrough: number, acksThrough: number): void
  sendRefused(sequence: number, error: WireError): void
  result(requestId: number, value: unknown): void
  failure(requestId: number, error: WireError): void
  deliver(receiverId: number, delivery: WireDelivery): void
  /** The token is worthless; `delivery.signal` aborts. */
  lockLost(token: number): void
  changed(watchId: number): void
  receiverEnded(receiverId: number, error: WireError): void
  goodbye(): void
  appended(sequence: number, answer: AppendAnswer): void
  records(requestId: number, result: ReadResult): void
}

function readDeliveries(reader: ByteReader, sink: EngineFrameSink): void {
  const receiverId = reader.u32()
  for (let left = reader.u32(); left > 0; left--) {
    const token = reader.f64()
    const sequence = reader.f64()
    const attempt = reader.u32()
    const enqueuedAt = reader.f64()
    const deadLetterBytes = reader.u32()
    const deadLetter = deadLetterBytes === 0 ? undefined : (JSON.parse(reader.text(deadLetterBytes)) as DeadLetterInfo)
    const at = reader.skip(recordLength(reader.bytes, reader.at, reader.end))
    const message = decodeMessage(reader.bytes, at)
    sink.deliver(
      receiverId,
      deadLetter === undefined
        ? { token, sequence, attempt, enqueuedAt, message }
        : { token, sequence, attempt, enqueuedAt, deadLetter, message },
    )
  }
}

/** Reads a frame of the engine and tells `sink` of each item, in order. */
export function readEngineFrame(frame: Uint8Array, sink: EngineFrameSink): void {
  readItems(frame, (kind, reader) => readEngineItem(kind, reader, sink))
}

function readEngineItem(kind: number, reader: ByteReader, sink: EngineFrameSink): void {
  switch (kind) {
    case kinds.committed: {
      const sendsThrough = reader.f64()
      sink.committed(sendsThrough, reader.f64())
      break
    }
    case kinds.deliver:
      readDeliveries(reader, sink)
      break
    case kinds.result: {
      const requestId = reader.f64()
      sink.result(requestId, reader.json())
      break
    }
    case kinds.failure: {
      const requestId = reader.f64()
      sink.failure(requestId, reader.json() as WireError)
      break
    }
    case kinds.sendRefused: {
      const sequence = reader.f64()
      sink.sendRefused(sequence, reader.json() as WireError)
      break
    }
    case engineLogKinds.appended: {
      const { sequence, answer } = readAppended(reader)
      sink.appended(sequence, answer)
      break
    }
    case engineLogKinds.records: {
      const { requestId, result } = readRecords(reader)
      sink.records(requestId, result)
      break
    }
    case kinds.lockLost:
      while (reader.at < reader.end) sink.lockLost(reader.f64())
      break
    case kinds.changed:
      while (reader.at < reader.end) sink.changed(reader.u32())
      break
    case kinds.receiverEnded: {
      const receiverId = reader.u32()
      sink.receiverEnded(receiverId, reader.json() as WireError)
      break
    }
    case kinds.welcome:
      sink.welcome(reader.json() as Welcome)
      break
    case kinds.goodbye:
      sink.goodbye()
      break
    default:
      throw brokenFrame(`item kind ${kind} is unknown`)
  }
}
