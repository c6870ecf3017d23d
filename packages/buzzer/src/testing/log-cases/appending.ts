import assert from 'node:assert/strict'
import type { AppendRecord } from '../../transport/index.ts'
import { partitionOf } from '../../transport/index.ts'
import { batchOf, keyed, type LogCase, numbers, textOf } from '../conformance/log-world.ts'

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)

export const appending: readonly LogCase[] = [
  {
    name: 'what was appended comes out: keys in any script, headers in order with repeats and bytes, any value',
    source: 'streams 3.7 (S5)',
    run: async world => {
      const stream = await world.stream()
      const given: AppendRecord[] = [
        { key: 'Grüße 你好 🚀 \u0000', value: bytes(0, 255, 128), headers: [] },
        {
          value: bytes(1),
          headers: [
            ['a', bytes(0, 255)],
            ['ü', bytes()],
            ['a', bytes(2)],
            ['a', bytes(0, 255)],
          ],
        },
        { key: '', value: new Uint8Array(100_000).fill(7) },
      ]
      await world.append(stream, given)
      const records = await world.all(stream)
      assert.equal(records.length, 3)
      for (const [index, { key, value, headers = [] }] of given.entries()) {
        const record = records[index]
        assert.equal(record?.key, key)
        assert.deepEqual(Buffer.from(record?.value ?? []), Buffer.from(value as Uint8Array))
        assert.deepEqual(
          record?.headers.map(([name, content]) => [name, [...content]]),
          headers.map(([name, content]) => [name, [...content]]),
        )
      }
      assert.equal('key' in (records[1] as object), false, 'a record without key has none')
    },
  },
  {
    name: 'a tombstone is told from an empty value',
    source: 'streams 3.7 (S6)',
    run: async world => {
      const stream = await world.stream()
      await world.append(stream, [
        { key: 'a', value: null },
        { key: 'a', value: bytes() },
      ])
      const values = (await world.all(stream)).map(({ value }) => (value === null ? null : value.byteLength))
      assert.deepEqual(values, [null, 0])
    },
  },
  {
    name: 'nobody shares bytes with the log: what is done to them after the append changes no record',
    source: 'streams 3.1',
    run: async world => {
      const stream = await world.stream()
      const value = bytes(1, 2, 3)
      const header = bytes(9)
      await world.append(stream, [{ value, headers: [['h', header]] }])
      value.fill(0)
      header.fill(0)
      const [record] = await world.all(stream)
      assert.deepEqual([...(record?.value ?? [])], [1, 2, 3])
      assert.deepEqual([...(record?.headers[0]?.[1] ?? [])], [9])
    },
  },
  {
    name: 'an append answers where it lies, and another log reads it there at once',
    source: 'streams 3.1 (S1)',
    run: async world => {
      const stream = await world.stream({ partitions: 3 })
      const other = await world.another()
      for (const partition of [2, 0, 2]) {
        const answer = await world.append(stream, [`to ${partition}`, 'and'], { partition })
        const { records } = await world.read({ stream, partition, from: answer.position }, other)
        assert.equal(answer.partition, partition)
        assert.deepEqual(records.map(textOf), [`to ${partition}`, 'and'])
        assert.equal(records[0]?.position, answer.position)
        assert.equal(records[0]?.time, answer.time)
      }
    },
  },
  {
    name: 'positions rise in each partition, dense from 1 where that is claimed; a batch lies contiguous',
    source: 'streams 2, 3.1; broker 10 (S16)',
    run: async world => {
      const stream = await world.stream({ partitions: 2 })
      const dense = world.log.capabilities.positions === 'dense'
      const firsts: number[] = []
      for (const size of [1, 3, 2]) {
        const { position } = await world.append(stream, numbers(0, size).map(String), { partition: 1 })
        firsts.push(position)
        const { records } = await world.read({ stream, partition: 1, from: position })
        assert.deepEqual(
          records.map(record => record.position),
          numbers(position, size),
        )
      }
      assert.ok(
        firsts[0] !== undefined && firsts.every((first, index) => index === 0 || first > (firsts[index - 1] as number)),
      )
      if (dense) assert.deepEqual(firsts, [1, 2, 5])
      assert.deepEqual(await world.all(stream, 0), [], 'the other partition has its own positions')
    },
  },
  {
    name: 'calls are stored in the order of the calls, awaited or not',
    source: 'streams 3.1 (S3)',
    run: async world => {
      const stream = await world.stream()
      const texts = numbers(0, 1_000).map(String)
      const answers = await world.settles(
        Promise.all(texts.map(text => world.log.append([batchOf(stream, [keyed('k', text)])]))),
        '1,000 appends',
      )
      assert.deepEqual(await world.texts(stream), texts)
      const positions = answers.map(([answer]) => (answer?.as === 'stored' ? answer.position : -1))
      assert.deepEqual(
        positions,
        (await world.all(stream)).map(({ position }) => position),
      )
    },
  },
  {
    name: 'of two writers at once each keeps its own order, every batch lies contiguous, no position is given twice',
    source: 'streams 3.1; broker 10 (S2, B100)',
    run: async world => {
      const stream = await world.stream()
      const writers = [world.log, await world.another()]
      const each = 200
      const size = 5
      await world.settles(
        Promise.all(
          writers.flatMap((log, writer) =>
            numbers(0, each).map(n =>
              log.append([
                batchOf(
                  stream,
                  numbers(0, size).map(at => `${writer}:${n}:${at}`),
                ),
              ]),
            ),
          ),
        ),
        'the appends of two writers',
      )
      const records = await world.all(stream)
      assert.equal(records.length, 2 * each * size)
      assert.equal(new Set(records.map(({ position }) => position)).size, records.length)
      const batches: [number, number][] = []
      for (let index = 0; index < records.length; index += size) {
        const [writer, n] = textOf(records[index] as never)
          .split(':')
          .map(Number) as [number, number]
        batches.push([writer, n])
        const run = records.slice(index, index + size)
        assert.deepEqual(
          run.map(textOf),
          numbers(0, size).map(at => `${writer}:${n}:${at}`),
        )
        assert.deepEqual(
          run.map(({ position }) => position),
          numbers(run[0]?.position as number, size),
        )
      }
      for (const writer of [0, 1]) {
        assert.deepEqual(
          batches.filter(([who]) => who === writer).map(([, n]) => n),
          numbers(0, each),
        )
      }
    },
  },
  {
    name: 'all batches of a call are stored, over partitions and streams, in their order',
    source: 'streams 3.1 (S8)',
    run: async world => {
      const stream = await world.stream({ partitions: 2 })
      const other = await world.stream()
      const answers = await world.settles(
        world.log.append([
          batchOf(stream, ['a', 'b'], { partition: 0 }),
          batchOf(stream, ['c'], { partition: 1 }),
          batchOf(other, ['d']),
          batchOf(stream, ['e'], { partition: 0 }),
        ]),
        'an append of four batches',
      )
      assert.deepEqual(
        answers.map(({ as }) => as),
        ['stored', 'stored', 'stored', 'stored'],
      )
      assert.deepEqual(await world.texts(stream, 0), ['a', 'b', 'e'])
      assert.deepEqual(await world.texts(stream, 1), ['c'])
      assert.deepEqual(await world.texts(other), ['d'])
      assert.deepEqual(await world.log.append([]), [])
    },
  },
  {
    name: 'a call with one batch that cannot be stored stores none',
    source: 'streams 3.1, 2 (S8)',
    run: async world => {
      const stream = await world.stream()
      const unknown = world.name()
      const error = await world.rejects(
        world.log.append([batchOf(stream, ['a']), batchOf(unknown, ['b']), batchOf(stream, ['c'])]),
        'BUZZER_STREAM_NOT_FOUND',
        'an append with an unknown stream',
      )
      assert.equal(error.details['stream'], unknown)
      assert.deepEqual(await world.texts(stream), [])
      await world.append(stream, ['later'])
      assert.deepEqual(await world.texts(stream), ['later'])
    },
  },
  {
    name: "a key goes to the partition of its murmur2, as in Kafka's Java client; a named partition goes before",
    source: 'streams 3.2',
    run: async world => {
      const stream = await world.stream({ partitions: 12 })
      for (const key of ['21', 'foobar', 'abc', 'grün', '']) {
        const { partition } = await world.append(stream, [keyed(key, 'x'), keyed(key, 'y')])
        assert.equal(partition, partitionOf(key, 12), key)
      }
      const elsewhere = (partitionOf('abc', 12) + 1) % 12
      assert.equal((await world.append(stream, [keyed('abc', 'z')], { partition: elsewhere })).partition, elsewhere)
    },
  },
  {
    name: 'a batch whose keys go to different partitions is refused, and nothing of it is stored',
    source: 'streams 3.2',
    run: async world => {
      const stream = await world.stream({ partitions: 12 })
      await world.rejects(
        world.log.append([batchOf(stream, [keyed('21', 'a'), keyed('foobar', 'b')])]),
        'BUZZER_INVALID_OPTION',
        'a batch over two partitions',
      )
      assert.deepEqual(await world.everything(stream), [])
    },
  },
  {
    name: 'batches without keys use all partitions in turn, each whole in one',
    source: 'streams 3.2 (S4)',
    run: async world => {
      const stream = await world.stream({ partitions: 4 })
      for (let n = 0; n < 16; n++) await world.append(stream, [`${n}a`, `${n}b`, `${n}c`])
      for (const partition of numbers(0, 4)) {
        const texts = await world.texts(stream, partition)
        assert.ok(texts.length > 0, `partition ${partition} is used`)
        for (let at = 0; at < texts.length; at += 3) {
          const n = texts[at]?.slice(0, -1)
          assert.deepEqual(texts.slice(at, at + 3), [`${n}a`, `${n}b`, `${n}c`])
        }
      }
    },
  },
  {
    name: 'a record above maxRecordBytes is refused with both sizes and nothing is stored; one of exactly that size is',
    source: 'streams 3.8 (S7)',
    run: async world => {
      const stream = await world.stream()
      const { maxRecordBytes } = world.log.capabilities
      const error = await world.rejects(
        world.log.append([batchOf(stream, ['small', { key: 'k', value: new Uint8Array(maxRecordBytes) }])]),
        'BUZZER_MESSAGE_TOO_LARGE',
        'an append of a large record',
      )
      assert.equal(error.details['actualBytes'], maxRecordBytes + 1)
      assert.equal(error.details['limitBytes'], maxRecordBytes)
      assert.deepEqual(await world.texts(stream), [])
      await world.append(stream, [{ key: 'k', value: new Uint8Array(maxRecordBytes - 1) }])
      assert.equal((await world.all(stream))[0]?.value?.byteLength, maxRecordBytes - 1)
    },
  },
  {
    name: 'what cannot be appended is refused: no records, a partition that is not there, a value that is no bytes',
    source: 'streams 2',
    run: async world => {
      const stream = await world.stream({ partitions: 2 })
      const wrong: [string, Parameters<typeof batchOf>][] = [
        ['no records', [stream, []]],
        ['partition 2 of 2', [stream, ['x'], { partition: 2 }]],
        ['partition -1', [stream, ['x'], { partition: -1 }]],
        ['a text as value', [stream, [{ value: 'text' as never }]]],
        ['half a character as key', [stream, [{ key: '\ud800', value: null }]]],
        ['a number as key', [stream, [{ key: 5 as never, value: null }]]],
        ['headers that are no pairs', [stream, [{ value: null, headers: { a: 'b' } as never }]]],
        ['a misspelt name', [stream, ['x'], { messageId: 'm' } as never]],
        ['no expectation', [stream, ['x'], { expect: null as never }]],
      ]
      for (const [what, batch] of wrong) {
        await world.rejects(
          (async () => world.log.append([batchOf(stream, ['before']), batchOf(...batch)]))(),
          'BUZZER_INVALID_OPTION',
          what,
        )
      }
      assert.deepEqual(await world.everything(stream), [])
    },
  },
  {
    name: 'more than 16 MiB outstanding: appends wait for each other, all are stored, in order',
    source: 'streams 3.8 (S13)',
    run: async world => {
      const stream = await world.stream()
      const size = Math.min(world.log.capabilities.maxRecordBytes, 256 * 1024)
      const count = Math.ceil((20 * 1024 * 1024) / size)
      const block = new Uint8Array(size - 8)
      await world.settles(
        Promise.all(
          numbers(0, count).map(n => world.log.append([batchOf(stream, [{ key: String(n), value: block }])])),
        ),
        `${count} appends of ${size} bytes`,
      )
      assert.deepEqual(
        (await world.all(stream)).map(({ key }) => key),
        numbers(0, count).map(String),
      )
    },
  },
  {
    name: "time is the log's, near the clock, and never decreases within a partition",
    source: 'streams 3.3',
    run: async world => {
      const stream = await world.stream()
      const writers = [world.log, await world.another()]
      const before = Date.now()
      await world.settles(
        Promise.all(
          numbers(0, 100).map(n => (writers[n % 2] as typeof world.log).append([batchOf(stream, [String(n)])])),
        ),
        'the appends',
      )
      const times = (await world.all(stream)).map(({ time }) => time)
      assert.deepEqual(
        times,
        times.toSorted((left, right) => left - right),
      )
      assert.ok(Math.abs((times[0] as number) - before) < 60_000, 'epoch milliseconds')
    },
  },
  {
    name: 'an append whose signal is aborted already stores nothing and says so',
    source: 'streams 2',
    run: async world => {
      const stream = await world.stream()
      const error = await world.rejects(
        world.log.append([batchOf(stream, ['x'])], { signal: AbortSignal.abort() }),
        'BUZZER_ABORTED',
        'an aborted append',
      )
      assert.equal(error.details['outcome'], 'not-stored')
      assert.deepEqual(await world.texts(stream), [])
    },
  },
]
