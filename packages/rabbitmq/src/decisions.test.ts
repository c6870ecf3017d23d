import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  delayLevels,
  delayRoute,
  delayStepMs,
  duePattern,
  levelMs,
  levelPattern,
  longestDelayMs,
} from './delay-keys.ts'
import { inequivalence } from './errors.ts'
import { bucketOf, namesWith, targetWord } from './names.ts'
import { resolveOptions, type RabbitMqOptions } from './options.ts'
import { serverBehaviour } from './server-version.ts'

test.each([
  [
    '3.10.8',
    'quorum',
    {
      priorities: 1,
      countsDeliveries: true,
      countsReleases: true,
      consumerTimeoutPerQueue: false,
      minFrameBytes: 4_096,
    },
  ],
  ['3.11.0', 'quorum', { priorities: 1, countsReleases: true, consumerTimeoutPerQueue: false }],
  ['3.12.14', 'quorum', { priorities: 1, countsReleases: true, consumerTimeoutPerQueue: true }],
  ['3.13.7', 'classic', { priorities: 1, countsDeliveries: false, countsReleases: false }],
  ['4.0.1', 'quorum', { priorities: 2, countsReleases: true, minFrameBytes: 4_096 }],
  ['4.1.0', 'quorum', { priorities: 2, countsReleases: true, minFrameBytes: 8_192 }],
  ['4.2.2', 'quorum', { priorities: 2, countsReleases: true, minFrameBytes: 8_192 }],
  ['4.3.0', 'quorum', { priorities: 10, countsReleases: false, minFrameBytes: 8_192 }],
  ['4.3.0-rc.1', 'quorum', { priorities: 10, countsReleases: false }],
  ['5.0.0', 'quorum', { priorities: 10, countsReleases: false, consumerTimeoutPerQueue: true }],
] as const)('RA17 RabbitMQ %s with %s queues', (version, queueType, expected) => {
  expect(serverBehaviour(version, queueType)).toMatchObject({ version, ...expected })
})

test.each(['3.9.29', '2.8.1', '', 'unknown'])('RabbitMQ %j is refused, with the version needed', version => {
  expect(() => serverBehaviour(version, 'quorum')).toThrow(
    expect.objectContaining({ code: 'BUZZER_UNSUPPORTED', details: expect.objectContaining({ needed: '3.10' }) }),
  )
})

/** Follows a key through the chain as the server's topic exchanges would. */
function heldMs(words: string, from: number): number {
  const bits = words.split('.')
  let ms = 0
  for (let level = from; level >= 0; level--) {
    const matches = (bit: 0 | 1): boolean => {
      const pattern = levelPattern(level, bit).split('.').slice(0, -1)
      return pattern.every((word, at) => word === '*' || word === bits[at])
    }
    expect([matches(0), matches(1)].filter(Boolean)).toHaveLength(1)
    if (matches(1)) ms += levelMs(level)
  }
  return ms
}

test('RA10 every delay is held by the chain for itself, rounded up to a step, and never less', () => {
  fc.assert(
    fc.property(fc.double({ min: 0.001, max: longestDelayMs, noNaN: true }), delayMs => {
      const route = delayRoute(delayMs)
      expect(route).toBeDefined()
      const { level, words } = route as NonNullable<typeof route>
      expect(level).toBeLessThan(delayLevels)
      // It enters at its highest bit, so the chain needs no level above.
      expect(words.endsWith('1')).toBe(true)
      const held = heldMs(`${words}.q:x.b00`, level)
      expect(held).toBeGreaterThanOrEqual(delayMs)
      expect(held - delayMs).toBeLessThan(delayStepMs + delayMs * Number.EPSILON * 4)
    }),
  )
})

test('RA10 no delay takes no way through the chain', () => {
  expect([delayRoute(0), delayRoute(-5), delayRoute(Number.NaN)]).toEqual([undefined, undefined, undefined])
})

test('a target of the chain is one word: the pattern of a queue never matches a queue whose name ends like it', () => {
  for (const name of ['b', 'a.b', 'a.*', '#', 'ü.b']) expect(targetWord('queue', name).split('.')).toHaveLength(1)
  expect(targetWord('queue', 'a.b')).not.toBe(targetWord('queue', 'b'))
  expect(targetWord('queue', 'a')).not.toBe(targetWord('topic', 'a'))
  expect(duePattern(targetWord('queue', 'a.b'))).toBe('#.q:a%2Eb.*')
})

test('the bucket of a key is the same for ever, whatever process asks', () => {
  expect(['', 'a', 'order-42', 'Grüße', '你好', '🚀'].map(bucketOf)).toMatchInlineSnapshot(`
    [
      5,
      44,
      52,
      56,
      35,
      26,
    ]
  `)
})

test('keys spread over the 64 buckets', () => {
  const counts = Array.from({ length: 64 }, () => 0)
  for (let n = 0; n < 64_000; n++) counts[bucketOf(`customer-${n}`)]!++
  expect(Math.min(...counts)).toBeGreaterThan(700)
  expect(Math.max(...counts)).toBeLessThan(1_300)
})

test('names that AMQP or the server does not allow are refused, with everything that is added to them', () => {
  const names = namesWith('shop.')
  expect(names.lane('orders', 3)).toBe('shop.orders:3')
  expect(() => names.queue('x'.repeat(251))).toThrow(expect.objectContaining({ code: 'BUZZER_INVALID_NAME' }))
  expect(() => namesWith('').topic('amq.direct')).toThrow(expect.objectContaining({ code: 'BUZZER_INVALID_NAME' }))
})

test('the server’s refusal of a declaration is read with both values', () => {
  const refusal = Object.assign(
    new Error(
      `Operation failed: QueueDeclare; 406 (PRECONDITION-FAILED) with message "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received the value '5' of type 'signedint' but current is none"`,
    ),
    { code: 406 },
  )
  expect(inequivalence(refusal)).toEqual({ argument: 'x-message-ttl', wanted: '5', present: 'none' })
  expect(inequivalence(Object.assign(new Error('x'), { code: 404 }))).toBeUndefined()
})

test.each<[string, unknown]>([
  ['url', { url: 'http://x' }],
  ['url', { url: 'amqp://x?heartbeat=5' }],
  ['urls', { urls: [] }],
  ['urls', { url: 'amqp://a', urls: ['amqp://b'] }],
  ['prefix', { prefix: 'a b' }],
  ['prefix', { prefix: 'amq.' }],
  ['declare', { declare: 'yes' }],
  ['queueType', { queueType: 'stream' }],
  ['delays', { delays: 'plugin' }],
  ['keyPartitions', { keyPartitions: 65 }],
  ['queueArguments.x-max-length', { queueArguments: { 'x-max-length': 5 } }],
  ['queueArguments.x-custom', { queueArguments: { 'x-custom': {} } }],
  ['heartbeatSeconds', { heartbeatSeconds: 0 }],
  ['frameMaxBytes', { frameMaxBytes: 100 }],
  ['maxUnconfirmed', { maxUnconfirmed: 1.5 }],
  ['maxMessageBytes', { maxMessageBytes: -1 }],
  ['sendTimeoutMs', { sendTimeoutMs: Number.NaN }],
  ['connectTimeoutMs', { connectTimeoutMs: 0 }],
  ['heartbeat', { heartbeat: 5 }],
])('a wrong %s is refused by name', (option, given) => {
  expect(() => resolveOptions(given as RabbitMqOptions)).toThrow(
    expect.objectContaining({ code: 'BUZZER_INVALID_OPTION', details: expect.objectContaining({ option }) }),
  )
})

test('a password is shown in no error', () => {
  expect(() => resolveOptions({ url: 'http://me:secret@x' })).toThrow(
    expect.objectContaining({ message: expect.not.stringContaining('secret') }),
  )
})
