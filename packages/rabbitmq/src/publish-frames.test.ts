import { createRequire } from 'node:module'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { publishFrames } from './publish-frames.ts'
import type { MessageProperties } from './wire-message.ts'

/** The library's own encoders and decoder, to compare with. */
const require = createRequire(import.meta.url)
const library = require.resolve('amqplib').replace('channel_api.js', 'lib/')
const definitions = require(`${library}defs.js`) as {
  BasicPublish: number
  BasicProperties: number
  encodeMethod(id: number, channel: number, fields: object): Buffer
  encodeProperties(id: number, channel: number, size: number, fields: object): Buffer
}
const { parseFrame, decodeFrame } = require(`${library}frame.js`) as {
  parseFrame(bytes: Buffer, max: number): { rest: Buffer } | false
  decodeFrame(frame: object): { fields?: { headers?: Record<string, unknown> }; content?: Buffer; size?: number }
}

const text = fc.string({ unit: 'binary', maxLength: 60 })
const properties = fc.record(
  {
    messageId: fc.string({ minLength: 1, maxLength: 128 }),
    headers: fc.dictionary(
      fc.string({ unit: 'binary', minLength: 1, maxLength: 60 }),
      fc.oneof(text, fc.string({ maxLength: 2_000 })),
    ),
    contentType: text,
    priority: fc.nat(9),
    expiration: fc.nat().map(String),
  },
  { requiredKeys: ['messageId', 'headers'] },
) as fc.Arbitrary<MessageProperties>
const target = fc.record({
  exchange: fc.string({ maxLength: 80 }),
  routingKey: fc.string({ maxLength: 200 }),
  mandatory: fc.boolean(),
})

test('method and properties are those of the client library, byte for byte', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 65_535 }),
      target,
      properties,
      fc.uint8Array({ maxLength: 300 }),
      (channel, to, given, body) => {
        // Its tables have a prototype that a name of ours may not mean.
        fc.pre(!('__proto__' in given.headers && Object.keys(given.headers).includes('__proto__')))
        const fields = { ...to, ...given, deliveryMode: 2 }
        const expected = Buffer.concat([
          definitions.encodeMethod(definitions.BasicPublish, channel, fields),
          definitions.encodeProperties(definitions.BasicProperties, channel, body.byteLength, fields),
        ])
        const frames = Buffer.concat(publishFrames(channel, to, given, body, 131_072))
        expect(frames.subarray(0, expected.length).equals(expected)).toBe(true)
        expect(frames.length - expected.length).toBe(body.byteLength === 0 ? 0 : body.byteLength + 8)
      },
    ),
  )
})

test('bodies of any length come out of frames of any size as they went in, numbers in headers too', () => {
  fc.assert(
    fc.property(fc.nat(200_000), fc.integer({ min: 4_096, max: 140_000 }), (length, frameMaxBytes) => {
      const body = Buffer.alloc(length, 'abcdefg')
      const headers = { 'buzzer-attempt': 3, 'buzzer-expires-at': 1_795_932_686_893 }
      let rest: Buffer = Buffer.concat(
        publishFrames(
          7,
          { exchange: '', routingKey: 'q', mandatory: true },
          { messageId: 'm', headers },
          body,
          frameMaxBytes,
        ),
      )
      const pieces: Buffer[] = []
      const decoded: ReturnType<typeof decodeFrame>[] = []
      while (rest.length > 0) {
        const frame = parseFrame(rest, frameMaxBytes - 8)
        if (frame === false) throw new Error('a frame is cut short')
        rest = frame.rest
        const one = decodeFrame(frame)
        decoded.push(one)
        if (one.content !== undefined) pieces.push(one.content)
      }
      expect(decoded[1]?.size).toBe(length)
      expect(decoded[1]?.fields?.headers).toEqual(headers)
      expect(Buffer.concat(pieces).equals(body)).toBe(true)
    }),
    { numRuns: 50 },
  )
})

test('what AMQP cannot carry is refused, and the next message is not disturbed by it', () => {
  const to = { exchange: '', routingKey: 'q', mandatory: true }
  const body = new Uint8Array(1)
  expect(() => publishFrames(1, to, { messageId: 'm', headers: { ['ü'.repeat(200)]: '' } }, body, 131_072)).toThrow(
    RangeError,
  )
  expect(() =>
    publishFrames(1, to, { messageId: 'm', headers: {}, contentType: 'x'.repeat(256) }, body, 131_072),
  ).toThrow(RangeError)
  const [frame] = publishFrames(1, to, { messageId: 'm', headers: {} }, body, 131_072)
  expect(parseFrame(frame as Buffer, 0)).not.toBe(false)
})
