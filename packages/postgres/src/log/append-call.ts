import {
  type AppendBatch,
  type ExpectedPosition,
  partitionOf,
  type PlannableBatch,
  type ProducerSequence,
} from 'buzzer/transport'
import { type EncodedChunk, encodeChunks } from './chunk-codec.ts'
import type { KnownStream } from './streams.ts'

/** A batch of a call, taken over: nothing of it is shared with the caller. */
export interface CallBatch {
  readonly stream: string
  readonly partition: number | undefined
  readonly count: number
  readonly keys: readonly (string | undefined)[]
  readonly expect: ExpectedPosition | undefined
  readonly producer: ProducerSequence | undefined
  readonly deduplicationKey: string | undefined
  readonly chunks: readonly EncodedChunk[]
  /** For a batch without keys: which of its stream's partitions has its turn. */
  readonly turn: number
}

/** One call of `append`: stored as a whole or not at all. */
export interface AppendCall {
  readonly batches: readonly CallBatch[]
  readonly bytes: number
}

/** `turnOf` gives the next turn of a stream. The batches must have passed `checkAppend`. */
export function toCall(batches: readonly AppendBatch[], bytes: number, turnOf: (stream: string) => number): AppendCall {
  return {
    bytes,
    batches: batches.map(({ stream, partition, records, expect, producer, deduplicationKey }) => {
      const keys = records.map(record => record.key)
      const isKeyless = partition === undefined && keys.every(key => key === undefined)
      return {
        stream,
        partition,
        count: records.length,
        keys,
        expect: expect === undefined ? undefined : { ...expect },
        producer: producer === undefined ? undefined : { ...producer },
        deduplicationKey,
        chunks: encodeChunks(records),
        turn: isKeyless ? turnOf(stream) : 0,
      }
    }),
  }
}

/** Where a batch goes; the same answer every time it is asked. What cannot be is for `planAppend` to refuse. */
export function targetOf(batch: CallBatch, { options: { partitions } }: KnownStream): number {
  if (batch.partition !== undefined) return batch.partition
  const key = batch.keys.find(one => one !== undefined)
  if (key !== undefined) return partitionOf(key, partitions)
  if (batch.expect !== undefined && 'key' in batch.expect) return partitionOf(batch.expect.key, partitions)
  return batch.turn % partitions
}

/** A batch as a plan sees it. Records whose keys go to different partitions are left to the plan, which refuses them. */
export function toPlannable(batch: CallBatch, stream: KnownStream | undefined): PlannableBatch {
  const { expect, producer, deduplicationKey, count, keys } = batch
  const isKeyless = stream !== undefined && keys.every(key => key === undefined)
  return {
    stream: batch.stream,
    partition: isKeyless ? targetOf(batch, stream) : batch.partition,
    expect,
    producer,
    deduplicationKey,
    count,
    key: index => keys[index],
  }
}
