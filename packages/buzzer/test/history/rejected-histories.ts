import type { HistoryRule } from '../../src/testing/index.ts'
import {
  type Forged,
  answered,
  begun,
  cut,
  handled,
  killed,
  lost,
  message,
  operated,
  present,
  recorded,
  sent,
  stopped,
  whole,
  k,
  out,
  group,
  quiet,
  drained,
  quietWith,
  probe,
  epoch,
  equal,
} from './forged-records.ts'

/** Each breaks its rule, and no other. */
export const rejectedHistories: Readonly<Record<HistoryRule, readonly Forged[]>> = {
  durability: [
    ['a confirmed message that is nowhere', sent('a', 0)],
    ['one of a confirmed array', [...sent([message('a'), message('b')], 0), present('a')]],
    [
      'a confirmed message whose only equal lies outside of the window',
      [...sent(equal('a', 10), 0), ...handled('a', 2), ...sent(equal('b', 10), 100)],
    ],
    ['a confirmed record that is gone', [...sent('a', 0, 'ok', { records: ['r'] }), present('a')]],
    [
      'the message of an array that the broker said it stored',
      sent([message('a'), message('b')], 0, 'unknown', { outcomes: ['ok', 'unknown'] }),
    ],
  ],
  'no invention': [
    ['a handled message that nobody sent', handled('a', 2)],
    ['a message that is there and that nobody sent', [present('a')]],
    ['a message whose send was refused', [...sent('a', 0, 'fail'), present('a')]],
    ['other bytes', [...sent('a', 0), present('a', { hash: 'other' })]],
    ['another key', [...sent(message('a', k), 0), present('a', { key: 'l' })]],
    ['a key that it was not sent with', [...sent('a', 0), present('a', k)]],
    ['another queue', [...sent('a', 0, 'unknown'), present('a', { queue: 'other' })]],
    ['a message that was cancelled before', [...sent('a', 0), ...operated('cancel', ['a'], 2), ...handled('a', 5)]],
    ['a record that nobody wrote', [recorded('r')]],
    ['the record of a refused send', [...sent('a', 0, 'fail', { records: ['r'] }), recorded('r')]],
  ],
  'at least once': [
    ['a message whose handler was killed, and that is gone', [...sent('a', 0), begun('a', 2), ...killed('c', 3)]],
    ['a message that was to come again', [...sent('a', 0), ...handled('a', 2, { how: 'retry' })]],
    ['a dead letter that is nowhere', [...sent('a', 0), ...handled('a', 2, { how: 'dead-letter' })]],
    // Even if its sender never learned that it was stored.
    ['a begun message of unknown send', [...sent('a', 0, 'never'), begun('a', 2), ...killed('c', 3)]],
    [
      'a message whose only ack came after its lock was lost',
      [...sent('a', 0), begun('a', 2), ...killed('x', 3), lost('a', 4), answered('a', 5)],
    ],
  ],
  order: [
    [
      'two of a key in the wrong order',
      [...sent(message('a', k), 0), ...sent(message('b', k), 0.5), ...handled('b', 4, k), ...handled('a', 6, k)],
    ],
    [
      'two of one array in the wrong order',
      [...sent([message('a', k), message('b', k)], 0), ...handled('b', 4, k), ...handled('a', 6, k)],
    ],
    [
      'two of a key, sent by two processes one after the other',
      [
        ...sent(message('a', k), 0),
        ...sent(message('b', k), 2, 'ok', { process: 'p2' }),
        ...handled('b', 4, k),
        ...handled('a', 6, k),
      ],
    ],
    [
      'two of an ordered queue',
      [...sent('a', 0), ...sent('b', 1), ...handled('b', 4), ...handled('a', 6)],
      { orderBy: 'queue' },
    ],
    [
      'a message that waits behind a later one',
      [...sent(message('a', k), 0), ...sent(message('b', k), 2), present('b', k), present('a', k)],
    ],
    [
      'a message that waits while a later one was handled',
      [...sent(message('a', k), 0), ...sent(message('b', k), 2), ...handled('b', 4, k), present('a', k)],
    ],
    [
      'one that overtakes a message that comes back',
      [
        ...sent(message('a', k), 0),
        ...sent(message('b', k), 2),
        ...handled('a', 4, { ...k, how: 'retry' }),
        ...handled('b', 6, k),
        ...handled('a', 8, { ...k, attempt: 2 }),
      ],
    ],
    [
      'scheduled messages of a key against their times',
      [
        ...sent(message('a', { ...k, due: 100 }), 0, 'ok', { wall: 1 }),
        ...sent(message('b', { ...k, due: 50 }), 2, 'ok', { wall: 3 }),
        ...handled('a', 101, k),
        ...handled('b', 103, k),
      ],
    ],
  ],
  exclusion: [
    [
      'two handlings of one message',
      [
        ...sent('a', 0),
        begun('a', 2),
        begun('a', 3, { process: 'c2', attempt: 2 }),
        answered('a', 4, { process: 'c2', attempt: 2 }),
      ],
    ],
    [
      'two handlings of one key',
      [
        ...sent(message('a', k), 0),
        ...sent(message('b', k), 1),
        begun('a', 2, k),
        begun('b', 4, k),
        answered('b', 5),
        answered('a', 9),
      ],
    ],
    [
      'a second handling before a stopped process has lost its lock',
      [
        ...sent('a', 0),
        begun('a', 2),
        ...stopped('c', 3, 30),
        begun('a', 20, { process: 'c2', attempt: 2 }),
        answered('a', 21, { process: 'c2', attempt: 2 }),
      ],
      { lockMs: 25 },
    ],
    [
      'a second handling before a blocked loop has lost its lock',
      [
        ...sent('a', 0),
        begun('a', 2),
        ...stopped('c', 3, 300, 'loop'),
        begun('a', 60, { process: 'c2', attempt: 2 }),
        answered('a', 61, { process: 'c2', attempt: 2 }),
      ],
      { lockMs: 25, stallMs: 100 },
    ],
    [
      'a second handling although another process was cut off',
      [
        ...sent('a', 0),
        begun('a', 2),
        cut(2.5, 'other'),
        begun('a', 3, { process: 'c2', attempt: 2 }),
        answered('a', 4, { process: 'c2', attempt: 2 }),
      ],
    ],
  ],
  'once in': [
    ['a second handling without a fault', [...whole('a', 0), ...handled('a', 6, { attempt: 2 })]],
    [
      'a second handling with the same attempt, whatever happened',
      [...whole('a', 0), ...killed('x', 4), ...handled('a', 6)],
    ],
    ['two copies in the file', [...sent('a', 0), ...killed('x', 1), present('a'), present('a')]],
    ['an acknowledged message that is still there', [...whole('a', 0), present('a')]],
    ['one that was acknowledged before anybody looked', [...whole('a', 0), drained(100, 1), present('a')]],
    [
      'a dead letter that is delivered',
      [...sent('a', 0), ...handled('a', 2, { how: 'dead-letter' }), ...handled('a', 5, { attempt: 2 })],
    ],
    [
      'a second handling long after the settlement was durable',
      [...whole('a', 0), ...killed('x', 20_000), ...handled('a', 20_001, { attempt: 2 })],
    ],
    [
      'a duplicate without any fault, even where faults excuse it',
      [...whole('a', 0), ...handled('a', 6, { attempt: 2 })],
      { duplicates: 'after-faults' },
    ],
  ],
  fencing: [
    [
      'the output of a settlement that came after the next handling began',
      [
        ...sent('a', 0),
        begun('a', 2),
        ...stopped('c', 3, 40_000),
        begun('a', 39_000, { process: 'c2', attempt: 2 }),
        answered('a', 40_001, { outputs: [out('late')] }),
        answered('a', 40_002, { process: 'c2', attempt: 2 }),
        present('late', { queue: 'out' }),
      ],
    ],
    [
      'the record of a settlement whose lock was told lost',
      [
        ...sent('a', 0),
        begun('a', 2),
        ...stopped('c', 3, 40_000),
        lost('a', 40_001),
        answered('a', 40_002, { records: ['r'] }),
        ...handled('a', 40_005, { attempt: 2 }),
        recorded('r'),
      ],
    ],
    ['an epoch that goes down', [epoch(0, 3), epoch(2, 2)]],
  ],
  atomicity: [
    ['half of an array of unknown fate', [...sent([message('a'), message('b')], 0, 'unknown'), present('a')]],
    ['half of a fan-out', [...sent([message('a'), message('a', { queue: 'q2' })], 0, 'never'), ...handled('a', 3)]],
    ['a message of unknown fate without its record', [...sent('a', 0, 'never', { records: ['r'] }), present('a')]],
    ['a record of unknown fate without its message', [...sent('a', 0, 'never', { records: ['r'] }), recorded('r')]],
    ['an ack without its output', [...sent('a', 0), ...handled('a', 2, { outputs: [out('o')] })]],
    [
      'an ack without its record',
      [...sent('a', 0), ...handled('a', 2, { outputs: [out('o')], records: ['r'] }), present('o', { queue: 'out' })],
    ],
    [
      'an output without its ack',
      [
        ...sent('a', 0),
        ...handled('a', 2, { outputs: [out('o')] }),
        ...killed('x', 3),
        present('o', { queue: 'out' }),
        present('a'),
      ],
    ],
    [
      'an output, and the message delivered once more',
      [
        ...sent('a', 0),
        ...handled('a', 2, { outputs: [out('o')] }),
        ...killed('x', 3),
        ...handled('a', 5, { attempt: 2 }),
        present('o', { queue: 'out' }),
      ],
    ],
    [
      'two settlements of one message',
      [
        ...sent('a', 0),
        ...handled('a', 2, { outputs: [out('o1')] }),
        ...killed('x', 3),
        ...handled('a', 5, { attempt: 2, outputs: [out('o2')] }),
        present('o1', { queue: 'out' }),
        present('o2', { queue: 'out' }),
      ],
    ],
    [
      'half of a group',
      [
        ...sent('a', 0),
        ...sent('b', 1),
        ...handled('a', 2, { group }),
        ...handled('b', 4, { group }),
        ...killed('x', 5),
        present('b'),
      ],
    ],
    [
      'the output of a group that never became whole',
      [
        ...sent('a', 0),
        ...handled('a', 2, { group, outputs: [out('o')] }),
        ...killed('x', 3),
        ...handled('a', 6, { attempt: 2 }),
        present('o', { queue: 'out' }),
      ],
    ],
    [
      'the output of a dead-lettering whose message was delivered again',
      [
        ...sent('a', 0),
        ...handled('a', 2, { how: 'dead-letter', outputs: [out('o')] }),
        ...killed('x', 3),
        ...handled('a', 6, { attempt: 2 }),
        present('o', { queue: 'out' }),
      ],
    ],
  ],
  deduplication: [
    [
      'two equal ones in a window',
      [...sent(equal('a'), 0), ...handled('a', 2), ...sent(equal('b'), 9), ...handled('b', 11)],
    ],
    [
      'two equal ones, the second of unknown fate',
      [...sent(equal('a'), 0), ...handled('a', 2), ...sent(equal('b'), 9, 'never'), ...handled('b', 11)],
    ],
  ],
  time: [
    [
      'an early delivery long after a jump of the wall clock',
      [{ as: 'jumped', at: 0, byMs: 3_600_000 }, ...sent(message('a', { due: 9_000 }), 1), ...handled('a', 5_000)],
    ],
    [
      'a first delivery long after the wall clock was set back before it was due',
      [
        ...sent(message('a', { due: 9_000 }), 0),
        { as: 'jumped', at: 1, byMs: -3_600_000 },
        ...handled('a', 5_000, { wall: -3_595_000 }),
      ],
    ],
    ['a delivery before its time', [...sent(message('a', { due: 100 }), 0), ...handled('a', 50)]],
    ['a delivery long after its expiry', [...sent(message('a', { expires: 100 }), 0), ...handled('a', 5_000)]],
    [
      'a retry before its delay is over',
      [...sent('a', 0), ...handled('a', 2, { how: 'retry', delayMs: 100 }), ...handled('a', 50, { attempt: 2 })],
    ],
  ],
  count: [
    [
      'a leap without a fault',
      [...sent('a', 0), ...handled('a', 2, { how: 'retry' }), ...handled('a', 6, { attempt: 3 })],
    ],
    [
      'a leap of two with one death',
      [...sent('a', 0), ...handled('a', 2, { how: 'retry' }), ...killed('x', 4), ...handled('a', 6, { attempt: 4 })],
    ],
    [
      'a delivery that counts although the owner closed in good order',
      [
        ...sent('a', 0),
        ...handled('a', 2, { how: 'retry' }),
        { as: 'ended', process: 'owner', at: 4 },
        ...handled('a', 6, { attempt: 3 }),
      ],
    ],
    ['a first attempt that is the second', [...sent('a', 0), ...handled('a', 2, { attempt: 2 })]],
    [
      'the same, long after the last death',
      [...killed('x', 0), ...sent('a', 1_001), ...handled('a', 1_003, { attempt: 2 })],
    ],
    [
      'a count that falls',
      [
        ...sent('a', 0),
        ...handled('a', 2, { how: 'retry' }),
        ...handled('a', 4, { attempt: 2, how: 'retry' }),
        ...handled('a', 6, { attempt: 1 }),
      ],
    ],
    [
      'a count that falls after a release',
      [
        ...sent('a', 0),
        ...handled('a', 2, { how: 'retry' }),
        ...handled('a', 4, { attempt: 2, how: 'release' }),
        ...handled('a', 6, { attempt: 1 }),
      ],
    ],
    [
      'a death that was long over before the handling began does not excuse a leap',
      [
        ...sent('a', 0),
        ...killed('x', 2, 3.5),
        ...handled('a', 1_004, { how: 'retry' }),
        ...handled('a', 1_008, { attempt: 3 }),
      ],
    ],
    [
      'more deliveries than the limit',
      [...sent('a', 0), ...handled('a', 2, { how: 'retry' }), ...handled('a', 4, { attempt: 2 })],
      { maxDeliveries: { q: 1 } },
    ],
    [
      'what waits counts less than was seen',
      [...sent('a', 0), ...handled('a', 2, { how: 'retry' }), present('a', { attempt: 0 })],
    ],
    ['what waits counts what nobody saw', [...sent('a', 0), present('a', { attempt: 1 })]],
  ],
  liveness: [
    ['messages that are left', [quiet, probe(10), drained(20, 3)]],
    ['queues that drain too late', [quiet, probe(10), drained(10_001)]],
    [
      'many that drain too late for their number',
      [quietWith(100), probe(10), drained(12_001)],
      { drainMsPerMessage: 20 },
    ],
    ['a broker of which nobody knows whether it drained', [quiet, probe(10)]],
    ['a send that fails', [quiet, probe(10, 'fail'), drained(20)]],
    ['a send that takes too long', [quiet, probe(10_001), drained(20)]],
    ['a send that never ended', [quiet, drained(20)]],
  ],
}
