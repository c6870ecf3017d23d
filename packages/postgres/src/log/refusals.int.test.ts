import { service } from 'buzzer-servers'
import { afterAll, describe, expect, test } from 'vitest'
import { batch, openLog, readAll, textOf } from '../../test/log-world.ts'
import { ownSchema } from '../../test/own-schema.ts'
import { postgres } from '../index.ts'

const { url = '' } = await service('postgres')

describe.skipIf(url === '')('what a log refuses', () => {
  const world = ownSchema(url)
  afterAll(() => world[Symbol.asyncDispose]())

  test("declare: 'verify' lists all streams that are missing or different and makes none; 'none' trusts", async () => {
    const owner = await openLog({ url, schema: world.schema })
    await owner.declare([{ name: 'there', partitions: 2 }])
    const verifying = postgres({ connectionString: url, schema: world.schema, declare: 'verify' }).log
    await verifying.connect()
    await verifying.declare([{ name: 'there' }])
    await expect(
      verifying.declare([{ name: 'there', partitions: 3 }, { name: 'missing' }, { name: 'gone' }]),
    ).rejects.toMatchObject({
      code: 'BUZZER_TOPOLOGY_CONFLICT',
      message: expect.stringMatching(/there.* 2.* 3[\s\S]*missing[\s\S]*gone/),
    })
    const trusting = postgres({ connectionString: url, schema: world.schema, declare: 'none' }).log
    await trusting.connect()
    await trusting.declare([{ name: 'missing' }])
    for (const log of [verifying, trusting]) {
      await expect(log.describe({ stream: 'missing' })).rejects.toMatchObject({ code: 'BUZZER_STREAM_NOT_FOUND' })
      await log.append([batch('there', ['x'], { partition: 1 })])
    }
    expect((await readAll(owner, 'there', 1)).map(textOf)).toEqual(['x', 'x'])
    await Promise.all([owner.close(), verifying.close(), trusting.close()])
  })

  test('names, positions and sizes that cannot be', async () => {
    const log = await openLog({ url, schema: world.schema })
    await log.declare([{ name: 'odd' }])
    for (const stream of ['\0', '\ud800', '"; drop table x; --', 'x'.repeat(100_000)]) {
      await expect(log.append([batch(stream, ['x'])])).rejects.toMatchObject({ code: 'BUZZER_STREAM_NOT_FOUND' })
      await expect(log.read({ stream, partition: 0, from: 'start' })).rejects.toMatchObject({
        code: 'BUZZER_STREAM_NOT_FOUND',
      })
      await expect(log.describe({ stream })).rejects.toMatchObject({ code: 'BUZZER_STREAM_NOT_FOUND' })
      await expect(log.admin.deleteStream(stream)).rejects.toMatchObject({ code: 'BUZZER_STREAM_NOT_FOUND' })
      await expect(log.openProducer(stream, 'p')).rejects.toMatchObject({ code: 'BUZZER_STREAM_NOT_FOUND' })
    }
    for (const before of [Number.NaN, -1, 0.5, Number.POSITIVE_INFINITY]) {
      await expect(log.admin.trim('odd', 0, before)).rejects.toMatchObject({ code: 'BUZZER_INVALID_OPTION' })
    }
    for (const time of [0, 1.5, Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY]) {
      expect((await log.read({ stream: 'odd', partition: 0, from: { time } })).next).toBe(1)
    }
    const value = Buffer.alloc(16 * 1024 * 1024)
    const records = Array.from({ length: 17 }, () => ({ value }))
    await expect(log.append([{ stream: 'odd', records }])).rejects.toMatchObject({
      code: 'BUZZER_MESSAGE_TOO_LARGE',
      details: { actualBytes: 17 * value.length, limitBytes: 256 * 1024 * 1024 },
    })
    expect(await readAll(log, 'odd')).toEqual([])
    // A producer and a key may be called anything.
    const name = 'ü\0"; --'
    const { epoch } = await log.openProducer('odd', name)
    await log.append([batch('odd', ['fine'], { producer: { name, epoch, sequence: 1 } })])
    expect(await log.openProducer('odd', name)).toEqual({ epoch: 2, lastSequence: 1 })
    await log.close()
  }, 40_000)

  test('an expectation in a transaction of a caller knows partitions that were added a moment ago', async () => {
    const [log, other] = await Promise.all([
      openLog({ url, schema: world.schema }),
      openLog({ url, schema: world.schema }),
    ])
    await log.declare([{ name: 'grown' }])
    await log.append([batch('grown', ['x'])])
    await other.admin.addPartitions('grown', 3, { keysMayMove: true })
    await world.transaction(async tx => {
      await log.append([batch('grown', ['in'], { partition: 0, expect: { end: 2 } })], { tx })
      await log.append([batch('grown', ['in'], { partition: 2, expect: { end: 1 } })], { tx })
    })
    expect([(await readAll(log, 'grown', 0)).map(textOf), (await readAll(log, 'grown', 2)).map(textOf)]).toEqual([
      ['x', 'in'],
      ['in'],
    ])
    await Promise.all([log.close(), other.close()])
  })
})
