import { setTimeout as sleep } from 'node:timers/promises'
import { silentLogger, systemClock } from 'buzzer'
import { service, startProxy } from 'buzzer-servers'
import { describe, expect, test } from 'vitest'
import { message } from '../../test/messages.ts'
import { ownSchema } from '../../test/own-schema.ts'
import { postgres } from '../index.ts'

const { url = '' } = await service('postgres')
const context = { bus: 't', instanceId: 't', clock: systemClock, logger: silentLogger, onState: () => undefined }

describe.skipIf(url === '')('a COMMIT whose answer is lost while the server is still at it', () => {
  test.each([
    ['are not told of a conflict with themselves', 1],
    ['write them once, where nothing was expected', 'any'],
  ] as const)(
    'sends with records %s, and no message is stored twice',
    async (_, expected) => {
      await using own = ownSchema(url)
      await using proxy = await startProxy(Number(new URL(url).port || 5432))
      const through = new URL(url)
      through.port = String(proxy.port)
      const transport = postgres({ connectionString: through.href, schema: own.schema, notify: false })
      await transport.connect(context)
      await transport.declare({ queues: [{ name: 'billing' }], topics: [], bindings: [] })
      const change = { op: 'put', collection: 'slow', id: 'a', value: 1, expected: 'absent' } as const
      await transport.store.commit([change])
      // A COMMIT that takes longer than a reconnect.
      await own.pool.query(`
      create function ${own.quoted}.dawdle() returns trigger language plpgsql as 'begin perform pg_sleep(1); return null; end';
      create constraint trigger dawdle after update on ${own.quoted}.record deferrable initially deferred
      for each row when (new.collection = 'slow') execute function ${own.quoted}.dawdle()`)
      let cuts = 0
      proxy.cutWhen('to-server', bytes => {
        if (cuts > 0 || !/commit/i.test(bytes.toString('latin1'))) return 'pass'
        cuts++
        return 'cut-after'
      })
      await Promise.all([
        transport.send([message('with-record', 'billing')], { state: [{ ...change, expected }] }),
        transport.send([message('beside', 'billing')]),
        transport.send([message('another', 'billing')]),
      ])
      expect(cuts).toBe(1)
      expect((await transport.store.get('slow', 'a'))?.version).toBe(2)
      const delivered: string[] = []
      await transport.receive(
        'billing',
        async delivery => {
          delivered.push(delivery.id)
          return { as: 'ack' }
        },
        { maxInFlight: 10, orderBy: 'none' },
      )
      const deadline = AbortSignal.timeout(20_000)
      while (delivered.length < 3) {
        deadline.throwIfAborted()
        await sleep(20)
      }
      await sleep(300)
      expect(delivered.toSorted()).toEqual(['another', 'beside', 'with-record'])
      await transport.close()
    },
    40_000,
  )
})
