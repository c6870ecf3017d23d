import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type EngineClient, EngineHost, messageTo, temporaryFolder } from '../../../test/broker/engine-client.ts'
import {
  ByteWriter,
  decodeMessage,
  encodeFirstRecord,
  encodeMessage,
  nextMessage,
  type PeekedWire,
  readClientFrame,
  type ClientFrameSink,
  writeSend,
} from '../protocol/index.ts'

let folder: ReturnType<typeof temporaryFolder>
let host: EngineHost

beforeEach(() => {
  folder = temporaryFolder()
  host = new EngineHost(join(folder.path, 'broker.db'))
})

afterEach(() => {
  host.engine.close()
  folder.remove()
})

const attributes = { specversion: '1.0', id: 'm', type: 't', time: '2026-11-29T05:00:00.000Z', conversationid: 'm' }
const sent = (): ReturnType<typeof messageTo> =>
  messageTo('work', 'body', { id: 'm', attributes, headers: { größe: '1' }, key: 'k', contentType: 'application/json' })

/** The flag of a record that tells its layout, wherever the record lies in the frame. */
function layoutsIn(frame: Uint8Array): ('first' | 'block')[] {
  const record = (layout: 'first' | 'block'): Buffer => {
    const writer = new ByteWriter()
    if (layout === 'block') encodeMessage(writer, sent(), 2 ** 20)
    else encodeFirstRecord(writer, { ...sent() })
    return Buffer.from(writer.take())
  }
  return (['first', 'block'] as const).filter(layout => Buffer.from(frame).includes(record(layout)))
}

/** A send as a client of protocol 1 writes it. */
function firstSend(): Uint8Array {
  const writer = new ByteWriter()
  writeSend(writer, 1, [sent()], undefined, 2 ** 20)
  const place = { destinationStart: 0, destinationEnd: 0, recordStart: 0, recordEnd: 0 }
  const frame = Buffer.from(writer.take())
  const ignore = (): void => {}
  const sink: ClientFrameSink = {
    hello: ignore,
    settle: ignore,
    append: ignore,
    ack: ignore,
    request: ignore,
    beat: ignore,
    forfeit: ignore,
    bye: ignore,
    send: (_sequence, _count, reader) => nextMessage(reader, place),
  }
  readClientFrame(frame, sink)
  const first = new ByteWriter()
  first.slice(frame, 0, place.recordStart)
  encodeFirstRecord(first, decodeMessage(frame, place.recordStart))
  first.slice(frame, place.recordEnd, frame.length)
  first.patchU32(1, first.length - 5)
  return first.take()
}

describe('B83 a client of the previous protocol', () => {
  let old: EngineClient
  beforeEach(() => {
    old = host.connect(undefined, [], true, 1)
    old.declare({ name: 'work' })
  })

  it('is delivered records in the layout it knows, whoever sent them', () => {
    host.connect().send([sent()])
    old.subscribe('work')
    const [delivery] = old.take()
    expect(layoutsIn(old.lastFrame)).toEqual(['first'])
    const { to: _, ...rest } = sent()
    expect(delivery?.message).toEqual(rest)
    old.settle(delivery?.token ?? 0, { as: 'dead-letter', reason: 'r' })
    old.subscribe('work.dead')
    expect(old.take()[0]?.message).toEqual(rest)
    expect(layoutsIn(old.lastFrame)).toEqual(['first'])
  })

  it('peeks records in the layout it knows', () => {
    host.connect().send([sent()])
    const page = old.call<{ items: PeekedWire[] }>({ call: 'admin', method: 'peek', queue: 'work' })
    expect(page.items.map(({ record }) => layoutsIn(Buffer.from(record, 'base64')))).toEqual([['first']])
  })

  it('is understood by the others', () => {
    old.session.receive(firstSend())
    host.run()
    expect(old.sendsThrough).toBe(1)
    const present = host.connect()
    present.subscribe('work')
    const { to: _, ...rest } = sent()
    expect(present.take().map(({ message }) => message)).toEqual([rest])
  })
})
