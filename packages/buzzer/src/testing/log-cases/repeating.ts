import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { batchOf, type LogCase, type LogWorld, numbers } from '../conformance/log-world.ts'

const producers = (world: LogWorld): string | undefined =>
  world.log.capabilities.producers === 'durable' ? undefined : 'capability producers is connection'
const deduplicates = (world: LogWorld): string | undefined =>
  world.log.capabilities.deduplication === 'native' ? undefined : 'capability deduplication is none'

export const repeating: readonly LogCase[] = [
  {
    name: "a named producer's number at or below its last stores nothing and answers where it lies; gaps are allowed",
    source: 'streams 3.5 (S10)',
    needs: producers,
    run: async world => {
      const stream = await world.stream()
      const { epoch, lastSequence } = await world.log.openProducer(stream, 'import')
      assert.equal(lastSequence, 0)
      const append = async (sequence: number) =>
        (
          await world.settles(
            world.log.append([batchOf(stream, [`s${sequence}`], { producer: { name: 'import', epoch, sequence } })]),
            'append',
          )
        )[0]
      const first = await append(10)
      const second = await append(12)
      assert.deepEqual([first?.as, second?.as], ['stored', 'stored'])
      for (const [sequence, stored] of [
        [12, second],
        [10, first],
      ] as const) {
        assert.deepEqual(await append(sequence), { ...stored, as: 'duplicate' })
      }
      assert.deepEqual(await append(11), { as: 'duplicate' }, 'one that was never stored has no place')
      assert.deepEqual(await world.texts(stream), ['s10', 's12'])
      assert.equal((await world.log.openProducer(stream, 'import')).lastSequence, 12)
    },
  },
  {
    name: 'opening a producer raises its epoch; whoever held it before is refused with BUZZER_PRODUCER_FENCED',
    source: 'streams 3.5',
    needs: producers,
    run: async world => {
      const stream = await world.stream()
      const other = await world.another()
      const old = await world.log.openProducer(stream, 'p')
      const append = (log: typeof other, epoch: number, sequence: number, text: string): Promise<unknown> =>
        log.append([batchOf(stream, [text], { producer: { name: 'p', epoch, sequence } })])
      await append(world.log, old.epoch, 1, 'old')
      const fresh = await other.openProducer(stream, 'p')
      assert.ok(fresh.epoch > old.epoch)
      assert.equal(fresh.lastSequence, 1)
      for (const epoch of [old.epoch, fresh.epoch + 1]) {
        await world.rejects(append(world.log, epoch, 2, 'stale'), 'BUZZER_PRODUCER_FENCED', `epoch ${epoch}`)
      }
      await world.rejects(append(world.log, old.epoch, 1, 'stale'), 'BUZZER_PRODUCER_FENCED', 'a stale repeat')
      await append(other, fresh.epoch, 2, 'fresh')
      assert.deepEqual(await world.texts(stream), ['old', 'fresh'])
    },
  },
  {
    name: 'producers are told apart by name and stream; one that was never opened is fenced',
    source: 'streams 3.5',
    needs: producers,
    run: async world => {
      const [one, two] = [await world.stream(), await world.stream()]
      const send = (stream: string, name: string, epoch: number): Promise<unknown> =>
        world.log.append([batchOf(stream, [name], { producer: { name, epoch, sequence: 1 } })])
      const a = await world.log.openProducer(one, 'a')
      await world.log.openProducer(one, 'a')
      const b = await world.log.openProducer(one, 'b')
      const elsewhere = await world.log.openProducer(two, 'a')
      await send(one, 'b', b.epoch)
      await send(two, 'a', elsewhere.epoch)
      await world.rejects(send(one, 'a', a.epoch), 'BUZZER_PRODUCER_FENCED', 'a')
      await world.rejects(send(two, 'b', 1), 'BUZZER_PRODUCER_FENCED', 'a producer nobody opened')
      assert.deepEqual([await world.texts(one), await world.texts(two)], [['b'], ['a']])
      await world.rejects(world.log.openProducer(world.name(), 'a'), 'BUZZER_STREAM_NOT_FOUND', 'openProducer')
    },
  },
  {
    name: 'a deduplication key seen within the window stores nothing and answers where the first one lies',
    source: 'streams 3.6 (S11)',
    needs: deduplicates,
    run: async world => {
      const stream = await world.stream({ deduplicationWindowMs: 600_000, partitions: 2 })
      const other = await world.another()
      const batch = (text: string) => batchOf(stream, [text, `${text}2`], { deduplicationKey: 'm-1', partition: 1 })
      const [first] = await world.log.append([batch('first')])
      assert.equal(first?.as, 'stored')
      const [again] = await other.append([batch('again')])
      assert.deepEqual(again, { ...first, as: 'duplicate' })
      const [one, two] = await world.log.append([
        batchOf(stream, ['x'], { deduplicationKey: 'm-2', partition: 0 }),
        batchOf(stream, ['y'], { deduplicationKey: 'm-2', partition: 0 }),
      ])
      assert.equal(one?.as, 'stored')
      assert.deepEqual(two, { ...one, as: 'duplicate' }, 'within one call, too')
      const elsewhere = await world.stream({ deduplicationWindowMs: 600_000 })
      await world.append(elsewhere, ['its own window'], { deduplicationKey: 'm-1' })
      assert.deepEqual(await world.everything(stream), ['x', 'first', 'first2'])
    },
  },
  {
    name: 'of many appends at once with one deduplication key one is stored; all answer its place',
    source: 'streams 3.6 (S11)',
    needs: deduplicates,
    run: async world => {
      const stream = await world.stream({ deduplicationWindowMs: 600_000 })
      const logs = [world.log, await world.another()]
      const answers = await world.settles(
        Promise.all(
          numbers(0, 20).map(n =>
            (logs[n % 2] as typeof world.log).append([batchOf(stream, [`${n}`], { deduplicationKey: 'same' })]),
          ),
        ),
        'twenty appends',
      )
      assert.equal((await world.all(stream)).length, 1)
      assert.equal(answers.filter(([answer]) => answer?.as === 'stored').length, 1)
      const positions = answers.map(([answer]) => (answer?.as === 'staged' ? undefined : answer?.position))
      assert.deepEqual(new Set(positions), new Set([(await world.all(stream))[0]?.position]))
    },
  },
  {
    name: 'a deduplication key is new again when the window has passed; without a key nothing is judged',
    source: 'streams 3.6 (S11)',
    needs: deduplicates,
    run: async world => {
      const stream = await world.stream({ deduplicationWindowMs: 100 })
      await world.append(stream, ['first'], { deduplicationKey: 'k' })
      await sleep(150)
      await world.append(stream, ['second'], { deduplicationKey: 'k' })
      await world.append(stream, ['same'])
      await world.append(stream, ['same'])
      assert.deepEqual(await world.texts(stream), ['first', 'second', 'same', 'same'])
    },
  },
  {
    name: 'a deduplication key on a stream without window is refused, never ignored',
    source: 'streams 3.6',
    needs: deduplicates,
    run: async world => {
      const stream = await world.stream()
      await world.rejects(
        world.log.append([batchOf(stream, ['x'], { deduplicationKey: 'k' })]),
        'BUZZER_UNSUPPORTED',
        'a deduplication key without window',
      )
      assert.deepEqual(await world.texts(stream), [])
    },
  },
]
