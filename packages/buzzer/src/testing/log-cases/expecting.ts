import assert from 'node:assert/strict'
import { batchOf, keyed, type LogCase, type LogWorld, numbers } from '../conformance/log-world.ts'

const anyExpectation = (world: LogWorld): string | undefined =>
  world.log.capabilities.expected === 'none' ? 'capability expected is none' : undefined
const keyExpectation = (world: LogWorld): string | undefined =>
  world.log.capabilities.expected === 'key' ? undefined : `capability expected is ${world.log.capabilities.expected}`

export const expecting: readonly LogCase[] = [
  {
    name: 'an append that expects the end is stored at the end, and refused with the actual one elsewhere',
    source: 'streams 3.4; broker 10 (S9, B101)',
    needs: anyExpectation,
    run: async world => {
      const stream = await world.stream()
      const { end: empty } = await world.read({ stream, partition: 0, from: 'end' })
      const { position } = await world.append(stream, ['a'], { expect: { end: empty } })
      assert.equal(position, empty)
      for (const end of [empty, position + 2]) {
        const error = await world.rejects(
          world.log.append([batchOf(stream, ['b'], { expect: { end } })]),
          'BUZZER_LOG_CONFLICT',
          `an append that expects ${end}`,
        )
        assert.equal(error.details['expected'], end)
        assert.equal(error.details['actual'], position + 1)
      }
      assert.deepEqual(await world.texts(stream), ['a'])
    },
  },
  {
    name: 'a missed expectation stores nothing of the whole call',
    source: 'streams 3.1, 3.4; broker 10 (B101)',
    needs: anyExpectation,
    run: async world => {
      const stream = await world.stream({ partitions: 2 })
      const { position } = await world.append(stream, ['a'], { partition: 0 })
      await world.rejects(
        world.log.append([
          batchOf(stream, ['lost'], { partition: 1 }),
          batchOf(stream, ['b'], { partition: 0, expect: { end: position } }),
        ]),
        'BUZZER_LOG_CONFLICT',
        'an append of two batches',
      )
      assert.deepEqual(await world.everything(stream), ['a'])
    },
  },
  {
    name: 'of many appends at once that expect the same end exactly one wins; the others read the actual one',
    source: 'streams 3.4 (S9)',
    needs: anyExpectation,
    run: async world => {
      const stream = await world.stream()
      const { position } = await world.append(stream, ['a'])
      const logs = [world.log, await world.another()]
      const racers = await world.settles(
        Promise.allSettled(
          numbers(0, 20).map(n =>
            (logs[n % 2] as typeof world.log).append([batchOf(stream, [`r${n}`], { expect: { end: position + 1 } })]),
          ),
        ),
        'twenty racers',
      )
      assert.equal(racers.filter(({ status }) => status === 'fulfilled').length, 1)
      for (const racer of racers) {
        if (racer.status === 'fulfilled') continue
        const { code, details } = racer.reason as { code: string; details: Record<string, unknown> }
        assert.deepEqual([code, details['actual']], ['BUZZER_LOG_CONFLICT', position + 2])
      }
      assert.equal((await world.all(stream)).length, 2)
    },
  },
  {
    name: 'an append that expects the last record of its key: none at first, then its position, whatever others append',
    source: 'streams 3.4',
    needs: keyExpectation,
    run: async world => {
      const stream = await world.stream({ keyIndex: true, partitions: 3 })
      const first = await world.append(stream, [keyed('a', '1'), keyed('a', '2')], {
        expect: { key: 'a', last: 'none' },
      })
      await world.append(stream, [keyed('b', 'other')], { partition: first.partition })
      const second = await world.append(stream, [keyed('a', '3')], { expect: { key: 'a', last: first.position + 1 } })
      for (const last of ['none', first.position + 1] as const) {
        const error = await world.rejects(
          world.log.append([batchOf(stream, [keyed('a', 'x')], { expect: { key: 'a', last } })]),
          'BUZZER_LOG_CONFLICT',
          `an append that expects ${last}`,
        )
        assert.deepEqual([error.details['expected'], error.details['actual']], [last, second.position])
        assert.equal(error.details['key'], 'a')
      }
      const error = await world.rejects(
        world.log.append([batchOf(stream, [keyed('new', 'x')], { expect: { key: 'new', last: 1 } })]),
        'BUZZER_LOG_CONFLICT',
        'an append that expects a record of an unknown key',
      )
      assert.equal(error.details['actual'], 'none')
      assert.equal((await world.everything(stream)).length, 4)
    },
  },
  {
    name: 'of many appends at once for one key exactly one wins; other keys do not notice',
    source: 'streams 3.4',
    needs: keyExpectation,
    run: async world => {
      const stream = await world.stream({ keyIndex: true })
      const logs = [world.log, await world.another()]
      const race = (key: string, n: number): Promise<unknown> =>
        (logs[n % 2] as typeof world.log).append([
          batchOf(stream, [keyed(key, `${n}`)], { expect: { key, last: 'none' } }),
        ])
      const results = await world.settles(
        Promise.allSettled(numbers(0, 30).map(n => race(`k${n % 3}`, n))),
        'thirty racers',
      )
      const winners = results.flatMap(({ status }, n) => (status === 'fulfilled' ? [`k${n % 3}`] : []))
      assert.deepEqual(winners.toSorted(), ['k0', 'k1', 'k2'])
      assert.deepEqual((await world.all(stream)).map(({ key }) => key).toSorted(), ['k0', 'k1', 'k2'])
    },
  },
  {
    name: 'an expectation sees the earlier batches of its own call',
    source: 'streams 3.4',
    needs: keyExpectation,
    run: async world => {
      const stream = await world.stream({ keyIndex: true })
      const { end } = await world.read({ stream, partition: 0, from: 'end' })
      await world.settles(
        world.log.append([
          batchOf(stream, [keyed('a', '1'), keyed('b', '2')], { expect: { end } }),
          batchOf(stream, [keyed('a', '3')], { expect: { key: 'a', last: end } }),
          batchOf(stream, [keyed('c', '4')], { expect: { end: end + 3 } }),
        ]),
        'an append of three batches',
      )
      assert.deepEqual(await world.texts(stream), ['1', '2', '3', '4'])
      await world.rejects(
        world.log.append([
          batchOf(stream, [keyed('a', '5')]),
          batchOf(stream, [keyed('a', '6')], { expect: { key: 'a', last: end + 2 } }),
        ]),
        'BUZZER_LOG_CONFLICT',
        'an expectation that its own call has overtaken',
      )
      assert.equal((await world.all(stream)).length, 4)
    },
  },
  {
    name: 'an expected position of a key on a stream without keyIndex is refused, never ignored',
    source: 'streams 3.4',
    needs: keyExpectation,
    run: async world => {
      const stream = await world.stream()
      await world.rejects(
        world.log.append([batchOf(stream, [keyed('a', 'x')], { expect: { key: 'a', last: 'none' } })]),
        'BUZZER_UNSUPPORTED',
        'an expectation without an index',
      )
      assert.deepEqual(await world.texts(stream), [])
    },
  },
]
