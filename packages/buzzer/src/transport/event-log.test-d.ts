import { expectTypeOf, test } from 'vitest'
import type { EmbeddedLog } from '../broker/index.ts'
import type { Appended, EventLog, LogRecord, Transport } from './index.ts'
import type { MemoryLog, MemoryTransaction } from './transports/memory.ts'

declare const embedded: EmbeddedLog
declare const memory: MemoryLog

test('a transaction is taken where the log takes one, and does not compile elsewhere', () => {
  expectTypeOf(memory).toExtend<EventLog<MemoryTransaction>>()
  expectTypeOf(embedded).toExtend<EventLog>()
  const tx = {} as MemoryTransaction
  void memory.append([], { tx })
  // @ts-expect-error -- the embedded log has no transactions of its caller
  void embedded.append([], { tx })
  expectTypeOf<Transport<MemoryTransaction>['log']>().toEqualTypeOf<EventLog<MemoryTransaction> | undefined>()
})

test('what became of a batch is told apart before its position is read', () => {
  const answer = {} as Appended
  // @ts-expect-error -- a staged batch has no position
  void answer.position
  if (answer.as === 'stored') expectTypeOf(answer.position).toEqualTypeOf<number>()
  if (answer.as === 'duplicate') expectTypeOf(answer.position).toEqualTypeOf<number | undefined>()
})

test('a record may be a tombstone', () => {
  expectTypeOf<LogRecord['value']>().toEqualTypeOf<Uint8Array | null>()
  // @ts-expect-error -- a value is bytes
  void embedded.append([{ stream: 's', records: [{ value: 'text' }] }])
  // @ts-expect-error -- partitions are added by somebody who knows what that does
  void embedded.admin.addPartitions('s', 2, {})
})
