import { expect, test } from 'vitest'
import { weakestCapabilities } from './capabilities.ts'
import { guaranteesOf } from './guarantees.ts'

const words = (capabilities: Parameters<typeof guaranteesOf>[0]): Record<string, string> =>
  Object.fromEntries(guaranteesOf(capabilities).map(({ name, how, detail }) => [name, `${how} ${detail}`.trim()]))

test('the weakest transport has what the core emulates, and says what it refuses', () => {
  expect(words(weakestCapabilities)).toEqual({
    'delayed messages and retries': 'emulated in the store',
    'cancelling a schedule': 'emulated in the store',
    'dead letters with reason and bytes': 'emulated `<queue>.dead`',
    'delivery counts over crashes': 'emulated in a header',
    'order by key, over processes': 'refused',
    'settle, send and records in one step': 'emulated outbox in the store',
    "send in the caller's transaction": 'refused',
    deduplication: 'emulated inbox in the store',
    'time to live': 'emulated checked before the handler',
    priorities: 'refused',
    'mandatory publish': 'refused',
    'requests, queues per instance': 'refused',
    'event log, replay': 'refused',
    'largest message': 'native 64 KiB',
  })
})

test('limits are named with their unit', () => {
  const strong = words({
    ...weakestCapabilities,
    delayMaxMs: 86_400_000 * 1_242.6,
    ordering: 'queue',
    transactions: 'caller',
    redelivery: 'in-place',
    priorities: 10,
    maxMessageBytes: 64 * 1024 ** 2,
  })
  expect(strong).toMatchObject({
    'delayed messages and retries': 'native to 1242 days',
    'delivery counts over crashes': 'emulated by retry topics',
    'order by key, over processes': 'refused by queue only',
    'settle, send and records in one step': 'native',
    "send in the caller's transaction": 'native',
    priorities: 'native 10',
    'largest message': 'native 64 MiB',
  })
})
