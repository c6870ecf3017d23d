import { BuzzerError } from 'buzzer'

/** A key's bucket is the routing key of its message, so buckets, not keys, are bound to the lanes of a queue. */
export const bucketCount = 64

/** The routing key of each bucket: the last word of every routing key of ours. */
export const bucketWords: readonly string[] = Array.from(
  { length: bucketCount },
  (_, bucket) => `b${String(bucket).padStart(2, '0')}`,
)

/** Longest name, and longest routing key, of AMQP 0-9-1: a short string. */
const maxNameBytes = 255

/**
 * The names that queues and topics have at the server. What we add is set off by a colon, which no name of a bus may
 * contain, so that it never meets the name of another queue or topic.
 */
export interface Names {
  /** The fanout exchange of a topic. */
  topic(topic: string): string
  /** The headers exchange behind a topic, for bindings with a match. */
  match(topic: string): string
  /** Remembers the one queue of a topic with an exclusive binding. */
  owner(topic: string): string
  queue(queue: string): string
  /** Spreads messages over the lanes of a queue ordered by key. */
  lanes(queue: string): string
  /** One lane: a queue with a single active consumer. */
  lane(queue: string, at: number): string
  /** Whoever holds its token may consume a queue that got its order after its first declaration. */
  turn(queue: string): string
  /** Queue and topic exchange of one level of the delay chain. */
  delay(level: number): string
  /** Exists when the delay chain is complete up to that level. */
  delayMark(level: number): string
  /** Declared and deleted after other queues; see `seal.ts`. */
  seal(id: string): string
  /** Where the delay chain ends. */
  readonly due: string
}

/**
 * Names with `prefix` before them.
 * @throws BUZZER_INVALID_NAME from each call, for a name that AMQP or the server does not allow
 */
export function namesWith(prefix: string): Names {
  const checked = (name: string, suffix = ''): string => {
    const full = `${prefix}${name}${suffix}`
    if (typeof name !== 'string' || name === '' || Buffer.byteLength(full) > maxNameBytes) {
      throw invalidName(full, `a name has 1 to ${maxNameBytes} bytes with everything added to it`)
    }
    if (full.startsWith('amq.')) throw invalidName(full, 'names that begin with amq. belong to the server')
    return full
  }
  return {
    topic: topic => checked(topic),
    match: topic => checked(topic, ':match'),
    owner: topic => checked(topic, ':owner'),
    queue: queue => checked(queue),
    lanes: queue => checked(queue, ':keys'),
    lane: (queue, at) => checked(queue, `:${at}`),
    turn: queue => checked(queue, ':turn'),
    delay: level => checked(`buzzer.delay.${level}`),
    delayMark: level => checked(`buzzer.delay.${level}:complete`),
    seal: id => checked(`buzzer.seal.${id}`),
    due: `${prefix}buzzer.due`,
  }
}

/**
 * The bucket of a key: FNV-1a over its UTF-8 bytes, modulo 64. Never change it: senders and queues of different processes,
 * versions and languages must agree.
 */
export function bucketOf(key: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < key.length; at++) {
    const unit = key.charCodeAt(at)
    if (unit > 0x7f) return bucketOfBytes(Buffer.from(key))
    hash = Math.imul(hash ^ unit, 0x01000193)
  }
  return (hash >>> 0) % bucketCount
}

function bucketOfBytes(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return (hash >>> 0) % bucketCount
}

/** A target of the delay chain as one word of a routing key: `.`, `*` and `#` mean something to topic exchanges. */
export function targetWord(kind: 'queue' | 'topic', name: string): string {
  const word = encodeURIComponent(name).replaceAll('.', '%2E').replaceAll('*', '%2A')
  return `${kind === 'queue' ? 'q' : 't'}:${word}`
}

/** @throws BUZZER_INVALID_NAME when the routing key is longer than AMQP allows */
export function checkRoutingKey(routingKey: string, what: string): string {
  if (Buffer.byteLength(routingKey) > maxNameBytes) {
    throw invalidName(
      what,
      `delayed messages carry it in a routing key, which would be ${routingKey.length} bytes long`,
    )
  }
  return routingKey
}

function invalidName(name: string, why: string): BuzzerError {
  return new BuzzerError(
    'BUZZER_INVALID_NAME',
    `transport rabbitmq cannot use the name ${JSON.stringify(name)}: ${why}`,
    {
      details: { name },
    },
  )
}
