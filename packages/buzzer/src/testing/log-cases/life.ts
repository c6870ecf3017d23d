import assert from 'node:assert/strict'
import { batchOf, keyed, type LogCase, type LogWorld, numbers, textOf } from '../conformance/log-world.ts'

const callers = (world: LogWorld): string | undefined => {
  if (world.log.capabilities.transactions !== 'caller') return "no caller's transactions"
  return world.options.transaction === undefined ? 'the suite was given no transaction' : undefined
}

export const life: readonly LogCase[] = [
  {
    name: 'before connect and after close every call rejects with BUZZER_NOT_RUNNING; both are idempotent',
    source: 'streams 2',
    run: async world => {
      const stream = await world.stream()
      const log = await world.unconnected()
      const calls = (): Promise<unknown>[] => [
        log.append([batchOf(stream, ['x'])]),
        log.read({ stream, partition: 0, from: 'start' }),
        log.declare([{ name: stream }]),
        log.describe(),
      ]
      for (const call of calls()) await world.rejects(call, 'BUZZER_NOT_RUNNING', 'a call before connect')
      await world.connect(log)
      await world.connect(log)
      await world.append(stream, ['y'], {}, log)
      await world.settles(Promise.all([log.close(), log.close()]), 'close')
      await world.settles(log.close(), 'close')
      for (const call of calls()) await world.rejects(call, 'BUZZER_NOT_RUNNING', 'a call after close')
      await world.rejects(world.connect(log), 'BUZZER_NOT_RUNNING', 'connect after close')
      assert.deepEqual(await world.texts(stream), ['y'])
    },
  },
  {
    name: 'close finishes what was appended before it, and rejects reads that wait',
    source: 'streams 2',
    run: async world => {
      const stream = await world.stream()
      const log = await world.another()
      const waiting = world.pending({ stream: await world.stream(), partition: 0, from: 'end', waitMs: 600_000 }, log)
      const appends = Promise.all(numbers(0, 200).map(n => log.append([batchOf(stream, [`${n}`])])))
      appends.catch(() => {})
      await world.settles(log.close(), 'close')
      await world.settles(appends, 'the appends')
      await world.rejects(waiting, 'BUZZER_NOT_RUNNING', 'a read that waits')
      assert.deepEqual(await world.texts(stream), numbers(0, 200).map(String))
    },
  },
  {
    name: 'streams, records, keys, producers and deduplication keys outlive a restart; positions and times go on',
    source: 'streams 3; broker 10',
    needs: world => {
      if (world.log.capabilities.durability !== 'durable') return 'capability durability is volatile'
      return world.options.restart === undefined ? 'the suite was given no restart' : undefined
    },
    run: async world => {
      const { expected, producers, deduplication } = world.log.capabilities
      const keyIndex = expected === 'key'
      const window = deduplication === 'native' ? { deduplicationWindowMs: 600_000 } : {}
      const stream = await world.stream({ partitions: 2, keyIndex, ...window })
      const records = [keyed('a', '1'), { key: 'a', value: null, headers: [['h', Uint8Array.of(1)]] as const }]
      const first = await world.append(stream, records, { partition: 0 })
      const same = deduplication === 'native' ? { deduplicationKey: 'm' } : {}
      await world.append(stream, ['2'], { partition: 1, ...same })
      const opened = producers === 'durable' ? await world.log.openProducer(stream, 'p') : undefined
      const producer = opened && { name: 'p', epoch: opened.epoch, sequence: 7 }
      if (producer !== undefined) await world.append(stream, ['3'], { partition: 1, producer })
      const before = await world.all(stream, 0)
      await world.restart()
      assert.deepEqual((await world.describe(stream)).options.partitions, 2)
      assert.deepEqual(plain(await world.all(stream, 0)), plain(before))
      if (keyIndex) {
        const more = { partition: 0, expect: { key: 'a', last: first.position + 1 } } as const
        const next = await world.append(stream, [keyed('a', '4')], more)
        assert.equal(next.position, first.position + 2)
        assert.ok(next.time >= first.time)
      }
      if (deduplication === 'native') {
        const [again] = await world.log.append([batchOf(stream, ['2'], { partition: 1, ...same })])
        assert.equal(again?.as, 'duplicate')
      }
      if (producer !== undefined) {
        const [again] = await world.log.append([batchOf(stream, ['3'], { partition: 1, producer })])
        assert.equal(again?.as, 'duplicate')
        assert.equal((await world.log.openProducer(stream, 'p')).lastSequence, 7)
      }
      assert.deepEqual(await world.texts(stream, 1), producer === undefined ? ['2'] : ['2', '3'])
    },
  },
  {
    name: "appends in a caller's transaction are there once when it commits, in order, and never when it does not",
    source: 'streams 3 (S12)',
    needs: callers,
    run: async world => {
      const stream = await world.stream()
      const { transaction } = world.options as Required<typeof world.options>
      const failed = new Error('rolled back on purpose')
      await assert.rejects(
        transaction(async tx => {
          const [answer] = await world.log.append([batchOf(stream, ['undone'])], { tx })
          assert.deepEqual(answer, { as: 'staged' })
          throw failed
        }),
        failed,
      )
      const seenInside = await transaction(async tx => {
        await world.log.append([batchOf(stream, ['1', '2'])], { tx })
        await world.log.append([batchOf(stream, ['3'])], { tx })
        return (await world.read({ stream, partition: 0, from: 'start' })).records.length
      })
      assert.equal(seenInside, 0, 'nobody sees what may still be undone')
      await world.until(async () => (await world.texts(stream)).length >= 3, 'the records of the transaction come')
      await world.append(stream, ['4'])
      assert.deepEqual(await world.texts(stream), ['1', '2', '3', '4'])
    },
  },
  {
    name: 'a follower misses nothing of a transaction that commits after later appends',
    source: 'streams 4.1, 10 (S12)',
    needs: callers,
    run: async world => {
      const stream = await world.stream()
      const { transaction } = world.options as Required<typeof world.options>
      const begun = Promise.withResolvers<void>()
      const finish = Promise.withResolvers<void>()
      const late = transaction(async tx => {
        await world.log.append([batchOf(stream, ['late'])], { tx })
        begun.resolve()
        await finish.promise
      })
      await world.settles(begun.promise, 'the append in the transaction')
      await world.append(stream, ['early'])
      const first = await world.read({ stream, partition: 0, from: 'start', waitMs: world.patienceMs })
      assert.deepEqual(first.records.map(textOf), ['early'])
      finish.resolve()
      await world.settles(late, 'the transaction')
      const second = await world.read({ stream, partition: 0, from: first.next, waitMs: world.patienceMs })
      assert.deepEqual(second.records.map(textOf), ['late'])
      assert.deepEqual(await world.texts(stream), ['early', 'late'])
    },
  },
  {
    name: "a caller's transaction is refused where it is not taken, never ignored",
    source: 'streams 2',
    needs: world => (world.log.capabilities.transactions === 'none' ? undefined : "takes caller's transactions"),
    run: async world => {
      const stream = await world.stream()
      await world.rejects(
        (async () => world.log.append([batchOf(stream, ['x'])], { tx: {} }))(),
        'BUZZER_UNSUPPORTED',
        'an append with tx',
      )
      assert.deepEqual(await world.texts(stream), [])
    },
  },
]

/** Records whose bytes compare by content, whatever buffer they are views of. */
function plain(records: readonly { value: Uint8Array | null; headers: readonly (readonly [string, Uint8Array])[] }[]) {
  return records.map(({ value, headers, ...rest }) => ({
    ...rest,
    value: value === null ? null : [...value],
    headers: headers.map(([name, content]) => [name, [...content]]),
  }))
}
