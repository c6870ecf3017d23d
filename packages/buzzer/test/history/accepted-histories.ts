import type { HistoryRule } from '../../src/testing/index.ts'
import {
  type Forged,
  answered,
  begun,
  cut,
  handled,
  killed,
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
  equal,
} from './forged-records.ts'

/** Each looks like a broken promise, and is none. */
export const acceptedHistories: Readonly<Record<HistoryRule, readonly Forged[]>> = {
  durability: [
    [
      'messages handled, dead and waiting',
      [...whole('a', 0), ...sent('b', 0), present('b', { state: 'dead' }), ...sent('c', 0), present('c')],
    ],
    [
      'an unknown or a refused send that left nothing',
      [...sent('a', 0, 'unknown'), ...sent('b', 0, 'never'), ...sent('c', 0, 'fail')],
    ],
    ['a message that may have expired', sent(message('a', { expires: 10 }), 0)],
    [
      'a message that was purged, cancelled or deleted',
      [
        ...sent('a', 0),
        ...operated('cancel', ['a'], 2),
        ...sent('b', 0),
        ...operated('delete', ['b'], 2, 'unknown'),
        ...sent('c', 0),
        ...operated('purge', undefined, 2),
      ],
    ],
    ['the second of two equal messages', [...sent(equal('a'), 0), ...handled('a', 2), ...sent(equal('b'), 9)]],
    [
      'the message of an array that the broker said it refused',
      [...sent([message('a'), message('b')], 0, 'unknown', { outcomes: ['ok', 'fail'] }), present('a')],
      { atomicSends: false },
    ],
  ],
  'no invention': [
    ['a message that the broker has found damaged', [present('damaged-17', { isDamaged: true, state: 'dead' })]],
    [
      'an unknown send whose message is there',
      [...sent('a', 0, 'unknown'), present('a'), ...sent('b', 0, 'never'), present('b')],
    ],
    [
      'a cancellation that came too late',
      [...sent('a', 0), ...operated('cancel', ['a'], 2, 'fail'), ...handled('a', 5)],
    ],
    [
      'a message that was handled just before it was cancelled',
      [...sent('a', 0), begun('a', 2.5), ...operated('cancel', ['a'], 2), answered('a', 9)],
    ],
  ],
  'at least once': [
    [
      'a message that comes again after its handler was killed, and after a retry',
      [
        ...sent('a', 0),
        begun('a', 2),
        ...killed('c', 5),
        ...handled('a', 6, { process: 'c2', attempt: 2, how: 'retry' }),
        ...handled('a', 8, { process: 'c2', attempt: 3 }),
      ],
    ],
    [
      'a message that waits after a retry',
      [...sent('a', 0), ...handled('a', 2, { how: 'retry' }), present('a', { state: 'scheduled' })],
    ],
    [
      'a message that expired while it waited for its retry',
      [...sent(message('a', { expires: 9 }), 0), ...handled('a', 2, { how: 'retry' })],
    ],
  ],
  order: [
    [
      'two messages whose sends overlapped, of two processes',
      [
        ...sent(message('a', k), 0),
        ...sent(message('b', k), 0.5, 'ok', { process: 'p2' }),
        ...handled('b', 4, k),
        ...handled('a', 6, k),
      ],
    ],
    [
      'two keys',
      [
        ...sent(message('a', k), 0),
        ...sent(message('b', { key: 'l' }), 2),
        ...handled('b', 4, { key: 'l' }),
        ...handled('a', 6, k),
      ],
    ],
    ['messages without key', [...sent('a', 0), ...sent('b', 2), ...handled('b', 4), ...handled('a', 6)]],
    [
      'a queue that promises no order',
      [...sent(message('a', k), 0), ...sent(message('b', k), 2), ...handled('b', 4, k), ...handled('a', 6, k)],
      { orderBy: { other: 'key' } },
    ],
    [
      'two calls at once, where only confirmations count',
      [...sent(message('a', k), 0), ...sent(message('b', k), 0.5), ...handled('b', 4, k), ...handled('a', 6, k)],
      { acceptance: 'confirmations' },
    ],
    [
      'a message that dies, and the key goes on',
      [
        ...sent(message('a', k), 0),
        ...sent(message('b', k), 2),
        ...handled('a', 4, { ...k, how: 'dead-letter' }),
        ...handled('b', 6, k),
        present('a', { ...k, state: 'dead' }),
      ],
    ],
    [
      'a dead letter that is put at the end again',
      [
        ...sent(message('a', k), 0),
        ...sent(message('b', k), 2),
        ...handled('a', 4, { ...k, how: 'dead-letter' }),
        ...operated('redrive', ['a'], 5),
        ...handled('b', 8, k),
        ...handled('a', 10, k),
      ],
    ],
    [
      'one that overtakes a message that comes back, where keys do not wait',
      [
        ...sent(message('a', k), 0),
        ...sent(message('b', k), 2),
        ...handled('a', 4, { ...k, how: 'retry' }),
        ...handled('b', 6, k),
        ...handled('a', 8, { ...k, attempt: 2 }),
      ],
      { keyWaits: false },
    ],
    [
      'a scheduled message behind one that was sent later',
      [
        ...sent(message('a', { ...k, due: 100 }), 0, 'ok', { wall: 1 }),
        ...sent(message('b', k), 2),
        ...handled('b', 4, k),
        ...handled('a', 101, k),
      ],
    ],
  ],
  exclusion: [
    [
      'a handling that began after the other process was killed',
      [...sent('a', 0), begun('a', 2), ...killed('c', 3, 9), ...handled('a', 4, { process: 'c2', attempt: 2 })],
    ],
    [
      'a second handling after a stopped process has lost its lock',
      [
        ...sent('a', 0),
        begun('a', 2),
        ...stopped('c', 3, 40),
        begun('a', 30, { process: 'c2', attempt: 2 }),
        answered('a', 31, { process: 'c2', attempt: 2 }),
        answered('a', 41),
      ],
      { lockMs: 25 },
    ],
    [
      'a second handling after a connection was cut',
      [
        ...sent('a', 0),
        begun('a', 2),
        cut(3),
        begun('a', 4, { process: 'c2', attempt: 2 }),
        answered('a', 5, { process: 'c2', attempt: 2 }),
        answered('a', 6),
      ],
    ],
    [
      'two handlings of one key, where only messages exclude each other',
      [
        ...sent(message('a', k), 0),
        ...sent(message('b', k), 1),
        begun('a', 2, k),
        begun('b', 4, k),
        answered('b', 5),
        answered('a', 9),
      ],
      { exclusion: 'message' },
    ],
    [
      'a handling that was left behind by a process that ended',
      [...sent('a', 0), begun('a', 2), { as: 'ended', process: 'c', at: 3 }, ...handled('a', 4, { process: 'c2' })],
    ],
  ],
  'once in': [
    [
      'a second handling of a message whose ack died with the owner',
      [...whole('a', 0), ...killed('owner', 3.5), ...handled('a', 6, { attempt: 2 })],
    ],
    ['a message that is there because its ack died', [...whole('a', 0), ...killed('owner', 3.5), present('a')]],
    [
      'a message that was acknowledged while somebody looked',
      [...sent('a', 0), drained(2, 1), ...handled('a', 2), present('a')],
    ],
    [
      'a dead letter that was redriven',
      [
        ...sent('a', 0),
        ...handled('a', 2, { how: 'dead-letter' }),
        ...operated('redrive', ['a'], 4),
        ...handled('a', 6),
      ],
    ],
    ['a released message', [...sent('a', 0), ...handled('a', 2, { how: 'release' }), ...handled('a', 5)]],
    [
      'a duplicate after a fault, where faults excuse it',
      [...sent('a', 0), cut(1), ...handled('a', 2), ...handled('a', 6, { attempt: 2 })],
      { duplicates: 'after-faults', attempts: 'uncounted' },
    ],
    [
      'a duplicate, where that is allowed',
      [...whole('a', 0), ...handled('a', 6)],
      { duplicates: 'allowed', attempts: 'uncounted' },
    ],
  ],
  fencing: [
    [
      'a settlement without lock that left nothing',
      [
        ...sent('a', 0),
        begun('a', 2),
        ...stopped('c', 3, 40_000),
        begun('a', 39_000, { process: 'c2', attempt: 2 }),
        answered('a', 40_001, { outputs: [out('late')], records: ['r'] }),
        answered('a', 40_002, { process: 'c2', attempt: 2 }),
      ],
    ],
    [
      'the first of two settlements was undone',
      [
        ...sent('a', 0),
        ...handled('a', 2, { outputs: [out('o1')] }),
        ...killed('x', 3),
        ...handled('a', 5, { attempt: 2, outputs: [out('o2')] }),
        present('o2', { queue: 'out' }),
      ],
    ],
    [
      'two looks at the epoch that overlapped',
      [
        { as: 'epoch', process: 'c', since: 0, at: 5, epoch: 3 },
        { as: 'epoch', process: 'd', since: 1, at: 6, epoch: 2 },
      ],
    ],
  ],
  atomicity: [
    [
      'an ack with all that belongs to it',
      [
        ...sent('a', 0),
        ...handled('a', 2, { outputs: [out('o')], records: ['r'] }),
        present('o', { queue: 'out' }),
        recorded('r'),
      ],
    ],
    [
      'an ack that was undone as a whole',
      [...sent('a', 0), ...handled('a', 2, { outputs: [out('o')], records: ['r'] }), ...killed('x', 3), present('a')],
    ],
    [
      'half of an array, where arrays are not atomic',
      [...sent([message('a'), message('b')], 0, 'unknown'), present('a')],
      { atomicSends: false },
    ],
    [
      'half of a settlement, where that is not atomic',
      [...sent('a', 0), ...handled('a', 2, { outputs: [out('o')] })],
      { atomicSettlements: false },
    ],
    [
      'an output that may have expired',
      [...sent('a', 0), ...handled('a', 2, { outputs: [message('o', { queue: 'out', expires: 10 })] })],
    ],
    [
      'a group that never became whole, and whose messages came back',
      [...sent('a', 0), ...handled('a', 2, { group }), ...killed('x', 3), ...handled('a', 6, { attempt: 2 })],
    ],
    [
      'a refused settlement and the one that was given instead',
      [
        ...sent('a', 0),
        begun('a', 2),
        answered('a', 3, { outputs: [out('o')] }),
        { as: 'refused', process: 'c', at: 4, id: 'a', queue: 'q', attempt: 1 },
        answered('a', 5),
      ],
    ],
  ],
  deduplication: [
    [
      'two equal ones that lie further apart than the window',
      [...sent(equal('a', 10), 0), ...handled('a', 2), ...sent(equal('b', 10), 9.5), ...handled('b', 12)],
    ],
    [
      'two equal ones in two queues',
      [
        ...sent([equal('a'), { ...equal('a'), queue: 'q2' }], 0),
        ...handled('a', 2),
        ...handled('a', 2, { queue: 'q2' }),
      ],
    ],
    [
      'an equal one after the first was cancelled',
      [...sent(equal('a'), 0), ...operated('cancel', ['a'], 2), ...sent(equal('b'), 5), ...handled('b', 7)],
    ],
  ],
  time: [
    [
      'a delivery that seems early because the wall clock was set back meanwhile',
      [
        ...sent(message('a', { due: 100 }), 0),
        { as: 'jumped', at: 101, byMs: -3_600_000 },
        ...handled('a', 102, { wall: -3_599_898 }),
      ],
    ],
    [
      'one that was due, and comes again long after the wall clock was set back',
      [
        ...sent(message('a', { due: 100 }), 0),
        { as: 'jumped', at: 149, byMs: 3_600_000 },
        ...handled('a', 150, { how: 'retry', wall: 3_600_150 }),
        { as: 'jumped', at: 160, byMs: -7_200_000 },
        ...handled('a', 5_000, { attempt: 2, wall: -3_595_000 }),
      ],
    ],
    ['a delivery at its time', [...sent(message('a', { due: 100 }), 0), ...handled('a', 100)]],
    [
      'a handler that began long after the expiry, because its process was stopped meanwhile',
      [...sent(message('a', { expires: 100 }), 0), ...stopped('c', 50, 1_900, 'loop'), ...handled('a', 2_000)],
    ],
    ['a handler that began just after the expiry', [...sent(message('a', { expires: 100 }), 0), ...handled('a', 900)]],
    [
      'a retry that a death undid',
      [
        ...sent('a', 0),
        ...handled('a', 2, { how: 'retry', delayMs: 100 }),
        ...killed('c', 4),
        ...handled('a', 50, { process: 'c2', attempt: 2 }),
      ],
    ],
  ],
  count: [
    [
      'a count that is one too high after a crash',
      [...sent('a', 0), ...killed('x', 2), ...handled('a', 3, { attempt: 2 })],
    ],
    [
      'a delivery to one whose death the broker had not seen yet',
      [...killed('x', 0, 1), ...sent('a', 3), ...handled('a', 5, { attempt: 2 })],
    ],
    // On a busy machine the signal takes effect some milliseconds after it was noted.
    [
      'a death that was seen after the handling began',
      [...sent('a', 0), ...killed('x', 2, 6), ...handled('a', 4, { how: 'retry' }), ...handled('a', 8, { attempt: 3 })],
    ],
    [
      'a leap, where attempts need only rise',
      [...sent('a', 0), ...handled('a', 2, { attempt: 7 })],
      { attempts: 'rising' },
    ],
    [
      'what waits counts what was seen',
      [
        ...sent('a', 0),
        ...handled('a', 2, { how: 'retry' }),
        present('a', { attempt: 1 }),
        ...sent('b', 0),
        ...handled('b', 2, { how: 'release' }),
        present('b', { attempt: 0 }),
      ],
    ],
  ],
  liveness: [
    ['a broker that settles in time', [quiet, probe(10), drained(9_999)]],
    [
      'many that drain in the time of their number',
      [quietWith(100), probe(10), drained(11_999)],
      { drainMsPerMessage: 20 },
    ],
    ['a run whose faults never ended', sent('a', 0, 'never')],
  ],
}
