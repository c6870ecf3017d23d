import { describe, expect, it } from 'vitest'
import type { AppendRecord, Appended, LogRecord, ReadResult, StreamTopology } from '../../transport/index.ts'
import {
  type AppendAnswer,
  beginRecords,
  ByteWriter,
  type ClientFrameSink,
  decodeLogRecord,
  encodeLogRecord,
  endRecords,
  type EngineFrameSink,
  fromWireStream,
  logRecordKey,
  logRecordSize,
  readBatches,
  readClientFrame,
  readEngineFrame,
  setLogRecordTime,
  toWireStream,
  type WireBatch,
  type WireStream,
  writeAnswer,
  writeAppend,
  writeAppended,
  writeLogRecord,
} from './index.ts'

const nothing = (): void => {}

/** Hears appends, or what the engine says of logs; nothing else. */
function clientSink(append: ClientFrameSink['append']): ClientFrameSink {
  return {
    hello: nothing,
    send: nothing,
    settle: nothing,
    ack: nothing,
    request: nothing,
    beat: nothing,
    forfeit: nothing,
    bye: nothing,
    append,
  }
}

function engineSink(heard: Partial<EngineFrameSink>): EngineFrameSink {
  return {
    welcome: nothing,
    committed: nothing,
    sendRefused: nothing,
    result: nothing,
    failure: nothing,
    deliver: nothing,
    lockLost: nothing,
    changed: nothing,
    receiverEnded: nothing,
    goodbye: nothing,
    appended: nothing,
    records: nothing,
    ...heard,
  }
}

const records: readonly AppendRecord[] = [
  { value: Buffer.from('plain') },
  {
    key: 'Grüße 你好 🚀',
    value: Buffer.from([0, 255]),
    headers: [
      ['a', Buffer.from([1])],
      ['ü', new Uint8Array()],
    ],
  },
  {
    key: '',
    value: new Uint8Array(),
    headers: [
      ['a', Buffer.from('1')],
      ['a', Buffer.from('2')],
    ],
  },
  { key: 'gone', value: null },
]

const plain = ({ value, headers = [], ...rest }: Pick<LogRecord, 'value'> & Partial<LogRecord>): unknown => ({
  ...rest,
  value: value === null ? null : [...value],
  headers: headers.map(([name, content]) => [name, [...content]]),
})

describe('records of logs', () => {
  it('come back as they were, with position and the time the engine gave', () => {
    for (const [index, record] of records.entries()) {
      const writer = new ByteWriter(4)
      writer.u8(7)
      encodeLogRecord(writer, record)
      const bytes = Buffer.from(writer.take())
      setLogRecordTime(bytes, 1, 1_800_000_000_000.5)
      const back = decodeLogRecord(bytes, 1, bytes.length, index)
      expect(plain(back)).toEqual(plain({ ...record, position: index, time: 1_800_000_000_000.5 }))
      expect(logRecordKey(bytes, 1)).toBe(record.key)
      const { key = '', value, headers = [] } = record
      const sizes = [Buffer.byteLength(key), value?.length ?? 0]
      for (const [name, content] of headers) sizes.push(Buffer.byteLength(name), content.length)
      expect(logRecordSize(bytes, 1, bytes.length)).toBe(sizes.reduce((sum, size) => sum + size))
    }
  })
})

describe('frames of logs', () => {
  it('bring appends to the engine: numbers, heads and records in their order', () => {
    const writer = new ByteWriter(16)
    const head = {
      stream: 's',
      partition: 3,
      expect: { key: 'k', last: 'none' },
      producer: { name: 'p', epoch: 2, sequence: 9 },
      deduplicationKey: 'd',
    } as const
    writeAppend(writer, 5, 4, [
      { ...head, records },
      { stream: 't', records: records.slice(0, 1) },
    ])
    writeAppend(writer, 6, 4, [])
    const seen: [number, number, WireBatch[]][] = []
    const frame = writer.take()
    readClientFrame(
      frame,
      clientSink((sequence, heard, reader) => seen.push([sequence, heard, readBatches(reader)])),
    )
    expect(seen.map(([sequence, heard, batches]) => [sequence, heard, batches.length])).toEqual([
      [5, 4, 2],
      [6, 4, 0],
    ])
    const [first, second] = seen[0]?.[2] ?? []
    expect(first).toMatchObject(head)
    expect(second).toEqual({ stream: 't', bounds: expect.any(Array) })
    const bytes = Buffer.from(frame.buffer)
    const back = records.map((_, index) => {
      const [start, end] = first?.bounds.slice(2 * index, 2 * index + 2) ?? []
      return plain(decodeLogRecord(bytes, start as number, end as number, 0))
    })
    expect(back).toEqual(records.map(record => plain({ ...record, position: 0, time: 0 })))
  })

  it('bring answers and records to the client', () => {
    const answers: Appended[] = [
      { as: 'stored', partition: 1, position: 2 ** 40, time: 1.5 },
      { as: 'duplicate', partition: 0, position: 1, time: 2 },
      { as: 'duplicate' },
    ]
    const error = { code: 'BUZZER_LOG_CONFLICT', message: 'ü', retryable: true, details: { actual: 'none' } }
    const heard: [number, AppendAnswer][] = []
    const results: [number, ReadResult][] = []
    const out = new ByteWriter(16)
    for (const [index, answer] of [{ answers }, { error }].entries()) {
      const writer = new ByteWriter()
      writeAnswer(writer, answer)
      writeAppended(out, index + 1, writer.take())
    }
    const encoded = new ByteWriter()
    encodeLogRecord(encoded, records[1] as AppendRecord)
    const bytes = Buffer.from(encoded.take())
    const start = beginRecords(out, 77)
    writeLogRecord(out, 9, bytes, 0, bytes.length)
    writeLogRecord(out, 12, bytes, 0, bytes.length)
    endRecords(out, start, { next: 13, first: 2, end: 2 ** 45 }, 2)
    readEngineFrame(
      out.take(),
      engineSink({
        appended: (sequence, answer) => heard.push([sequence, answer]),
        records: (requestId, result) => results.push([requestId, result]),
      }),
    )
    expect(heard).toEqual([
      [1, { answers }],
      [2, { error }],
    ])
    expect(results).toMatchObject([[77, { next: 13, first: 2, end: 2 ** 45 }]])
    expect(results[0]?.[1].records.map(({ position, key }) => [position, key])).toEqual([
      [9, 'Grüße 你好 🚀'],
      [12, 'Grüße 你好 🚀'],
    ])
  })

  it('that are cut or changed anywhere give the typed error or another reading, never a crash', () => {
    const writer = new ByteWriter()
    writeAppend(writer, 1, 0, [{ stream: 's', partition: 1, records }])
    const whole = Buffer.from(writer.take())
    let errors = 0
    const look = (bytes: Buffer): void => {
      try {
        readClientFrame(
          bytes,
          clientSink((_sequence, _heard, reader) => void readBatches(reader)),
        )
      } catch (error) {
        expect((error as { code?: string }).code, String(error)).toBe('BUZZER_PROTOCOL_MISMATCH')
        errors++
      }
    }
    for (let at = 0; at < whole.length; at++) {
      look(Buffer.from(whole.subarray(0, at)))
      for (const value of [0, 1, 0x7f, 0x80, 0xff]) {
        const changed = Buffer.from(whole)
        changed[at] = value
        look(changed)
      }
    }
    expect(errors).toBeGreaterThan(whole.length)
  })

  it('write Infinity as null, for JSON has none, and read it back', () => {
    const stream = { name: 's', retention: { maxAgeMs: Number.POSITIVE_INFINITY, maxBytes: 5 } }
    const text = JSON.stringify(toWireStream<StreamTopology>(stream))
    expect(text).toBe('{"name":"s","retention":{"maxAgeMs":null,"maxBytes":5}}')
    expect(fromWireStream(JSON.parse(text) as WireStream)).toEqual(stream)
    expect(fromWireStream(toWireStream<StreamTopology>({ name: 's' }))).toEqual({ name: 's' })
  })
})
