import { setTimeout as sleep } from 'node:timers/promises'
import { silentLogger, systemClock } from 'buzzer'
import { service, startProxy } from 'buzzer-servers'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { message } from '../../test/messages.ts'
import { ownSchema } from '../../test/own-schema.ts'
import { postgres, type PostgresOptions, type PostgresTransport } from '../index.ts'

const { url = '' } = await service('postgres')
const context = { bus: 't', instanceId: 't', clock: systemClock, logger: silentLogger, onState: () => undefined }

describe.skipIf(url === '')('a client that sends to a queue it waits for', () => {
  const own = ownSchema(url)
  afterAll(() => own[Symbol.asyncDispose]())

  async function client(options: PostgresOptions = {}): Promise<PostgresTransport> {
    const transport = postgres({ connectionString: url, schema: own.schema, ...options })
    await transport.connect(context)
    onTestFinished(() => transport.close())
    return transport
  }

  async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
    const deadline = AbortSignal.timeout(20_000)
    while (!(await holds())) {
      deadline.throwIfAborted()
      await sleep(3)
    }
  }

  async function receiving(transport: PostgresTransport, queue: string, workMs = 0): Promise<string[]> {
    const handled: string[] = []
    await transport.receive(
      queue,
      async ({ id }) => {
        if (workMs > 0) await sleep(workMs)
        handled.push(id)
        return { as: 'ack' }
      },
      { maxInFlight: 50, orderBy: 'none' },
    )
    return handled
  }

  async function counting(transport: PostgresTransport, queue: string) {
    const attempts: number[] = []
    const receiver = await transport.receive(
      queue,
      async ({ attempt }) => {
        attempts.push(attempt)
        return { as: 'ack' }
      },
      { maxInFlight: 50, orderBy: 'none' },
    )
    return { receiver, attempts }
  }

  /** Whether its receivers are noted to wait: from then on its own sends come to it without a claim. */
  async function isWaiting(queue: string, count = 1): Promise<boolean> {
    const { rows } = await own.pool.query<{ count: number }>(
      `select count(*)::integer as count from ${own.quoted}.receiver r join ${own.quoted}.queue w on w.id = r.queue
      where w.name = $1 and r.waiting`,
      [queue],
    )
    return rows[0]?.count === count
  }

  /** Sends whose messages came with their answers. */
  const handedOver = async (): Promise<number> => {
    const { rows } = await own.pool.query<{ n: number }>(
      `select count(*)::integer as n from ${own.quoted}.receipt where lease is not null`,
    )
    return rows[0]?.n ?? 0
  }

  test('has it with the answer to the send, leased like any other, and gone when settled', async () => {
    const transport = await client()
    await transport.declare({ queues: [{ name: 'own' }], topics: [], bindings: [] })
    const handled = await receiving(transport, 'own', 300)
    const sent: string[] = []
    // A look at the queue that is under way just then comes first; there is one every now and then.
    for (let tries = 0; (await handedOver()) === 0; tries++) {
      expect(tries).toBeLessThan(50)
      await until(() => handled.length === sent.length && isWaiting('own'))
      const batch = Array.from({ length: 40 }, (_, n) => `${tries}.${n}`)
      sent.push(...batch)
      await transport.send(batch.map(id => message(id, 'own')))
    }
    expect(await transport.admin.queue('own')).toMatchObject({ ready: 0, locked: 40 })
    await until(() => handled.length === sent.length)
    await until(async () => (await transport.admin.queue('own')).locked === 0)
    expect(handled).toEqual(sent)
  })

  test('takes nothing for itself while others wait as well: whoever claims first has it', async () => {
    const [first, second] = [await client(), await client()]
    await first.declare({ queues: [{ name: 'shared' }], topics: [], bindings: [] })
    const mine = await receiving(first, 'shared')
    const theirs = await receiving(second, 'shared')
    const before = await handedOver()
    for (let n = 0; n < 10; n++) {
      await until(() => isWaiting('shared', 2))
      await first.send([message(`m${n}`, 'shared')])
      await until(() => mine.length + theirs.length === n + 1)
    }
    expect(await handedOver()).toBe(before)
    expect(new Set([...mine, ...theirs]).size).toBe(10)
  })

  test('leaves what waits there already its turn', async () => {
    const transport = await client()
    await transport.declare({ queues: [{ name: 'turn' }], topics: [], bindings: [] })
    const handled = await receiving(transport, 'turn')
    await until(() => isWaiting('turn'))
    // Stored behind its back, and told to nobody.
    const other = await client({ notify: false })
    await own.pool.query(`update ${own.quoted}.receiver set waiting = false`)
    await other.send([message('earlier', 'turn')])
    await own.pool.query(`update ${own.quoted}.receiver set waiting = true`)
    await transport.send([message('later', 'turn')])
    await until(() => handled.length === 2)
    expect(handled).toEqual(['earlier', 'later'])
  })

  test('begins nothing of it after a pause, and gives it back uncounted', async () => {
    const transport = await client()
    await transport.declare({ queues: [{ name: 'paused' }], topics: [], bindings: [] })
    const { receiver, attempts } = await counting(transport, 'paused')
    await until(() => isWaiting('paused'))
    const sending = transport.send([message('a', 'paused'), message('b', 'paused')])
    // The send has left with room kept for it; now there is none.
    await new Promise<void>(resolve => setImmediate(() => setImmediate(resolve)))
    await receiver.pause()
    const begun = attempts.length
    await sending
    await until(async () => (await transport.admin.queue('paused')).ready === 2 - begun)
    expect(attempts.length).toBe(begun)
    await receiver.resume()
    await until(() => attempts.length === 2)
    expect(attempts).toEqual([1, 1])
  })

  test('does not wait for a lease to run out when the answer is lost: the message is there at once, and once', async () => {
    await using proxy = await startProxy(Number(new URL(url).port || 5432))
    const through = new URL(url)
    through.port = String(proxy.port)
    const transport = await client({ connectionString: through.href, notify: false, leaseMs: 60_000 })
    await transport.declare({ queues: [{ name: 'lost' }], topics: [], bindings: [] })
    const { attempts } = await counting(transport, 'lost')
    await until(() => isWaiting('lost'))
    let cuts = 0
    proxy.cutWhen('to-client', bytes => {
      // The answer of the function `send`, and none of another.
      if (cuts > 0 || !bytes.toString('latin1').includes('"taken" : [')) return 'pass'
      cuts++
      return 'cut-before'
    })
    let sent = 0
    // As above.
    for (; cuts === 0; sent++) {
      expect(sent).toBeLessThan(50)
      await until(() => attempts.length === sent && isWaiting('lost'))
      await transport.send([message(`m${sent}`, 'lost')])
    }
    await until(() => attempts.length === sent)
    await sleep(100)
    expect(attempts).toEqual(Array.from({ length: sent }, () => 1))
  }, 40_000)
})
