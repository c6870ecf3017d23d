import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { type LogCase, keyed, numbers, textOf } from '../conformance/log-world.ts'

export const keeping: readonly LogCase[] = [
  {
    name: 'trim forgets whole chunks below a position, never the newest; a reader below is told where it may go on',
    source: 'streams 4.2, 9; broker 10 (S17, B103)',
    needs: world => (world.log.admin === undefined ? 'admin is absent' : undefined),
    run: async world => {
      const stream = await world.stream()
      const start = (await world.append(stream, ['0'])).position
      for (let n = 1; n < 60; n++) await world.append(stream, [`${n}`, { value: new Uint8Array(2_000) }])
      const { next: slow } = await world.read({ stream, partition: 0, from: 'start', maxRecords: 3 })
      const before = start + 80
      const { first } = (await world.log.admin?.trim(stream, 0, before)) ?? { first: 0 }
      assert.ok(first > slow && first <= before, `trimmed to ${first}, wanted are ${slow + 1} to ${before}`)
      assert.equal(await world.first(stream), first)
      const error = await world.rejects(
        world.log.read({ stream, partition: 0, from: slow }),
        'BUZZER_LOG_TRIMMED',
        'read',
      )
      assert.deepEqual([error.details['position'], error.details['first']], [slow, first])
      const { records, next } = await world.read({ stream, partition: 0, from: first, maxRecords: 1 })
      assert.deepEqual([records[0]?.position, next], [first, first + 1])
      const { end } = await world.read({ stream, partition: 0, from: 'end' })
      const all = (await world.log.admin?.trim(stream, 0, end)) ?? { first: 0 }
      assert.ok(all.first < end, 'the newest chunk stays')
      assert.equal((await world.all(stream)).at(-1)?.position, end - 1)
      assert.equal((await world.append(stream, ['more'])).position >= end, true)
      await world.rejects(
        (async () => world.log.admin?.trim(stream, 0, end + 1_000))(),
        'BUZZER_LOG_POSITION',
        'trim beyond the end',
      )
      await world.rejects(
        (async () => world.log.admin?.trim(stream, 0, -1))(),
        'BUZZER_INVALID_OPTION',
        'trim below the first position there ever was',
      )
    },
  },
  {
    name: 'records older than maxAgeMs go in whole chunks, not before their time, never the newest',
    source: 'streams 9 (S48)',
    run: async world => {
      const maxAgeMs = 600
      const stream = await world.stream({ retention: { maxAgeMs } })
      const { position, time } = await world.append(stream, ['first'])
      for (let n = 0; n < 5; n++) await world.append(stream, [`${n}`])
      const early = await world.all(stream)
      if (Date.now() < time + maxAgeMs) assert.equal(early[0]?.position, position, 'nothing goes before its time')
      let newest = early.at(-1)?.position as number
      await world.until(async () => {
        // What goes is noticed at the latest when something new comes.
        newest = (await world.append(stream, ['new'])).position
        await sleep(50)
        return (await world.first(stream)) > position
      }, 'old records go')
      assert.ok(Date.now() >= time + maxAgeMs)
      await sleep(maxAgeMs + world.quietMs)
      const left = await world.all(stream)
      assert.equal(left.at(-1)?.position, newest, 'the newest chunk stays, however old')
    },
  },
  {
    name: 'beyond maxBytes the oldest go in whole chunks; at least that much stays',
    source: 'streams 9 (S48)',
    run: async world => {
      const maxBytes = 20_000
      const stream = await world.stream({ retention: { maxBytes, maxAgeMs: Number.POSITIVE_INFINITY } })
      const size = 1_000
      const start = (await world.append(stream, [{ value: new Uint8Array(size) }])).position
      let last = start
      await world.until(async () => {
        for (const _ of numbers(0, 10)) last = (await world.append(stream, [{ value: new Uint8Array(size) }])).position
        return (await world.first(stream)) > start
      }, 'the oldest records go')
      const records = await world.all(stream)
      const kept = records.reduce((sum, { value }) => sum + (value?.byteLength ?? 0), 0)
      assert.ok(kept >= maxBytes - size, `${kept} bytes are kept`)
      assert.equal(records.at(-1)?.position, last)
      const large = await world.append(stream, [{ value: new Uint8Array(3 * maxBytes) }])
      await sleep(world.quietMs)
      assert.equal((await world.all(stream)).at(-1)?.position, large.position, 'the newest stays, however large')
    },
  },
  {
    name: 'a key whose records are all gone counts as none; one that has a kept record does not',
    source: 'streams 3.4, 9',
    needs: world =>
      world.log.capabilities.expected === 'key' && world.log.admin !== undefined
        ? undefined
        : 'needs expected: key and trim',
    run: async world => {
      const stream = await world.stream({ keyIndex: true })
      await world.append(stream, [keyed('old', '1')])
      await world.append(stream, [keyed('both', '2')])
      for (let n = 0; n < 60; n++) await world.append(stream, [{ value: new Uint8Array(2_000) }])
      const kept = await world.append(stream, [keyed('both', '3')])
      await world.append(stream, ['newest'])
      const { first } = (await world.log.admin?.trim(stream, 0, kept.position)) ?? { first: 0 }
      const gone = !(await world.texts(stream)).includes('1')
      assert.ok(gone, `the first record is gone: ${first}`)
      await world.append(stream, [keyed('old', '4')], { expect: { key: 'old', last: 'none' } })
      await world.append(stream, [keyed('both', '5')], { expect: { key: 'both', last: kept.position } })
      assert.deepEqual((await world.all(stream)).slice(-2).map(textOf), ['4', '5'])
    },
  },
]
