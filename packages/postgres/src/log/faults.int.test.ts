import { setTimeout as sleep } from 'node:timers/promises'
import { service, startPostgres, startProxy } from 'buzzer-servers'
import { afterAll, describe, expect, test } from 'vitest'
import { batch, follow, openLog, readAll, textOf } from '../../test/log-world.ts'
import { ownSchema } from '../../test/own-schema.ts'

const { url = '' } = await service('postgres')
const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n)

describe.skipIf(url === '')('the log over faults', () => {
  const world = ownSchema(url)
  afterAll(() => world[Symbol.asyncDispose]())

  test('an append whose answer to COMMIT was lost is stored once, and answers where it lies', async () => {
    const { hostname, port } = new URL(url)
    expect(['127.0.0.1', 'localhost']).toContain(hostname)
    await using proxy = await startProxy(Number(port || 5432))
    const direct = await openLog({ url, schema: world.schema })
    await direct.declare([{ name: 'lost-answers' }])
    const through = new URL(url)
    through.port = String(proxy.port)
    const log = await openLog({ url: through.href, schema: world.schema })
    for (const n of range(20)) {
      // Appends of others come between the lost commit and the second try.
      let other: Promise<unknown> = Promise.resolve()
      let cuts = 0
      proxy.cutWhen('to-client', bytes => {
        if (cuts > 0 || !bytes.includes('COMMIT')) return 'pass'
        cuts++
        other = direct.append([batch('lost-answers', [`other-${n}`])])
        return 'cut-before'
      })
      const [answer] = await log.append([batch('lost-answers', [`${n}-a`, `${n}-b`])])
      await other
      expect(cuts).toBe(1)
      const records = await readAll(direct, 'lost-answers')
      const at = records.findIndex(record => textOf(record) === `${n}-a`)
      expect(answer).toMatchObject({ as: 'stored', position: records[at]?.position })
      expect(textOf(records[at + 1] as never)).toBe(`${n}-b`)
    }
    const texts = (await readAll(direct, 'lost-answers')).map(textOf)
    expect(texts.length).toBe(60)
    expect(new Set(texts).size).toBe(60)
    await Promise.all([log.close(), direct.close()])
  }, 60_000)

  test('backends are killed all the time: every append is stored once, in order, and a follower sees each once', async () => {
    const bus = `killed-${world.schema.slice(-12)}`
    const log = await openLog({ url, schema: world.schema, bus })
    const reader = await openLog({ url, schema: world.schema, bus })
    await log.declare([{ name: 'killed', keyIndex: true }])
    const total = 600
    const following = follow(reader, 'killed', total, 30_000)
    let isDone = false
    const killing = (async () => {
      let killed = 0
      while (!isDone) {
        const { rowCount } = await world.pool.query(
          'select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1',
          [`buzzer:${bus}`],
        )
        killed += rowCount ?? 0
        await sleep(200)
      }
      return killed
    })()
    const write = async (writer: number): Promise<void> => {
      for (const n of range(total / 10)) {
        await log.append([batch('killed', [`${writer}-${n}`])])
        await sleep(10)
      }
    }
    await Promise.all(range(10).map(write))
    isDone = true
    expect(await killing).toBeGreaterThan(10)
    const seen = (await following).map(textOf)
    expect(seen.length).toBe(total)
    expect(new Set(seen).size).toBe(total)
    for (const writer of range(10)) {
      expect(seen.filter(text => text.startsWith(`${writer}-`))).toEqual(range(total / 10).map(n => `${writer}-${n}`))
    }
    await Promise.all([log.close(), reader.close()])
  }, 90_000)

  test('S1, S18: the server is stopped at once in full flow and comes back: nothing answered is lost, nothing is stored twice, a follower goes on', async () => {
    await using server = await startPostgres()
    const [log, reader] = await Promise.all([
      openLog({ url: server.url, schema: 'buzzer' }),
      openLog({ url: server.url, schema: 'buzzer' }),
    ])
    await log.declare([{ name: 'restarted' }])
    const total = 300
    const following = follow(reader, 'restarted', total, 60_000)
    const appends = range(total).map(async n => {
      await sleep(n * 5)
      await log.append([batch('restarted', [String(n)])])
    })
    await sleep(500)
    await server.stopAtOnce()
    await server.start()
    await Promise.all(appends)
    const texts = (await readAll(log, 'restarted')).map(textOf)
    expect(texts.toSorted()).toEqual(range(total).map(String).toSorted())
    expect((await following).map(textOf)).toEqual(texts)
    await Promise.all([log.close(), reader.close()])
  }, 120_000)

  test('S51: without notifications a waiting read is woken by the poll', async () => {
    const [log, reader] = await Promise.all([
      openLog({ url, schema: world.schema, notify: false }),
      openLog({ url, schema: world.schema, notify: false }),
    ])
    await log.declare([{ name: 'quiet' }])
    const waiting = reader.read({ stream: 'quiet', partition: 0, from: 'end', waitMs: 20_000 })
    await sleep(50)
    await log.append([batch('quiet', ['x'])])
    expect((await waiting).records.map(textOf)).toEqual(['x'])
    await Promise.all([log.close(), reader.close()])
  })
})
