import { setTimeout as sleep } from 'node:timers/promises'
import type { Appended } from 'buzzer/transport'
import { service } from 'buzzer-servers'
import { afterAll, describe, expect, test } from 'vitest'
import { batch, follow, openLog, readAll, textOf } from '../../test/log-world.ts'
import { ownSchema } from '../../test/own-schema.ts'

const { url = '' } = await service('postgres')

const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n)

describe.skipIf(url === '')('positions', () => {
  const world = ownSchema(url, { max: 20 })
  const open = () => openLog({ url, schema: world.schema })
  afterAll(() => world[Symbol.asyncDispose]())

  test('RP17: two appenders and transactions of callers overlap: dense, in the order of commits, and a follower misses none', async () => {
    const [one, two, reader] = await Promise.all([open(), open(), open()])
    await one.declare([{ name: 'orders' }])
    const each = 150
    const total = 3 * each * 2
    const following = follow(reader, 'orders', total)
    const calls: { text: string; begunAt: number; doneAt: number; position: number }[] = []
    const write = async (log: typeof one, who: string): Promise<void> => {
      for (const n of range(each)) {
        const text = `${who}-${n}`
        const begunAt = performance.now()
        const [answer] = await log.append([batch('orders', [text, `${text}'`])])
        expect(answer?.as).toBe('stored')
        const { position } = answer as Extract<Appended, { as: 'stored' }>
        calls.push({ text, begunAt, doneAt: performance.now(), position })
      }
    }
    // Transactions that append early and commit late, several at a time.
    const hold = async (slot: number): Promise<void> => {
      for (const n of range(each / 5)) {
        await world.transaction(async tx => {
          await one.append([batch('orders', [`t${slot}-${n}`])], { tx })
          await sleep((n * 7 + slot * 3) % 20)
          await two.append([batch('orders', [`t${slot}-${n}'`])], { tx })
        })
      }
    }
    await Promise.all([write(one, 'a'), write(two, 'b'), ...range(5).map(hold)])
    const seen = await following
    expect(seen.map(({ position }) => position)).toEqual(range(total).map(n => n + 1))
    expect(seen.map(textOf)).toEqual((await readAll(two, 'orders')).map(textOf))
    expect(new Set(seen.map(textOf)).size).toBe(total)
    // What was answered before another call began lies before it.
    const byPosition = calls.toSorted((left, right) => left.position - right.position)
    let latestBegin = 0
    for (const { begunAt, doneAt } of byPosition) {
      expect(doneAt).toBeGreaterThan(latestBegin)
      latestBegin = Math.max(latestBegin, begunAt)
    }
    for (const { position, text } of calls) {
      expect([seen[position - 1], seen[position]].map(record => record && textOf(record))).toEqual([text, `${text}'`])
    }
    const times = seen.map(({ time }) => time)
    expect(times).toEqual(times.toSorted((left, right) => left - right))
    await Promise.all([one.close(), two.close(), reader.close()])
  }, 60_000)

  test('a transaction that commits later comes later, whoever appended first', async () => {
    const log = await open()
    await log.declare([{ name: 'late' }])
    const { promise: isCommitted, resolve: commit } = Promise.withResolvers<void>()
    const { promise: hasAppended, resolve: appended } = Promise.withResolvers<void>()
    const slow = world.transaction(async tx => {
      await log.append([batch('late', ['slow'])], { tx })
      appended()
      await isCommitted
    })
    await hasAppended
    await world.transaction(tx => log.append([batch('late', ['quick'])], { tx }))
    expect((await follow(log, 'late', 1)).map(textOf)).toEqual(['quick'])
    commit()
    await slow
    expect((await follow(log, 'late', 2)).map(textOf)).toEqual(['quick', 'slow'])
    await log.close()
  })

  test('an expectation inside a transaction is judged at once, after what the transaction has staged, and holds the partition until its commit', async () => {
    const [log, other] = await Promise.all([open(), open()])
    await log.declare([{ name: 'expecting' }])
    await log.append([batch('expecting', ['first'])])
    const { promise: isCommitted, resolve: commit } = Promise.withResolvers<void>()
    const { promise: hasAppended, resolve: appended } = Promise.withResolvers<void>()
    const holding = world.transaction(async tx => {
      await log.append([batch('expecting', ['staged'])], { tx })
      const missed = log.append([batch('expecting', ['x'], { expect: { end: 7 } })], { tx })
      await expect(missed).rejects.toMatchObject({ code: 'BUZZER_LOG_CONFLICT', details: { expected: 7, actual: 3 } })
      await log.append([batch('expecting', ['expected'], { expect: { end: 3 } })], { tx })
      appended()
      await isCommitted
    })
    await hasAppended
    let isStored = false
    const waiting = other.append([batch('expecting', ['behind'])]).then(() => (isStored = true))
    await sleep(100)
    expect(isStored).toBe(false)
    expect((await readAll(other, 'expecting')).map(textOf)).toEqual(['first'])
    commit()
    await Promise.all([holding, waiting])
    expect((await readAll(other, 'expecting')).map(textOf)).toEqual(['first', 'staged', 'expected', 'behind'])
    await Promise.all([log.close(), other.close()])
  })

  test('what a process staged is stored by another one when it is gone', async () => {
    const [log, other] = await Promise.all([open(), open()])
    await log.declare([{ name: 'orphaned' }])
    await world.transaction(async tx => {
      await log.append([batch('orphaned', ['kept'])], { tx })
      await log.close()
    })
    expect((await follow(other, 'orphaned', 1)).map(textOf)).toEqual(['kept'])
    await other.close()
  })

  test('what cannot be stored is refused before the transaction of the caller goes on, which it does not spoil', async () => {
    const log = await open()
    await log.declare([{ name: 'refused', partitions: 4 }])
    await world.transaction(async tx => {
      for (const [wrong, code] of [
        [batch('unknown', ['x']), 'BUZZER_STREAM_NOT_FOUND'],
        [batch('refused', ['x'], { partition: 4 }), 'BUZZER_INVALID_OPTION'],
        [batch('refused', ['x'], { deduplicationKey: 'k' }), 'BUZZER_UNSUPPORTED'],
        [batch('refused', ['x'], { producer: { name: 'p', epoch: 1, sequence: 1 } }), 'BUZZER_PRODUCER_FENCED'],
      ] as const) {
        await expect(log.append([batch('refused', ['y'], { partition: 1 }), wrong], { tx })).rejects.toMatchObject({
          code,
        })
      }
      await log.append([batch('refused', ['good'], { partition: 2 })], { tx })
    })
    await expect(log.append([batch('refused', ['x'])], { tx: {} as never })).rejects.toMatchObject({
      code: 'BUZZER_INVALID_OPTION',
    })
    const { records } = await log.read({ stream: 'refused', partition: 2, from: 'start', waitMs: 20_000 })
    expect(records.map(textOf)).toEqual(['good'])
    expect(await readAll(log, 'refused', 1)).toEqual([])
    await log.close()
  })
})
