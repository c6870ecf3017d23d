import { BuzzerError } from '../../message/index.ts'
import type { ExpectedPosition, ProducerSequence, StreamOptions } from '../event-log.ts'
import { logConflict, logUnsupported, partitionNotFound, producerFenced, streamNotFound } from './log-errors.ts'
import { partitionOf } from './partition-of.ts'

/** Where a batch lies. */
export interface RecordPlace {
  readonly partition: number
  readonly position: number
  readonly time: number
}

/** A batch as a plan sees it: everything but the bytes. */
export interface PlannableBatch {
  readonly stream: string
  readonly partition?: number | undefined
  readonly expect?: ExpectedPosition | undefined
  readonly producer?: ProducerSequence | undefined
  readonly deduplicationKey?: string | undefined
  readonly count: number
  key(index: number): string | undefined
}

/** What is in the log, as a plan asks for it. Answers are of what is kept now. */
export interface LogState {
  options(stream: string): StreamOptions | undefined
  /** The position that the next record gets. */
  end(stream: string, partition: number): number
  /** The last kept record of a key in a partition; asked of streams with a key index only. */
  lastOf(stream: string, partition: number, key: string): number | undefined
  /** Where the batch with this deduplication key went, if it did within the window. */
  seen(stream: string, deduplicationKey: string): RecordPlace | undefined
  producer(stream: string, name: string): { readonly epoch: number; readonly lastSequence: number } | undefined
  /** Where a producer's batch went, while that is remembered. */
  produced(stream: string, name: string, sequence: number): RecordPlace | undefined
  /** The partition whose turn it is for a batch without keys. */
  turn(stream: string, partitions: number): number
}

/** What happens to one batch. `duplicateOf`: the earlier batch of the same plan, by its index, that it repeats. */
export type PlannedBatch =
  | { readonly as: 'store'; readonly partition: number; readonly position: number }
  | { readonly as: 'duplicate'; readonly place: RecordPlace | undefined; readonly duplicateOf?: number }

/**
 * Judges the batches of one append in their order: where each goes, and whether all may. Changes nothing, so that a refusal
 * leaves no trace; what is planned can then be stored without asking again.
 * @throws BUZZER_STREAM_NOT_FOUND, BUZZER_INVALID_OPTION, BUZZER_UNSUPPORTED, BUZZER_PRODUCER_FENCED, BUZZER_LOG_CONFLICT
 */
export function planAppend(state: LogState, batches: readonly PlannableBatch[]): PlannedBatch[] {
  const planned: PlannedBatch[] = []
  const overlay = new Overlay(state, batches.length)
  for (const [index, batch] of batches.entries()) planned.push(overlay.judge(batch, index))
  return planned
}

/** The state with the batches judged so far in it. */
class Overlay {
  readonly #state: LogState
  readonly #count: number
  readonly #ends = new Map<string, number>()
  readonly #keys = new Map<string, number>()
  readonly #seen = new Map<string, number>()
  readonly #sequences = new Map<string, { last: number; readonly batches: Map<number, number> }>()

  constructor(state: LogState, count: number) {
    this.#state = state
    this.#count = count
  }

  judge(batch: PlannableBatch, index: number): PlannedBatch {
    const { stream } = batch
    const options = this.#state.options(stream)
    if (options === undefined) throw streamNotFound(stream)
    const partition = this.#partition(batch, options)
    const repeated = this.#repeated(batch, options)
    if (repeated !== undefined) return repeated
    const end = this.#end(stream, partition)
    if (batch.expect !== undefined) this.#expect(batch, batch.expect, options, partition, end)
    // Nobody comes behind the last batch, which is mostly the only one.
    if (index + 1 < this.#count) this.#note(batch, index, options, partition, end)
    return { as: 'store', partition, position: end }
  }

  /** What the batches behind this one must see. */
  #note(batch: PlannableBatch, index: number, options: StreamOptions, partition: number, end: number): void {
    const { stream, producer, deduplicationKey } = batch
    this.#ends.set(nameOf(stream, partition), end + batch.count)
    if (options.keyIndex) {
      for (let at = 0; at < batch.count; at++) {
        const key = batch.key(at)
        if (key !== undefined) this.#keys.set(nameOf(stream, partition, key), end + at)
      }
    }
    if (deduplicationKey !== undefined) this.#seen.set(nameOf(stream, deduplicationKey), index)
    if (producer !== undefined) {
      const name = nameOf(stream, producer.name)
      const known = this.#sequences.get(name) ?? { last: 0, batches: new Map<number, number>() }
      known.last = producer.sequence
      known.batches.set(producer.sequence, index)
      this.#sequences.set(name, known)
    }
  }

  #partition(batch: PlannableBatch, { partitions }: StreamOptions): number {
    const { stream, partition, expect } = batch
    if (partition !== undefined) {
      if (partition >= partitions) throw partitionNotFound(stream, partition, partitions)
      return partition
    }
    let found: number | undefined
    let byKey: string | undefined
    for (let index = 0; index < batch.count; index++) {
      const key = batch.key(index)
      if (key === undefined || key === byKey) continue
      const own = partitionOf(key, partitions)
      if (found !== undefined && found !== own) {
        throw new BuzzerError(
          'BUZZER_INVALID_OPTION',
          `a batch for ${stream} has records of keys ${JSON.stringify(byKey)} and ${JSON.stringify(key)}, which go to partitions ${found} and ${own}. Make them batches of their own in the same call, or name a partition`,
          { details: { option: 'records', stream, keys: [byKey, key], partitions: [found, own] } },
        )
      }
      found = own
      byKey = key
    }
    if (found !== undefined) return found
    if (expect !== undefined && 'key' in expect) return partitionOf(expect.key, partitions)
    return this.#state.turn(stream, partitions)
  }

  /** The answer to a batch that is known already. A producer's epoch is judged first: who is fenced hears it. */
  #repeated(batch: PlannableBatch, { deduplicationWindowMs }: StreamOptions): PlannedBatch | undefined {
    const { stream, producer, deduplicationKey } = batch
    if (producer !== undefined) {
      const known = this.#state.producer(stream, producer.name)
      if (known?.epoch !== producer.epoch)
        throw producerFenced(stream, producer.name, producer.epoch, known?.epoch ?? 0)
      const here = this.#sequences.get(nameOf(stream, producer.name))
      if (producer.sequence <= Math.max(known.lastSequence, here?.last ?? 0)) {
        const duplicateOf = here?.batches.get(producer.sequence)
        if (duplicateOf !== undefined) return { as: 'duplicate', place: undefined, duplicateOf }
        return { as: 'duplicate', place: this.#state.produced(stream, producer.name, producer.sequence) }
      }
    }
    if (deduplicationKey !== undefined) {
      if (deduplicationWindowMs === 0) {
        throw logUnsupported(`stream ${stream}`, 'deduplication', 'declare it with deduplicationWindowMs')
      }
      const duplicateOf = this.#seen.get(nameOf(stream, deduplicationKey))
      if (duplicateOf !== undefined) return { as: 'duplicate', place: undefined, duplicateOf }
      const place = this.#state.seen(stream, deduplicationKey)
      if (place !== undefined) return { as: 'duplicate', place }
    }
    return undefined
  }

  #expect(
    batch: PlannableBatch,
    expect: ExpectedPosition,
    { keyIndex }: StreamOptions,
    partition: number,
    end: number,
  ): void {
    const { stream } = batch
    if ('end' in expect) {
      if (expect.end !== end) throw logConflict(stream, partition, expect.end, end)
      return
    }
    if (!keyIndex) {
      throw logUnsupported(`stream ${stream}`, 'an expected position of a key', 'declare the stream with keyIndex')
    }
    const { key, last } = expect
    const actual =
      this.#keys.get(nameOf(stream, partition, key)) ?? this.#state.lastOf(stream, partition, key) ?? 'none'
    if (actual !== last) throw logConflict(stream, partition, last, actual, key)
  }

  #end(stream: string, partition: number): number {
    const noted = this.#ends.size > 0 ? this.#ends.get(nameOf(stream, partition)) : undefined
    return noted ?? this.#state.end(stream, partition)
  }
}

/** Names of streams hold no line feed, partitions neither. */
function nameOf(...parts: readonly (string | number)[]): string {
  return parts.join('\n')
}
