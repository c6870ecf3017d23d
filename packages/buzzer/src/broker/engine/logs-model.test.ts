import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { EngineHost, temporaryFolder } from '../../../test/broker/engine-client.ts'
import type { AppendBatch, Appended, LogRecord, ReadRequest, StreamTopology } from '../../transport/index.ts'
import { MemoryStreams } from '../../transport/transports/memory/streams.ts'
import { Timers } from '../../transport/transports/memory/timers.ts'
import { toWireStream } from '../protocol/index.ts'
import { checkFile } from './index.ts'

let folder: ReturnType<typeof temporaryFolder>
beforeEach(() => (folder = temporaryFolder()))
afterEach(() => folder.remove())

/** Small numbers that follow from a seed. */
function generator(seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0
    return (state >>> 0) % below
  }
}

const streams = [
  { name: 'plain', partitions: 2 },
  {
    name: 'full',
    partitions: 3,
    keyIndex: true,
    deduplicationWindowMs: 5_000,
    retention: { maxAgeMs: 20_000 },
  },
] as const

/** What has come out so far, so that the test knows that it was not always the same. */
const seen = new Set<string>()

/** A value, or the code and details of what was thrown: what the two must have in common. */
function outcome(act: () => unknown): unknown {
  try {
    return act()
  } catch (error) {
    const { code, details } = error as { code?: string; details?: object }
    if (code === undefined) throw error
    seen.add(code)
    return { code, details }
  }
}

const plain = (record: LogRecord): unknown => ({
  ...record,
  value: record.value === null ? null : Buffer.from(record.value).toString(),
  headers: record.headers.map(([name, content]) => [name, Buffer.from(content).toString()]),
})

describe('the logs of the file and those in memory', () => {
  it.each([1, 2, 3, 4])('agree through random operations, restarts and time, seed %i', seed => {
    const next = generator(seed * 7_919)
    const path = join(folder.path, 'broker.db')
    const host = new EngineHost(path)
    const memory = new MemoryStreams({ wall: new Timers(host.clock, 'now'), maxBytes: 2 ** 40 })
    let client = host.connect()
    client.call({
      call: 'log-declare',
      streams: streams.map(one => toWireStream<StreamTopology>(one)),
      onConflict: 'refuse',
    })
    memory.declare(streams)

    const batch = (): AppendBatch => {
      const { name, partitions } = streams[next(2)] as (typeof streams)[number]
      const key = `k${next(4)}`
      const size = 1 + next(4)
      const records = Array.from({ length: size }, (_, index) => ({
        ...(next(5) === 0 ? {} : { key }),
        value: next(6) === 0 ? null : Buffer.from('v'.repeat(next(200)) + index),
        ...(next(3) === 0
          ? {
              headers: [
                ['h', Buffer.from('1')],
                ['h', Buffer.from('2')],
              ] as const,
            }
          : {}),
      }))
      return {
        stream: next(40) === 0 ? 'unknown' : name,
        records,
        ...(next(3) === 0 ? { partition: next(partitions + (next(20) === 0 ? 1 : 0)) } : {}),
        ...(next(6) === 0 ? { expect: { end: 1 + next(40) } } : {}),
        ...(next(6) === 0 && name === 'full' ? { expect: { key, last: next(2) === 0 ? 'none' : 1 + next(40) } } : {}),
        ...(next(4) === 0 && name === 'full' ? { deduplicationKey: `d${next(6)}` } : {}),
        ...(next(5) === 0 ? { producer: { name: 'p', epoch: 1 + next(2), sequence: 1 + next(60) } } : {}),
      }
    }
    const inMemory = (batches: readonly AppendBatch[]): readonly Appended[] => {
      const answers = memory.apply(batches, memory.plan(batches))
      for (const { as } of answers) seen.add(as)
      return answers
    }
    const turnsAgree = (): void => {
      // Whose turn it is for a batch without keys is nobody's promise over a restart.
      for (const { name } of streams) memory.stream(name).turn = 0
    }
    for (let step = 0; step < 400; step++) {
      const kind = next(20)
      const { name, partitions } = streams[next(2)] as (typeof streams)[number]
      const partition = next(partitions)
      if (kind < 11) {
        const batches = Array.from({ length: 1 + next(3) }, batch)
        expect(
          outcome(() => client.append(batches)),
          `step ${step}`,
        ).toEqual(outcome(() => inMemory(batches)))
      } else if (kind < 15) {
        const froms: ReadRequest['from'][] = ['start', 'end', next(60), { time: host.clock.now() - next(30_000) }]
        const from = froms[next(4)] as ReadRequest['from']
        const limits = { maxRecords: 10_000, maxBytes: 16 * 1024 * 1024 }
        const request = { stream: name, partition, from, ...limits, waitMs: 0, signal: undefined }
        const read = (result: { records: readonly LogRecord[] }): unknown => ({
          ...result,
          records: result.records.map(plain),
        })
        expect(
          outcome(() => read(client.readLog(name, from, partition))),
          `step ${step}`,
        ).toEqual(outcome(() => read(memory.read(request, memory.resolve(request)))))
      } else if (kind === 15) {
        const before = next(60)
        expect(
          outcome(() => client.call({ call: 'log-trim', stream: name, partition, before })),
          `step ${step}`,
        ).toEqual(outcome(() => memory.trim(name, partition, before)))
      } else if (kind === 16) {
        expect(client.call({ call: 'log-producer', stream: name, name: 'p' })).toEqual(memory.openProducer(name, 'p'))
      } else if (kind === 17) {
        // Whole tenths of a second: the engine looks at ages no more often than that.
        host.advance(100 * next(40))
        client.beat()
      } else if (kind === 18 && next(4) === 0) {
        if (next(2) === 0) host.restart()
        else host.crash()
        client = host.connect()
        turnsAgree()
      }
    }
    host.advance(60_000)
    client = host.connect()
    const known = (description: { streams: readonly { partitions: readonly object[] }[] }): unknown =>
      description.streams.map(stream => stream.partitions.map(part => ({ ...part, bytes: 0 })))
    expect(known(client.call({ call: 'log-describe' }))).toEqual(known(memory.describe(undefined)))
    host.engine.close()
    expect(checkFile(path)).toEqual({ ok: true, problems: [] })
  })

  it('were asked for every kind of answer', () => {
    expect([...seen].toSorted()).toEqual([
      'BUZZER_INVALID_OPTION',
      'BUZZER_LOG_CONFLICT',
      'BUZZER_LOG_POSITION',
      'BUZZER_LOG_TRIMMED',
      'BUZZER_PRODUCER_FENCED',
      'BUZZER_STREAM_NOT_FOUND',
      'duplicate',
      'stored',
    ])
  })
})
