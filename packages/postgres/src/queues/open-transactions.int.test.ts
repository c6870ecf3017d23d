import { setTimeout as sleep } from 'node:timers/promises'
import { silentLogger, systemClock } from 'buzzer'
import { service } from 'buzzer-servers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { message } from '../../test/messages.ts'
import { ownSchema } from '../../test/own-schema.ts'
import { postgres } from '../index.ts'

const { url = '' } = await service('postgres')
const context = { bus: 't', instanceId: 't', clock: systemClock, logger: silentLogger, onState: () => undefined }

/** Whether a promise settles within a time that is long for a statement and short for a person. */
async function settlesSoon(promise: Promise<unknown>): Promise<'settled' | 'waits'> {
  const waits = sleep(3_000).then(() => 'waits' as const)
  return Promise.race([
    promise.then(
      () => 'settled' as const,
      () => 'settled' as const,
    ),
    waits,
  ])
}

describe.skipIf(url === '')("a caller's transaction that stays open", () => {
  const world = ownSchema(url)
  const transport = postgres({ connectionString: url, schema: world.schema })
  beforeAll(async () => {
    await transport.connect(context)
    await transport.declare({
      queues: [
        { name: 'plain' },
        { name: 'limited', maxMessages: 10 },
        { name: 'once', deduplicationWindowMs: 60_000 },
        { name: 'idle', expiresAfterIdleMs: 60_000 },
        { name: 'ordered', orderBy: 'key' },
      ],
      topics: [],
      bindings: [],
    })
  })
  afterAll(async () => {
    await transport.close()
    await world[Symbol.asyncDispose]()
  })

  const inOpenTransaction = async (
    send: (tx: never) => Promise<void>,
    meanwhile: () => Promise<void>,
  ): Promise<void> => {
    const client = await world.pool.connect()
    await client.query('begin')
    await send(client as never)
    try {
      await meanwhile()
    } finally {
      await client.query('rollback')
      client.release()
    }
  }

  test.each(['plain', 'idle', 'ordered', 'limited'])(
    'holds up no send of others to the queue %s that it has sent to',
    async queue => {
      const key = queue === 'ordered' ? { key: 'k' } : {}
      await inOpenTransaction(
        tx => transport.send([message('inside', queue, key)], { tx }),
        async () => {
          expect(await settlesSoon(transport.send([message('beside', queue, key)]))).toBe('settled')
        },
      )
    },
  )

  test('keeps limits, and counts what it has sent when it commits', async () => {
    await transport.declare({ queues: [{ name: 'narrow', maxMessages: 5 }], topics: [], bindings: [] })
    await world.transaction(async tx => {
      for (const n of [1, 2, 3]) await transport.send([message(`in${n}`, 'narrow')], { tx })
      await tx.query('savepoint before')
      const tooMany = [4, 5, 6].map(n => message(`in${n}`, 'narrow'))
      await expect(transport.send(tooMany, { tx })).rejects.toMatchObject({ code: 'BUZZER_QUEUE_FULL' })
      await tx.query('rollback to before')
    })
    await transport.send([message('out1', 'narrow')])
    await transport.send([message('out2', 'narrow')])
    await expect(transport.send([message('out3', 'narrow')])).rejects.toMatchObject({ code: 'BUZZER_QUEUE_FULL' })
  })
})
