import assert from 'node:assert/strict'
import type { LogAdmin, StreamTopology } from '../../transport/index.ts'
import { type LogCase, type LogWorld, numbers, textOf } from '../conformance/log-world.ts'

const has =
  (call: keyof LogAdmin) =>
  (world: LogWorld): string | undefined =>
    world.log.admin?.[call] === undefined ? `admin.${call} is absent` : undefined

export const topology: readonly LogCase[] = [
  {
    name: 'declare is idempotent; by name alone it fits before and after the full declaration',
    source: 'streams 2',
    run: async world => {
      const name = world.name()
      const full: StreamTopology = { name, partitions: 3, retention: { maxAgeMs: 60_000 } }
      await world.log.declare([full])
      await world.append(name, ['kept'], { partition: 2 })
      const other = await world.another()
      for (const again of [{ name }, full, { name, retention: { maxBytes: 1_000_000 } }]) await other.declare([again])
      const { options, partitions } = await world.describe(name)
      assert.equal(partitions.length, 3)
      assert.deepEqual(options, {
        partitions: 3,
        keyIndex: false,
        deduplicationWindowMs: 0,
        retention: { maxAgeMs: 60_000, maxBytes: 1_000_000 },
      })
      assert.deepEqual(await world.texts(name, 2), ['kept'])
    },
  },
  {
    name: 'a differing option is BUZZER_TOPOLOGY_CONFLICT naming stream, option and both values, and changes nothing',
    source: 'streams 2',
    run: async world => {
      const name = await world.stream({ partitions: 2, retention: { maxAgeMs: 60_000 } })
      const fresh = world.name()
      const conflicts: [Omit<StreamTopology, 'name'>, string, unknown, unknown][] = [
        [{ partitions: 3 }, 'partitions', 2, 3],
        [{ keyIndex: true }, 'keyIndex', false, true],
        [{ retention: { maxAgeMs: 5 } }, 'retention.maxAgeMs', 60_000, 5],
      ]
      for (const [options, option, existing, declared] of conflicts) {
        const error = await world.rejects(
          world.log.declare([{ name: fresh }, { name, ...options }]),
          'BUZZER_TOPOLOGY_CONFLICT',
          `a declaration with another ${option}`,
        )
        assert.deepEqual(
          [error.details['stream'], error.details['option'], error.details['existing'], error.details['declared']],
          [name, option, existing, declared],
        )
      }
      await world.rejects(world.log.describe({ stream: fresh }), 'BUZZER_STREAM_NOT_FOUND', 'describe')
      assert.equal((await world.describe(name)).options.retention.maxAgeMs, 60_000)
    },
  },
  {
    name: 'names and options that cannot be are refused, and nothing of the declaration is done',
    source: 'streams 2',
    run: async world => {
      const fresh = world.name()
      for (const name of ['', 'Upper', 'a b', 'buzzer.own']) {
        await world.rejects(world.log.declare([{ name: fresh }, { name }]), 'BUZZER_INVALID_NAME', JSON.stringify(name))
      }
      for (const options of [
        { partitions: 0 },
        { partitions: 1.5 },
        { deduplicationWindowMs: -1 },
        { retention: { maxAgeMs: 0 } },
        { retention: { maxBytes: -5 } },
        { retention: { maxAge: 5 } as never },
        { partition: 3 } as never,
      ]) {
        await world.rejects(
          world.log.declare([{ name: fresh }, { name: world.name(), ...options }]),
          'BUZZER_INVALID_OPTION',
          JSON.stringify(options),
        )
      }
      await world.rejects(world.log.describe({ stream: fresh }), 'BUZZER_STREAM_NOT_FOUND', 'describe')
    },
  },
  {
    name: 'describe tells options, and for each partition first, end, bytes and times',
    source: 'streams 2',
    run: async world => {
      const name = await world.stream({ partitions: 2, retention: { maxAgeMs: Number.POSITIVE_INFINITY } })
      const { position, time } = await world.append(name, ['abc', 'de'], { partition: 1 })
      const { options, partitions } = await world.describe(name)
      assert.deepEqual(options.retention, { maxAgeMs: Number.POSITIVE_INFINITY, maxBytes: Number.POSITIVE_INFINITY })
      const [empty, full] = partitions
      assert.equal(empty?.first, empty?.end)
      assert.deepEqual([empty?.firstTime, empty?.lastTime], [undefined, undefined])
      assert.deepEqual([full?.partition, full?.first, full?.end], [1, position, position + 2])
      assert.deepEqual([full?.firstTime, full?.lastTime], [time, time])
      assert.ok((full?.bytes ?? 0) >= 5 && (empty?.bytes ?? 1) === 0)
      const { streams } = await world.log.describe()
      const names = streams.map(one => one.name)
      assert.ok(names.includes(name))
      assert.deepEqual(names, names.toSorted())
      await world.rejects(world.log.describe({ stream: world.name() }), 'BUZZER_STREAM_NOT_FOUND', 'describe')
    },
  },
  {
    name: 'partitions added are empty and used from then on; what is there stays; they never become fewer',
    source: 'streams 3.2',
    needs: has('addPartitions'),
    run: async world => {
      const { admin } = world.log
      const name = await world.stream({ partitions: 2 })
      await world.append(name, ['old'], { partition: 1 })
      await world.log.admin?.addPartitions?.(name, 4, { keysMayMove: true })
      const other = await world.another()
      for (let n = 0; n < 8; n++) await world.append(name, [`n${n}`], {}, other)
      const { partitions } = await world.describe(name)
      assert.deepEqual(
        partitions.map(({ partition }) => partition),
        numbers(0, 4),
      )
      assert.ok(
        partitions.every(({ first, end }) => end > first),
        'all are used',
      )
      assert.ok((await world.texts(name, 1)).includes('old'))
      for (const fewer of [4, 3]) {
        await world.rejects(
          (async () => admin?.addPartitions?.(name, fewer, { keysMayMove: true }))(),
          'BUZZER_INVALID_OPTION',
          `${fewer} partitions`,
        )
      }
      await world.rejects(
        (async () => admin?.addPartitions?.(name, 8, {} as never))(),
        'BUZZER_INVALID_OPTION',
        'partitions added by one who does not know that keys may move',
      )
      await world.log.declare([{ name, partitions: 4 }])
    },
  },
  {
    name: 'retention and window are altered on purpose, for all; what is left out stays',
    source: 'streams 2',
    needs: has('alter'),
    run: async world => {
      const name = await world.stream({
        deduplicationWindowMs: 1_000,
        retention: { maxAgeMs: 60_000, maxBytes: 5_000 },
      })
      await world.log.admin?.alter?.(name, { retention: { maxAgeMs: Number.POSITIVE_INFINITY } })
      const { options } = await world.describe(name)
      assert.deepEqual(options.retention, { maxAgeMs: Number.POSITIVE_INFINITY, maxBytes: 5_000 })
      assert.equal(options.deduplicationWindowMs, 1_000)
      const other = await world.another()
      await other.declare([{ name, retention: { maxAgeMs: Number.POSITIVE_INFINITY } }])
      await world.rejects(
        (async () => world.log.admin?.alter?.(name, { partitions: 5 } as never))(),
        'BUZZER_INVALID_OPTION',
        'alter of what cannot be altered',
      )
      await world.rejects(
        (async () => world.log.admin?.alter?.(world.name(), {}))(),
        'BUZZER_STREAM_NOT_FOUND',
        'alter of an unknown stream',
      )
    },
  },
  {
    name: 'a deleted stream is gone with its records, its waiting reads reject; made again it begins anew',
    source: 'streams 2',
    needs: has('deleteStream'),
    run: async world => {
      const name = await world.stream()
      const { position } = await world.append(name, ['old'])
      const waiting = world.pending({ stream: name, partition: 0, from: 'end', waitMs: 600_000 })
      const other = await world.another()
      await other.admin?.deleteStream?.(name)
      await world.rejects(waiting, 'BUZZER_STREAM_NOT_FOUND', 'a read of a deleted stream')
      await world.rejects(
        world.log.read({ stream: name, partition: 0, from: 'start' }),
        'BUZZER_STREAM_NOT_FOUND',
        'read',
      )
      await world.log.declare([{ name }])
      assert.equal((await world.append(name, ['new'])).position, position)
      assert.deepEqual((await world.all(name)).map(textOf), ['new'])
    },
  },
]
