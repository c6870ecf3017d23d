import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LogRecord } from '../../transport/index.ts'
import { batchOf, keyed, type LogCase, numbers, textOf } from '../conformance/log-world.ts'

export const reading: readonly LogCase[] = [
  {
    name: 'a read begins at the start, at the end, at a position, and says where to go on',
    source: 'streams 4.1 (S14)',
    run: async world => {
      const stream = await world.stream()
      const empty = await world.read({ stream, partition: 0, from: 'start' })
      assert.deepEqual([empty.records, empty.next, empty.first], [[], empty.end, empty.end])
      const { position } = await world.append(stream, ['a', 'b', 'c'])
      const start = await world.read({ stream, partition: 0, from: 'start' })
      assert.deepEqual(start.records.map(textOf), ['a', 'b', 'c'])
      assert.deepEqual([start.first, start.next, start.end], [position, position + 3, position + 3])
      const middle = await world.read({ stream, partition: 0, from: position + 1 })
      assert.deepEqual(middle.records.map(textOf), ['b', 'c'])
      for (const from of ['end', start.end] as const) {
        const end = await world.read({ stream, partition: 0, from })
        assert.deepEqual([end.records, end.next], [[], start.end])
      }
    },
  },
  {
    name: 'a position beyond the end is BUZZER_LOG_POSITION and tells the end',
    source: 'streams 4.2 (S14)',
    run: async world => {
      const stream = await world.stream()
      const { position } = await world.append(stream, ['a'])
      const error = await world.rejects(
        world.log.read({ stream, partition: 0, from: position + 2, waitMs: 50 }),
        'BUZZER_LOG_POSITION',
        'a read beyond the end',
      )
      assert.equal(error.details['position'], position + 2)
      assert.equal(error.details['end'], position + 1)
    },
  },
  {
    name: 'a read of a stream or partition that is not there is refused, and so is one that makes no sense',
    source: 'streams 2',
    run: async world => {
      const stream = await world.stream()
      const read = { stream, partition: 0, from: 'start' } as const
      const unknown = world.name()
      const error = await world.rejects(world.log.read({ ...read, stream: unknown }), 'BUZZER_STREAM_NOT_FOUND', 'read')
      assert.equal(error.details['stream'], unknown)
      for (const wrong of [
        { partition: 1 },
        { partition: -1 },
        { from: -1 },
        { from: 1.5 },
        { from: 'middle' as never },
        { maxRecords: 0 },
        { maxBytes: 0 },
        { waitMs: -1 },
        { waitMs: '5' as never },
        { limit: 5 } as never,
      ]) {
        await world.rejects(
          (async () => world.log.read({ ...read, ...wrong }))(),
          'BUZZER_INVALID_OPTION',
          JSON.stringify(wrong),
        )
      }
    },
  },
  {
    name: 'from a time: the first record at or after that instant, else the end',
    source: 'streams 4.1',
    run: async world => {
      const stream = await world.stream()
      const answers: { position: number; time: number }[] = []
      for (const text of ['a', 'b', 'c']) {
        if (answers.length > 0) await sleep(20)
        answers.push(await world.append(stream, [text, `${text}2`]))
      }
      const [first, second, third] = answers as [(typeof answers)[0], (typeof answers)[0], (typeof answers)[0]]
      assert.ok(first.time < second.time && second.time < third.time, 'the batches have different times')
      const at = async (time: number): Promise<string[]> =>
        (await world.read({ stream, partition: 0, from: { time } })).records.map(textOf)
      assert.deepEqual(await at(0), ['a', 'a2', 'b', 'b2', 'c', 'c2'])
      assert.deepEqual(await at(second.time), ['b', 'b2', 'c', 'c2'])
      assert.deepEqual(await at(second.time + 1), ['c', 'c2'])
      const late = await world.read({ stream, partition: 0, from: { time: third.time + 60_000 } })
      assert.deepEqual([late.records, late.next], [[], late.end])
    },
  },
  {
    name: 'maxRecords and maxBytes bound a read; a record larger than maxBytes passes alone',
    source: 'streams 4.3 (S15)',
    run: async world => {
      const stream = await world.stream()
      await world.append(stream, [...numbers(0, 10).map(String), { value: new Uint8Array(50_000) }, 'after'])
      const few = await world.read({ stream, partition: 0, from: 'start', maxRecords: 3 })
      assert.deepEqual(few.records.map(textOf), ['0', '1', '2'])
      const wide = await world.read({ stream, partition: 0, from: few.next, maxBytes: 40_000 })
      assert.deepEqual(wide.records.map(textOf), ['3', '4', '5', '6', '7', '8', '9'])
      const large = await world.read({ stream, partition: 0, from: wide.next, maxBytes: 1_000 })
      assert.deepEqual(
        large.records.map(({ value }) => value?.byteLength),
        [50_000],
      )
      const rest = await world.read({ stream, partition: 0, from: large.next, maxBytes: 1_000 })
      assert.deepEqual(rest.records.map(textOf), ['after'])
      const many = await world.stream()
      await world.append(many, numbers(0, 1_200).map(String))
      const page = await world.read({ stream: many, partition: 0, from: 'start' })
      assert.equal(page.records.length, 1_000, 'a read has 1,000 records unless told otherwise')
    },
  },
  {
    name: 'reads follow each other by next: every record once, in order',
    source: 'streams 4.1',
    run: async world => {
      const stream = await world.stream()
      for (let n = 0; n < 40; n++) await world.append(stream, numbers(n * 25, 25).map(String))
      const seen: string[] = []
      let from: number | 'start' = 'start'
      for (;;) {
        const { records, next, end } = await world.read({ stream, partition: 0, from, maxRecords: 7 })
        seen.push(...records.map(textOf))
        from = next
        if (next === end) break
      }
      assert.deepEqual(seen, numbers(0, 1_000).map(String))
    },
  },
  {
    name: 'a read with nothing to read waits up to waitMs and then answers with nothing',
    source: 'streams 4.3',
    run: async world => {
      const stream = await world.stream()
      await world.append(stream, ['a'])
      const startedAt = performance.now()
      const { records, next, end } = await world.read({ stream, partition: 0, from: 'end', waitMs: 100 })
      assert.ok(performance.now() - startedAt > 90, 'it waited')
      assert.deepEqual([records, next], [[], end])
      const at = performance.now()
      await world.read({ stream, partition: 0, from: 'start', waitMs: 60_000 })
      assert.ok(performance.now() - at < world.patienceMs, 'with something to read nobody waits')
    },
  },
  {
    name: 'a waiting read is woken by what another log appends, and only by its own partition',
    source: 'streams 4.3; broker 10',
    run: async world => {
      const stream = await world.stream({ partitions: 2 })
      const other = await world.another()
      const waiting = world.pending({ stream, partition: 1, from: 'end', waitMs: 600_000 })
      let woken = false
      void waiting.then(() => (woken = true)).catch(() => {})
      await world.append(stream, ['elsewhere'], { partition: 0 }, other)
      await sleep(world.quietMs)
      assert.equal(woken, false)
      const { position } = await world.append(stream, ['here', 'too'], { partition: 1 }, other)
      const { records, next } = await world.settles(waiting, 'the waiting read')
      assert.deepEqual([records.map(textOf), next], [['here', 'too'], position + 2])
    },
  },
  {
    name: 'a hundred waiting reads are all woken; a signal ends one alone with BUZZER_ABORTED',
    source: 'streams 4.3 (S19)',
    run: async world => {
      const stream = await world.stream()
      const stop = new AbortController()
      const aborted = world.pending({ stream, partition: 0, from: 'end', waitMs: 600_000, signal: stop.signal })
      const waiting = numbers(0, 100).map(() => world.pending({ stream, partition: 0, from: 'end', waitMs: 600_000 }))
      await sleep(20)
      stop.abort()
      await world.rejects(aborted, 'BUZZER_ABORTED', 'an aborted read')
      await world.append(stream, ['x'])
      const results = await world.settles(Promise.all(waiting), 'a hundred reads')
      assert.deepEqual(
        results.map(({ records }) => records.map(textOf)),
        numbers(0, 100).map(() => ['x']),
      )
      await world.rejects(
        (async () => world.log.read({ stream, partition: 0, from: 'start', signal: AbortSignal.abort() }))(),
        'BUZZER_ABORTED',
        'a read whose signal is aborted already',
      )
    },
  },
  {
    name: 'who follows while others append sees every record once, in order, and skips none that commits late',
    source: 'streams 4.1; broker 10 (S18)',
    run: async world => {
      const stream = await world.stream({ partitions: 2 })
      const writers = [world.log, await world.another(), await world.another()]
      const reader = await world.another()
      const total = 600
      const seen: LogRecord[] = []
      const follow = async (): Promise<void> => {
        let from: number | 'start' = 'start'
        while (seen.length < total) {
          const { records, next } = await reader.read({
            stream,
            partition: 0,
            from,
            waitMs: world.patienceMs,
            maxRecords: 50,
          })
          if (records.length === 0) return
          seen.push(...records)
          from = next
        }
      }
      const following = follow()
      following.catch(() => {})
      // Long and short calls beside each other: the long ones begin first and may commit last.
      const write = async (log: typeof reader, writer: number): Promise<void> => {
        for (let n = 0; n < 20; n++) {
          const size = n % 2 === 0 ? 19 : 1
          const padding = batchOf(stream, [{ value: new Uint8Array(size * 2_000) }], { partition: 1 })
          const texts = numbers(0, size).map(at => `${writer}:${n}:${at}`)
          await log.append([padding, batchOf(stream, texts, { partition: 0 })])
        }
      }
      await world.settles(Promise.all(writers.map(write)), 'three writers')
      await world.settles(following, 'the follower')
      assert.equal(seen.length, total)
      assert.deepEqual(seen.map(textOf), await world.texts(stream))
      const positions = seen.map(({ position }) => position)
      assert.ok(positions.every((position, index) => index === 0 || position > (positions[index - 1] as number)))
    },
  },
  {
    name: 'a reader that stands still slows nobody: appends and other readers go on',
    source: 'streams 4.3 (S19)',
    run: async world => {
      const stream = await world.stream()
      const stuck = await world.another()
      const pending = world.pending({ stream, partition: 0, from: 'end', waitMs: 600_000 }, stuck)
      for (let n = 0; n < 20; n++) await world.append(stream, [keyed('k', `${n}`), { value: new Uint8Array(10_000) }])
      assert.equal((await world.all(stream)).length, 40)
      await world.settles(pending, 'the first look of the slow reader')
    },
  },
]
