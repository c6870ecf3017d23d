import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { silentLogger, systemClock } from 'buzzer'
import { machineClock } from 'buzzer/testing'
import type { Transport } from 'buzzer/transport'
import { service, startProxy, startRabbitMq, type PrivateRabbitMq } from 'buzzer-servers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { acknowledging, Run, until } from '../test/chaos.ts'
import { rabbitmq } from './rabbitmq.ts'

const there = await service('rabbitmq')
const patient = 180_000

/** Sends `count` messages, at most `window` of them unconfirmed; a rejected send is sent again with the same id. */
async function sendAll(
  run: Run,
  transport: Transport,
  queues: readonly string[],
  count: number,
  window: number,
): Promise<void> {
  let sent = 0
  const one = async (): Promise<void> => {
    while (sent < count) {
      const n = sent++
      const queue = queues[n % queues.length] as string
      await transport.send([run.message(queue, queue.startsWith('keyed') ? `k${n % 40}` : undefined)]).catch(() => {})
    }
  }
  await Promise.all(Array.from({ length: window }, one))
}

function confirmed(run: Run): number {
  return run.history.filter(record => record.as === 'sent' && record.outcome === 'ok').length
}

describe.skipIf(there.url === undefined)('faults of server and network', () => {
  let server: PrivateRabbitMq
  beforeAll(async () => {
    server = await startRabbitMq()
  }, patient)
  afterAll(() => server?.[Symbol.asyncDispose](), 60_000)

  const drained = async (transport: Transport, queue: string): Promise<boolean> => {
    try {
      const { ready, locked } = (await transport.admin?.queue(queue)) ?? { ready: 1, locked: 1 }
      return ready + locked === 0
    } catch {
      return false
    }
  }

  /** A stream of messages through a plain and a keyed queue, with `fault` in the middle of it. */
  const streamThrough = async (
    name: string,
    count: number,
    window: number,
    fault: (run: Run) => Promise<void>,
    url = server.url,
  ): Promise<void> => {
    const run = new Run({
      url,
      prefix: `${name}.`,
      sendTimeoutMs: 120_000,
      heartbeatSeconds: 1,
      connectTimeoutMs: 2_000,
    })
    const [producer, consumer] = [await run.transport('producer'), await run.transport('consumer')]
    const queues = [`plain-${name}`, `keyed-${name}`] as const
    await consumer.declare({
      queues: [{ name: queues[0] }, { name: queues[1], orderBy: 'key' }],
      topics: [],
      bindings: [],
    })
    const handled = new Set<string>()
    await acknowledging(consumer, queues[0], handled, { maxInFlight: 200 })
    await acknowledging(consumer, queues[1], handled, { orderBy: 'key', maxInFlight: 100 })
    const sending = sendAll(run, producer, queues, count, window)
    await until(
      () => confirmed(run) > Math.min(500, count / 10),
      () => `${confirmed(run)} confirmed`,
    )
    await fault(run)
    await sending
    await until(
      async () => (await drained(consumer, queues[0])) && (await drained(consumer, queues[1])),
      () => `${handled.size} of ${count} handled`,
    )
    expect(confirmed(run)).toBe(count)
    expect(handled.size).toBe(count)
    run.check()
    await run.close()
  }

  test(
    'RA1, RA12 the server is killed with 10,000 in flight and started again: what was confirmed is handled, in order of each key',
    async () => {
      await streamThrough('kill', 10_000, 10_000, async run => {
        run.fault()
        await server.kill()
        await server.start()
        run.fault()
      })
    },
    patient,
  )

  test(
    'every connection is closed by an operator, twice in mid-stream: nothing confirmed is lost, keys keep their order',
    async () => {
      await streamThrough('operator', 4_000, 500, async run => {
        for (let n = 0; n < 2; n++) {
          run.fault()
          await server.closeConnections()
          run.fault()
        }
      })
    },
    patient,
  )

  test(
    'connections are reset by the network in mid-stream, and then swallowed: nothing confirmed is lost (RA13)',
    async () => {
      await using proxy = await startProxy(server.port)
      const url = `amqp://guest:guest@127.0.0.1:${proxy.port}`
      await streamThrough(
        'network',
        4_000,
        500,
        async run => {
          run.fault()
          proxy.reset()
          await until(
            () => run.losses >= 4,
            () => `${run.losses} of 4 connections were lost`,
          )
          await sleep(4_000)
          run.fault()
          const before = run.losses
          proxy.swallow('to-server', 'to-client')
          // Half-open: nobody says a word. The heartbeat of a second finds all four connections.
          await until(
            () => run.losses >= before + 4,
            () => `${run.losses - before} of 4 connections were given up`,
          )
          proxy.pass()
          run.fault()
        },
        url,
      )
    },
    patient,
  )

  test(
    'RA13 a half-open connection is found by its heartbeat, and a send over it keeps to its time-out',
    async () => {
      await using proxy = await startProxy(server.port)
      const states: string[] = []
      const transport = rabbitmq({
        url: `amqp://guest:guest@127.0.0.1:${proxy.port}`,
        prefix: 'ra13.',
        heartbeatSeconds: 1,
        sendTimeoutMs: 1_500,
      })
      await transport.connect({
        bus: 'x',
        instanceId: 'x',
        clock: systemClock,
        logger: silentLogger,
        onState: state => void states.push(state),
      })
      await transport.declare({ queues: [{ name: 'q' }], topics: [], bindings: [] })
      const run = new Run({})
      await transport.send([run.message('q')])
      proxy.swallow('to-server', 'to-client')
      const swallowedAt = performance.now()
      await expect(transport.send([run.message('q')])).rejects.toMatchObject({
        code: 'BUZZER_SEND_TIMEOUT',
        details: { outcome: 'unknown' },
      })
      await until(
        () => states.includes('reconnecting'),
        () => states.join(),
      )
      // Two silent heartbeats are three looks of a second at most; the rest is the machine's.
      expect(performance.now() - swallowedAt).toBeLessThan(15_000)
      proxy.pass()
      await until(
        () => states.at(-1) === 'connected',
        () => states.join(),
      )
      await transport.send([run.message('q')])
      await transport.close()
    },
    patient,
  )

  test(
    'one of two consuming processes is killed: the other goes on, in order of each key (RA11)',
    async () => {
      const run = new Run({ url: server.url, prefix: 'twins.', sendTimeoutMs: 120_000 })
      const [producer, survivor] = [await run.transport('producer'), await run.transport('survivor')]
      await survivor.declare({
        queues: [{ name: 'plain-twins' }, { name: 'keyed-twins', orderBy: 'key' }],
        topics: [],
        bindings: [],
      })
      const child = fork(
        new URL('../test/consumer-process.ts', import.meta.url),
        [server.url, 'twins.', 'plain-twins', 'keyed-twins'],
        {
          execArgv: ['--conditions=buzzer-source'],
        },
      )
      child.on('message', record => run.write(record as Parameters<Run['write']>[0]))
      await until(
        () => run.history.some(record => record.as === 'born' && record.process === 'victim'),
        () => 'the victim has not begun',
      )
      const handled = new Set<string>()
      const sending = sendAll(run, producer, ['plain-twins', 'keyed-twins'], 2_000, 200)
      await until(
        () => run.history.filter(record => record.as === 'begun' && record.process === 'victim').length > 200,
        () => 'the victim has nothing',
      )
      await acknowledging(survivor, 'plain-twins', handled)
      await acknowledging(survivor, 'keyed-twins', handled, { orderBy: 'key' })
      run.write({ as: 'killed', process: 'victim', at: machineClock.monotonic() })
      child.kill('SIGKILL')
      await once(child, 'exit')
      run.write({ as: 'dead', process: 'victim', at: machineClock.monotonic() })
      run.fault()
      await sending
      await until(
        async () => (await drained(survivor, 'plain-twins')) && (await drained(survivor, 'keyed-twins')),
        () => `${handled.size} handled by the survivor`,
      )
      run.check()
      await run.close()
    },
    patient,
  )

  test(
    'RA14 fifty clients lose their connections at once: they come back over more than a second',
    async () => {
      const pauses: number[] = []
      const clients = await Promise.all(
        Array.from({ length: 50 }, async (_, n) => {
          let lostAt: number | undefined
          const client = rabbitmq({ url: server.url, prefix: 'ra14.' })
          // Chance, without its luck: every fiftieth of the window once.
          Object.assign(client, { random: () => n / 50 })
          await client.connect({
            bus: 'x',
            instanceId: String(n),
            clock: systemClock,
            logger: silentLogger,
            onState(state) {
              if (state === 'reconnecting') lostAt ??= performance.now()
              else if (state === 'connected' && lostAt !== undefined) {
                pauses.push(performance.now() - lostAt)
                lostAt = undefined
              }
            },
          })
          return client
        }),
      )
      await server.closeConnections()
      await until(
        () => pauses.length >= 50,
        () => `${pauses.length} of 50 are back`,
      )
      expect(Math.max(...pauses) - Math.min(...pauses)).toBeGreaterThan(1_000)
      await Promise.all(clients.map(client => client.close()))
    },
    patient,
  )

  test(
    'RA4 memory alarm: sends wait, deliveries and acknowledgements go on, health says why; an abort works; after the alarm all is sent',
    async () => {
      const news: (Error | undefined)[] = []
      const transport = rabbitmq({ url: server.url, prefix: 'ra4.' })
      await transport.connect({
        bus: 'x',
        instanceId: 'x',
        clock: systemClock,
        logger: silentLogger,
        onState: (_, error) => void news.push(error),
      })
      await transport.declare({ queues: [{ name: 'q' }], topics: [], bindings: [] })
      const run = new Run({})
      const handled = new Set<string>()
      await transport.send(Array.from({ length: 20 }, () => run.message('q')))
      await server.memoryAlarm('on')
      // The server notices a publisher that it has blocked when that one publishes.
      const waiting = transport.send([run.message('q')])
      await until(
        () => news.some(error => (error as { code?: string } | undefined)?.code === 'BUZZER_BROKER_BLOCKED'),
        () => 'not blocked',
      )
      const impatience = new AbortController()
      const aborted = transport.send([run.message('q')], { signal: impatience.signal })
      impatience.abort(new Error('enough'))
      await expect(aborted).rejects.toMatchObject({ code: 'BUZZER_ABORTED', details: { outcome: 'not-stored' } })
      await acknowledging(transport, 'q', handled)
      await until(
        async () => (await transport.admin.queue('q')).ready === 0 && handled.size >= 20,
        () => `${handled.size} handled`,
      )
      await server.memoryAlarm('off')
      await waiting
      await until(
        () => handled.size === 21,
        () => `${handled.size} handled`,
      )
      expect(news.at(-1)).toBeUndefined()
      await transport.close()
    },
    patient,
  )

  test(
    'RA15 an acknowledgement that comes too late for the server: the message goes elsewhere, the receiver lives',
    async () => {
      const settings = [
        ['consumer_timeout', 2_000],
        ['channel_tick_interval', 500],
      ] as const
      for (const [name, ms] of settings) await server.ctl('eval', `application:set_env(rabbit, ${name}, ${ms}).`)
      const transport = rabbitmq({ url: server.url, prefix: 'ra15.' })
      await transport.connect({ bus: 'x', instanceId: 'x', clock: systemClock, logger: silentLogger, onState() {} })
      await transport.declare({ queues: [{ name: 'q' }], topics: [], bindings: [] })
      const run = new Run({})
      const seen: number[] = []
      let lost: unknown
      await transport.receive(
        'q',
        async delivery => {
          seen.push(delivery.attempt)
          if (seen.length > 1) return { as: 'ack' }
          await once(delivery.signal, 'abort')
          lost = delivery.signal.reason
          return { as: 'ack' }
        },
        { maxInFlight: 1, orderBy: 'none' },
      )
      await transport.send([run.message('q')])
      await until(
        () => seen.length === 2,
        () => `delivered ${seen.length} times`,
      )
      await server.ctl('eval', 'application:set_env(rabbit, consumer_timeout, 1800000).')
      expect(lost).toMatchObject({ code: 'BUZZER_LOCK_LOST' })
      expect(seen).toEqual([1, 2])
      await transport.send([run.message('q')])
      await until(
        () => seen.length === 3,
        () => `delivered ${seen.length} times`,
      )
      await transport.close()
    },
    patient,
  )

  test(
    'RA10 delays of 0.1, 0.5, 1, 1.5 and 12.7 s with the server killed in between: none early, each once',
    async () => {
      const transport = rabbitmq({ url: server.url, prefix: 'ra10.', sendTimeoutMs: 60_000 })
      await transport.connect({ bus: 'x', instanceId: 'x', clock: systemClock, logger: silentLogger, onState() {} })
      await transport.declare({
        queues: [{ name: 'q' }, { name: 'k', orderBy: 'key' }],
        topics: [{ name: 't', bases: [] }],
        bindings: [{ topic: 't', queue: 'k', exclusive: false }],
      })
      const run = new Run({})
      const due = new Map<string, number>()
      const early: string[] = []
      const seen: string[] = []
      const onDelivery = async (delivery: { id: string }): Promise<{ as: 'ack' }> => {
        seen.push(delivery.id)
        if (Date.now() < (due.get(delivery.id) ?? 0)) early.push(delivery.id)
        return { as: 'ack' }
      }
      await transport.receive('q', onDelivery, { maxInFlight: 10, orderBy: 'none' })
      await transport.receive('k', onDelivery, { maxInFlight: 10, orderBy: 'key' })
      await transport.send([
        { ...run.message('q'), id: 'first', deliverAt: Date.now() + 12_700 },
        { ...run.message('k', 'a'), id: 'second', to: { topic: 't', bases: [] }, deliverAt: Date.now() + 10 },
      ])
      const delays = [0, 100, 500, 1_000, 1_500, 12_700]
      const messages = delays.flatMap(delayMs => {
        const deliverAt = Date.now() + delayMs
        const toQueue = { ...run.message('q'), deliverAt }
        const toTopic = { ...run.message('k', 'a'), to: { topic: 't', bases: [] }, deliverAt }
        for (const { id } of [toQueue, toTopic]) due.set(id, deliverAt)
        return [toQueue, toTopic]
      })
      await transport.send(messages)
      await server.kill()
      await server.start()
      await until(
        () => new Set(seen).size === messages.length + 2,
        () => `of ${messages.length + 2} came ${seen.join(', ')}`,
      )
      await sleep(300)
      expect(early).toEqual([])
      // A kill may repeat what was on its way from one level to the next; the chain itself never does.
      expect(seen.length - new Set(seen).size).toBeLessThanOrEqual(2)
      await transport.close()
    },
    patient,
  )

  test(
    'queues that were declared a moment before the server is killed keep what was confirmed',
    async () => {
      const run = new Run({ url: server.url, prefix: 'young.', sendTimeoutMs: 60_000 })
      // One declaration each: it is the last queue declared that a server forgets.
      for (const orderBy of ['none', 'key', 'queue'] as const) {
        const queue = `by-${orderBy}`
        const sender = await run.transport(`sender ${orderBy}`)
        await sender.declare({ queues: [{ name: queue, orderBy }], topics: [], bindings: [] })
        await sender.send([run.message(queue, orderBy === 'key' ? 'k' : undefined)])
        await server.kill()
        await server.start()
        const handled = new Set<string>()
        const receiver = await run.transport(`receiver ${orderBy}`)
        await acknowledging(receiver, queue, handled, { orderBy, maxInFlight: 1 })
        await until(
          () => handled.size === 1,
          () => `nothing came from ${queue}`,
        )
      }
      await run.close()
    },
    patient,
  )

  test(
    'a queue without a leader does not keep the others from their work, is told of, and goes on when it has one',
    async () => {
      const states: (string | undefined)[] = []
      let losses = 0
      const transport = rabbitmq({ url: server.url, prefix: 'lead.', sendTimeoutMs: 60_000 })
      await transport.connect({
        bus: 'x',
        instanceId: 'x',
        clock: systemClock,
        logger: silentLogger,
        onState: (state, error) => {
          // Two connections make one loss.
          if (state === 'reconnecting' && states.at(-1) !== 'reconnecting') losses++
          states.push(state === 'connected' ? error?.message : state)
        },
      })
      const queues = ['good', 'bad', 'keyed', 'late'] as const
      await transport.declare({
        queues: queues.map(name => ({ name, orderBy: name === 'keyed' ? 'key' : 'none' })),
        topics: [],
        bindings: [],
      })
      const run = new Run({})
      const attempts = new Map<string, number>()
      for (const queue of queues) {
        await transport.receive(
          queue,
          async ({ id, attempt }) => {
            attempts.set(id, attempt)
            return { as: 'ack' }
          },
          { maxInFlight: 10, orderBy: queue === 'keyed' ? 'key' : 'none' },
        )
      }
      const leader = (call: 'stop_server' | 'restart_server'): Promise<string> =>
        server.ctl('eval', `ra:${call}(quorum_queues, {'%2F_lead.bad', node()}).`)
      await leader('stop_server')
      await server.closeConnections()
      await until(
        () => states.at(-1)?.startsWith('queue bad cannot be consumed') === true,
        () => states.join('\n'),
      )
      const lossesBefore = losses
      const sent: string[] = []
      // Longer than two of its trials.
      for (let n = 0; n < 50; n++) {
        for (const queue of ['good', 'keyed', 'late']) {
          const message = run.message(queue, queue === 'keyed' ? 'k' : undefined)
          sent.push(message.id)
          await transport.send([message])
        }
        await sleep(100)
      }
      await until(
        () => sent.every(id => attempts.has(id)),
        () => `${attempts.size} of ${sent.length} came`,
      )
      expect(losses).toBe(lossesBefore)
      expect(sent.map(id => attempts.get(id))).toEqual(sent.map(() => 1))
      await leader('restart_server')
      const message = run.message('bad')
      await transport.send([message])
      await until(
        () => attempts.get(message.id) !== undefined,
        () => states.join('\n'),
      )
      expect(losses).toBe(lossesBefore)
      expect(states.at(-1)).toBeUndefined()
      await transport.close()
    },
    patient,
  )

  test(
    'a consumer that does nothing holds no more than its share in memory',
    async () => {
      const transport = rabbitmq({ url: server.url, prefix: 'slow.' })
      await transport.connect({ bus: 'x', instanceId: 'x', clock: systemClock, logger: silentLogger, onState() {} })
      await transport.declare({ queues: [{ name: 'q' }], topics: [], bindings: [] })
      const run = new Run({})
      const body = Buffer.alloc(20_000, 7)
      for (let n = 0; n < 20; n++)
        await transport.send(Array.from({ length: 100 }, () => ({ ...run.message('q'), body })))
      let open = 0
      const { promise: over, resolve: end } = Promise.withResolvers<void>()
      await transport.receive('q', () => (open++, over.then(() => ({ as: 'release' as const }))), {
        maxInFlight: 10,
        orderBy: 'none',
      })
      await until(
        () => open === 10,
        () => `${open} open`,
      )
      await sleep(500)
      expect(open).toBe(10)
      expect((await transport.admin.queue('q')).ready).toBe(1_990)
      end()
      await transport.close()
    },
    patient,
  )
})
