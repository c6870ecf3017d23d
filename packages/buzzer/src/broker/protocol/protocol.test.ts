import { describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import type { OutgoingMessage } from '../../transport/index.ts'
import type { ByteReader } from './index.ts'
import {
  ByteWriter,
  type ClientFrameSink,
  type DecodedMessage,
  decodeDestination,
  decodeMessage,
  encodeMessage,
  type EngineFrameSink,
  fromWireError,
  nextMessage,
  readClientFrame,
  readEngineFrame,
  readBatches,
  readState,
  recordDeliverAt,
  recordExpiresAt,
  recordId,
  recordKey,
  recordPriority,
  toWireError,
  writeAcks,
  writeBeat,
  writeBye,
  writeCommitted,
  writeDelivery,
  beginDeliver,
  endDeliver,
  writeForfeit,
  writeGoodbye,
  writeHello,
  writeLockLost,
  writeRequest,
  writeResult,
  writeSend,
  writeSendRefused,
  writeSettle,
} from './index.ts'

const limit = 1024 * 1024

function message(parts: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return {
    id: 'm-1',
    to: { queue: 'billing' },
    attributes: { source: 'shop', type: 'orders.placed' },
    headers: { 'x-tenant': 'a' },
    contentType: 'application/json',
    body: new TextEncoder().encode('{"n":1}'),
    priority: 4,
    mandatory: true,
    ...parts,
  }
}

function throughRecord(source: OutgoingMessage): DecodedMessage {
  const writer = new ByteWriter(8)
  encodeMessage(writer, source, limit)
  return decodeMessage(Buffer.from(writer.take()), 0)
}

function expected(source: OutgoingMessage): DecodedMessage {
  const { to: _, ...rest } = source
  return rest
}

describe('the message record', () => {
  it('B3 carries ids, keys, attributes, headers in any script, empty and maximal bodies unchanged', () => {
    const sources = [
      message(),
      message({ body: new Uint8Array(0), attributes: {}, headers: {} }),
      message({ key: 'ключ', deduplicationKey: '鍵', headers: { Größe: '\u{1f600}'.repeat(50), leer: '' } }),
      message({ deliverAt: 1.5e12, expiresAt: 1.6e12, key: '', deduplicationKey: '' }),
      message({ body: new Uint8Array(limit).fill(7), attributes: {}, headers: {}, contentType: '' }),
      message({ headers: JSON.parse('{"__proto__":"x","constructor":"y"}') as Record<string, string> }),
    ]
    for (const source of sources) expect(throughRecord(source)).toEqual(expected(source))
  })

  it('carries any text and any bytes unchanged', () => {
    const texts = fc.dictionary(fc.string({ unit: 'grapheme', maxLength: 60 }), fc.string({ unit: 'grapheme' }))
    fc.assert(
      fc.property(
        texts,
        texts,
        fc.option(fc.string({ unit: 'binary' }), { nil: undefined }),
        fc.uint8Array(),
        fc.integer({ min: 0, max: 9 }),
        (attributes, headers, key, body, priority) => {
          const source = message({ attributes, headers, body, priority, ...(key === undefined ? {} : { key }) })
          expect({ ...throughRecord(source) }).toEqual(expected(source))
        },
      ),
      { seed: 1 },
    )
  })

  it('carries messages that differ only in what is their own through the same block', () => {
    const attributes = { specversion: '1.0', type: 'orders.placed', source: '/shop' }
    const one = (id: string, more: Record<string, string>, parts: Partial<OutgoingMessage> = {}): OutgoingMessage =>
      message({ id, attributes: { ...attributes, id, ...more }, ...parts })
    const time = '2026-11-29T05:00:00.123Z'
    const sources = [
      one('a', { time, conversationid: 'a' }),
      one('b', { time, conversationid: 'b' }),
      one('c', { time: '2026-11-29T05:00:00.124Z', conversationid: 'other' }),
      one('d', { time: '2026-11-29 05:00', conversationid: 'ü', causationid: 'a' }),
      one('e', { time: '+012026-11-29T05:00:00.000Z', conversationid: 'x'.repeat(2_000) }),
      one('f', { partitionkey: 'k' }, { key: 'k' }),
      one('g', { partitionkey: 'k' }, { key: 'other' }),
      one('h', { partitionkey: 'k' }),
      one('i', { traceparent: '00-1', tracestate: '' }, { headers: {} }),
      one('j', { traceparent: '00-2', tracestate: 'ä' }, { headers: {} }),
    ]
    for (const source of [...sources, ...sources.toReversed()]) expect(throughRecord(source)).toEqual(expected(source))
  })

  it('B2 counts the bytes of attributes, headers and body, however they are written', () => {
    const source = message({
      id: 'abc',
      key: 'k',
      attributes: { id: 'abc', time: '2026-11-29T05:00:00.000Z', partitionkey: 'k', causationid: 'ä', type: 't' },
      headers: { h: 'v' },
      contentType: 'application/json',
    })
    const texts = [source.attributes, source.headers].flatMap(each => Object.entries(each).flat())
    const bytes = Buffer.byteLength([...texts, source.contentType].join('')) + source.body.length
    expect(() => encodeMessage(new ByteWriter(), source, bytes)).not.toThrow()
    expect(() => encodeMessage(new ByteWriter(), source, bytes - 1)).toThrowError(
      expect.objectContaining({ details: expect.objectContaining({ actualBytes: bytes }) }),
    )
  })

  it('does not crash on lone surrogates and keeps the texts around them', () => {
    const back = throughRecord(message({ headers: { a: 'x\ud800', b: '\udc00y', c: 'ok' } }))
    expect(back.headers).toEqual({ a: 'x\ufffd', b: '\ufffdy', c: 'ok' })
  })

  it('lets the engine read what it needs without decoding', () => {
    const writer = new ByteWriter()
    encodeMessage(writer, message({ key: 'k', deliverAt: 5, expiresAt: 6, priority: 9 }), limit)
    const bytes = Buffer.from(writer.take())
    expect([recordId(bytes, 0), recordKey(bytes, 0), recordPriority(bytes, 0)]).toEqual(['m-1', 'k', 9])
    expect([recordDeliverAt(bytes, 0), recordExpiresAt(bytes, 0)]).toEqual([5, 6])
  })

  it('B2 refuses a message above the limit with both sizes and leaves the writer as it was', () => {
    const writer = new ByteWriter()
    writer.u8(1)
    expect(() => encodeMessage(writer, message({ body: new Uint8Array(2000) }), 1000)).toThrowError(
      expect.objectContaining({
        code: 'BUZZER_MESSAGE_TOO_LARGE',
        details: expect.objectContaining({ limitBytes: 1000, actualBytes: 2000 }),
      }),
    )
    expect(writer.length).toBe(1)
  })

  it('B4 refuses an id of 129 characters and a body that is not bytes', () => {
    const writer = new ByteWriter()
    expect(() => encodeMessage(writer, message({ id: 'x'.repeat(129) }), limit)).toThrowError(
      expect.objectContaining({ code: 'BUZZER_INVALID_OPTION' }),
    )
    const body = 'text' as unknown as Uint8Array
    expect(() => encodeMessage(writer, message({ body }), limit)).toThrowError(
      expect.objectContaining({ code: 'BUZZER_INVALID_MESSAGE' }),
    )
    expect(writer.length).toBe(0)
  })
})

function places(count: number, reader: ByteReader): unknown[] {
  const place = { destinationStart: 0, destinationEnd: 0, recordStart: 0, recordEnd: 0 }
  return Array.from({ length: Math.min(count, 1000) }, () => {
    nextMessage(reader, place)
    const to = decodeDestination(reader.bytes.toString('utf8', place.destinationStart, place.destinationEnd))
    return { to, ...decodeMessage(reader.bytes, place.recordStart) }
  })
}

function recordingClientSink(seen: unknown[]): ClientFrameSink {
  return {
    hello: hello => seen.push(hello),
    send: (sequence, count, reader) => seen.push([sequence, places(count, reader), readState(reader)]),
    settle: (requestId, token, head, count, reader) => seen.push([requestId, token, head, places(count, reader)]),
    ack: token => seen.push(token),
    request: (requestId, request) => seen.push([requestId, request]),
    beat: answered => seen.push(['beat', answered]),
    forfeit: () => seen.push('forfeit'),
    bye: () => seen.push('bye'),
    append: (sequence, heard, reader) => seen.push([sequence, heard, readBatches(reader).map(({ stream }) => stream)]),
  }
}

describe('frames', () => {
  it('bring every item of a client to the engine, in order', () => {
    const writer = new ByteWriter(16)
    const hello = {
      protocolVersion: 1,
      packageVersion: '0.1.0',
      sessionId: 's',
      pid: 1,
      lastEpoch: 0,
      answeredThrough: 0,
      open: [],
    }
    const topical = message({ to: { topic: 'orders', bases: ['things', 'ä'] } })
    const change = { op: 'put', collection: 'c', id: 'i', value: { a: 1 }, expected: 'any' } as const
    writeHello(writer, hello)
    writeSend(writer, 1, [message(), topical], undefined, limit)
    writeSend(writer, 2, [], [change], limit)
    writeAcks(writer, [5, 2 ** 40, 7])
    writeSettle(writer, 3, 9, { as: 'ack', cancel: ['m'] }, [topical], limit)
    writeRequest(writer, 4, { call: 'pause', receiverId: 1 })
    writeBeat(writer, 2)
    writeForfeit(writer)
    writeBye(writer)
    const seen: unknown[] = []
    readClientFrame(writer.take(), recordingClientSink(seen))
    expect(seen).toEqual([
      hello,
      [1, [message(), topical], []],
      [2, [], [change]],
      5,
      2 ** 40,
      7,
      [3, 9, { as: 'ack', cancel: ['m'] }, [topical]],
      [4, { call: 'pause', receiverId: 1 }],
      ['beat', 2],
      'forfeit',
      'bye',
    ])
  })

  it('bring every item of the engine to a client, in order', () => {
    const records = new ByteWriter()
    encodeMessage(records, message(), limit)
    const record = Buffer.from(records.take())
    const writer = new ByteWriter(16)
    writeCommitted(writer, 7, 3)
    writeSendRefused(writer, 6, toWireError(new Error('x')))
    writeResult(writer, 1, undefined)
    const start = beginDeliver(writer, 4)
    writeDelivery(writer, 2 ** 33, 77, 2, 1000, '', record, 0, record.length)
    writeDelivery(writer, 6, 78, 1, 1000, '{"reason":"r","deadAt":1}', record, 0, record.length)
    endDeliver(writer, start, 2)
    writeLockLost(writer, [8, 9])
    writeGoodbye(writer)
    const seen: unknown[] = []
    const note =
      (name: string) =>
      (...facts: unknown[]): void => {
        seen.push([name, ...facts])
      }
    const names = [
      'welcome',
      'committed',
      'sendRefused',
      'result',
      'failure',
      'deliver',
      'lockLost',
      'changed',
      'receiverEnded',
      'goodbye',
    ]
    readEngineFrame(
      writer.take(),
      Object.fromEntries(names.map(name => [name, note(name)])) as unknown as EngineFrameSink,
    )
    const plain = expected(message())
    expect(seen).toEqual([
      ['committed', 7, 3],
      ['sendRefused', 6, expect.objectContaining({ code: 'BUZZER_BROKER_FAILED' })],
      ['result', 1, null],
      ['deliver', 4, { token: 2 ** 33, sequence: 77, attempt: 2, enqueuedAt: 1000, message: plain }],
      [
        'deliver',
        4,
        {
          token: 6,
          sequence: 78,
          attempt: 1,
          enqueuedAt: 1000,
          deadLetter: { reason: 'r', deadAt: 1 },
          message: plain,
        },
      ],
      ['lockLost', 8],
      ['lockLost', 9],
      ['goodbye'],
    ])
  })

  it('that are cut, or random, give the typed error and nothing else', () => {
    const writer = new ByteWriter()
    writeSend(writer, 1, [message(), message({ key: 'k' })], [], limit)
    writeSettle(writer, 3, 9, { as: 'release' }, [message()], limit)
    const frame = writer.take()
    const sink = recordingClientSink([])
    const attempt = (bytes: Uint8Array): void => {
      try {
        readClientFrame(bytes, sink)
      } catch (error) {
        expect((error as { code: string }).code).toBe('BUZZER_PROTOCOL_MISMATCH')
      }
    }
    for (let length = 0; length < frame.length; length++) attempt(frame.slice(0, length))
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), attempt), { seed: 2 })
    for (let at = 0; at < frame.length; at++) {
      const bent = frame.slice()
      bent[at] = 255 - (bent.at(at) ?? 0)
      try {
        readClientFrame(bent, sink)
      } catch (error) {
        expect(['BUZZER_PROTOCOL_MISMATCH', undefined]).toContain((error as { code?: string }).code)
        expect(error).toBeInstanceOf(Error)
      }
    }
  })

  it('keep code, words, retryable and details of an error', () => {
    const wire = { code: 'BUZZER_QUEUE_FULL', message: 'full', retryable: true, details: { queue: 'q' } }
    expect(toWireError(fromWireError(wire))).toEqual(wire)
  })
})
